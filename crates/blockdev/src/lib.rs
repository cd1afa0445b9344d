//! Devices that hold blocks: an image file or block device, memory, and the wrappers that tests
//! and dry runs are made of.
//!
//! The only crate that opens files. Knows bytes and offsets, nothing of ext4.

mod buf;
mod device;
mod error;
mod memory;
mod overlay;

pub use buf::AlignedBuf;
pub use device::{BlockDevice, Completion, Limits, TransferQueue, Write};
pub use error::{Error, Result};
pub use memory::MemoryDevice;
pub use overlay::Overlay;
