//! Problems of pass 0: superblock, descriptors, journal, MMP and orphans.

super::problems! {
    Zero;
}
