//! Problems of pass 3: connectivity.

super::problems! {
    Three;
    NO_LOST_FOUND: "no-lost-found", Some(0x03_0004), Accounting, Fix,
        "lost+found is missing", "make it",
        "Files that have lost their names are given new ones in /lost+found, which is not there. A new \
         one is made.";
}
