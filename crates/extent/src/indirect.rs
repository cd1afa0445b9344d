//! The older block map: blocks of 32-bit pointers, up to three levels deep.
//!
//! Has no unwritten state and no checksums. A pointer of 0 is a hole. As with trees, a change is planned
//! in memory and written when every block it needs has been allocated.

mod edit;
mod insert;
mod iter;
mod lookup;
mod remove;
mod table;
mod validate;

pub use insert::insert;
pub use iter::Mappings;
pub use lookup::lookup;
pub use remove::remove;
pub use validate::validate;
