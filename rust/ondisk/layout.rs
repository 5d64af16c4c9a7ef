// SPDX-License-Identifier: GPL-2.0

//! Where things lie on a volume: inode → group → descriptor → inode table.
//!
//! Format: [Documentation/filesystems/ext4/blockgroup.rst](srctree/Documentation/filesystems/ext4/blockgroup.rst).

use super::{
    Blocks,
    Compat,
    InBlock,
    Ino,
    Pblk,
    PblkRange,
    Result,
    RoCompat,
    Structure,
    Superblock, //
};
use core::num::{
    NonZeroU32,
    NonZeroU64, //
};

/// The number of a group, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupNumber(pub(super) u32);

impl GroupNumber {
    /// As a plain number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Superblock {
    /// The inode of that number, if the volume has it.
    pub fn ino(&self, number: u32) -> Option<Ino> {
        let ino = Ino(NonZeroU32::new(number)?);
        (number <= self.inodes_count()).then_some(ino)
    }

    /// Whether users may have a name for the inode: it is the root, or neither reserved nor the
    /// orphan file.
    pub fn is_ordinary(&self, ino: Ino) -> bool {
        let reserved = ino.get() < self.first_ino() || self.settings().orphan_file() == Some(ino);
        ino == Ino::ROOT || !reserved
    }

    /// The group of that number, if the volume has it.
    pub fn group(&self, number: u32) -> Option<GroupNumber> {
        (number < self.groups_count().get()).then_some(GroupNumber(number))
    }

    /// All groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupNumber> {
        (0..self.groups_count().get()).map(GroupNumber)
    }

    /// The group whose inode table has the inode.
    pub fn group_of(&self, ino: Ino) -> GroupNumber {
        // OVERFLOW: inode numbers begin with 1.
        GroupNumber(ino.get().saturating_sub(1) / self.inodes_per_group())
    }

    /// Which inode of its group an inode is, from 0.
    pub fn index_in_group(&self, ino: Ino) -> u32 {
        // OVERFLOW: inode numbers begin with 1.
        ino.get().saturating_sub(1) % self.inodes_per_group()
    }

    /// The blocks of a group; none, if the volume ends before it begins.
    pub fn group_blocks(&self, group: GroupNumber) -> PblkRange {
        let len = u64::from(self.blocks_per_group().get());
        // OVERFLOW: the end of the last group is less than a group beyond that of the volume.
        let start = u64::from(group.0)
            .saturating_mul(len)
            .saturating_add(self.first_data_block().0);
        let end = start.saturating_add(len).min(self.blocks_count().0);
        PblkRange {
            start: Pblk(start.min(end)),
            end: Pblk(end),
        }
    }

    /// Blocks that are allocated together: 1 without `bigalloc`.
    pub fn clusters(&self, blocks: PblkRange) -> u32 {
        let len = blocks.end.0.saturating_sub(blocks.start.0);
        let clusters = len.div_ceil(self.blocks_per_cluster().get().into());
        // CAST: asked only of groups, whose clusters a bitmap of one block counts.
        u32::try_from(clusters).unwrap_or(u32::MAX)
    }

    /// Clusters of every group but perhaps the last, a multiple of 8.
    pub fn clusters_per_group(&self) -> u32 {
        self.blocks_per_group().get() / self.blocks_per_cluster()
    }

    /// Blocks of a group's inode table.
    pub fn inode_table_len(&self) -> Blocks {
        let len = u64::from(self.inodes_per_group().get()).saturating_mul(self.inode_size().into());
        Blocks(len / self.block_len())
    }

    /// Whether a group begins with a copy of the superblock and the group descriptors.
    ///
    /// With `sparse_super` these are groups 0 and 1 and the powers of 3, 5 and 7.
    pub fn has_super(&self, group: GroupNumber) -> bool {
        let sparse = self.features().ro_compat.contains(RoCompat::SPARSE_SUPER);
        if group.0 == 0 {
            true
        } else if self.features().compat.contains(Compat::SPARSE_SUPER2) {
            self.settings().backup_groups().contains(&group.0)
        } else {
            !sparse || group.0 == 1 || [3, 5, 7].iter().any(|base| is_power(group.0, *base))
        }
    }

    /// The block that holds the superblock.
    pub fn superblock_block(&self) -> Pblk {
        Pblk(Self::POS / self.block_len())
    }

    /// The blocks of the group descriptors that are used, after the superblock in group 0.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt) when the volume ends before they do.
    pub fn descriptor_blocks(&self) -> Result<PblkRange> {
        let len = u64::from(self.groups_count().get()).saturating_mul(self.desc_size().into());
        // OVERFLOW: at most 2^32 descriptors of 2^10 bytes.
        let start = self.superblock_block().0.saturating_add(1);
        let end = start.saturating_add(len.div_ceil(self.block_len().get()));
        if end > self.blocks_count().0 {
            return Structure::Superblock.corrupt("s_blocks_count", self.blocks_count().0);
        }
        Ok(PblkRange {
            start: Pblk(start),
            end: Pblk(end),
        })
    }

    /// Where the descriptor of a group is.
    ///
    /// # Errors
    ///
    /// Those of [`descriptor_blocks`](Self::descriptor_blocks).
    pub fn descriptor_place(&self, group: GroupNumber) -> Result<InBlock> {
        let start = self.descriptor_blocks()?.start;
        Ok(self.in_block(start, u64::from(group.0), self.desc_size()))
    }

    /// Whether blocks lie inside the volume, and after its first, which is the superblock's.
    pub fn holds(&self, blocks: PblkRange) -> bool {
        blocks.start > self.first_data_block()
            && blocks.start < blocks.end
            && blocks.end.0 <= self.blocks_count().0
    }

    /// As [`holds`](Self::holds), of one block.
    pub(super) fn holds_block(&self, pblk: Pblk) -> bool {
        PblkRange::one(pblk).is_some_and(|block| self.holds(block))
    }

    /// Where an inode is, if the inode table of its group begins with block `table`.
    pub fn inode_place(&self, table: Pblk, ino: Ino) -> InBlock {
        self.in_block(table, self.index_in_group(ino).into(), self.inode_size())
    }

    /// Where element `n` is of a table that begins with block `start`, when its elements fill
    /// blocks without rest.
    pub(super) fn in_block(&self, start: Pblk, n: u64, element: u16) -> InBlock {
        // OVERFLOW: at most 2^32 elements of 2^12 bytes.
        let pos = n.saturating_mul(element.into());
        let within = pos % self.block_len();
        InBlock {
            pblk: Pblk(start.0.saturating_add(pos / self.block_len())),
            // CAST: less than a block.
            start: u32::try_from(within).unwrap_or(0),
            len: element.into(),
        }
    }

    fn block_len(&self) -> NonZeroU64 {
        self.block_size().bytes().into()
    }
}

/// Whether `number` is `base` multiplied with itself some times.
fn is_power(number: u32, base: u32) -> bool {
    core::iter::successors(Some(base), |power| power.checked_mul(base)).any(|power| power == number)
}

#[cfg(test)]
mod tests {
    use super::is_power;

    #[test]
    fn powers_are_told_from_other_numbers() {
        let powers = |base| (0..3000).filter(move |n| is_power(*n, base));
        assert!(powers(3).eq([3, 9, 27, 81, 243, 729, 2187]));
        assert!(powers(5).eq([5, 25, 125, 625]));
        assert!(powers(7).eq([7, 49, 343, 2401]));
        assert!(is_power(3_u32.pow(20), 3));
        assert!(!is_power(u32::MAX, 3));
    }
}
