// SPDX-License-Identifier: GPL-2.0

//! Direct reads and writes.
//!
//! A write of whole blocks over data that the file has takes `i_rwsem` shared, so that there can be
//! many at a time; any other takes it exclusively. What is no whole number of blocks goes through the
//! page cache, as two at a time could change one block. So does what is written to a file that others
//! can store to through a mapping: once the device has the data, C drops their folios, which fails if one
//! has become dirty meanwhile, wherever in it; then it holds what the blocks had before, too, and
//! `fsync` says `EIO`.
//!
//! Where checksums are computed of what is written, it is a private copy, as whoever has the memory may
//! be writing to it. What was read from a device with protection information is verified where it lies:
//! in memory that its owner, or another device, may be writing to. So a mismatch is believed only of
//! memory that was the device's alone. Both are [`direct`]'s to say.
//!
//! The memory may be a mapping of a file of the same volume, or of this very one. It is faulted in, and
//! copied from, with `i_rwsem` held, which no fault takes, and with nothing else that one could wait
//! for: blocks are mapped before, with handles that are stopped by then, and no folio is locked. So
//! nobody waits for himself, nor two for each other.

use super::{
    blocks,
    file,
    iomap,
    map::{
        self,
        Mapping,
        State, //
    },
    read_error,
    size::LastBlock,
    writeback::{
        self,
        Data, //
    },
    writing,
    Stablefs, //
};
use crate::{
    kernel::{
        self,
        errno,
        iomap::{
            direct_write::{
                dio_write,
                DirectFailed,
                DirectWrite,
                DirectWritten, //
            },
            FailedRead,
            Operations as _, //
        },
        kiocb,
        locks::{
            InodeExclusive,
            InodeShared, //
        }, //
    },
    protocol::direct::{
        self,
        DirectRead,
        Failure,
        Read,
        Target, //
    },
};
use ::kernel::prelude::*;

/// Reads without the page cache.
///
/// # Errors
///
/// What the system call shall return; nothing was read then.
///
/// # Context
///
/// Sleeps.
pub(super) fn read(read: kiocb::Read<'_, Stablefs>) -> Result<usize> {
    let file = read.file();
    let read = read.lock_shared()?;
    file.file_accessed();
    match direct::read(&mut Reading(read)) {
        Ok(Read::Once(read) | Read::Again(read)) => Ok(read),
        Err(Failure::Mismatch(error) | Failure::Other(error)) => Err(error),
    }
}

/// A direct read, with what it takes to do it twice.
struct Reading<'a>(kiocb::Locked<'a, Stablefs>);

impl DirectRead for Reading<'_> {
    type Done = usize;
    type Error = Error;

    fn is_sync(&self) -> bool {
        self.0.is_sync()
    }

    fn read(&mut self, target: Target) -> Result<usize, Failure<Error>> {
        if target == Target::Private && self.is_sync() {
            self.0.inode().sb().volume().counters().read_again();
        }
        let read = kernel::iomap::dio_rw::<iomap::Operations>(&mut self.0, target);
        read.map_err(|error| {
            // Only `end_io` below says that.
            if error == errno::eilseq() {
                Failure::Mismatch(error)
            } else {
                Failure::Other(error)
            }
        })
    }
}

/// A direct read has failed. `EILSEQ` says that what is in the reader's memory does not match; all else
/// is what the system call shall return.
pub(super) fn end_io(read: &FailedRead<'_, Stablefs>) -> Error {
    if read.error == errno::eilseq() {
        let verified = iomap::Operations::verifier(read.inode.sb()).is_some();
        if verified && !read.bounced {
            return read.error;
        }
        read.inode.sb().volume().counters().guard_error_read();
    }
    read_error::report(read.inode, read.pos, read.len, read.error)
}

/// Writes without the page cache, or through it and on to the device.
///
/// # Errors
///
/// What the system call shall return; nothing was written then.
///
/// # Context
///
/// Sleeps.
pub(super) fn write(write: kiocb::Write<'_, Stablefs>) -> Result<usize> {
    match write_shared(write)? {
        Shared::Written(written) => Ok(written),
        Shared::NeedsExclusive(write) => write_exclusive(write),
    }
}

/// What came of a write with `i_rwsem` shared.
enum Shared<'a> {
    /// So many bytes were written.
    Written(usize),
    /// Nothing was.
    NeedsExclusive(kiocb::Write<'a, Stablefs>),
}

