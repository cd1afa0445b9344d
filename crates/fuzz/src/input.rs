//! The input, taken piece by piece. Behind its end there are zeros.

use ext4_units::BlockNr;

/// What is left of the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes, or those that are left.
    pub(crate) fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n.min(self.0.len()));
        self.0 = tail;
        head
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes(N);
        let mut array = [0; N];
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.half()) % n
    }

    /// A block: mostly one of the first 65,536.
    pub(crate) fn block(&mut self) -> BlockNr {
        match self.byte() {
            0xFF => BlockNr(u64::from(self.word()) << 16 | u64::from(self.half())),
            low => BlockNr(u64::from(self.byte()) << 8 | u64::from(low)),
        }
    }

    /// `len` bytes that begin with a part of the input.
    pub(crate) fn filled(&mut self, len: usize) -> Vec<u8> {
        let n = usize::from(self.half()).min(len);
        let mut all = self.bytes(n).to_vec();
        all.resize(len, 0);
        all
    }
}
