//! Problems of pass 2: directories.

super::problems! {
    Two;
}
