//! Names of attributes: the index on disk stands for the part before the name.

/// `e_name_index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameIndex(pub u8);

impl NameIndex {
    /// `user.`
    pub const USER: Self = Self(1);
    /// `system.posix_acl_access`, a whole name.
    pub const POSIX_ACL_ACCESS: Self = Self(2);
    /// `system.posix_acl_default`, a whole name.
    pub const POSIX_ACL_DEFAULT: Self = Self(3);
    /// `trusted.`
    pub const TRUSTED: Self = Self(4);
    /// Lustre's own.
    pub const LUSTRE: Self = Self(5);
    /// `security.`
    pub const SECURITY: Self = Self(6);
    /// `system.`: the inline data's second part, never listed.
    pub const SYSTEM: Self = Self(7);
    /// `system.richacl`, a whole name (never merged).
    pub const RICHACL: Self = Self(8);
    /// The encryption context, never listed.
    pub const ENCRYPTION: Self = Self(9);
    /// `gnu.`, of the Hurd.
    pub const HURD: Self = Self(10);

    /// What stands before the name; the whole name where the rest has to be empty.
    pub const fn prefix(self) -> Option<&'static str> {
        Some(match self {
            Self::USER => "user.",
            Self::POSIX_ACL_ACCESS => "system.posix_acl_access",
            Self::POSIX_ACL_DEFAULT => "system.posix_acl_default",
            Self::TRUSTED => "trusted.",
            Self::LUSTRE => "lustre.",
            Self::SECURITY => "security.",
            Self::SYSTEM => "system.",
            Self::RICHACL => "system.richacl",
            Self::ENCRYPTION => "encryption.",
            Self::HURD => "gnu.",
            _ => return None,
        })
    }

    /// Whether listxattr(2) shows attributes of this index (`ext4_xattr_handler_map`, and to root).
    pub const fn is_listed(self) -> bool {
        matches!(
            self,
            Self::USER
                | Self::POSIX_ACL_ACCESS
                | Self::POSIX_ACL_DEFAULT
                | Self::TRUSTED
                | Self::SECURITY
                | Self::HURD
        )
    }
}

/// The name that programs see. An index nobody knows gives `index11.NAME`.
pub fn full_name(index: u8, name: &[u8]) -> Vec<u8> {
    let mut full = match NameIndex(index).prefix() {
        Some(prefix) => prefix.as_bytes().to_vec(),
        None => format!("index{index}.").into_bytes(),
    };
    full.extend_from_slice(name);
    full
}

/// The index and the rest of a full name; `None` when the prefix is not one of ours, or the rest is
/// empty where it must not be.
pub fn split_name(full: &[u8]) -> Option<(NameIndex, &[u8])> {
    const WHOLE: [NameIndex; 3] =
        [NameIndex::POSIX_ACL_ACCESS, NameIndex::POSIX_ACL_DEFAULT, NameIndex::RICHACL];
    const PREFIXES: [NameIndex; 5] = [
        NameIndex::USER,
        NameIndex::TRUSTED,
        NameIndex::SECURITY,
        NameIndex::SYSTEM,
        NameIndex::HURD,
    ];
    if let Some(index) =
        WHOLE.into_iter().find(|index| index.prefix().is_some_and(|whole| whole.as_bytes() == full))
    {
        return Some((index, &[]));
    }
    PREFIXES.into_iter().find_map(|index| {
        let rest = full.strip_prefix(index.prefix()?.as_bytes())?;
        (!rest.is_empty()).then_some((index, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_joined() {
        for (full, index, rest) in [
            ("user.a.b", 1, "a.b"),
            ("system.posix_acl_access", 2, ""),
            ("system.posix_acl_accessx", 7, "posix_acl_accessx"),
            ("security.capability", 6, "capability"),
        ] {
            let (found, name) = split_name(full.as_bytes()).unwrap();
            assert_eq!((found.0, name), (index, rest.as_bytes()));
            assert_eq!(full_name(index, rest.as_bytes()), full.as_bytes());
        }
        assert_eq!(split_name(b"user."), None);
        assert_eq!(split_name(b"other.x"), None);
    }
}
