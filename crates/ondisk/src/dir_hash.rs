//! The hashes of indexed directories: legacy, half-MD4, TEA, signed and unsigned.
//!
//! Which leaf a hash leads to is the business of [`crate::htree`]'s readers. Case folding and
//! encryption, which hash something else than the name's bytes, are not done here.

/// `DX_HASH_*` as in a directory's root and in `s_def_hash_version`, with the signedness which the
/// superblock's flags add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// 0: the hash of the first htree patches.
    Legacy,
    /// 1: half of MD4, the usual one.
    HalfMd4,
    /// 2: the Tiny Encryption Algorithm.
    Tea,
}

impl HashAlgorithm {
    /// From the byte on disk. `None` for what a directory without encryption and case folding
    /// cannot have: 3 to 5 exist in memory only, 6 (siphash) needs both.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Legacy),
            1 => Some(Self::HalfMd4),
            2 => Some(Self::Tea),
            _ => None,
        }
    }

    /// The byte on disk.
    pub const fn raw(self) -> u8 {
        match self {
            Self::Legacy => 0,
            Self::HalfMd4 => 1,
            Self::Tea => 2,
        }
    }
}

/// A name for the hash version `raw`, for messages that refuse one.
pub const fn hash_name(raw: u8) -> &'static str {
    match raw {
        0 => "legacy",
        1 => "half_md4",
        2 => "tea",
        3 => "legacy_unsigned",
        4 => "half_md4_unsigned",
        5 => "tea_unsigned",
        6 => "siphash",
        _ => "unknown",
    }
}

/// The hash of a name: `hash` orders the leaves and has bit 0 clear, `minor` breaks ties for
/// readers that seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirHash {
    /// The major hash. Bit 0 is the continuation bit of index entries, so always clear here.
    pub hash: u32,
    /// The minor hash; 0 for legacy.
    pub minor: u32,
}

/// What a filesystem's directories hash with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hasher {
    /// The algorithm.
    pub algorithm: HashAlgorithm,
    /// Whether bytes above 127 count as positive (`EXT2_FLAGS_UNSIGNED_HASH`).
    pub is_unsigned: bool,
    /// `s_hash_seed`; all zero means MD4's own start values.
    pub seed: [u32; 4],
}

/// The end-of-directory mark of readers, `EXT4_HTREE_EOF_32BIT`, shifted as hashes are.
const EOF: u32 = 0xFFFF_FFFE;

impl Hasher {
    /// The hash of `name`, as `ext4fs_dirhash` computes it without case folding.
    pub fn hash(&self, name: &[u8]) -> DirHash {
        let [hash] = self.hash_each([name]);
        hash
    }

    /// The hashes of several names. Four take hardly longer than one: each step of half-MD4 waits
    /// for the one before it, and the names do not wait for each other.
    pub fn hash_each<const N: usize>(&self, names: [&[u8]; N]) -> [DirHash; N] {
        let start = match self.seed {
            [0, 0, 0, 0] => [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476],
            seed => seed,
        };
        let hashes = match self.algorithm {
            HashAlgorithm::Legacy => names.map(|name| (self.legacy(name), 0)),
            HashAlgorithm::HalfMd4 => self.half_md4_each(start, names),
            HashAlgorithm::Tea => names.map(|name| {
                let state =
                    chunks::<4>(name).fold(start, |state, rest| tea(state, self.words::<4>(rest)));
                (state[0], state[1])
            }),
        };
        hashes.map(|(hash, minor)| {
            let hash = hash & !1;
            DirHash { hash: if hash == EOF { EOF - 2 } else { hash }, minor }
        })
    }

    /// Hash and minor hash of each name, turn by turn of 8 words.
    fn half_md4_each<const N: usize>(
        &self,
        start: [u32; 4],
        mut names: [&[u8]; N],
    ) -> [(u32, u32); N] {
        let mut state = start.map(|it| [it; N]);
        while names.iter().any(|it| !it.is_empty()) {
            let mut words = [[0; N]; 8];
            for (lane, name) in names.iter().enumerate() {
                for (word, all) in self.words::<8>(name).into_iter().zip(&mut words) {
                    all[lane] = word;
                }
            }
            let next = half_md4(state, &words);
            for (lane, name) in names.iter_mut().enumerate().filter(|(_, it)| !it.is_empty()) {
                *name = name.get(32..).unwrap_or_default();
                for (old, new) in state.iter_mut().zip(&next) {
                    old[lane] = new[lane];
                }
            }
        }
        std::array::from_fn(|lane| (state[1][lane], state[2][lane]))
    }

