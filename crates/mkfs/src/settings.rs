//! From options and a size to settings: every default is resolved here, every conflict is told.

use crate::{
    error::{Error, Result, conflict},
    features,
    options::{Identity, Options},
    populate::{Attributes, Order, Room},
    shape::EXTRA_ISIZE,
    special::inodes_of_features,
    usage,
};
use ext4_ondisk::features::{Compat, Features, Incompat, RoCompat};
use ext4_units::BlockSize;
use sha2::{Digest as _, Sha256};

/// The options with nothing left open, before geometry.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) features: Features,
    pub(crate) block_size: BlockSize,
    /// log2 of the blocks in a cluster.
    pub(crate) cluster_ratio_bits: u32,
    pub(crate) inode_size: u16,
    /// Inodes asked for or from the ratio.
    pub(crate) inodes: u32,
    /// Inodes that files take, where those are enough for them: as many are left of `inodes` when
    /// those are rounded.
    pub(crate) least_inodes: u32,
    /// Blocks there are.
    pub(crate) blocks: u64,
    pub(crate) reserved_blocks: u64,
    /// As asked for: blocks, or clusters with bigalloc.
    pub(crate) per_group: Option<u32>,
    pub(crate) log_groups_per_flex: u8,
    pub(crate) uuid: [u8; 16],
    /// What the uuid is made of, where checksums of contents take part too.
    pub(crate) uuid_from: Option<[u8; 32]>,
    pub(crate) hash_seed: [u8; 16],
    /// Extended attributes of the tree's files.
    pub(crate) attributes: Attributes,
}

const MAX_32: u64 = (1 << 32) - 1;
const MAX_CLUSTER: u32 = 1 << 29;

/// The files that a filesystem is planned for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Files<'a> {
    /// Those of the options' tree.
    Tree(&'a Order),
    /// None, but as many inodes as so many would take, special ones included.
    Inodes(u32),
}

impl<'a> Files<'a> {
    pub(crate) const fn order(self) -> Option<&'a Order> {
        match self {
            Self::Tree(order) => Some(order),
            Self::Inodes(_) => None,
        }
    }

    /// Inodes for all of them, for the reserved ones and for those that features ask for.
    fn inodes(self, options: &Options, features: Features, attributes: &Attributes) -> u64 {
        const RESERVED: u64 = 11;
        match self {
            Self::Tree(order) => {
                let of_tree = (order.files.len() + attributes.values.len()) as u64;
                RESERVED + u64::from(inodes_of_features(options, features)) + of_tree
            }
            Self::Inodes(count) => u64::from(count),
        }
    }
}

/// Resolves `options` for a device of `device_len` bytes.
pub(crate) fn settings(options: &Options, files: Files<'_>, device_len: u64) -> Result<Settings> {
    let len = options.size.unwrap_or(device_len);
    if len > device_len {
        return Err(Error::TooSmall {
            found: device_len,
            expected: len,
            what: "the size asked for".to_owned(),
        });
    }
    let by_size = [usage::of_size(len).to_owned()];
    let names: &[String] = if options.usage.is_empty() { &by_size } else { &options.usage };
    let (usage_block_size, usage_ratio) = usage::named(names)?;
    let block_size = block_size(options, usage_block_size)?;
    // As mke2fs: whole pages of the machine, also with smaller blocks, unless a size was asked for.
    let whole = if options.size.is_none() { len / 4096 * 4096 } else { len };
    let blocks = whole >> block_size.bits();
    if blocks == 0 {
        return Err(Error::TooSmall {
            found: len,
            expected: block_size.bytes().into(),
            what: "superblock, descriptors, bitmaps and inode table".to_owned(),
        });
    }

    let mut features = chosen_features(options, blocks)?;
    if features.has_incompat(Incompat::JOURNAL_DEV) {
        return conflict("journal_dev makes a journal device, which has a plan of its own");
    }
    let cluster_ratio_bits = cluster_ratio_bits(options, features, block_size)?;
    let blocks = blocks >> cluster_ratio_bits << cluster_ratio_bits;
    let inode_size = inode_size(options, features, block_size)?;
    let room = Room {
        body: usize::from(inode_size.saturating_sub(128 + EXTRA_ISIZE)),
        block: block_size.len(),
        has_ea_inode: features.has_incompat(Incompat::EA_INODE),
        has_inline_data: features.has_incompat(Incompat::INLINE_DATA),
    };
    let attributes = match (&options.tree, files) {
        (Some(tree), Files::Tree(order)) => Attributes::new(tree, order, room)?,
        _ => Attributes::default(),
    };
    let needed = files.inodes(options, features, &attributes);
    let inodes = inodes(
        options,
        features,
        (blocks, block_size),
        inode_size,
        (usage_ratio, cluster_ratio_bits),
        needed,
    )?;
    let least_inodes = u32::try_from(needed).ok().filter(|it| *it <= inodes).unwrap_or(0);
    check_numbers(options, features, block_size)?;
    check_descriptors(options, features)?;
    check_system(options, features)?;
    if features.has_ro_compat(RoCompat::PROJECT) && inode_size < 256 {
        return conflict("the feature project needs inodes of 256 bytes: take -I 128 off");
    }
    if options.quota.project {
        features.ro_compat |= RoCompat::PROJECT;
    }
    let log_groups_per_flex = log_groups_per_flex(options, features)?;
    let derived = derived_identity(options, files, &format!("{blocks} {block_size}"));
    // The order of names in directories, and so how many blocks they take, does not go with the
    // size: whoever looks for the right size would look for what moves.
    let of_any_size = Options { size: None, inodes: None, ..options.clone() };
    let seed = derived_identity(&of_any_size, files, "hash");
    let identity = |it: Identity, derived: &[u8; 32]| match it {
        Identity::Given(bytes) => bytes,
        Identity::Derived => as_uuid(derived),
    };
    Ok(Settings {
        features,
        block_size,
        cluster_ratio_bits,
        inode_size,
        inodes,
        least_inodes,
        blocks,
        reserved_blocks: reserved(blocks, options.reserved),
        per_group: options.blocks_per_group,
        log_groups_per_flex,
        uuid: identity(options.uuid, &derived),
        // Hashes of values that are inodes follow from the uuid, so it has to be known now.
        uuid_from: files
            .order()
            .filter(|_| attributes.values.is_empty())
            .filter(|_| options.uuid == Identity::Derived)
            .map(|_| derived),
        hash_seed: identity(options.hash_seed, &seed),
        attributes,
    })
}

