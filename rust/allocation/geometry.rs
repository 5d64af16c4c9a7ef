// SPDX-License-Identifier: GPL-2.0

//! Groups, the blocks in them, and flex groups.

use crate::ondisk::{
    Blocks,
    GroupNumber,
    Pblk,
    PblkRange,
    Superblock, //
};
use core::num::NonZeroU32;

/// Bytes of the larger pages of the CPU, which DAX can map as one where blocks allow it.
const HUGE_PAGE: u32 = 2 << 20;

/// The groups of a volume with a bit for each block: there is none of a volume with `bigalloc`,
/// which is never written.
#[derive(Clone, Copy, Debug)]
pub struct Geometry<'a>(&'a Superblock);

/// Bits of a group's bitmap that follow each other: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub start: u32,
    /// The first that is not one of them.
    pub end: u32,
}

impl Run {
    /// How many.
    pub fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// Where a block is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The group.
    pub group: GroupNumber,
    /// Which bit of the group's bitmap is the block's.
    pub bit: u32,
}

impl<'a> Geometry<'a> {
    /// The groups of a volume, unless its clusters are more than a block.
    pub fn new(volume: &'a Superblock) -> Option<Self> {
        (volume.blocks_per_cluster() == NonZeroU32::MIN).then_some(Self(volume))
    }

    /// Whose groups they are.
    pub fn volume(self) -> &'a Superblock {
        self.0
    }

    /// How many blocks a group has, and so meaningful bits its bitmap.
    pub fn len(self, group: GroupNumber) -> u32 {
        self.0.clusters(self.0.group_blocks(group))
    }

    /// Where a block is, if it is in a group: without 4 KiB blocks the first is in none.
    pub fn place(self, pblk: Pblk) -> Option<Place> {
        if pblk.0 >= self.0.blocks_count().0 {
            return None;
        }
        let n = pblk.0.checked_sub(self.0.first_data_block().0)?;
        let per_group = core::num::NonZeroU64::from(self.0.blocks_per_group());
        Some(Place {
            group: self.0.group(u32::try_from(n / per_group).ok()?)?,
            bit: u32::try_from(n % per_group).ok()?,
        })
    }

    /// The blocks of bits of a group; of bits that it has not, those nearest.
    pub fn pblks(self, group: GroupNumber, run: Run) -> PblkRange {
        let blocks = self.0.group_blocks(group);
        let pblk = |bit: u32| {
            let pblk = blocks.start.checked_add(Blocks(bit.into()));
            pblk.map_or(blocks.end, |pblk| pblk.min(blocks.end))
        };
        PblkRange {
            start: pblk(run.start),
            end: pblk(run.end),
        }
    }

    /// The bits of those blocks that lie in a group.
    pub fn run(self, group: GroupNumber, blocks: PblkRange) -> Run {
        let own = self.0.group_blocks(group);
        let bit = |pblk: Pblk| {
            let n = pblk
                .max(own.start)
                .min(own.end)
                .0
                .saturating_sub(own.start.0);
            // CAST: a bitmap of one block counts them.
            u32::try_from(n).unwrap_or(u32::MAX)
        };
        Run {
            start: bit(blocks.start),
            end: bit(blocks.end),
        }
    }

    /// Blocks of a huge page: 512 of 4 KiB.
    pub fn huge(self) -> NonZeroU32 {
        // Blocks are smaller.
        NonZeroU32::new(HUGE_PAGE / self.0.block_size().bytes()).unwrap_or(NonZeroU32::MIN)
    }

    /// The groups of the flex group that has `group`; that alone, without `flex_bg`.
    pub fn flex(self, group: GroupNumber) -> Groups {
        let size = self.0.settings().groups_per_flex();
        // OVERFLOW: not more than the number of the group.
        let start = (group.get() / size).saturating_mul(size.get());
        Groups {
            start,
            end: start
                .saturating_add(size.get())
                .min(self.0.groups_count().get()),
        }
    }

    /// How many flex groups there are.
    pub fn flex_count(self) -> NonZeroU32 {
        let size = self.0.settings().groups_per_flex();
        let count = self.0.groups_count().get().div_ceil(size.get());
        NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
    }
}

/// Groups that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The number of the first of them.
    pub start: u32,
    /// The first number that is not one of theirs.
    pub end: u32,
}
