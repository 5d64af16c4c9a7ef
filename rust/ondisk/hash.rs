// SPDX-License-Identifier: GPL-2.0

//! Hashes of names, by which a large directory finds them: name → words → hash with an even number.
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst),
//! C source: [fs/ext4/hash.c](srctree/fs/ext4/hash.c).

/// The seed of a volume whose superblock has none: MD4's.
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// The hash that stands for the end of a directory, and that no name may therefore have.
const EOF: u32 = 0xffff_fffe;

/// The hash functions that do without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The first one (`DX_HASH_LEGACY`).
    Legacy,
    /// MD4 with half of its rounds (`DX_HASH_HALF_MD4`), the usual one.
    HalfMd4,
    /// The Tiny Encryption Algorithm (`DX_HASH_TEA`).
    Tea,
}

impl Version {
    /// By its number in the superblock and in the root of a directory's tree.
    pub(super) fn from_disk(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Legacy),
            1 => Some(Self::HalfMd4),
            2 => Some(Self::Tea),
            _ => None,
        }
    }

    fn to_disk(self) -> u8 {
        match self {
            Self::Legacy => 0,
            Self::HalfMd4 => 1,
            Self::Tea => 2,
        }
    }
}

/// How bytes of a name from 0x80 on enter its hash: as C's `char` on the machine that made the
/// volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chars {
    /// As negative numbers.
    Signed,
    /// As they are.
    Unsigned,
}

impl Chars {
    pub(super) fn widen(self, byte: u8) -> u32 {
        match self {
            Self::Signed => u32::from_ne_bytes(i32::from(i8::from_ne_bytes([byte])).to_ne_bytes()),
            Self::Unsigned => byte.into(),
        }
    }
}

/// The hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash {
    /// What the tree is sorted by. Even, and less than 0xfffffffe.
    pub major: u32,
    /// What orders names of one major hash for those who read the directory.
    pub minor: u32,
}

/// The hash function of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hasher {
    version: Version,
    chars: Chars,
    seed: [u32; 4],
}

impl Hasher {
    /// The function for directories of a volume, whose [`hash_seed`] and [`hash_chars`] these are.
    ///
    /// ```
    /// # use ondisk::hash::{Chars, Hasher, Version};
    /// let hasher = Hasher::new(Version::HalfMd4, Chars::Signed, [0; 4]);
    /// // What debugfs says: `dx_hash -h half_md4 lost+found`.
    /// assert_eq!(hasher.hash(b"lost+found").major, 0x591d_e422);
    /// ```
    ///
    /// [`hash_seed`]: super::Settings::hash_seed
    /// [`hash_chars`]: super::Settings::hash_chars
    pub fn new(version: Version, chars: Chars, seed: [u32; 4]) -> Self {
        Self {
            version,
            chars,
            seed: if seed == [0; 4] { DEFAULT_SEED } else { seed },
        }
    }

    /// The number of its kind in the root of a directory's tree.
    pub(super) fn hash_version(&self) -> u8 {
        self.version.to_disk()
    }

    /// The hash of a name.
    pub fn hash(&self, name: &[u8]) -> Hash {
        let (major, minor) = match self.version {
            Version::Legacy => (legacy(name, self.chars), 0),
            Version::HalfMd4 => {
                let [_, major, minor, _] = self.fold(name, half_md4);
                (major, minor)
            }
            Version::Tea => {
                let [major, minor, ..] = self.fold(name, tea);
                (major, minor)
            }
        };
        let even = major & !1;
        Hash {
            major: if even == EOF { EOF & !2 } else { even },
            minor,
        }
    }

    /// Feeds a name to a function, as many words as it takes at a time.
    fn fold<const N: usize>(
        &self,
        name: &[u8],
        function: impl Fn([u32; 4], [u32; N]) -> [u32; 4],
    ) -> [u32; 4] {
        let mut state = self.seed;
        let mut rest = name;
        while !rest.is_empty() {
            state = function(state, words(rest, self.chars));
            // OVERFLOW: `N` is 4 or 8.
            rest = rest.get(N.saturating_mul(4)..).unwrap_or_default();
        }
        state
    }
}

