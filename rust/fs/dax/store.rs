// SPDX-License-Identifier: GPL-2.0

//! Stores to the memory that a file is in: by faults, and by writes.
//!
//! no data → blocks, zeroed for a fault, or with what is written → data of the file, in one handle of
//! the journal, in the order of [`protocol::initialise`](crate::protocol::initialise)
//!
//! data → stored to
//!
//! What is written goes to its place once, and the file has it there afterwards, with the size: so there are no
//! blocks behind the end of the file that have data, after a crash either. The writer's memory is brought
//! in before, with nothing but `i_rwsem` held, and copied without faults.

use super::super::{
    balloc,
    blocks,
    extents::{
        self,
        place::Write,
        Steps, //
    },
    file,
    inode,
    iomap::{
        self,
        Operations, //
    },
    map,
    memory::with_memory,
    promise,
    read_error,
    size,
    transaction::Transaction,
    writeback::{
        self,
        Data, //
    },
    Inode,
    Stablefs, //
};
use crate::{
    allocation::Who,
    kernel::{
        control::Control,
        current::check_fatal_signal,
        dax,
        iomap::{
            Flags,
            WriteMapping, //
        },
        kiocb,
        locks::InodeExclusive,
        truncate::ByteRange, //
    },
    ondisk::{
        Blocks,
        LblkRange, //
    },
    protocol::initialise::{
        Extent as _,
        Written, //
    }, //
};
use ::kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// Bytes that are copied while a handle is open, at most.
const MAX_FILLED: u64 = 2 << 20;

impl dax::Operations for Operations {
    fn iomap_begin_write(
        inode: &Inode,
        pos: u64,
        len: u64,
        flags: Flags,
    ) -> Result<Written<WriteMapping<'_>>> {
        let lblks = blocks::around(inode, pos, pos.saturating_add(len))?;
        let mut is_new = false;
        loop {
            let seen = iomap::lookup(inode, lblks.start, flags)?;
            if let Ok(extent) = Written::found(seen) {
                return extent.map(|seen| iomap::stored(inode, lblks, &seen, flags, is_new));
            }
            if !flags.contains(Flags::FAULT) {
                // A write does that itself.
                return Err(EIO);
            }
            if Control::LateUnmapZeroes.is_on() {
                // C unmaps them, later.
                is_new |= zero_with_room(inode, lblks)?;
                fsleep(Delta::from_millis(1));
                continue;
            }
            // Before a write finds data here, which has nothing to be forgotten then.
            if let Some(range) = ByteRange::new(pos, len) {
                dax::unmap_zeroes(inode, range);
            }
            is_new |= zero_with_room(inode, lblks)?;
        }
    }
}

