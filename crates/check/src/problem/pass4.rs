//! Problems of pass 4: link counts.

super::problems! {
    Four;
}