/// The first `N` words of a name, padded with the length of all of it.
fn words<const N: usize>(name: &[u8], chars: Chars) -> [u32; N] {
    // Longer than 255 is no name of a directory.
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let pad = u32::from_ne_bytes([len; 4]);
    let mut chunks = name.chunks(4);
    core::array::from_fn(|_| {
        let chunk = chunks.next().unwrap_or_default();
        chunk.iter().fold(pad, |word, byte| {
            word.wrapping_shl(8).wrapping_add(chars.widen(*byte))
        })
    })
}

fn legacy(name: &[u8], chars: Chars) -> u32 {
    let (last, _) = name.iter().fold(
        (0x12a3_fe2d, 0x37ab_e8f9),
        |(last, older): (u32, u32), byte| {
            let hash = older.wrapping_add(last ^ chars.widen(*byte).wrapping_mul(7_152_373));
            let top_bit = hash & 0x8000_0000 != 0;
            (
                if top_bit {
                    hash.wrapping_sub(0x7fff_ffff)
                } else {
                    hash
                },
                last,
            )
        },
    );
    last.wrapping_shl(1)
}

/// Encrypts half of the state with the words as the key, and adds it.
fn tea(state: [u32; 4], [a, b, c, d]: [u32; 4]) -> [u32; 4] {
    const DELTA: u32 = 0x9e37_79b9;

    let [s0, s1, s2, s3] = state;
    let mix = |half: u32, sum, left, right| {
        half.wrapping_shl(4).wrapping_add(left)
            ^ half.wrapping_add(sum)
            ^ half.wrapping_shr(5).wrapping_add(right)
    };
    let (mut x, mut y, mut sum) = (s0, s1, 0_u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        x = x.wrapping_add(mix(y, sum, a, b));
        y = y.wrapping_add(mix(x, sum, c, d));
    }
    [s0.wrapping_add(x), s1.wrapping_add(y), s2, s3]
}

/// MD4's three rounds over 8 words instead of 16.
fn half_md4(state: [u32; 4], [w0, w1, w2, w3, w4, w5, w6, w7]: [u32; 8]) -> [u32; 4] {
    /// One round: what to do with three of the four numbers, what to add, how far to turn.
    fn round(
        state: [u32; 4],
        words: [u32; 8],
        constant: u32,
        turns: [u32; 4],
        select: impl Fn(u32, u32, u32) -> u32,
    ) -> [u32; 4] {
        let steps = words.into_iter().zip(turns.into_iter().cycle());
        steps.fold(state, |[a, b, c, d], (word, turn)| {
            let sum = a
                .wrapping_add(select(b, c, d))
                .wrapping_add(word)
                .wrapping_add(constant);
            [d, sum.rotate_left(turn), b, c]
        })
    }

    let [a, b, c, d] = state;
    let mixed = round(
        state,
        [w0, w1, w2, w3, w4, w5, w6, w7],
        0,
        [3, 7, 11, 19],
        |x, y, z| z ^ (x & (y ^ z)),
    );
    let mixed = round(
        mixed,
        [w1, w3, w5, w7, w0, w2, w4, w6],
        0x5a82_7999,
        [3, 5, 9, 13],
        |x, y, z| (x & y) | ((x ^ y) & z),
    );
    let [x, y, z, w] = round(
        mixed,
        [w3, w7, w2, w6, w1, w5, w0, w4],
        0x6ed9_eba1,
        [3, 9, 11, 15],
        |x, y, z| x ^ y ^ z,
    );
    [
        a.wrapping_add(x),
        b.wrapping_add(y),
        c.wrapping_add(z),
        d.wrapping_add(w),
    ]
}
