// SPDX-License-Identifier: GPL-2.0

//! Numbers with a meaning. Going from one kind to another takes the [`BlockSize`].

use core::num::NonZeroU32;

/// Where a block is on the volume: its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pblk(pub u64);

impl Pblk {
    /// The block `n` further on.
    pub fn checked_add(self, n: Blocks) -> Option<Self> {
        self.0.checked_add(n.0).map(Self)
    }
}

/// Blocks of the volume that follow each other: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PblkRange {
    /// The first of them.
    pub start: Pblk,
    /// The first that is not one of them.
    pub end: Pblk,
}

impl PblkRange {
    /// One block; `None` for that of the last number, behind which no range can end. No volume has it.
    pub fn one(pblk: Pblk) -> Option<Self> {
        Some(Self {
            start: pblk,
            end: pblk.checked_add(Blocks(1))?,
        })
    }

    /// Whether a block is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.start.max(other.start) < self.end.min(other.end)
    }

    /// Whether every block of `other` is in this.
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// Some bytes inside one block of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InBlock {
    /// The block.
    pub pblk: Pblk,
    /// Where in the block they begin.
    pub start: u32,
    /// How many; the block ends no earlier than they do.
    pub len: u32,
}

/// Where a block is in a file: its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lblk(pub u32);

impl Lblk {
    /// The end of the longest file, whose blocks are all below: 2^32 - 1 blocks.
    pub const END: Self = Self(u32::MAX);

    /// The block `n` further on.
    pub fn checked_add(self, n: Blocks) -> Option<Self> {
        self.0.checked_add(u32::try_from(n.0).ok()?).map(Self)
    }

    /// How far it is from `start` to this block, if that comes before.
    pub fn checked_sub(self, start: Self) -> Option<Blocks> {
        Some(Blocks(self.0.checked_sub(start.0)?.into()))
    }
}

/// How far blocks move within a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Towards its beginning.
    Left(Blocks),
    /// Towards its end.
    Right(Blocks),
}

impl Lblk {
    /// Where it is when blocks have moved, if a file has such a block.
    pub fn shifted(self, shift: Shift) -> Option<Self> {
        match shift {
            Shift::Left(n) => self.0.checked_sub(u32::try_from(n.0).ok()?).map(Self),
            Shift::Right(n) => self.checked_add(n),
        }
    }
}

/// Blocks of a file that follow each other: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LblkRange {
    /// The first of them.
    pub start: Lblk,
    /// The first that is not one of them.
    pub end: Lblk,
}

impl LblkRange {
    /// All that a file can have from `start` on.
    pub fn all_from(start: Lblk) -> Self {
        let end = Lblk::END;
        Self { start, end }
    }

    /// Whether `lblk` is one of them.
    pub fn contains(self, lblk: Lblk) -> bool {
        self.start <= lblk && lblk < self.end
    }

