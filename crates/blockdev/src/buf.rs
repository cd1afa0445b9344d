//! Page-aligned memory, as direct IO wants it.

use std::fmt;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const PAGE: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Zeroed memory that starts on a 4 KiB boundary, `len` bytes long.
#[derive(Clone)]
pub struct AlignedBuf {
    pages: Vec<Page>,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let pages = vec![Page::new_zeroed(); len.div_ceil(PAGE)];
        Self { pages, len }
    }

    /// A copy of `data`.
    pub fn copy_of(data: &[u8]) -> Self {
        let mut buf = Self::zeroed(data.len());
        buf.copy_from_slice(data);
        buf
    }

    /// Shortens or lengthens to `len` bytes, keeping the memory; new bytes are whatever the pages
    /// held, or zero.
    pub fn resize(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE).max(self.pages.len()), Page::new_zeroed());
        self.len = len;
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.pages.as_bytes().get(..self.len).expect("len never passes the pages")
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut_bytes().get_mut(..self.len).expect("len never passes the pages")
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}
