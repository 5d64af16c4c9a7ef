// SPDX-License-Identifier: GPL-2.0

//! Numbers with a meaning. Going from one kind to another takes the [`BlockSize`].

use core::num::NonZeroU32;

/// Where a block is on the volume: its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pblk(pub u64);

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

    /// From the form it has in the superblock, 2^(10 + `log`) bytes.
    pub(super) fn from_log(log: u32) -> Option<Self> {
        let bytes = 1024_u32.checked_shl(log)?;
        (log <= Self::MAX_LOG).then_some(Self(NonZeroU32::new(bytes)?))
    }

    /// In bytes, a power of two.
    pub fn bytes(self) -> NonZeroU32 {
        self.0
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
        Blocks, //
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
}
