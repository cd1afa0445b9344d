//! What the fuzz targets do with their input: any bytes have to come to an end, without a panic, and with
//! a verdict that holds.
//!
//! The programs in `targets/` call these functions with what libFuzzer makes up; the tests call them with
//! bytes of a fixed seed, so that they never stop to compile or to run.

mod base;
mod check;
mod decoders;
mod input;
mod log;
mod replay;

pub use check::check;
pub use decoders::decoders;
pub use replay::replay;