/// Sees to it that a store to the page at `pos` finds room, if there can be some: with the page locked, nobody can be waited
/// for who writes back files.
///
/// # Errors
///
/// `ENOSPC`; `EAGAIN`, to be tried again; `ENOMEM`. What is wrong with the tree, the fault finds, and reports.
///
/// # Context
///
/// Sleeps. Nothing is locked but what a fault has from mm.
pub(super) fn before_fault(inode: &Inode, pos: u64) -> Result {
    let end = pos.saturating_add(1).min(inode.i_size_read());
    match end
        .checked_sub(pos)
        .and_then(|len| ByteRange::new(pos, len))
    {
        Some(range) => match promise::before_store(inode, range) {
            Err(error) if [ENOSPC, EAGAIN, ENOMEM].contains(&error) => Err(error),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// Has the beginning of `lblks` be zeroes that are data, unless it is data; returns whether it was not. A page is locked.
fn zero_with_room(inode: &Inode, lblks: LblkRange) -> Result<bool> {
    let try_it = || with_memory(|| zero(inode, lblks));
    match try_it() {
        Err(error) if error == ENOSPC && balloc::make_room(inode.sb()) => try_it(),
        result => result,
    }
}

/// Starts a transaction that makes data of no data, if there is room for the nodes.
fn start(inode: &Inode) -> Result<Transaction<'_>> {
    let allocator = inode.sb().volume().allocator();
    allocator.check_nodes(Blocks(1)).map_err(|_| ENOSPC)?;
    let credits = Steps::of(inode).allocate().and(inode::CREDITS);
    Transaction::start(inode.sb(), credits)
}

fn zero(inode: &Inode, lblks: LblkRange) -> Result<bool> {
    let transaction = start(inode)?;
    let who = balloc::who(inode.sb());
    let Some(fresh) = extents::place::fresh(&transaction, inode, lblks, 0, who)? else {
        return Ok(false);
    };
    let written = fresh.zero()?.insert()?;
    transaction.stop()?;
    if Control::LateZero.is_on() {
        fsleep(Delta::from_millis(1));
        extents::place::zero(inode, written.into_extent().pblks())?;
    }
    Ok(true)
}

/// Writes to the memory that a file is in.
///
/// # Errors
///
/// What the system call shall return; nothing was written then.
///
/// # Context
///
/// Sleeps.
pub(in crate::fs) fn write(write: kiocb::Write<'_, Stablefs>) -> Result<usize> {
    if write.is_nowait() {
        return Err(EAGAIN);
    }
    let locked = write.lock::<InodeExclusive<'_, Stablefs>>()?;
    let Some(checked) = locked.generic_write_checks()? else {
        return Ok(0);
    };
    let mut ready = file::begin_write(checked)?;
    if ready.extends() {
        let inode = ready.inode();
        // What is there already, and was no data of the file, is not to be seen around what is written.
        size::make_unwritten(
            inode,
            LblkRange {
                start: blocks::behind(inode, inode.i_size_read())?,
                end: blocks::behind(inode, ready.end())?,
            },
        )?;
    }
    let written = write_all(&mut ready).map_err(|error| {
        let len = blocks::to_u64(ready.len());
        read_error::report_store(ready.inode(), ready.pos(), len, error)
    });
    match written {
        Err(error) if ready.written() == 0 => Err(error),
        _ => ready.unlock().generic_write_sync(),
    }
}

fn write_all(write: &mut Write<'_>) -> Result {
    while write.len() > 0 {
        check_fatal_signal()?;
        let (inode, pos) = (write.inode(), write.pos());
        let lblk = blocks::at(inode, pos)?;
        let seen = map::lookup(inode, lblk)?;
        let known = blocks::pos(inode, seen.mapping.lblks().end);
        let is_data = seen.is_written();
        let max = if is_data { u64::MAX } else { MAX_FILLED };
        let len = usize::try_from(known.saturating_sub(pos).min(max))
            .unwrap_or(usize::MAX)
            .min(write.len());
        let written = if is_data {
            overwrite(write, len)?
        } else {
            fill(write, len)?
        };
        if written == 0 && is_data {
            return Err(EFAULT);
        }
        let end = write.pos();
        let old = inode.i_size_read();
        if end > old {
            write.inode_lock().i_size_write(end)?;
            write.inode_lock().pagecache_isize_extended(old, end)?;
        }
    }
    Ok(())
}

/// Copies `len` bytes, or fewer, to where the file has data.
fn overwrite(write: &mut Write<'_>, len: usize) -> Result<usize> {
    let (inode, pos) = (write.inode(), write.pos());
    let written = dax::iomap_write::<Operations>(write, len).map_err(|error| {
        // So C says, too, of memory that has lost what was in it, and gets not enough to be well again.
        if error == EFAULT && write.fault_in_readable(1).is_ok() {
            EIO
        } else {
            error
        }
    })?;
    let len = blocks::to_u64(written);
    if pos.saturating_add(len) > inode.disk().size() {
        let data = Data {
            pos,
            len,
            unwritten: false,
            extends: true,
        };
        writeback::record(inode, &data).inspect_err(|_| write.revert(written))?;
    }
    Ok(written)
}

/// Copies `len` bytes, or fewer, to where the file has none; perhaps none, as it has now, or as the writer's memory is not
/// there any more.
fn fill(write: &mut Write<'_>, len: usize) -> Result<usize> {
    write.fault_in_readable(len)?;
    let (inode, pos) = (write.inode(), write.pos());
    let lblks = blocks::around(inode, pos, pos.saturating_add(blocks::to_u64(len)))?;
    let before = pos.saturating_sub(blocks::pos(inode, lblks.start));
    let who = balloc::who(inode.sb());
    let allocator = inode.sb().volume().allocator();
    let mut tries = 0..2;
    let filled = loop {
        promise::with_room(inode, promise::PAUSES, || allocator.check_nodes(Blocks(1)))?;
        let filled = with_memory(|| {
            let lock = inode.filemap_invalidate_lock();
            let filled = fill_some(write, inode, lblks, before, who)?;
            // Of no more than that: others may have data mapped beside it.
            let range = ByteRange::new(pos, blocks::to_u64(filled));
            if let Some(range) = range.filter(|_| !Control::SkipForgetZeroes.is_on()) {
                dax::forget_zeroes(&lock, range);
            }
            Ok(filled)
        });
        match filled {
            Err(error)
                if error == ENOSPC && tries.next().is_some() && promise::make_room(inode.sb()) => {}
            filled => break filled?,
        }
    };
    inode
        .sb()
        .volume()
        .counters()
        .dax_placed(blocks::to_u64(filled));
    Ok(filled)
}

fn fill_some(
    write: &mut Write<'_>,
    inode: &Inode,
    lblks: LblkRange,
    before: u64,
    who: Who,
) -> Result<usize> {
    let was = write.written();
    let filled = try_fill(write, inode, lblks, before, who);
    // OVERFLOW: nothing takes back more than there was before.
    let copied = write.written().saturating_sub(was);
    // What was copied, but is not the file's, is to be written again.
    write.revert(copied.saturating_sub(*filled.as_ref().unwrap_or(&0)));
    filled
}

fn try_fill(
    write: &mut Write<'_>,
    inode: &Inode,
    lblks: LblkRange,
    before: u64,
    who: Who,
) -> Result<usize> {
    let pos = write.pos();
    let transaction = start(inode)?;
    let Some(fresh) = extents::place::fresh(&transaction, inode, lblks, before, who)? else {
        return Ok(0);
    };
    let Some(filled) = fresh.fill(&mut *write)? else {
        return Ok(0);
    };
    let (extent, copied) = filled.insert()?;
    let end = blocks::pos(inode, extent.into_extent().lblks().end);
    let n = usize::try_from(end.saturating_sub(pos))
        .unwrap_or(usize::MAX)
        .min(copied.get());
    let end = pos.saturating_add(blocks::to_u64(n));
    if end > inode.disk().size() {
        inode::update(&transaction, inode, |fields| {
            fields.size = fields.size.max(end);
        })
        .inspect_err(|error| transaction.abort(*error))?;
    }
    transaction.stop()?;
    Ok(n)
}
