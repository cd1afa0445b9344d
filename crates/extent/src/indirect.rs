//! The older block map: blocks of 32-bit pointers, up to three levels deep.
//!
//! Has no unwritten state and no checksums. A pointer of 0 is a hole.

mod iter;
mod lookup;
mod table;
mod validate;

pub use iter::Mappings;
pub use lookup::lookup;
pub use validate::validate;
