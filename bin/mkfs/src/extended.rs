//! `-E` and `-J`: words with values, separated by commas.

use crate::values::{number, size_in, switch, uuid};
use ext4_cli::Failure;
use ext4_mkfs::{
    features::Edit,
    options::{HashAlgorithm, Identity, Options},
};
use ext4_ondisk::features::Features;

/// What `-E` and `-J` say that is not among the library's options.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// `-E offset=`, in bytes.
    pub(crate) offset: Option<u64>,
    /// `-J device=`.
    pub(crate) journal_device: Option<String>,
    /// `-E lazy_itable_init=`.
    pub(crate) lazy_itable_init: Option<bool>,
    /// What is said of the root, which wins over what SOURCE says.
    pub(crate) root: Root,
    /// `-E no_copy_xattrs`.
    pub(crate) no_copy_xattrs: bool,
}

/// What `-E` says of the root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) perms: Option<u16>,
    pub(crate) selinux: Option<String>,
}

fn words(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let words = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    words.map(|word| match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    })
}

fn needed<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, Failure> {
    value.ok_or_else(|| Failure::usage(format_args!("`{name}` needs a value: {name}=...")))
}

/// Reads one `-E`. `block` is the size in bytes that a bare number of blocks counts.
pub(crate) fn extended(
    text: &str,
    block: u64,
    options: &mut Options,
    outside: &mut Outside,
) -> Result<(), Failure> {
    for (name, value) in words(text) {
        match name {
            "stride" => options.stride = number(name, needed(name, value)?)?,
            "stripe-width" | "stripe_width" => {
                options.stripe_width = number(name, needed(name, value)?)?;
            }
            "offset" => outside.offset = Some(size_in(needed(name, value)?, 1)?),
            "resize" => {
                let bytes = size_in(needed(name, value)?, block)?;
                options.resize_blocks = Some(bytes / block);
            }
            "num_backup_sb" => options.backup_superblocks = number(name, needed(name, value)?)?,
            "packed_meta_blocks" => options.packed_meta_blocks = switch(name, value)?,
            "lazy_itable_init" => outside.lazy_itable_init = Some(switch(name, value)?),
            "lazy_journal_init" => options.journal.lazy = switch(name, value)?,
            "assume_storage_prezeroed" => options.is_zeroed = switch(name, value)?,
            "discard" => options.discard = true,
            "nodiscard" => options.discard = false,
            "root_owner" => {
                options.root_owner = owner(name, needed(name, value)?)?;
                outside.root.owner = Some(options.root_owner);
            }
            "root_perms" => {
                options.root_perms = perms(needed(name, value)?)?;
                outside.root.perms = Some(options.root_perms);
            }
            "root_selinux" => outside.root.selinux = Some(needed(name, value)?.to_owned()),
            "no_copy_xattrs" => outside.no_copy_xattrs = switch(name, value)?,
            "hash_seed" => {
                let text = needed(name, value)?;
                let bytes = uuid(text)
                    .ok_or_else(|| Failure::usage(format_args!("`{text}` is no uuid")))?;
                options.hash_seed = Identity::Given(bytes);
            }
            "hash_alg" => options.hash = hash(needed(name, value)?)?,
            "desc_size" | "desc-size" => {
                options.desc_size = Some(number(name, needed(name, value)?)?);
            }
            "revision" => options.revision = number(name, needed(name, value)?)?,
            "mmp_update_interval" => {
                options.mmp_interval = number(name, needed(name, value)?)?;
            }
            "quotatype" => quota_types(needed(name, value)?, options)?,
            "encoding" => encoding(needed(name, value)?, options)?,
            "encoding_flags" => encoding_flags(needed(name, value)?, options)?,
            "orphan_file_size" => {
                options.orphan_file_size = Some(size_in(needed(name, value)?, 1)?);
            }
            "test_fs" => options.test_fs = true,
            _ => {
                return Err(Failure::usage(format_args!(
                    "`{name}` is no extended option (see EXTENDED OPTIONS in the manual)"
                )));
            }
        }
    }
    Ok(())
}

/// Reads `-J`.
pub(crate) fn journal(
    text: &str,
    block: u64,
    options: &mut Options,
    outside: &mut Outside,
) -> Result<(), Failure> {
    for (name, value) in words(text) {
        let value = needed(name, value)?;
        match name {
            "size" => options.journal.mib = Some(number(name, value)?),
            "fast_commit_size" => {
                options.journal.fast_commit_kib = Some(number(name, value)?);
            }
            "location" => options.journal.location = Some(size_in(value, block)? / block),
            "device" => outside.journal_device = Some(value.to_owned()),
            _ => return Err(Failure::usage(format_args!("`{name}` is no journal option"))),
        }
    }
    if outside.journal_device.is_some()
        && (options.journal.mib.is_some() || options.journal.location.is_some())
    {
        return Err(Failure::usage("a journal on a device has the size of the device"));
    }
    Ok(())
}

/// Reads `UID:GID`; `what` is the option, for messages.
pub(crate) fn owner(what: &str, text: &str) -> Result<(u32, u32), Failure> {
    let Some((uid, gid)) = text.split_once(':') else {
        return Err(Failure::usage(format_args!("{what}: found `{text}`, expected UID:GID")));
    };
    Ok((number(what, uid)?, number(what, gid)?))
}

fn perms(text: &str) -> Result<u16, Failure> {
    u16::from_str_radix(text, 8).ok().filter(|&it| it <= 0o7777).ok_or_else(|| {
        Failure::usage(format_args!("root_perms: found `{text}`, expected octal up to 7777"))
    })
}

fn hash(text: &str) -> Result<HashAlgorithm, Failure> {
    match text {
        "legacy" => Ok(HashAlgorithm::Legacy),
        "half_md4" => Ok(HashAlgorithm::HalfMd4),
        "tea" => Ok(HashAlgorithm::Tea),
        _ => Err(Failure::usage(format_args!(
            "hash_alg: found `{text}`, expected legacy, half_md4 or tea"
        ))),
    }
}

fn quota_types(text: &str, options: &mut Options) -> Result<(), Failure> {
    let quota = &mut options.quota;
    (quota.user, quota.group, quota.project) = (false, false, false);
    for word in text.split(':') {
        match word {
            "usrquota" | "usr" => quota.user = true,
            "grpquota" | "grp" => quota.group = true,
            "prjquota" | "prj" => quota.project = true,
            _ => {
                return Err(Failure::usage(format_args!(
                    "quotatype: found `{word}`, expected usrquota, grpquota or prjquota"
                )));
            }
        }
    }
    Ok(())
}

fn encoding(text: &str, options: &mut Options) -> Result<(), Failure> {
    if !["utf8", "utf8-12.1"].contains(&text) {
        return Err(Failure::usage(format_args!("encoding: found `{text}`, expected utf8")));
    }
    // As with mke2fs, an encoding asks for the feature.
    options.features.extend(Features::named("casefold").map(Edit::On));
    Ok(())
}

fn encoding_flags(text: &str, options: &mut Options) -> Result<(), Failure> {
    options.strict_encoding = match text {
        "strict" => true,
        "nostrict" | "no-strict" => false,
        _ => {
            return Err(Failure::usage(format_args!(
                "encoding_flags: found `{text}`, expected strict or nostrict"
            )));
        }
    };
    Ok(())
}
