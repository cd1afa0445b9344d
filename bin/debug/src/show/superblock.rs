//! `super`: every field of the superblock by the kernel's name.

use crate::{
    image::{Devices, Image},
    print::{Fields, print_fields},
    show::exit,
    superblock_copy,
    text::{Time, hex, until_zero},
};
use ext4_cli::{Exit, Failure, Report};
use ext4_ondisk::name::Name;
use ext4_ondisk::{
    features::{Compat, Features, Incompat, RoCompat},
    superblock::{RawSuperblock, State, Superblock},
    uuid,
};
use serde_json::Value;
use zerocopy::little_endian::{U16, U32, U64};

/// Shows it.
pub(crate) fn show(image: &Image) -> Result<Exit, Failure> {
    let raw = image.fs.raw_superblock(image.meta()).map_err(|err| image.fail(&err))?;
    print_fields(&image.report, &fields(&raw, &[]))?;
    Ok(exit(false))
}

/// Shows a superblock that is damaged; `None` when it is not, or is none at all.
pub(crate) fn damaged(report: &Report, devices: &Devices) -> Result<Option<Exit>, Failure> {
    let raw = superblock_copy::raw(&*devices.image);
    let Some(raw) = raw.filter(|raw| raw.s_magic.get() == RawSuperblock::MAGIC) else {
        return Ok(None);
    };
    let Err(err) = Superblock::decode(&raw) else { return Ok(None) };
    let mut damage = vec![err.to_string()];
    if let Some(copy) = superblock_copy::find(&*devices.image) {
        damage.push(format!("there is a good copy: --superblock {copy}"));
    }
    print_fields(report, &fields(&raw, &damage))?;
    Ok(Some(exit(true)))
}

/// A field of the disk as a number, or several.
trait Plain {
    fn plain(&self) -> Value;
}

impl Plain for u8 {
    fn plain(&self) -> Value {
        (*self).into()
    }
}

impl Plain for U16 {
    fn plain(&self) -> Value {
        self.get().into()
    }
}

impl Plain for U32 {
    fn plain(&self) -> Value {
        self.get().into()
    }
}

impl Plain for U64 {
    fn plain(&self) -> Value {
        self.get().into()
    }
}

impl<T: Plain, const N: usize> Plain for [T; N] {
    fn plain(&self) -> Value {
        self.iter().map(Plain::plain).collect()
    }
}

/// Puts fields under their own names: as they are, in hex, as text, as uuid, or as the time that
/// they are with their high byte.
macro_rules! put {
    ($out:ident, $raw:ident, plain: $($name:ident)*) => {
        $($out.put(stringify!($name), $raw.$name.plain());)*
    };
    ($out:ident, $raw:ident, hex: $($name:ident)*) => {
        $({
            let value = $raw.$name.get();
            $out.put_as(stringify!($name), value, format_args!("{value:#x}"));
        })*
    };
    ($out:ident, $raw:ident, text: $($name:ident)*) => {
        $($out.put(stringify!($name), Name(until_zero(&$raw.$name)).to_string());)*
    };
    ($out:ident, $raw:ident, bytes: $($name:ident)*) => {
        $($out.put(stringify!($name), hex(&$raw.$name));)*
    };
    ($out:ident, $raw:ident, uuid: $($name:ident)*) => {
        $($out.put(stringify!($name), uuid::text(&$raw.$name));)*
    };
    ($out:ident, $raw:ident, time: $($name:ident $hi:ident)*) => {
        $({
            let low = $raw.$name.get();
            let sec = i64::from($raw.$hi) << 32 | i64::from(low);
            if sec == 0 {
                $out.put_as(stringify!($name), low, 0);
            } else {
                $out.put_as(stringify!($name), low, format_args!("{low} ({})", Time::of_sec(sec)));
            }
        })*
    };
    ($out:ident, $raw:ident, named: $($name:ident $names:ident)*) => {
        $({
            let value = $raw.$name.plain();
            let name = $names(value.as_u64().unwrap_or(0));
            let text = format!("{value} ({name})");
            $out.put_as(stringify!($name), value, text);
        })*
    };
}

