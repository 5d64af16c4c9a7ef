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
    Ino,
    Pblk,
    Result,
    Structure, //
};

/// `ob_magic` at the end of every block.
const MAGIC: u32 = 0x0b10_ca04;
/// Bytes of the end of a block: the magic number, and a checksum.
const TAIL: usize = 8;

/// Bytes of an entry.
const ENTRY: usize = 4;

/// Where an orphan is, or can be, in a block: its place among the others, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

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

    /// The numbers in it, as they are: whether the volume has such inodes is for
    /// [`Superblock::ino`](super::Superblock::ino) to say.
    pub fn numbers(&self) -> impl Iterator<Item = (Slot, u32)> + 'a {
        self.entries().filter(|(_, number)| *number != 0)
    }

    /// The first place without one.
    pub fn vacant(&self) -> Option<Slot> {
        self.entries()
            .find(|(_, number)| *number == 0)
            .map(|(slot, _)| slot)
    }

    fn entries(&self) -> impl Iterator<Item = (Slot, u32)> + 'a {
        self.0
            .chunks_exact(ENTRY)
            .filter_map(|entry| entry.first_chunk())
            .map(|entry| u32::from_le_bytes(*entry))
            .enumerate()
            .map(|(n, number)| (Slot(n), number))
    }
}

/// Puts an inode at a place of block `pblk`, of the orphan file whose inode has the `seed`, or takes
/// the one that is there away. The bytes are those of a block that was [parsed](OrphanBlock::parse);
/// if they have no such place, they stay.
pub fn set<C: Crc32c>(
    seed: Seed,
    pblk: Pblk,
    slot: Slot,
    ino: Option<Ino>,
    bytes: &mut [u8],
) -> Option<()> {
    let (entries, tail) = bytes.split_at_mut_checked(bytes.len().checked_sub(TAIL)?)?;
    let pos = slot.0.checked_mul(ENTRY)?;
    let entry: &mut [u8; ENTRY] = entries.get_mut(pos..)?.first_chunk_mut()?;
    *entry = ino.map_or(0, Ino::get).to_le_bytes();
    if let Some(checksum) = seed
        .with::<C>(&pblk.0.to_le_bytes())
        .compute::<C>(&[entries])
    {
        let field: &mut [u8; 4] = tail.last_chunk_mut()?;
        *field = checksum.to_le_bytes();
    }
    Some(())
}
