//! The testkit, tested: oracles agree with recipes, planted bugs are found.

mod images;
