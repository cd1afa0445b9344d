//! Problems of pass 3: connectivity.

super::problems! {
    Three;
}
