// SPDX-License-Identifier: GPL-2.0

//! The orphan file: blocks full of numbers of inodes that are to be deleted, or cut, when the
//! volume is next mounted to be written; 0 where there is none.
//!
//! Format: [Documentation/filesystems/ext4/orphan.rst](srctree/Documentation/filesystems/ext4/orphan.rst).

use super::{
    bytes::chunk,
    checksum::{
        Seed,
        Stored, //
    },
    Block,
    Crc32c,
    Pblk,
    Result,
    Structure, //
};

/// `ob_magic` at the end of every block.
const MAGIC: u32 = 0x0b10_ca04;
/// Bytes of the end of a block: the magic number, and a checksum.
const TAIL: usize = 8;

/// A block of the orphan file.
#[derive(Clone, Copy, Debug)]
pub struct OrphanBlock<'a>(&'a [u8]);

impl<'a> OrphanBlock<'a> {
    /// Checks block `pblk`, of the orphan file whose inode has the `seed`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt), else [`BadChecksum`](super::Error::BadChecksum).
    pub fn parse<C: Crc32c>(seed: Seed, pblk: Pblk, block: Block<'a>) -> Result<Self> {
        let bytes = block.bytes();
        let structure = Structure::OrphanBlock;
        let (entries, tail) = bytes
            .split_at_checked(bytes.len().saturating_sub(TAIL))
            .unwrap_or_default();
        let word = |pos| chunk(tail, pos).map_or(0, |word| u32::from_le_bytes(*word));
        if word(0) != MAGIC {
            return structure.corrupt("ob_magic", word(0));
        }
        seed.with::<C>(&pblk.0.to_le_bytes()).check::<C>(
            structure,
            Stored::Full(word(4)),
            &[entries],
        )?;
        Ok(Self(entries))
    }

    /// Whether it names no inode.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}
