//! Names that a directory can hold.

use crate::{Error, Result};

/// Bytes a name may have (`EXT4_NAME_LEN`).
const LONGEST: usize = 255;

/// Checks one component of a path.
///
/// # Errors
/// [`Error::Name`] when it is empty, `.` or `..`, too long, or has a slash or a NUL.
pub fn check_name(name: &[u8]) -> Result<()> {
    let why = match name {
        b"" => "an empty name".to_owned(),
        b"." | b".." => "a name that means a directory itself or the one above".to_owned(),
        _ if name.len() > LONGEST => {
            format!("found a name of {} bytes, expected at most {LONGEST}", name.len())
        }
        _ if name.contains(&b'/') => "a name with a slash".to_owned(),
        _ if name.contains(&0) => "a name with a NUL byte".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::Name { path: name.escape_ascii().to_string(), why })
}

/// The components of a path inside the tree; `/`, `.` and doubled slashes mean nothing.
///
/// # Errors
/// [`Error::Name`] when a component is `..`, which would leave the tree, or cannot be stored.
pub fn check_path(path: &[u8]) -> Result<Vec<&[u8]>> {
    let parts: Vec<_> =
        path.split(|&it| it == b'/').filter(|it| !it.is_empty() && *it != b".").collect();
    for part in &parts {
        let why = match check_name(part) {
            Ok(()) => continue,
            Err(_) if *part == b".." => "would leave the tree".to_owned(),
            Err(Error::Name { why, .. }) => why,
            Err(other) => return Err(other),
        };
        return Err(Error::Name { path: path.escape_ascii().to_string(), why });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_tree_is_refused_by_name() {
        let err = check_path(b"a/../../etc/passwd").expect_err("leaves");
        assert_eq!(err.to_string(), "a/../../etc/passwd: would leave the tree");
    }

    #[test]
    fn dots_and_slashes_that_mean_nothing_are_dropped() {
        assert_eq!(check_path(b"./a//b/").expect("fine"), [&b"a"[..], b"b"]);
        assert!(check_path(b"/").expect("the root").is_empty());
    }

    #[test]
    fn the_longest_name_has_255_bytes() {
        assert!(check_name(&[b'x'; 255]).is_ok());
        let err = check_name(&[b'x'; 256]).expect_err("too long");
        assert!(err.to_string().contains("found a name of 256 bytes, expected at most 255"));
    }
}
