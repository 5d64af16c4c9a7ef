// SPDX-License-Identifier: GPL-2.0

//! A part of a file goes, or a hole comes, and what is behind moves.
//!
//! checked → nobody uses the pages from there on → written → gone from the page cache → [moved](shift)

use super::super::{
    blocks,
    dax,
    extents::shift,
    promise,
    writing,
    File,
    Stablefs, //
};
use crate::{
    kernel::{
        current::check_fatal_signal,
        errno,
        locks::{
            InodeExclusive,
            InvalidateExclusive, //
        },
        truncate::ByteRange, //
    },
    ondisk::{
        inode::Content,
        LblkRange, //
    },
};
use ::kernel::{
    page::PAGE_SIZE,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How often a device is waited for that stores to a page of the file, and how long each time.
const ATTEMPTS: u32 = 100;
const PAUSE: Delta = Delta::from_millis(20);

/// Takes a part of a file away; what is behind follows what is before.
///
/// # Errors
///
/// `EINVAL` unless these are whole blocks, and the file goes on behind them; `EBUSY` if a device goes on storing to pages
/// that would move; else what the system call shall return.
///
/// # Context
///
/// Sleeps.
pub(super) fn collapse(file: &File, range: ByteRange) -> Result {
    let lock = file.inode().inode_lock();
    let lblks = check(&lock, range)?;
    let size = lock.inode().i_size_read();
    if range.end() >= size {
        return Err(EINVAL);
    }
    let size = size
        .checked_sub(range.end())
        .and_then(|behind| range.pos().checked_add(behind))
        .ok_or(EINVAL)?;
    let pages = begin(file, &lock, range.pos())?;
    shift::collapse(&lock, lblks, size)?;
    pages.truncate_setsize(size)
}

/// Has a file be a hole in a part; what was there, and behind, comes behind it.
///
/// # Errors
///
/// Those of [`collapse`], where the file has to go on at the beginning of the part; `EFBIG`.
///
/// # Context
///
/// Sleeps.
pub(super) fn insert(file: &File, range: ByteRange) -> Result {
    let lock = file.inode().inode_lock();
    let lblks = check(&lock, range)?;
    let old = lock.inode().i_size_read();
    if range.pos() >= old {
        return Err(EINVAL);
    }
    let size = range
        .end()
        .checked_sub(range.pos())
        .and_then(|len| old.checked_add(len))
        .ok_or(EFBIG)?;
    lock.inode_newsize_ok(size)?;
    let _pages = begin(file, &lock, range.pos())?;
    shift::insert(&lock, lblks, size)
}

/// The blocks of a part of a file, of which the blocks can move. The VFS has asked some of it as well, but without the lock.
fn check(lock: &InodeExclusive<'_, Stablefs>, range: ByteRange) -> Result<LblkRange> {
    let inode = lock.inode();
    writing::check_data(inode)?;
    if inode.is_swapfile() {
        return Err(errno::etxtbsy());
    }
    if !matches!(inode.disk().content(), Content::Extents(_)) {
        return Err(errno::eopnotsupp());
    }
    let len = blocks::len(inode);
    let is_whole = |pos: u64| pos.checked_rem(len) == Some(0);
    if !is_whole(range.pos()) || !is_whole(range.end()) {
        return Err(EINVAL);
    }
    blocks::within(inode, range.pos(), range.end())
}

/// Has nobody use the pages of a file from `pos` on, nor bring them in, and the device have what they had.
fn begin<'a>(
    file: &File,
    lock: &'a InodeExclusive<'_, Stablefs>,
    pos: u64,
) -> Result<InvalidateExclusive<'a, Stablefs>> {
    let pages = lock.inode_dio_wait().filemap_invalidate_lock();
    let pages = dax::break_layout(pages, pos, u64::MAX)?;
    discard(&pages, pos)?;
    // Not before: what is read from here on is what comes.
    file.file_modified(lock)?;
    Ok(pages)
}

/// Discards what the page cache has of the bytes from `pos` on, all of which is written first; with it, data before
/// of which the disk does not know yet, as these are the file's on the disk when those are.
///
/// A folio with other bytes, too, goes as a whole. To cut it would make it zeroes behind the cut; and where a device stores
/// to its pages it cannot be cut, and stays dirty, so that the zeroes would be written over what comes there.
fn discard(pages: &InvalidateExclusive<'_, Stablefs>, pos: u64) -> Result {
    let inode = pages.inode();
    let page_len = u64::try_from(PAGE_SIZE).map_err(|_| EINVAL)?;
    let in_page = pos.checked_rem(page_len).ok_or(EINVAL)?;
    let start = pos.saturating_sub(in_page);
    let discarded = ByteRange::all_from(start).ok_or(EFBIG)?;
    let written = ByteRange::all_from(start.min(inode.disk().size())).ok_or(EFBIG)?;
    for _ in 0..ATTEMPTS {
        inode.filemap_write_and_wait_range(written)?;
        let done = if inode.is_dax() {
            pages.truncate_pagecache_range(discarded);
            Ok(())
        } else {
            pages.invalidate_inode_pages2_range(discarded)
        };
        match done {
            // What a device may store to stays dirty.
            Err(error) if error == EBUSY => (),
            done => {
                promise::clean(inode);
                return done;
            }
        }
        check_fatal_signal()?;
        fsleep(PAUSE);
    }
    Err(EBUSY)
}
