//! What can be done to files and names, each as a whole: all of it happens, or nothing, or recovery
//! finishes it.

mod create;
mod evict;
mod fallocate;
mod links;
mod new_inode;
mod punch;
mod rename;
mod setattr;
mod truncate;
mod unlink;

pub use new_inode::NewFile;
pub use rename::Replace;
pub use setattr::Setattr;
pub use unlink::Unlinked;
