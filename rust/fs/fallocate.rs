// SPDX-License-Identifier: GPL-2.0

//! `fallocate()`: room for data, zeroes, and holes; what is behind [moves](ranges).
//!
//! Nothing is written to the device but the edges of what is to be zeroes, where a block has other data
//! as well. What goes away leaves the page cache first; nobody can bring it in again meanwhile. It is written before
//! that, as what comes next may fail: then the file has what it had. Each step is a transaction of its own, and leaves the
//! file in good order: a crash shows some of them.

mod ranges;

use super::{
    balloc,
    blocks,
    dax,
    fsync,
    inode,
    iomap,
    map::{
        self,
        Mapping, //
    },
    memory::with_memory,
    promise,
    size::{
        self,
        LastBlock, //
    },
    transaction::Transaction,
    zeroes::zero_range,
    File,
    Inode,
    Stablefs, //
};
use crate::{
    allocation::Who,
    kernel::{
        current::check_fatal_signal,
        errno,
        file::{
            Fallocate,
            FallocateMode, //
        },
        locks::{
            InodeExclusive,
            InvalidateExclusive, //
        },
        truncate::ByteRange, //
    },
    ondisk::LblkRange,
};
use ::kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// Does what a caller of `fallocate()` wants.
///
/// # Errors
///
/// `EOPNOTSUPP` for what is not done here; else what the system call shall return.
///
/// # Context
///
/// Sleeps.
pub(super) fn fallocate(file: &File, wanted: &Fallocate) -> Result {
    change(file, wanted)?;
    if file.is_dsync() {
        fsync::fsync(file, wanted.range)?;
    }
    Ok(())
}

fn change(file: &File, wanted: &Fallocate) -> Result {
    match wanted.mode {
        FallocateMode::Allocate | FallocateMode::ZeroRange | FallocateMode::PunchHole => (),
        FallocateMode::CollapseRange => return ranges::collapse(file, wanted.range),
        FallocateMode::InsertRange => return ranges::insert(file, wanted.range),
        FallocateMode::UnshareRange | FallocateMode::WriteZeroes => return Err(errno::eopnotsupp()),
    }
    let inode = file.inode();
    let lock = inode.inode_lock();
    let (pos, end) = (wanted.range.pos(), wanted.range.end());
    let keeps_size = wanted.keep_size || wanted.mode == FallocateMode::PunchHole;
    let enlarges = !keeps_size && end > inode.i_size_read();
    if enlarges {
        lock.inode_newsize_ok(end)?;
    }
    let mut pages = lock.inode_dio_wait().filemap_invalidate_lock();
    if matches!(
        wanted.mode,
        FallocateMode::PunchHole | FallocateMode::ZeroRange
    ) {
        pages = dax::break_layout(pages, pos, end)?;
    }
    file.file_modified(&lock)?;
    let zeroed = enlarges && size::zero_behind_end(&pages, end)?;
    match wanted.mode {
        FallocateMode::PunchHole => {
            discard_pages(&pages, pos, end)?;
            size::free(inode, blocks::within(inode, pos, end)?)?;
            record_size(inode, end)?;
            zero_edges(&pages, pos, end)?;
        }
        FallocateMode::ZeroRange => {
            discard_pages(&pages, pos, end)?;
            size::make_unwritten(inode, blocks::within(inode, pos, end)?)?;
            record_size(inode, end)?;
            zero_edges(&pages, pos, end)?;
        }
        _ => (),
    }
    if wanted.mode != FallocateMode::PunchHole {
        let last = LastBlock::of(&lock, end)?;
        allocate(inode, blocks::around(inode, pos, end)?).inspect_err(|_| last.trim(&lock))?;
    }
    if enlarges {
        enlarge(&lock, end, zeroed)?;
    }
    Ok(())
}