    /// A byte of a name as C's `char` widens it.
    fn widen(&self, byte: u8) -> u32 {
        if self.is_unsigned {
            u32::from(byte)
        } else {
            i32::from(byte.cast_signed()).cast_unsigned()
        }
    }

    /// `dx_hack_hash`.
    fn legacy(&self, name: &[u8]) -> u32 {
        let (last, _) = name.iter().fold((0x12A3_FE2D_u32, 0x37AB_E8F9_u32), |(h0, h1), &byte| {
            let hash = h1.wrapping_add(h0 ^ self.widen(byte).wrapping_mul(7_152_373));
            (if hash >> 31 == 1 { hash.wrapping_sub(0x7FFF_FFFF) } else { hash }, h0)
        });
        last << 1
    }

    /// `str2hashbuf`: the next `N` words of the name, big-endian, padded with the length of what
    /// is left of it (which may be more than fits here).
    fn words<const N: usize>(&self, rest: &[u8]) -> [u32; N] {
        let len = u32::try_from(rest.len() & 0xFF).unwrap_or(0);
        let pad = len * 0x0101_0101;
        let add = |word: u32, byte: &u8| (word << 8).wrapping_add(self.widen(*byte));
        let mut words = [pad; N];
        let (whole, part) = rest.as_chunks();
        for (word, &bytes) in words.iter_mut().zip(whole) {
            let plain = u32::from_be_bytes(bytes);
            let is_plain = plain & 0x8080_8080 == 0;
            *word = if is_plain { plain } else { bytes.iter().fold(pad, add) };
        }
        if let Some(word) = words.get_mut(whole.len()) {
            *word = part.iter().fold(pad, add);
        }
        words
    }
}

/// What is left of the name at each turn of `N` words; nothing at all for an empty name.
fn chunks<const N: usize>(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..name.len()).step_by(N * 4).filter_map(|start| name.get(start..))
}

/// `half_md4_transform` of `N` names beside each other.
fn half_md4<const N: usize>(state: [[u32; N]; 4], x: &[[u32; N]; 8]) -> [[u32; N]; 4] {
    let words = |order: [usize; 8]| order.map(|it| x[it]);
    let mut mixed = state;
    round::<N, 3, 7, 11, 19>(&mut mixed, words([0, 1, 2, 3, 4, 5, 6, 7]), 0, |b, c, d| {
        d ^ (b & (c ^ d))
    });
    round::<N, 3, 5, 9, 13>(&mut mixed, words([1, 3, 5, 7, 0, 2, 4, 6]), 0x5A82_7999, |b, c, d| {
        (b & c).wrapping_add((b ^ c) & d)
    });
    round::<N, 3, 9, 11, 15>(
        &mut mixed,
        words([3, 7, 2, 6, 1, 5, 0, 4]),
        0x6ED9_EBA1,
        |b, c, d| b ^ c ^ d,
    );
    std::array::from_fn(|nr| {
        std::array::from_fn(|lane| state[nr][lane].wrapping_add(mixed[nr][lane]))
    })
}

/// A round of [`half_md4`], whose steps turn by `S0`, `S1`, `S2`, `S3` bits.
#[expect(clippy::many_single_char_names, reason = "MD4's own names")]
fn round<const N: usize, const S0: u32, const S1: u32, const S2: u32, const S3: u32>(
    state: &mut [[u32; N]; 4],
    x: [[u32; N]; 8],
    constant: u32,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    let step = |a: [u32; N], b: [u32; N], c: [u32; N], d: [u32; N], word: [u32; N], turn: u32| {
        std::array::from_fn(|i| {
            let sum = a[i].wrapping_add(mix(b[i], c[i], d[i])).wrapping_add(word[i]);
            sum.wrapping_add(constant).rotate_left(turn)
        })
    };
    let [mut a, mut b, mut c, mut d] = *state;
    let (halves, _) = x.as_chunks();
    for &[w0, w1, w2, w3] in halves {
        a = step(a, b, c, d, w0, S0);
        d = step(d, a, b, c, w1, S1);
        c = step(c, d, a, b, w2, S2);
        b = step(b, c, d, a, w3, S3);
    }
    *state = [a, b, c, d];
}

