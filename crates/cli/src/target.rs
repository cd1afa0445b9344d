//! `IMAGE:/path/inside`: a file inside an image as one argument.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

/// An image and a path inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The image as typed, with `@OFFSET` or `#PARTITION` if there is one.
    pub image: OsString,
    /// The absolute path inside the image; any bytes but NUL.
    pub path: Vec<u8>,
}

impl Target {
    /// Splits at the last `:/`, so that the image's own name may hold colons (the path inside then
    /// cannot hold `:/`).
    ///
    /// # Errors
    /// Says what is missing.
    pub fn parse(typed: &OsStr) -> Result<Self, String> {
        let bytes = typed.as_bytes();
        let Some(colon) = bytes.windows(2).rposition(|it| it == b":/") else {
            return Err("no path inside the image, expected IMAGE:/PATH such as disk.img:/db.bin"
                .to_owned());
        };
        let (image, path) = (&bytes[..colon], &bytes[colon + 1..]);
        if image.is_empty() {
            return Err("no image before the colon, expected IMAGE:/PATH".to_owned());
        }
        Ok(Self { image: OsString::from_vec(image.to_vec()), path: path.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, image: &str, path: &str) {
        let target = Target::parse(OsStr::new(typed)).unwrap();
        assert_eq!((target.image.to_str(), &*target.path), (Some(image), path.as_bytes()));
    }

    #[test]
    fn the_last_colon_before_a_slash_ends_the_image() {
        check("disk.img:/var/lib/db.bin", "disk.img", "/var/lib/db.bin");
        check("./12:30.img:/x", "./12:30.img", "/x");
        check("/a:/b/disk.img:/x", "/a:/b/disk.img", "/x");
        check("disk.img@1M:/x:y", "disk.img@1M", "/x:y");
        check("disk.img#2:/", "disk.img#2", "/");
    }

    #[test]
    fn a_target_without_both_parts_is_refused() {
        for typed in ["disk.img", "disk.img:x", ":/x", ""] {
            let message = Target::parse(OsStr::new(typed)).unwrap_err();
            assert!(message.contains("expected IMAGE:/PATH"), "{typed}: {message}");
        }
    }
}
