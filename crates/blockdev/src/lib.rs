//! Devices that hold blocks: an image file or block device, memory, and the wrappers that tests
//! and dry runs are made of.
//!
//! The only crate that opens files. Knows bytes and offsets, nothing of ext4.

mod buf;
mod device;
mod error;
mod fault;
mod file;
mod location;
mod memory;
mod overlay;
mod partition;
mod recorder;
mod sectors;
mod snapshot;

pub use buf::AlignedBuf;
pub use device::{BlockDevice, Completion, Limits, TransferQueue, Write};
pub use error::{Error, Result};
pub use fault::{Counts, Failure, Fault, FaultDevice, Op};
pub use file::{DirectIo, FileDevice, OpenError, OpenMode};
pub use location::{Location, Part};
pub use memory::MemoryDevice;
pub use overlay::Overlay;
pub use partition::TableKind;
pub use recorder::{Event, Recorder};
pub use sectors::{SECTOR, Sector};
pub use snapshot::{SharedImage, SnapshotDevice};