fn tea(state: [u32; 4], [k0, k1, k2, k3]: [u32; 4]) -> [u32; 4] {
    let (mut b0, mut b1, mut sum) = (state[0], state[1], 0_u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9E37_79B9);
        b0 = b0.wrapping_add(
            (b1 << 4).wrapping_add(k0) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(k1),
        );
        b1 = b1.wrapping_add(
            (b0 << 4).wrapping_add(k2) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(k3),
        );
    }
    [state[0].wrapping_add(b0), state[1].wrapping_add(b1), state[2], state[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(algorithm: HashAlgorithm, is_unsigned: bool) -> Hasher {
        Hasher { algorithm, is_unsigned, seed: [0; 4] }
    }

    // The values are those of debugfs 1.47.0, `dx_hash`.
    #[test]
    fn hashes_are_those_of_e2fsprogs() {
        for (algorithm, name, hash, minor) in HASHES {
            let found = hasher(algorithm, false).hash(name.as_bytes());
            assert_eq!(found, DirHash { hash, minor }, "{algorithm:?} of {name}");
        }
    }

    #[test]
    fn signedness_matters_only_above_127() {
        for algorithm in [HashAlgorithm::Legacy, HashAlgorithm::HalfMd4, HashAlgorithm::Tea] {
            let (signed, unsigned) = (hasher(algorithm, false), hasher(algorithm, true));
            assert_eq!(signed.hash(b"plain"), unsigned.hash(b"plain"));
            assert_ne!(
                signed.hash("\u{fc}mlaut".as_bytes()),
                unsigned.hash("\u{fc}mlaut".as_bytes())
            );
        }
    }

    #[test]
    fn the_continuation_bit_is_never_set() {
        for nr in 0..1000 {
            let name = format!("file{nr}");
            assert_eq!(hasher(HashAlgorithm::HalfMd4, false).hash(name.as_bytes()).hash & 1, 0);
        }
    }

    #[test]
    fn the_longest_name_and_none_at_all_have_hashes() {
        for algorithm in [HashAlgorithm::Legacy, HashAlgorithm::HalfMd4, HashAlgorithm::Tea] {
            hasher(algorithm, false).hash(&[0xFF; 255]);
            hasher(algorithm, true).hash(b"");
            hasher(algorithm, true).hash(&[0xFF; 5000]);
        }
    }

    const HASHES: [(HashAlgorithm, &str, u32, u32); 9] = [
        (HashAlgorithm::Legacy, "hello", 0x3225_2546, 0),
        (
            HashAlgorithm::Legacy,
            "a-name-of-more-than-thirty-two-bytes-for-two-turns",
            0xA99A_51EA,
            0,
        ),
        (HashAlgorithm::Legacy, "\u{fc}mlaut", 0x46A1_FA18, 0),
        (HashAlgorithm::HalfMd4, "hello", 0x1746_DA32, 0x4200_13B5),
        (
            HashAlgorithm::HalfMd4,
            "a-name-of-more-than-thirty-two-bytes-for-two-turns",
            0xE0C1_714A,
            0x8992_7BE6,
        ),
        (HashAlgorithm::HalfMd4, "\u{fc}mlaut", 0x3721_AFAC, 0x05E2_619D),
        (HashAlgorithm::Tea, "hello", 0x6F5B_B1A8, 0x2319_17C2),
        (
            HashAlgorithm::Tea,
            "a-name-of-more-than-thirty-two-bytes-for-two-turns",
            0xB817_6D60,
            0x7A38_2349,
        ),
        (HashAlgorithm::Tea, "\u{fc}mlaut", 0x31B0_0ADE, 0x60A3_4DB7),
    ];
}