fn write_shared(write: kiocb::Write<'_, Stablefs>) -> Result<Shared<'_>> {
    let inode = write.inode();
    let locked = write.lock::<InodeShared<'_, Stablefs>>()?;
    let Some(checked) = locked.generic_write_checks()? else {
        return Ok(Shared::Written(0));
    };
    writing::check_data(inode)?;
    if !checked.is_nosec() || checked.extends() || !is_direct(&checked)? || !is_overwrite(&checked)?
    {
        return Ok(Shared::NeedsExclusive(checked.unlock()));
    }
    let ready = checked.kiocb_modified()?;
    match dio_write::<iomap::Operations, _>(direct::write(ready, inode))? {
        DirectWritten::Done { written, .. } => Ok(Shared::Written(written)),
        DirectWritten::NeedsBuffered { write, direct: 0 } => {
            Ok(Shared::NeedsExclusive(write.start_again()))
        }
        DirectWritten::NeedsBuffered { direct, .. } => Ok(Shared::Written(direct)),
    }
}

fn write_exclusive(write: kiocb::Write<'_, Stablefs>) -> Result<usize> {
    let locked = write.lock::<InodeExclusive<'_, Stablefs>>()?;
    let Some(checked) = locked.generic_write_checks()? else {
        return Ok(0);
    };
    let is_direct = is_direct(&checked)?;
    let is_nowait = checked.is_nowait();
    // What follows waits for the device, or for the journal.
    if is_nowait && (!is_direct || checked.extends()) {
        return Err(EAGAIN);
    }
    if !is_direct {
        // The device may be writing to another part of one of the blocks, or of the folios.
        checked.inode_lock().inode_dio_wait();
    }
    let ready = file::begin_write(checked)?;
    let (mut ready, direct) = if is_direct {
        match write_whole(ready)? {
            DirectWritten::Done { written, .. } => return Ok(written),
            DirectWritten::NeedsBuffered { direct: 0, .. } if is_nowait => return Err(EAGAIN),
            DirectWritten::NeedsBuffered { direct, .. } if is_nowait => return Ok(direct),
            DirectWritten::NeedsBuffered { write, direct } => (write, direct),
        }
    } else {
        (ready, 0)
    };
    let buffered = file::write_pages(&mut ready);
    ready.direct_write_fallback(direct, buffered)?;
    ready.unlock().generic_write_sync()
}

/// A write with `i_rwsem` held exclusively.
type Ready<'a> = kiocb::ReadyWrite<'a, Stablefs, InodeExclusive<'a, Stablefs>>;

/// Writes whole blocks. What was allocated behind the end of the file for what was not written is freed, before anybody
/// else can have blocks promised there.
fn write_whole(
    ready: Ready<'_>,
) -> Result<DirectWritten<'_, Stablefs, InodeExclusive<'_, Stablefs>>> {
    let (inode, end) = (ready.inode(), ready.end());
    let last = if ready.extends() {
        Some(LastBlock::of(ready.inode_lock(), end)?)
    } else {
        None
    };
    let written = dio_write::<iomap::Operations, _>(direct::write(ready, inode));
    let Some(last) = last.filter(|_| end > inode.i_size_read()) else {
        return Ok(written?);
    };
    last.trim(match &written {
        Ok(DirectWritten::NeedsBuffered { write, .. }) => write.inode_lock(),
        Ok(DirectWritten::Done { lock, .. }) => lock,
        Err(DirectFailed { lock, .. }) => lock,
    });
    Ok(written?)
}

/// Whether a write leaves out the page cache, as far as is known before.
///
/// # Errors
///
/// As of [`is_whole`].
fn is_direct(write: &kiocb::Write<'_, Stablefs>) -> Result<bool> {
    Ok(is_whole(write)? && !write.inode().mapping_writably_mapped())
}

/// Whether a write is of whole blocks.
///
/// # Errors
///
/// `EINVAL` if it is not even of whole sectors of the device, as `statx()` says it has to be.
fn is_whole(write: &kiocb::Write<'_, Stablefs>) -> Result<bool> {
    let inode = write.inode();
    let is_multiple = |len| {
        let rest = |n: u64| n.checked_rem(len);
        rest(write.pos()) == Some(0) && rest(write.end()) == Some(0)
    };
    if !is_multiple(inode.sb().bdev_logical_block_size().into()) {
        return Err(EINVAL);
    }
    Ok(is_multiple(blocks::len(inode)))
}

/// Whether a write of whole blocks is of such as all hold data of the file.
fn is_overwrite(write: &kiocb::Write<'_, Stablefs>) -> Result<bool> {
    let inode = write.inode();
    let mut lblks = blocks::around(inode, write.pos(), write.end())?;
    while lblks.start < lblks.end {
        let seen = if write.is_nowait() {
            map::lookup_cached(inode, lblks.start).ok_or(EAGAIN)?
        } else {
            map::lookup(inode, lblks.start)?
        };
        match seen.mapping {
            Mapping::Extent(extent) if extent.state() == State::Written => {
                lblks.start = extent.lblks().end;
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The device has the data of a direct write.
pub(super) fn end_write(write: &DirectWrite<'_, Stablefs>) -> Result {
    let inode = write.inode;
    if write.result == Err(errno::eilseq()) {
        inode.sb().volume().counters().guard_error_written();
    }
    if write.result.is_err() || write.len == 0 {
        // Nobody knows which of them it has.
        return Ok(());
    }
    let data = Data {
        pos: write.pos,
        len: write.len,
        unwritten: write.unwritten,
        extends: write.extends.is_some(),
    };
    let recorded = writeback::record(inode, &data);
    if let Some(lock) = &write.extends {
        // Not all of them, if that has failed on the way.
        let (old, new) = (inode.i_size_read(), inode.disk().size());
        if new > old {
            lock.i_size_write(new)?;
            lock.pagecache_isize_extended(old, new)?;
        }
    }
    recorded
}