    /// How many.
    pub fn len(self) -> Blocks {
        // OVERFLOW: 0 if the end comes before the start.
        Blocks(self.end.0.saturating_sub(self.start.0).into())
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// The number of an inode, from 1. Whether a volume has it is for
/// [`Superblock::ino`](super::Superblock::ino) to say, which makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub(super) NonZeroU32);

impl Ino {
    /// The root directory (`EXT4_ROOT_INO`).
    pub const ROOT: Self = Self(NonZeroU32::MIN.saturating_add(1));
    /// The boot loader's blocks (`EXT4_BOOT_LOADER_INO`).
    pub const BOOT_LOADER: Self = Self(NonZeroU32::MIN.saturating_add(4));
    /// The blocks kept for group descriptors to come (`EXT4_RESIZE_INO`).
    pub const RESIZE: Self = Self(NonZeroU32::MIN.saturating_add(6));
    /// The journal (`EXT4_JOURNAL_INO`), unless the superblock names another.
    pub const JOURNAL: Self = Self(NonZeroU32::MIN.saturating_add(7));

    /// As a plain number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// How many blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocks(pub u64);

impl Blocks {
    /// Their length in bytes, where that is a number that 64 bits hold.
    pub fn bytes(self, block_size: BlockSize) -> Option<u64> {
        self.0.checked_mul(block_size.bytes().get().into())
    }
}

/// The size of a block of a volume: 1, 2 or 4 KiB.
///
/// The format goes up to 64 KiB; more than 4 takes a page cache whose folios are never smaller
/// than a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockSize(NonZeroU32);

impl BlockSize {
    /// The largest `s_log_block_size` that is supported.
    pub(super) const MAX_LOG: u32 = 2;
    /// Bytes of the largest block.
    pub(super) const MAX_LEN: usize = 1024 << Self::MAX_LOG;

    /// From the form it has in the superblock, 2^(10 + `log`) bytes.
    pub(super) fn from_log(log: u32) -> Option<Self> {
        let bytes = 1024_u32.checked_shl(log)?;
        (log <= Self::MAX_LOG).then_some(Self(NonZeroU32::new(bytes)?))
    }

    /// In bytes, a power of two.
    pub fn bytes(self) -> NonZeroU32 {
        self.0
    }

    /// In bytes, as a length of slices.
    pub(super) fn len(self) -> usize {
        // CAST: at most 4,096.
        usize::try_from(self.0.get()).unwrap_or(usize::MAX)
    }

    /// In bits, which is how many blocks or inodes a bitmap of one block can tell of.
    pub(super) fn bits(self) -> u32 {
        self.0.get().saturating_mul(8)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        BlockSize,
        Blocks,
        Lblk,
        LblkRange,
        Pblk,
        PblkRange,
        Shift, //
    };

    #[test]
    fn block_sizes_are_1_2_and_4_kib() {
        let sizes: [Option<u32>; 5] = core::array::from_fn(|log| {
            BlockSize::from_log(log.try_into().unwrap()).map(|size| size.bytes().get())
        });
        assert_eq!(sizes, [Some(1024), Some(2048), Some(4096), None, None]);
        assert_eq!(BlockSize::from_log(32), None);
        assert_eq!(BlockSize::from_log(u32::MAX), None);
    }

    #[test]
    fn blocks_in_bytes_do_not_wrap() {
        let size = BlockSize::from_log(2).unwrap();
        assert_eq!(Blocks(3).bytes(size), Some(12288));
        assert_eq!(Blocks(1 << 52).bytes(size), None);
    }

    #[test]
    fn sums_and_differences_do_not_wrap() {
        assert_eq!(Pblk(u64::MAX).checked_add(Blocks(1)), None);
        assert_eq!(Pblk(7).checked_add(Blocks(1)), Some(Pblk(8)));
        assert_eq!(Lblk(1).checked_add(Blocks(u64::MAX)), None);
        assert_eq!(Lblk(u32::MAX - 1).checked_add(Blocks(1)), Some(Lblk::END));
        assert_eq!(Lblk::END.checked_add(Blocks(1)), None);
        assert_eq!(Lblk(3).checked_sub(Lblk(5)), None);
        assert_eq!(Lblk(5).checked_sub(Lblk(3)), Some(Blocks(2)));
        assert_eq!(Lblk(5).shifted(Shift::Left(Blocks(5))), Some(Lblk(0)));
        assert_eq!(Lblk(5).shifted(Shift::Left(Blocks(6))), None);
        assert_eq!(Lblk(5).shifted(Shift::Left(Blocks(1 << 32))), None);
        assert_eq!(Lblk(5).shifted(Shift::Right(Blocks(2))), Some(Lblk(7)));
        assert_eq!(Lblk::END.shifted(Shift::Right(Blocks(1))), None);
    }

    #[test]
    fn ranges_are_half_open() {
        let range = |start, end| PblkRange {
            start: Pblk(start),
            end: Pblk(end),
        };
        assert_eq!(PblkRange::one(Pblk(7)), Some(range(7, 8)));
        assert_eq!(
            PblkRange::one(Pblk(u64::MAX - 1)),
            Some(range(u64::MAX - 1, u64::MAX))
        );
        assert_eq!(PblkRange::one(Pblk(u64::MAX)), None);
        assert!(!range(1, 3).overlaps(range(3, 4)));
        assert!(!range(3, 4).overlaps(range(1, 3)));
        assert!(range(1, 4).overlaps(range(3, 9)));
        assert!(range(1, 4).covers(range(1, 4)));
        assert!(!range(1, 4).covers(range(1, 5)));
        assert!(!range(1, 4).covers(range(0, 2)));

        let range = LblkRange {
            start: Lblk(1),
            end: Lblk(3),
        };
        assert_eq!(
            [0, 1, 2, 3].map(|lblk| range.contains(Lblk(lblk))),
            [false, true, true, false]
        );
    }
}