/// Every field, in the order of the disk.
fn fields(raw: &RawSuperblock, damage: &[String]) -> Fields {
    let mut out = Fields::new();
    let features = Features {
        compat: Compat::from_bits_retain(raw.s_feature_compat.get()),
        incompat: Incompat::from_bits_retain(raw.s_feature_incompat.get()),
        ro_compat: RoCompat::from_bits_retain(raw.s_feature_ro_compat.get()),
    };
    out.put("features", features.names());
    out.put("blocks_count", raw.blocks_count());
    out.put("r_blocks_count", raw.r_blocks_count());
    out.put("free_blocks_count", raw.free_blocks_count());
    put!(out, raw, plain: s_inodes_count s_blocks_count_lo s_r_blocks_count_lo
        s_free_blocks_count_lo s_free_inodes_count s_first_data_block s_log_block_size
        s_log_cluster_size s_blocks_per_group s_clusters_per_group s_inodes_per_group);
    put!(out, raw, time: s_mtime s_mtime_hi s_wtime s_wtime_hi);
    put!(out, raw, plain: s_mnt_count s_max_mnt_count);
    put!(out, raw, hex: s_magic);
    put!(out, raw, named: s_state state s_errors on_errors);
    put!(out, raw, plain: s_minor_rev_level);
    put!(out, raw, time: s_lastcheck s_lastcheck_hi);
    put!(out, raw, plain: s_checkinterval);
    put!(out, raw, named: s_creator_os creator);
    put!(out, raw, plain: s_rev_level s_def_resuid s_def_resgid s_first_ino s_inode_size
        s_block_group_nr);
    put!(out, raw, hex: s_feature_compat s_feature_incompat s_feature_ro_compat);
    put!(out, raw, uuid: s_uuid);
    put!(out, raw, text: s_volume_name s_last_mounted);
    put!(out, raw, plain: s_algorithm_usage_bitmap s_prealloc_blocks s_prealloc_dir_blocks
        s_reserved_gdt_blocks);
    put!(out, raw, uuid: s_journal_uuid);
    put!(out, raw, plain: s_journal_inum s_journal_dev s_last_orphan);
    let mut seed = [0; 16];
    for (bytes, word) in seed.chunks_exact_mut(4).zip(&raw.s_hash_seed) {
        bytes.copy_from_slice(&word.get().to_le_bytes());
    }
    out.put("s_hash_seed", uuid::text(&seed));
    put!(out, raw, named: s_def_hash_version hash_version);
    put!(out, raw, plain: s_jnl_backup_type s_desc_size);
    put!(out, raw, named: s_default_mount_opts mount_opts);
    put!(out, raw, plain: s_first_meta_bg);
    put!(out, raw, time: s_mkfs_time s_mkfs_time_hi);
    put!(out, raw, plain: s_jnl_blocks s_blocks_count_hi s_r_blocks_count_hi
        s_free_blocks_count_hi s_min_extra_isize s_want_extra_isize);
    put!(out, raw, named: s_flags flags);
    put!(out, raw, plain: s_raid_stride s_mmp_update_interval s_mmp_block s_raid_stripe_width
        s_log_groups_per_flex s_checksum_type s_encryption_level s_reserved_pad s_kbytes_written
        s_snapshot_inum s_snapshot_id s_snapshot_r_blocks_count s_snapshot_list s_error_count);
    put!(out, raw, time: s_first_error_time s_first_error_time_hi);
    put!(out, raw, plain: s_first_error_ino s_first_error_block);
    put!(out, raw, text: s_first_error_func);
    put!(out, raw, plain: s_first_error_line);
    put!(out, raw, time: s_last_error_time s_last_error_time_hi);
    put!(out, raw, plain: s_last_error_ino s_last_error_line s_last_error_block);
    put!(out, raw, text: s_last_error_func s_mount_opts);
    put!(out, raw, plain: s_usr_quota_inum s_grp_quota_inum s_overhead_clusters s_backup_bgs);
    put!(out, raw, bytes: s_encrypt_algos s_encrypt_pw_salt);
    put!(out, raw, plain: s_lpf_ino s_prj_quota_inum);
    put!(out, raw, hex: s_checksum_seed);
    put!(out, raw, plain: s_wtime_hi s_mtime_hi s_mkfs_time_hi s_lastcheck_hi
        s_first_error_time_hi s_last_error_time_hi s_first_error_errcode s_last_error_errcode
        s_encoding s_encoding_flags s_orphan_file_inum s_def_resuid_hi s_def_resgid_hi);
    put!(out, raw, hex: s_checksum);
    out.put_damage(damage);
    out
}

