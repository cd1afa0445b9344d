//! Problems of pass 6: journal, quota and orphan file made anew.

super::problems! {
    Six;
}
