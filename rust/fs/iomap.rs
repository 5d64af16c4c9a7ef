// SPDX-License-Identifier: GPL-2.0

//! The extent map, as iomap wants it.
//!
//! Where a writer to the page cache finds a hole, room is [reserved](super::delalloc); one who leaves
//! out the page cache has blocks allocated. They are unwritten, and so read as zeroes, until
//! [`writeback`](super::writeback) knows that the device has the data.

use super::{
    balloc,
    blocks,
    dax,
    delalloc,
    dio,
    extents::{
        self,
        Steps, //
    },
    map::{
        self,
        Extent,
        Reserved,
        State, //
    },
    metadata,
    promise,
    transaction::Transaction,
    Inode,
    Stablefs,
    SuperBlock, //
};
use crate::{
    allocation::Who,
    extent_map::Claim,
    kernel::{
        control::Control,
        integrity::Verifier,
        iomap::{
            self,
            direct_write::{
                DirectWrite,
                DirectWriteOperations, //
            },
            write::WriteOperations,
            Addr,
            FailedRead,
            Flags,
            Kind,
            WriteMapping, //
        },
        truncate::ByteRange, //
    },
    ondisk::{
        self,
        Blocks,
        Lblk,
        LblkRange, //
    },
};
use ::kernel::prelude::*;

/// Blocks that are claimed at a time, a power of 2: 2 MiB, as blocks are pages where there is DAX. A
/// file needs no more claims than it has extents and such parts, however small its pages are.
const AROUND: u32 = 512;

/// Operations on mappings.
pub(super) struct Operations;

impl iomap::Operations for Operations {
    type FileSystem = Stablefs;

    fn iomap_begin(inode: &Inode, pos: u64, len: u64, flags: Flags) -> Result<iomap::Mapping<'_>> {
        if flags.contains(Flags::WRITE) {
            return Err(EROFS);
        }
        let Some(lblk) = lblk_at(inode, pos) else {
            return Ok(hole_behind_all(pos, len));
        };
        let mapping = lookup(inode, lblk, flags)?.mapping;
        if let map::Mapping::Extent(extent) = &mapping {
            if flags.contains(Flags::DAX) && flags.contains(Flags::FAULT) {
                claim(inode, extent, lblk, len)?;
            }
        }
        to_iomap(inode, lblk, &mapping, flags)
    }

    fn verifier(sb: &SuperBlock) -> Option<&Verifier> {
        sb.volume().verifier()
    }

    fn end_io(read: &FailedRead<'_, Stablefs>) -> Error {
        dio::end_io(read)
    }
}

impl WriteOperations for Operations {
    fn iomap_begin(inode: &Inode, pos: u64, len: u64, flags: Flags) -> Result<WriteMapping<'_>> {
        for_write(inode, pos, len, flags)
    }

    fn iomap_valid(inode: &Inode, validity_cookie: u64) -> bool {
        validity_cookie == map::cookie(inode)
    }

    fn punch_delalloc(inode: &Inode, range: ByteRange) {
        // Otherwise there is nothing.
        if let Ok(lblks) = blocks::within(inode, range.pos(), range.end()) {
            delalloc::release(inode, lblks);
        }
    }
}

impl DirectWriteOperations for Operations {
    fn iomap_begin(inode: &Inode, pos: u64, len: u64, flags: Flags) -> Result<WriteMapping<'_>> {
        let mapping = for_write(inode, pos, len, flags)?;
        // The size will change.
        let extends = pos.saturating_add(len) > inode.i_size_read();
        Ok(WriteMapping {
            is_dirty: mapping.is_dirty || extends,
            ..mapping
        })
    }

    fn end_io(write: &DirectWrite<'_, Stablefs>) -> Result {
        dio::end_write(write)
    }
}