fn state(bits: u64) -> String {
    let state = State::from_bits_retain(u16::try_from(bits).unwrap_or(0));
    let mut text = if state.contains(State::VALID) { "clean" } else { "not clean" }.to_owned();
    for (flag, name) in [
        (State::ERROR, " with errors"),
        (State::ORPHAN, " with orphans"),
        (State::FC_REPLAY, " in a fast commit's replay"),
    ] {
        if state.contains(flag) {
            text.push_str(name);
        }
    }
    text
}

fn on_errors(value: u64) -> &'static str {
    match value {
        1 => "continue",
        2 => "remount read-only",
        3 => "panic",
        _ => "unknown",
    }
}

fn creator(value: u64) -> &'static str {
    match value {
        0 => "Linux",
        1 => "Hurd",
        2 => "Masix",
        3 => "FreeBSD",
        4 => "Lites",
        _ => "unknown",
    }
}

fn hash_version(value: u64) -> &'static str {
    match value {
        0 => "legacy",
        1 => "half_md4",
        2 => "tea",
        6 => "siphash",
        _ => "unknown",
    }
}

/// `EXT4_DEFM_*`, by the names that tune2fs(8) has for them.
fn mount_opts(bits: u64) -> String {
    let journal = match bits & 0x60 {
        0x20 => Some("journal_data"),
        0x40 => Some("journal_data_ordered"),
        0x60 => Some("journal_data_writeback"),
        _ => None,
    };
    let names = [
        (0x1, "debug"),
        (0x2, "bsdgroups"),
        (0x4, "user_xattr"),
        (0x8, "acl"),
        (0x10, "uid16"),
        (0x100, "nobarrier"),
        (0x200, "block_validity"),
        (0x400, "discard"),
        (0x800, "nodelalloc"),
    ];
    let set = names.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name);
    or_none(set.chain(journal))
}

/// `EXT2_FLAGS_*`.
fn flags(bits: u64) -> String {
    let names =
        [(1, "signed_directory_hash"), (2, "unsigned_directory_hash"), (4, "test_filesystem")];
    or_none(names.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name))
}

fn or_none<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_left_out() {
        let zeros = [0; RawSuperblock::SIZE];
        let raw = RawSuperblock::of(&zeros).unwrap();
        let shown = fields(raw, &[]).to_json();
        let told = format!("{raw:#?}");
        let names: Vec<&str> = told
            .lines()
            .filter_map(|line| line.strip_prefix("    s_")?.split(':').next())
            .filter(|&name| name != "reserved")
            .collect();
        assert!(names.len() > 100, "only {}", names.len());
        for name in names {
            assert!(shown.get(format!("s_{name}")).is_some(), "s_{name} is missing");
        }
    }

    #[test]
    fn numbers_that_stand_for_something_are_named() {
        assert_eq!(state(1), "clean");
        assert_eq!(state(2), "not clean with errors");
        assert_eq!(mount_opts(0x4c), "user_xattr acl journal_data_ordered");
        assert_eq!(flags(0), "none");
    }
}
