// SPDX-License-Identifier: GPL-2.0

//! Extended attributes as bytes: entries from the beginning, values from the end → hashes →
//! checksum.

use super::{
    hash_name,
    hash_value,
    padded,
    RawEntry,
    RawHeader,
    Xattr,
    Xattrs,
    BLOCK_HEADER_LEN,
    BODY_HEADER_LEN,
    CHECKSUM,
    END_LEN,
    ENTRY_LEN,
    MAGIC, //
};
use crate::ondisk::{
    bytes::Put,
    checksum::Seed,
    hash::Chars,
    Block,
    Crc32c,
    Inode,
    Pblk,
    Superblock, //
};
use core::num::NonZeroU32;

/// Makes block `pblk` into one with these attributes, which so many inodes have in common. They
/// have to be in the order in which ext4 looks for them, which [`sort`] makes: by prefix, then by the
/// length of the name, then by the name. If they are not, or there is no room, the block means nothing afterwards.
pub fn encode_in_block<C: Crc32c>(
    volume: &Superblock,
    pblk: Pblk,
    inodes: NonZeroU32,
    xattrs: &[Xattr<'_>],
    block: &mut [u8],
) -> Option<()> {
    if !xattrs.is_sorted_by(|a, b| key(a) < key(b)) {
        return None;
    }
    block.fill(0);
    let h_hash = put(xattrs, BLOCK_HEADER_LEN, true, block)?;
    let mut header = RawHeader {
        h_magic: MAGIC,
        h_refcount: inodes.get(),
        h_blocks: 1,
        h_hash,
        h_checksum: 0,
    };
    header.put(block.first_chunk_mut()?);
    let (before, after) = CHECKSUM;
    let seed = Seed::of_volume(volume).with::<C>(&pblk.0.to_le_bytes());
    let parts = [block.get(..before)?, &[0; 4], block.get(after..)?];
    if let Some(checksum) = seed.compute::<C>(&parts) {
        header.h_checksum = checksum;
        header.put(block.first_chunk_mut()?);
    }
    let found = Xattrs::in_block::<C>(volume, pblk, Block::new(block)?).ok()?;
    found.iter().eq(xattrs.iter().copied()).then_some(())
}

/// How many inodes have the attributes of a block, which is one that [`Xattrs::in_block`] accepts.
pub fn inodes(block: &[u8]) -> Option<NonZeroU32> {
    NonZeroU32::new(RawHeader::new(block.first_chunk()?).h_refcount)
}

/// Has as many inodes have them; `block` is block `pblk`, and one that [`Xattrs::in_block`] accepts.
pub fn set_inodes<C: Crc32c>(
    volume: &Superblock,
    pblk: Pblk,
    inodes: NonZeroU32,
    block: &mut [u8],
) -> Option<()> {
    let mut header = RawHeader::new(block.first_chunk()?);
    header.h_refcount = inodes.get();
    header.h_checksum = 0;
    header.put(block.first_chunk_mut()?);
    let seed = Seed::of_volume(volume).with::<C>(&pblk.0.to_le_bytes());
    if let Some(checksum) = seed.compute::<C>(&[block]) {
        header.h_checksum = checksum;
        header.put(block.first_chunk_mut()?);
    }
    Some(())
}

/// Makes the rest of an inode, in `bytes` as it was read, into an area with these attributes, in
/// any order. The checksum of the inode is wrong afterwards, until it is
/// [encoded](crate::ondisk::inode::Fields::encode). If there is no room, the area means nothing.
pub fn encode_in_inode(inode: &Inode, xattrs: &[Xattr<'_>], bytes: &mut [u8]) -> Option<()> {
    let start = bytes.len().checked_sub(inode.xattr_area(bytes).len())?;
    let area = bytes.get_mut(start..)?;
    if area.is_empty() && xattrs.is_empty() {
        return Some(());
    }
    area.fill(0);
    if !xattrs.is_empty() {
        let (magic, area) = area.split_at_mut_checked(BODY_HEADER_LEN)?;
        magic.copy_from_slice(&MAGIC.to_le_bytes());
        put(xattrs, 0, false, area)?;
    }
    match Xattrs::in_inode(inode, bytes).ok()? {
        Some(found) => found.iter().eq(xattrs.iter().copied()),
        None => xattrs.is_empty(),
    }
    .then_some(())
}

/// Puts attributes into the order in which [`encode_in_block`] wants them.
pub fn sort(xattrs: &mut [Xattr<'_>]) {
    // They are few, and nearly in order: one was added. And `core` wants 2 KiB of stack for its way.
    for n in 1..xattrs.len() {
        let (sorted, rest) = xattrs.split_at_mut(n);
        let Some(last) = rest.first() else { break };
        let at = sorted.partition_point(|xattr| key(xattr) < key(last));
        if let Some(moved) = xattrs.get_mut(at..=n) {
            moved.rotate_right(1);
        }
    }
}

fn key<'a>(xattr: &Xattr<'a>) -> (u8, usize, &'a [u8]) {
    (xattr.prefix.0, xattr.name.len(), xattr.name)
}

/// Writes entries from `start` on, and values to the end. Gives the hash of all of them, by which
/// ext4 finds equal blocks; 0 keeps a block from being found, and is right where an entry has none.
fn put(xattrs: &[Xattr<'_>], start: usize, hashes: bool, bytes: &mut [u8]) -> Option<u32> {
    let mut pos = start;
    let mut values = bytes.len();
    let mut all = 0_u32;
    let mut has_all = true;
    for xattr in xattrs {
        let value_len = padded(xattr.value.len())?;
        values = values.checked_sub(value_len)?;
        let value = bytes.get_mut(values..values.checked_add(value_len)?)?;
        value
            .get_mut(..xattr.value.len())?
            .copy_from_slice(xattr.value);
        let e_hash = if hashes {
            hash_value(hash_name(xattr.name, Chars::Unsigned), value)
        } else {
            0
        };
        all = all.rotate_left(16) ^ e_hash;
        has_all &= e_hash != 0;

        let entry = RawEntry {
            e_name_len: u8::try_from(xattr.name.len()).ok()?,
            e_name_index: xattr.prefix.0,
            e_value_offs: if value_len == 0 {
                0
            } else {
                u16::try_from(values).ok()?
            },
            e_value_inum: 0,
            e_value_size: u32::try_from(xattr.value.len()).ok()?,
            e_hash,
        };
        let name_pos = pos.checked_add(ENTRY_LEN)?;
        entry.put(bytes.get_mut(pos..name_pos)?.first_chunk_mut()?);
        let name_end = name_pos.checked_add(xattr.name.len())?;
        bytes
            .get_mut(name_pos..name_end)?
            .copy_from_slice(xattr.name);
        pos = pos.checked_add(padded(ENTRY_LEN.checked_add(xattr.name.len())?)?)?;
    }
    // The zeroes that end the list lie before the values.
    (pos.checked_add(END_LEN)? <= values).then_some(if has_all { all } else { 0 })
}
