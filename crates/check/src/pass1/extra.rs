//! What is behind the first 128 bytes of an inode: extra fields, times, attributes.

use super::{
    attributes::{self, Fault, Regions},
    inode::Check,
};
use crate::{
    Result,
    problem::pass1::{
        ATTRIBUTE_HASH, BODY_OVERLAP, EA_INODE_FEATURE, EXTRA_ISIZE, TIME_OUT_OF_RANGE, VALUE_SIZE,
    },
};
use ext4_ondisk::{
    features::Incompat,
    inode::InodeFlags,
    xattr::{self, RawXattrEntry, entry_hash, entry_hash_signed},
};
use ext4_units::InodeNr;
use zerocopy::FromBytes as _;

impl Check<'_> {
    /// Checks what is behind the first 128 bytes (`check_inode_extra_space`).
    pub(super) fn extra_space(&mut self) -> Result<()> {
        let size = self.bytes.len();
        if size <= 128 {
            return Ok(());
        }
        let (min, max) = (4, size - 128);
        let extra = self.extra_isize();
        if extra != 0 && (extra < min || extra > max || !extra.is_multiple_of(4)) {
            if !self.fix(&EXTRA_ISIZE, extra, format_args!("a multiple of 4 up to {max}"))? {
                return Ok(());
            }
            let wanted = self.possible_extra_isize();
            self.raw.i_extra_isize.set(u16::try_from(wanted).unwrap_or(0));
            self.is_dirty = true;
        }
        if self.extra_isize() + 4 >= max {
            return Ok(());
        }
        let magic = self.body().get(..4);
        if magic == Some(&xattr::MAGIC.to_le_bytes()[..]) {
            self.body_attributes()?;
        }
        self.times()
    }

    /// `i_extra_isize`, or what takes its place where it cannot be that.
    pub(super) fn possible_extra_isize(&self) -> usize {
        let max = self.bytes.len().saturating_sub(128);
        let extra = self.extra_isize();
        if extra < 4 || extra > max {
            usize::from(self.world.sb.want_extra_isize)
        } else {
            extra.next_multiple_of(4).min(max)
        }
    }

    /// Times that can only be mistakes of kernels of old.
    fn times(&mut self) -> Result<()> {
        if !self.world.has_old_times() {
            return Ok(());
        }
        let end = 128 + self.extra_isize();
        let raw = &mut self.raw;
        let crtime = raw.i_crtime;
        let times = [
            (raw.i_ctime, &mut raw.i_ctime_extra, 0x88),
            (raw.i_mtime, &mut raw.i_mtime_extra, 0x8C),
            (raw.i_atime, &mut raw.i_atime_extra, 0x90),
            (crtime, &mut raw.i_crtime_extra, 0x98),
        ];
        let mut wrong = Vec::new();
        for (base, extra, last) in times {
            if last <= end && base.get() >> 31 == 1 && extra.get() & 3 == 3 {
                wrong.push(extra);
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let place = crate::Place::inode(self.ino);
        if self.gate.fix(&TIME_OUT_OF_RANGE, place, &"", &"")? {
            for extra in wrong {
                extra.set(extra.get() & !3);
            }
            self.is_dirty = true;
        }
        Ok(())
    }

    /// Checks the attributes in the inode's body. Damaged, they all go, but for contents: their lengths
    /// and places depend on each other.
    fn body_attributes(&mut self) -> Result<()> {
        let body = self.body().to_vec();
        let mut values = Vec::new();
        let mut clusters = 0;
        let fault = self.body_fault(&body, &mut values, &mut clusters)?;
        if let Some((problem, found)) = fault
            && self.fix(problem, found, "")?
        {
            if self.has_flag(InodeFlags::INLINE_DATA) && self.keep_inline(|_| false) {
                return Ok(());
            }
            let at = 128 + self.extra_isize();
            if let Some(magic) = self.bytes.to_mut().get_mut(at..at + 4) {
                magic.fill(0);
            }
            self.is_dirty = true;
            return Ok(());
        }
        self.body_values = (clusters, values.len() as u64);
        self.found.ea_refs.extend(values);
        self.context = attributes::context(&body, 4, 4);
        Ok(())
    }

    /// The first thing that is wrong with the attributes of a body.
    fn body_fault(
        &mut self,
        body: &[u8],
        values: &mut Vec<InodeNr>,
        clusters: &mut u64,
    ) -> Result<Option<Fault>> {
        let mut regions = Regions::new(body.len());
        let mut left = body.len() - 4;
        let mut at = 4;
        if !regions.take(0, 4) {
            return Ok(Some((&BODY_OVERLAP, 0)));
        }
        while left >= size_of::<RawXattrEntry>() {
            let rest = body.get(at..).unwrap_or_default();
            let Ok((entry, behind)) = RawXattrEntry::ref_from_prefix(rest) else { break };
            if rest.get(..4) == Some(&[0; 4]) {
                break;
            }
            let name_len = usize::from(entry.e_name_len);
            let len = (size_of::<RawXattrEntry>() + name_len).next_multiple_of(4);
            if !regions.take(at, len) {
                return Ok(Some((&BODY_OVERLAP, at as u64)));
            }
            left -= size_of::<RawXattrEntry>();
            let padded = name_len.next_multiple_of(4);
            left = left.saturating_sub(padded);
            let name = behind.get(..name_len).unwrap_or_default();
            let size = entry.e_value_size.get();
            match InodeNr::new(entry.e_value_inum.get()) {
                None => {
                    let Some(len) = usize::try_from(size).ok().filter(|it| *it <= left) else {
                        return Ok(Some((&VALUE_SIZE, size.into())));
                    };
                    let from = 4 + usize::from(entry.e_value_offs.get());
                    let padded = len.next_multiple_of(4);
                    if len > 0 && !regions.take(from, padded) {
                        return Ok(Some((&BODY_OVERLAP, from as u64)));
                    }
                    let value = if len > 0 {
                        body.get(from..from + padded).unwrap_or_default()
                    } else {
                        &[]
                    };
                    let hash = entry.e_hash.get();
                    if hash != 0
                        && hash != entry_hash(name, value)
                        && hash != entry_hash_signed(name, value)
                    {
                        return Ok(Some((&ATTRIBUTE_HASH, hash.into())));
                    }
                    left -= len;
                }
                Some(ino) => {
                    self.value_feature()?;
                    match self.value_inode(ino, name, size, entry.e_hash.get())? {
                        Ok(n) => *clusters += n,
                        Err(fault) => return Ok(Some(fault)),
                    }
                    values.push(ino);
                }
            }
            at += len;
        }
        Ok((!regions.take(at, 4)).then_some((&BODY_OVERLAP, at as u64)))
    }

    /// A value in an inode of its own needs a feature.
    pub(super) fn value_feature(&mut self) -> Result<()> {
        if !self.features.has_incompat(Incompat::EA_INODE) && self.fix(&EA_INODE_FEATURE, "", "")? {
            self.features.incompat |= Incompat::EA_INODE;
        }
        Ok(())
    }
}