fn block_size(options: &Options, by_usage: u32) -> Result<BlockSize> {
    let typed = options.block_size.or(options.journal_device.map(|it| it.block_size));
    let size = typed.or_else(|| BlockSize::from_bytes(by_usage)).unwrap_or(BlockSize::MIN);
    match options.journal_device {
        Some(journal) if journal.block_size != size => conflict(format!(
            "blocks of {size} bytes, but the journal device has blocks of {}",
            journal.block_size
        )),
        _ => Ok(size),
    }
}

fn chosen_features(options: &Options, blocks: u64) -> Result<Features> {
    let base =
        if options.revision == 0 { Features::default() } else { features::defaults(options.kind) };
    let mut it = features::edited(base, &options.features);
    if options.revision == 0 && it != Features::default() {
        return conflict("revision 0 knows no features: take -O off");
    }
    // What a feature word asks for by itself.
    let typed_resize = options.features.iter().any(
        |edit| matches!(edit, features::Edit::On(it) if it.compat.contains(Compat::RESIZE_INODE)),
    );
    if options.resize_blocks.is_some() {
        it.compat |= Compat::RESIZE_INODE;
    }
    if it.has_ro_compat(RoCompat::METADATA_CSUM) {
        it.ro_compat -= RoCompat::GDT_CSUM;
    }
    if options.journal_device.is_some() {
        it.compat |= Compat::HAS_JOURNAL;
    }
    if blocks > MAX_32 {
        if !it.has_incompat(Incompat::BIT64) {
            return conflict(format!(
                "{blocks} blocks need more than 32 bits: add -O 64bit or take larger blocks"
            ));
        }
        if typed_resize {
            return conflict("resize_inode reaches 2^32 blocks at the most: take it off");
        }
        it.compat -= Compat::RESIZE_INODE;
    }
    features::check(it, options.journal_device.is_some())?;
    if it.has_compat(Compat::ORPHAN_FILE) && options.revision == 0 {
        return conflict("revision 0 knows no orphan file");
    }
    Ok(it)
}

fn cluster_ratio_bits(options: &Options, features: Features, block_size: BlockSize) -> Result<u32> {
    let bigalloc = features.has_ro_compat(RoCompat::BIGALLOC);
    let bytes = match (options.cluster_size, bigalloc) {
        (None, false) => return Ok(0),
        (Some(_), false) => {
            return conflict("a cluster size needs the feature bigalloc: add -O bigalloc");
        }
        (None, true) => block_size.bytes() * 16,
        (Some(bytes), true) => bytes,
    };
    if !bytes.is_power_of_two() || bytes < block_size.bytes() || bytes > MAX_CLUSTER {
        return conflict(format!(
            "cluster size {bytes}, expected a power of two from {block_size} to {MAX_CLUSTER}"
        ));
    }
    Ok(bytes.trailing_zeros() - block_size.bits())
}

