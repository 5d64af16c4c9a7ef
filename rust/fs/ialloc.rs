// SPDX-License-Identifier: GPL-2.0

//! Inodes are taken, and freed: bitmaps and descriptors on the disk, and what is known of them in
//! memory, together.
//!
//! free → taken, for a directory or something else → freed: free
//!
//! Whoever takes an inode fills it in the same transaction. One that was never used is zeroes: what has
//! been in its place in the inode table, nobody knows.

use super::{
    groups::{
        self,
        Change,
        Group, //
    },
    metadata::{
        self,
        At, //
    },
    transaction::{
        self,
        Edit,
        Transaction, //
    },
    Inode,
    SuperBlock, //
};
use crate::{
    allocation::{
        find_inode,
        usage,
        Bitmap,
        Geometry,
        InodeSearch,
        Kind,
        Run,
        WrongBit, //
    },
    kernel::{
        errno,
        jbd2::Credits, //
    },
    ondisk::{
        group::{
            Descriptor,
            Flags, //
        },
        GroupNumber,
        Ino, //
    },
};
use ::kernel::prelude::*;

/// What [`new_inode`] changes, and [`free_inode`]: the bitmap of inodes, the descriptor, and, where that
/// has been put off until now, the bitmap of blocks and the inode itself.
pub(super) const CREDITS: Credits = groups::CREDITS.and(Credits::blocks(2));

/// Takes an inode for something that is to have a name in directory `dir`.
///
/// # Errors
///
/// `ENOSPC`; what asking the journal says. No inode is taken then.
///
/// # Context
///
/// Sleeps. The transaction has [`CREDITS`] left.
pub(super) fn new_inode(transaction: &Transaction<'_>, dir: &Inode, kind: Kind) -> Result<Ino> {
    let volume = transaction.sb().volume();
    let geometry = Geometry::new(volume).ok_or(EROFS)?;
    let allocator = volume.allocator();
    let mut search = InodeSearch::new(geometry, dir.ino(), kind, allocator.total());
    while let Some(number) = search.next(|group| allocator.summary(group)) {
        let group = allocator.lock(number)?;
        let taken = take(transaction, geometry, dir.ino(), kind, number, &group);
        if let Some(Some(ino)) = group.unless_bad(taken)? {
            return Ok(ino);
        }
    }
    Err(ENOSPC)
}

/// Takes an inode of one group, if one is free.
fn take(
    transaction: &Transaction<'_>,
    geometry: Geometry<'_>,
    dir: Ino,
    kind: Kind,
    number: GroupNumber,
    group: &Group<'_>,
) -> Result<Option<Ino>> {
    let (sb, volume) = (transaction.sb(), geometry.volume());
    let change = Change::new(transaction, geometry, dir, number)?;
    let mut inodes = change.inode_bitmap()?;
    let len = volume.inodes_per_group().get();
    let mut bitmap = Bitmap::new(inodes.bytes_mut(), len).ok_or(EINVAL)?;
    let Some(ino) = find_inode(geometry, number, &bitmap) else {
        return Ok(None);
    };
    let (at, descriptor) = (change.inode_bitmap_at(), change.descriptor());
    let bit = volume.index_in_group(ino);
    let used = descriptor.inodes_used(volume);
    if bit > used {
        // Then those in between would count as used, and nobody knows what they are.
        return Err(metadata::corrupt(
            sb,
            at,
            format_args!("in use are inodes before {} that never were", ino.get()),
        ));
    }
    let blocks = if descriptor.flags().contains(Flags::BLOCK_UNINIT) {
        Some(change.block_bitmap()?)
    } else {
        None
    };
    let blank = if bit == used {
        Some(blank(transaction, descriptor, ino)?)
    } else {
        None
    };
    let is_dir = kind != Kind::Other;
    let usage = usage::without_inode(geometry, &descriptor.usage(), ino, is_dir)
        .ok_or_else(|| change.misfit(at, format_args!("fewer inodes are free")))?;
    bitmap
        .set(one(bit))
        .map_err(|_| transaction::bug(sb, at, "an inode that cannot be taken"))?;
    change.finish(&usage, blocks, Some(inodes))?;
    if let Some(blank) = blank {
        blank
            .write()
            .inspect_err(|error| transaction.abort(*error))?;
    }
    group.count_inode(&usage, true, is_dir);
    Ok(Some(ino))
}

/// An inode of the inode table, to be zeroes.
fn blank<'t>(
    transaction: &'t Transaction<'_>,
    descriptor: &Descriptor,
    ino: Ino,
) -> Result<Edit<'t>> {
    let volume = transaction.sb().volume();
    let place = descriptor.inode_place(volume, ino).ok_or(EINVAL)?;
    let mut edit = transaction.edit_part(At::block(ino, place.pblk), place)?;
    edit.bytes_mut().fill(0);
    Ok(edit)
}

/// Whether an inode is in use.
///
/// # Errors
///
/// `EFSCORRUPTED`, `EFSBADCRC`, `EIO` for a group that is broken; what asking the journal says.
///
/// # Context
///
/// Sleeps. No group is locked.
pub(super) fn is_used(sb: &SuperBlock, ino: Ino) -> Result<bool> {
    let volume = sb.volume();
    let geometry = Geometry::new(volume).ok_or(EROFS)?;
    let number = volume.group_of(ino);
    let transaction = Transaction::start(sb, CREDITS)?;
    let group = volume.allocator().lock(number)?;
    let look = || {
        let change = Change::new(&transaction, geometry, ino, number)?;
        let mut inodes = change.inode_bitmap()?;
        let len = volume.inodes_per_group().get();
        let bitmap = Bitmap::new(inodes.bytes_mut(), len).ok_or(EINVAL)?;
        Ok(bitmap.is_set(volume.index_in_group(ino)))
    };
    group.unless_bad(look())?.ok_or(errno::efscorrupted())
}

/// Frees an inode, `was_dir` if it was a directory. If its group is broken, or says that it is free, that is
/// reported, and nothing done: so it is left to `e2fsck`.
///
/// # Errors
///
/// What asking the journal says. Nothing is changed then.
///
/// # Context
///
/// Sleeps. The transaction has [`CREDITS`] left.
pub(super) fn free_inode(transaction: &Transaction<'_>, ino: Ino, was_dir: bool) -> Result {
    let sb = transaction.sb();
    let volume = sb.volume();
    let geometry = Geometry::new(volume).ok_or(EROFS)?;
    let number = volume.group_of(ino);
    let group = volume.allocator().lock(number)?;
    let free = || {
        let change = Change::new(transaction, geometry, ino, number)?;
        let mut inodes = change.inode_bitmap()?;
        let len = volume.inodes_per_group().get();
        let mut bitmap = Bitmap::new(inodes.bytes_mut(), len).ok_or(EINVAL)?;
        let at = change.inode_bitmap_at();
        if let Err(WrongBit(_)) = bitmap.clear(one(volume.index_in_group(ino))) {
            let what = format_args!("the inode is to be freed, and is free");
            return Err(metadata::corrupt(sb, at, what));
        }
        let usage = usage::with_inode(&change.descriptor().usage(), was_dir)
            .ok_or_else(|| change.misfit(at, format_args!("fewer inodes are in use")))?;
        change.finish(&usage, None, Some(inodes))?;
        group.count_inode(&usage, false, was_dir);
        Ok(())
    };
    group.unless_bad(free()).map(|_| ())
}

/// A bit as a run.
fn one(bit: u32) -> Run {
    let end = bit.saturating_add(1);
    Run { start: bit, end }
}