/// What is at `pos`, for who writes `len` bytes there.
fn for_write(inode: &Inode, pos: u64, len: u64, flags: Flags) -> Result<WriteMapping<'_>> {
    let end = pos.saturating_add(len);
    let Some(lblk) = lblk_at(inode, pos) else {
        if flags.contains(Flags::WRITE) {
            return Err(EFBIG);
        }
        return Ok(WriteMapping {
            mapping: hole_behind_all(pos, len),
            is_new: false,
            is_dirty: false,
            validity_cookie: map::cookie(inode),
        });
    };
    loop {
        let seen = lookup(inode, lblk, flags)?;
        match &seen.mapping {
            map::Mapping::Hole(hole) if flags.contains(Flags::WRITE) => {
                let lblks = LblkRange {
                    start: lblk,
                    end: blocks::behind(inode, end)?.min(hole.end),
                };
                if flags.contains(Flags::NOWAIT) {
                    return Err(EAGAIN);
                }
                if flags.contains(Flags::DIRECT) {
                    allocate(inode, lblks, balloc::who(inode.sb()))?;
                } else {
                    let is_locked = flags.contains(Flags::FAULT);
                    match delalloc::reserve(inode, lblks, is_locked)? {
                        Reserved::New(seen) => return found(inode, lblk, &seen, flags, true),
                        Reserved::Before => (),
                    }
                }
            }
            map::Mapping::Reserved(reserved) if flags.contains(Flags::DIRECT) => {
                if flags.contains(Flags::NOWAIT) {
                    return Err(EAGAIN);
                }
                let lblks = LblkRange {
                    start: lblk,
                    end: reserved.end,
                };
                allocate(inode, lblks, Who::Holder)?;
            }
            map::Mapping::Extent(extent)
                if flags.contains(Flags::WRITE) && extent.state() == State::Unwritten =>
            {
                let end = blocks::behind(inode, end)?.min(extent.lblks().end);
                let lblks = LblkRange { start: lblk, end };
                let n = promise(inode, lblks.len(), flags)?;
                let mut mapping = found(inode, lblk, &seen, flags, false)?;
                mapping.mapping.len = mapping.mapping.len.min(blocks::bytes(inode, n));
                return Ok(mapping);
            }
            _ => return found(inode, lblk, &seen, flags, false),
        }
    }
}

/// Sees to it that some of `n` unwritten blocks in a row can become data: those from the first on that a writer is
/// told of.
fn promise(inode: &Inode, n: Blocks, flags: Flags) -> Result<Blocks> {
    let some = || {
        if flags.contains(Flags::DIRECT) {
            promise::promise_direct(inode, n)
        } else {
            promise::promise(inode, n)
        }
    };
    if flags.contains(Flags::NOWAIT) {
        some().map_err(|_| EAGAIN)
    } else {
        promise::with_room_to_write(inode, flags.contains(Flags::FAULT), some)
    }
}

fn found<'a>(
    inode: &'a Inode,
    lblk: Lblk,
    seen: &map::Seen,
    flags: Flags,
    is_new: bool,
) -> Result<WriteMapping<'a>> {
    Ok(WriteMapping {
        mapping: to_iomap(inode, lblk, &seen.mapping, flags)?,
        is_new,
        is_dirty: is_dirty(inode),
        validity_cookie: seen.cookie,
    })
}

/// Data that one may store to who accesses the memory that they are in.
pub(super) fn stored<'a>(
    inode: &'a Inode,
    lblks: LblkRange,
    seen: &map::Seen,
    flags: Flags,
    is_new: bool,
) -> Result<WriteMapping<'a>> {
    if let (map::Mapping::Extent(extent), true) = (&seen.mapping, flags.contains(Flags::FAULT)) {
        let len = blocks::bytes(inode, lblks.len());
        claim(inode, extent, lblks.start, len)?;
    }
    let mapping = found(inode, lblks.start, seen, flags, is_new)?;
    Ok(WriteMapping {
        is_dirty: mapping.is_dirty && !Control::SkipSyncFault.is_on(),
        ..mapping
    })
}

/// Whether what the disk says of the size of the file, and of where its data are, is not yet on it.
fn is_dirty(inode: &Inode) -> bool {
    let journal = inode.sb().journal();
    journal
        .zip(inode.data_tid())
        .is_some_and(|(journal, tid)| !journal.is_committed(tid))
}

/// What is at `pos`, which is being written back, after it has been allocated if it was reserved.
///
/// # Errors
///
/// What reading and checking the tree says, or changing it, or the journal.
///
/// # Context
///
/// Sleeps. A folio may be locked; no handle is started.
pub(super) fn find(inode: &Inode, pos: u64) -> Result<WriteMapping<'_>> {
    let lblk = lblk_at(inode, pos).ok_or(EFBIG)?;
    loop {
        let seen = map::lookup(inode, lblk)?;
        let map::Mapping::Reserved(reserved) = seen.mapping else {
            return found(inode, lblk, &seen, Flags::NONE, false);
        };
        let lblks = LblkRange {
            start: lblk,
            end: reserved.end,
        };
        allocate(inode, lblks, Who::Holder)?;
    }
}

/// Allocates some blocks of a hole, or of what is reserved, that begins where `lblks` does. They are
/// unwritten.
///
/// # Errors
///
/// `ENOSPC`; what changing the tree says, or the journal.
///
/// # Context
///
/// Sleeps. No handle is started; of who holds them, a folio may be locked.
pub(super) fn allocate(inode: &Inode, lblks: LblkRange, who: Who) -> Result {
    let make_room = || match who {
        Who::Holder => balloc::make_room(inode.sb()),
        _ => promise::make_room(inode.sb()),
    };
    match try_allocate(inode, lblks, who) {
        Err(error) if error == ENOSPC && make_room() => try_allocate(inode, lblks, who),
        result => result,
    }
}

