//! Problems of pass 1: inodes, maps, attributes and shared blocks.

super::problems! {
    One;
}