fn inode_size(options: &Options, features: Features, block_size: BlockSize) -> Result<u16> {
    if options.revision == 0 {
        return match options.inode_size {
            None | Some(128) => Ok(128),
            Some(other) => conflict(format!("inode size {other}, expected 128 with revision 0")),
        };
    }
    let size = options.inode_size.unwrap_or(256);
    if !size.is_power_of_two() || size < 128 || size > block_size.bytes() {
        return conflict(format!(
            "inode size {size}, expected a power of two from 128 to {block_size}"
        ));
    }
    if size == 128 && features.has_incompat(Incompat::INLINE_DATA) {
        return conflict("the feature inline_data needs inodes of 256 bytes: take -I 128 off");
    }
    u16::try_from(size).or_else(|_| conflict(format!("inode size {size}, expected at most 32768")))
}

fn inodes(
    options: &Options,
    features: Features,
    (blocks, block_size): (u64, BlockSize),
    inode_size: u16,
    (usage_ratio, cluster_ratio_bits): (u32, u32),
    needed: u64,
) -> Result<u32> {
    let bytes = blocks.saturating_mul(u64::from(block_size.bytes()));
    let cluster = block_size.bytes() << cluster_ratio_bits;
    let ratio = options.inode_ratio.unwrap_or(usage_ratio.max(cluster));
    if !(1024..=64 << 20).contains(&ratio) {
        return conflict(format!("inode ratio {ratio}, expected 1024 to 67108864"));
    }
    let wanted = match options.inodes {
        Some(count) => u64::from(count),
        None if options.inode_ratio.is_some() => bytes / u64::from(ratio),
        None => (bytes / u64::from(ratio)).max(needed),
    };
    if wanted > MAX_32 && !features.has_incompat(Incompat::BIT64) {
        return conflict(format!("{wanted} inodes, expected below 2^32: raise the inode ratio"));
    }
    let wanted = wanted.min(MAX_32);
    if wanted.saturating_mul(u64::from(inode_size)) >= bytes {
        return conflict(format!(
            "{wanted} inodes of {inode_size} bytes leave nothing of {blocks} blocks: \
             raise the inode ratio (-i) or lower the count (-N)"
        ));
    }
    Ok(u32::try_from(wanted).unwrap_or(u32::MAX))
}

/// What has bounds of its own.
fn check_numbers(options: &Options, features: Features, block_size: BlockSize) -> Result<()> {
    if options.revision > 1 {
        return conflict(format!("revision {}, expected 0 or 1", options.revision));
    }
    if options.reserved > 5000 {
        return conflict("reserved percentage above 50, expected 0 to 50");
    }
    if options.label.len() > 16 {
        return conflict(format!("label of {} bytes, expected at most 16", options.label.len()));
    }
    if options.last_mounted.len() > 63 {
        return conflict(format!(
            "last mounted directory of {} bytes, expected at most 63",
            options.last_mounted.len()
        ));
    }
    if let Some(per_group) = options.blocks_per_group {
        let max = (8 * block_size.bytes()).min(65528);
        if !(256..=max).contains(&per_group) || !per_group.is_multiple_of(8) {
            return conflict(format!(
                "{per_group} blocks per group, expected a multiple of 8 from 256 to {max}"
            ));
        }
    }
    if options.backup_superblocks > 2 {
        return conflict(format!(
            "{} backup superblocks, expected 0 to 2",
            options.backup_superblocks
        ));
    }
    let has_journal = features.has_compat(Compat::HAS_JOURNAL);
    if (options.journal.mib.is_some() || options.journal.location.is_some()) && !has_journal {
        return conflict("journal options need a journal: add -O has_journal");
    }
    if options.journal.fast_commit_kib.is_some() && !features.has_compat(Compat::FAST_COMMIT) {
        return conflict("a fast-commit size needs the feature fast_commit: add -O fast_commit");
    }
    if options.orphan_file_size.is_some() && !features.has_compat(Compat::ORPHAN_FILE) {
        return conflict("an orphan file's size needs the feature orphan_file: add -O orphan_file");
    }
    if options.strict_encoding && !features.has_incompat(Incompat::CASEFOLD) {
        return conflict("encoding flags need the feature casefold: add -O casefold");
    }
    if options.packed_meta_blocks && !features.has_incompat(Incompat::FLEX_BG) {
        return conflict("packed metadata needs the feature flex_bg: add -O flex_bg");
    }
    Ok(())
}

fn log_groups_per_flex(options: &Options, features: Features) -> Result<u8> {
    let flex = features.has_incompat(Incompat::FLEX_BG);
    let groups = match (options.groups_per_flex, flex) {
        (None, false) => return Ok(0),
        (None, true) => 16,
        (Some(_), false) => {
            return conflict("a flex group's size needs the feature flex_bg: add -O flex_bg");
        }
        (Some(groups), true) => groups,
    };
    if !groups.is_power_of_two() {
        return conflict(format!("{groups} groups per flex group, expected a power of two"));
    }
    Ok(u8::try_from(groups.trailing_zeros()).unwrap_or(0))
}