/// Allocates some blocks of a hole that has data in the page cache all the same.
///
/// # Errors
///
/// As of [`allocate`]. `ENOSPC` is said before all is written that could be.
///
/// # Context
///
/// Sleeps. A folio is locked; no handle is started.
pub(super) fn fill(inode: &Inode, lblks: LblkRange) -> Result {
    match try_allocate(inode, lblks, Who::User) {
        Err(error) if error == ENOSPC && balloc::make_room(inode.sb()) => {
            try_allocate(inode, lblks, Who::User)
        }
        result => result,
    }
}

fn try_allocate(inode: &Inode, lblks: LblkRange, who: Who) -> Result {
    let transaction = Transaction::start(inode.sb(), Steps::of(inode).allocate())?;
    let state = if Control::SkipUnwritten.is_on() {
        ondisk::extent::State::Written
    } else {
        ondisk::extent::State::Unwritten
    };
    extents::allocate(&transaction, inode, lblks, state, who)?;
    transaction.stop()
}

/// [`map::lookup`]; for one who does not want to wait, of what is known.
///
/// # Errors
///
/// `EAGAIN` if that one would have to wait; what reading the tree says.
///
/// # Context
///
/// Sleeps, unless [`Flags::NOWAIT`] is set.
pub(super) fn lookup(inode: &Inode, lblk: Lblk, flags: Flags) -> Result<map::Seen> {
    if flags.contains(Flags::NOWAIT) {
        map::lookup_cached(inode, lblk).ok_or(EAGAIN)
    } else {
        map::lookup(inode, lblk)
    }
}

/// What there is from block `lblk` on. What comes before it is left out, as in what other filesystems
/// tell `FIEMAP`.
fn to_iomap<'a>(
    inode: &'a Inode,
    lblk: Lblk,
    mapping: &map::Mapping,
    flags: Flags,
) -> Result<iomap::Mapping<'a>> {
    let volume = inode.sb().volume();
    let kind = match mapping {
        map::Mapping::Hole(_) => Kind::Hole,
        // Only in the page cache, which has been asked already.
        map::Mapping::Reserved(_) if flags.contains(Flags::DIRECT) => Kind::Hole,
        map::Mapping::Reserved(_) => Kind::Delalloc,
        map::Mapping::Extent(extent) => {
            let pblk = extent.pblk(lblk).ok_or(EINVAL)?;
            let addr = metadata::addr(volume, pblk, 0)?;
            let addr = if flags.contains(Flags::DAX) {
                let device = volume.dax().device().ok_or(EIO)?;
                Addr::Dax(device.addr(addr).ok_or(EIO)?)
            } else {
                Addr::Bdev(addr)
            };
            match extent.state() {
                State::Written => Kind::Written(addr),
                State::Unwritten => Kind::Unwritten(addr),
            }
        }
    };
    let n = mapping.lblks().end.checked_sub(lblk).ok_or(EINVAL)?;
    Ok(iomap::Mapping {
        pos: blocks::pos(inode, lblk),
        len: blocks::bytes(inode, n),
        kind,
    })
}

/// The block with the byte at `pos` of a file, if a file can have it.
fn lblk_at(inode: &Inode, pos: u64) -> Option<Lblk> {
    blocks::at(inode, pos).ok().filter(|lblk| *lblk < Lblk::END)
}

/// The page with the end of the largest file has blocks that no file can have.
fn hole_behind_all<'a>(pos: u64, len: u64) -> iomap::Mapping<'a> {
    iomap::Mapping {
        pos,
        len: len.max(1),
        kind: Kind::Hole,
    }
}

/// Claims what C maps for a fault on the `len` bytes from block `lblk` on: data that are at least as
/// long, and nothing else. If it can be had, what the extent has around them is claimed, too.
fn claim(inode: &Inode, extent: &Extent, lblk: Lblk, len: u64) -> Result {
    let n = Blocks(len.div_ceil(blocks::len(inode)));
    let end = lblk.checked_add(n).filter(|end| *end <= extent.lblks().end);
    let (Some(end), State::Written) = (end, extent.state()) else {
        return Ok(());
    };
    let of = |start, end| Claim::of(inode.ino(), extent, LblkRange { start, end }).ok_or(EINVAL);
    let start = Lblk(lblk.0 & !(AROUND - 1));
    let around = Lblk(start.0.saturating_add(AROUND));
    dax::claim(inode, of(start, around.max(end))?, of(lblk, end)?)
}
