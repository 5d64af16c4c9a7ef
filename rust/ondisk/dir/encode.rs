// SPDX-License-Identifier: GPL-2.0

//! Blocks of names as bytes: names → entries, the last as long as the block → checksum.

use super::{
    min_len,
    Leaf,
    RawEntry,
    RawTail,
    FT_DIR_CSUM,
    HEADER_LEN,
    MIN_REC_LEN, //
};
use crate::ondisk::{
    bytes::{
        Put,
        Writer, //
    },
    checksum::Seed,
    inode::{
        Inode,
        Type, //
    },
    Block,
    Crc32c,
    Incompat,
    Ino,
    Lblk,
    Superblock, //
};

/// A name to be put into a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntry<'a> {
    /// The inode that has the name.
    pub ino: Ino,
    /// What the inode is; left out where the volume has no types in directories.
    pub file_type: Type,
    /// The name.
    pub name: &'a [u8],
}

impl NewEntry<'_> {
    /// Bytes of the shortest entry with that name, at most 264.
    pub fn min_len(&self) -> Option<usize> {
        min_len(self.name)
    }
}

/// Bytes of a block for entries.
pub fn room(dir: &Inode, block_len: usize) -> Option<usize> {
    let tail_len = if dir.seed().is_some() { MIN_REC_LEN } else { 0 };
    block_len.checked_sub(tail_len)
}

/// Makes a block into block `lblk` of a directory, with these names in this order. If they are too
/// many, or not what such a block can hold, the block means nothing afterwards.
pub fn encode<C: Crc32c>(
    volume: &Superblock,
    dir: &Inode,
    lblk: Lblk,
    entries: &[NewEntry<'_>],
    block: &mut [u8],
) -> Option<()> {
    let has_types = volume.features().incompat.contains(Incompat::FILETYPE);
    let (names, tail) = block.split_at_mut_checked(room(dir, block.len())?)?;
    put_names(has_types, entries, names)?;
    if dir.seed().is_some() {
        let tail: &mut [u8; MIN_REC_LEN] = tail.try_into().ok()?;
        put_tail::<C>(dir.seed(), names, tail)?;
    }
    let leaf = Leaf::parse::<C>(volume, dir, lblk, Block::new(block)?).ok()?;
    let mut found = leaf.entries();
    entries.iter().try_for_each(|entry| {
        let found = found.next()?.ok()?;
        (found.name == entry.name && found.ino == entry.ino).then_some(())
    })?;
    found.next().is_none().then_some(())
}

fn put_names(has_types: bool, entries: &[NewEntry<'_>], bytes: &mut [u8]) -> Option<()> {
    bytes.fill(0);
    let mut left = bytes.len();
    let mut writer = Writer::new(bytes);
    let Some(last) = entries.len().checked_sub(1) else {
        // A name that nobody has.
        return writer.put(&head(0, left, 0, 0)?);
    };
    for (n, entry) in entries.iter().enumerate() {
        let min_len = entry.min_len()?;
        let len = if n == last { left } else { min_len };
        let name_len = u8::try_from(entry.name.len()).ok()?;
        let file_type = if has_types {
            number(entry.file_type)
        } else {
            0
        };
        left = left.checked_sub(len.max(min_len))?;
        writer.put(&head(entry.ino.get(), len, name_len, file_type)?)?;
        writer.put(entry.name)?;
        if n != last {
            let padding = min_len.checked_sub(HEADER_LEN)?;
            let padding = padding.checked_sub(entry.name.len())?;
            writer.put([0; 4].get(..padding)?)?;
        }
    }
    Some(())
}

/// How an entry begins.
pub(super) fn head(
    inode: u32,
    rec_len: usize,
    name_len: u8,
    file_type: u8,
) -> Option<[u8; HEADER_LEN]> {
    let raw = RawEntry {
        inode,
        rec_len: u16::try_from(rec_len).ok()?,
        name_len,
        file_type,
    };
    let mut bytes = [0; HEADER_LEN];
    raw.put(&mut bytes);
    Some(bytes)
}

/// Ends a block of names with their checksum, where there are checksums.
pub(super) fn put_tail<C: Crc32c>(
    seed: Seed,
    names: &[u8],
    tail: &mut [u8; MIN_REC_LEN],
) -> Option<()> {
    let raw = RawTail {
        det_reserved_zero1: 0,
        det_rec_len: u16::try_from(MIN_REC_LEN).ok()?,
        det_reserved_zero2: 0,
        det_reserved_ft: FT_DIR_CSUM,
        det_checksum: seed.compute::<C>(&[names])?,
    };
    raw.put(tail);
    Some(())
}

/// The number of a type in an entry.
pub(in crate::ondisk) fn number(file_type: Type) -> u8 {
    match file_type {
        Type::Regular => 1,
        Type::Directory => 2,
        Type::CharDevice => 3,
        Type::BlockDevice => 4,
        Type::Fifo => 5,
        Type::Socket => 6,
        Type::Symlink => 7,
    }
}