/// `blocks` times hundredths of a percent, rounded down.
fn reserved(blocks: u64, hundredths: u32) -> u64 {
    let product = u128::from(blocks) * u128::from(hundredths) / 10_000;
    u64::try_from(product).unwrap_or(blocks)
}

/// What the kernel mounts (`ext4_load_super`): 32 bytes, with 64bit a power of two from 64 to 1024.
fn check_descriptors(options: &Options, features: Features) -> Result<()> {
    let is_64bit = features.has_incompat(Incompat::BIT64);
    match options.desc_size {
        None => Ok(()),
        Some(size) if is_64bit && size.is_power_of_two() && (64..=1024).contains(&size) => Ok(()),
        Some(32) if !is_64bit => Ok(()),
        Some(size) if is_64bit => conflict(format!(
            "descriptors of {size} bytes, expected a power of two from 64 to 1024 with 64bit"
        )),
        Some(size) => {
            conflict(format!("descriptors of {size} bytes, expected 32 without the feature 64bit"))
        }
    }
}

/// Inodes of other systems keep other things where Linux has the lower half of their checksums
/// (`l_i_checksum_lo`), and the Hurd more than that.
fn check_system(options: &Options, features: Features) -> Result<()> {
    let (system, lacks): (_, &[&str]) = match options.creator_os {
        0 => return Ok(()),
        1 => ("the Hurd", &["filetype", "huge_file", "metadata_csum", "ea_inode", "casefold"]),
        _ => ("the system asked for (-o)", &["metadata_csum"]),
    };
    match features.names().iter().find(|it| lacks.contains(&it.as_str())) {
        Some(name) => conflict(format!(
            "{system} does not know the feature {name}: turn it off with -O ^{name}"
        )),
        None => Ok(()),
    }
}

/// 32 bytes that two runs with the same options and size share, and others do not.
fn derived_identity(options: &Options, files: Files<'_>, what: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The textual form names every field, so that a new option takes part by itself. That of a
    // tree would tell of the host.
    let others = Options { tree: None, ..options.clone() };
    hash.update(format!("ext4-mkfs 1 {what} {others:?}"));
    if let Some(order) = files.order() {
        hash.update(order.digest);
    }
    hash.finalize().into()
}

/// The first of the bytes as a uuid of version 8, the one for bytes that follow no common rule.
pub(crate) fn as_uuid(bytes: &[u8; 32]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[..16]);
    uuid[6] = uuid[6] & 0x0F | 0x80;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(len: u64, change: impl FnOnce(&mut Options)) -> Result<Settings> {
        let mut options = Options::default();
        change(&mut options);
        settings(&options, Files::Inodes(0), len)
    }

    #[test]
    fn the_defaults_go_with_the_size() {
        let small = of(64 << 20, |_| {}).unwrap();
        assert_eq!((small.block_size.bytes(), small.inodes), (1024, 16384));
        let default = of(1 << 30, |_| {}).unwrap();
        assert_eq!((default.block_size.bytes(), default.inodes), (4096, 65536));
        assert_eq!(default.reserved_blocks, 13107);
        let huge = of(17 << 40, |_| {}).unwrap();
        assert!(!huge.features.has_compat(Compat::RESIZE_INODE));
    }

    #[test]
    fn the_same_input_has_the_same_identity_and_another_one_has_not() {
        let [a, b, c] = [
            of(64 << 20, |_| {}).unwrap(),
            of(64 << 20, |_| {}).unwrap(),
            of(64 << 20, |it| it.label = b"x".to_vec()).unwrap(),
        ];
        assert_eq!((a.uuid, a.hash_seed), (b.uuid, b.hash_seed));
        assert_ne!(a.uuid, c.uuid);
        assert_ne!(a.uuid, a.hash_seed);
        let larger = of(65 << 20, |_| {}).unwrap();
        assert_ne!(a.uuid, larger.uuid);
        assert_eq!(a.hash_seed, larger.hash_seed, "directories are the same at any size");
    }

    #[test]
    fn conflicts_are_one_line() {
        let said = |change: fn(&mut Options)| of(64 << 20, change).unwrap_err().to_string();
        assert_eq!(
            said(|it| it.cluster_size = Some(65536)),
            "a cluster size needs the feature bigalloc: add -O bigalloc"
        );
        assert_eq!(
            said(|it| it.inode_size = Some(200)),
            "inode size 200, expected a power of two from 128 to 1024"
        );
        assert_eq!(
            said(|it| it.blocks_per_group = Some(100)),
            "100 blocks per group, expected a multiple of 8 from 256 to 8192"
        );
        assert_eq!(
            said(|it| it.size = Some(1 << 40)),
            "67108864 bytes are too few, expected at least 1099511627776: the size asked for"
        );
    }
}
