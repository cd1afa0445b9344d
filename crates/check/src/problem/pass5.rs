//! Problems of pass 5: bitmaps and counts.

super::problems! {
    Five;
    BLOCK_MARKED_USED: "block-marked-used", Some(0x05_0004), Accounting, Fix,
        "block marked as used, but nothing uses it", "mark it free",
        "A bit of a block bitmap is set, but no file and no structure of the filesystem has the \
         block. The space is lost until the bit is cleared.";
}