/// Allocates what is not there yet.
fn allocate(inode: &Inode, mut lblks: LblkRange) -> Result {
    while lblks.start < lblks.end {
        check_fatal_signal()?;
        match map::lookup(inode, lblks.start)?.mapping {
            Mapping::Hole(hole) => {
                let end = lblks.end.min(hole.end);
                iomap::allocate(inode, LblkRange { end, ..lblks }, balloc::who(inode.sb()))?;
            }
            Mapping::Reserved(reserved) => {
                let end = lblks.end.min(reserved.end);
                iomap::allocate(inode, LblkRange { end, ..lblks }, Who::Holder)?;
            }
            Mapping::Extent(extent) => lblks.start = extent.lblks().end,
        }
    }
    Ok(())
}

/// Discards what the page cache has of the bytes from `pos` up to `end`, which become zeroes.
///
/// All of it is written first, so that nothing is lost if they do not. So are other data that share a page with
/// them: the page stays mapped, and a store to it has to fault, so that blocks are reserved again; and those before
/// them of which the disk does not know yet: see [`record_size`].
fn discard_pages(pages: &InvalidateExclusive<'_, Stablefs>, pos: u64, end: u64) -> Result {
    let inode = pages.inode();
    let end = end.min(inode.i_size_read());
    let range = |start, end: u64| ByteRange::new(start, end.checked_sub(start)?);
    let Some(discarded) = range(pos, end) else {
        return Ok(());
    };
    let page_len = u64::try_from(PAGE_SIZE).map_err(|_| EINVAL)?;
    let in_page = pos.checked_rem(page_len).ok_or(EINVAL)?;
    let start = pos.saturating_sub(in_page).min(inode.disk().size());
    let pages_end = end.checked_next_multiple_of(page_len).unwrap_or(end);
    if let Some(written) = range(start, pages_end) {
        inode.filemap_write_and_wait_range(written)?;
    }
    pages.truncate_pagecache_range(discarded);
    promise::clean(inode);
    Ok(())
}

/// Has the disk say that the file is at least so large that the bytes before `end` are within: of these
/// it has what is before the discarded ones, and those are zeroes there.
fn record_size(inode: &Inode, end: u64) -> Result {
    let end = end.min(inode.i_size_read());
    if end <= inode.disk().size() {
        return Ok(());
    }
    with_memory(|| {
        let transaction = Transaction::start(inode.sb(), inode::CREDITS)?;
        inode::update(&transaction, inode, |fields| {
            fields.size = fields.size.max(end);
        })?;
        transaction.stop()
    })
}

/// Writes zeroes to the blocks that have bytes from `pos` up to `end`, and others.
fn zero_edges(pages: &InvalidateExclusive<'_, Stablefs>, pos: u64, end: u64) -> Result {
    let inode = pages.inode();
    // Behind the end there is nothing to be zeroed.
    let end = end.min(inode.i_size_read());
    let within = blocks::within(inode, pos, end)?;
    let head = blocks::pos(inode, within.start).min(end);
    let tail = blocks::pos(inode, within.end).max(head);
    for (from, to) in [(pos, head), (tail, end)] {
        if let Some(edge) = to
            .checked_sub(from)
            .and_then(|len| ByteRange::new(from, len))
        {
            zero_range(pages, edge)?;
        }
    }
    Ok(())
}

/// Has the file end at `end`, up to where it is zeroes now; whether some had to be written, `zeroed`
/// says.
fn enlarge(lock: &InodeExclusive<'_, Stablefs>, end: u64, zeroed: bool) -> Result {
    let inode = lock.inode();
    let old = inode.i_size_read();
    size::write_before(inode, old, zeroed)?;
    let transaction = Transaction::start(inode.sb(), inode::CREDITS)?;
    inode::prepare(&transaction, inode)?;
    inode::update(&transaction, inode, |fields| fields.size = end)
        .inspect_err(|error| transaction.abort(*error))?;
    transaction.stop()?;
    lock.i_size_write(end)?;
    lock.pagecache_isize_extended(old, end)
}
