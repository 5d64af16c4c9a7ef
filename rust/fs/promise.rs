// SPDX-License-Identifier: GPL-2.0

//! Room for the nodes that data need when they become the file's.
//!
//! written to unwritten blocks, or to such as are reserved and then allocated: promised → submitted → recorded, or
//! lost, or cut off: not promised any more
//!
//! What is promised is counted for the volume, which says when there is room for no more
//! ([`Space`](crate::allocation::Space)), and for each inode, so that as much is given back as was booked. A block that is
//! written to again is booked again. So what is booked of what is dirty is not more than the page cache
//! can hold, and nothing once [nothing is dirty](clean).
//!
//! Room that is booked and not needed comes back when data are written, and what is needed is less than it could
//! have been: so nobody is told `ENOSPC` before [all is written](with_room) who can wait for that.

use super::{
    balloc,
    blocks,
    map::{
        self,
        Mapping,
        State, //
    },
    Inode,
    SuperBlock, //
};
use crate::{
    allocation::{
        NoSpace,
        Trial, //
    },
    kernel::truncate::ByteRange,
    ondisk::{
        Blocks,
        Lblk, //
    },
};
use ::kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How often room is looked for that others may take as well.
const ATTEMPTS: u32 = 8;
/// How long who mounts or freezes the volume is waited for at a time, and how often by a system call; a fault,
/// for which who freezes the volume waits, does not, and is tried again.
const PAUSE: Delta = Delta::from_millis(20);
pub(super) const PAUSES: u32 = 500;

/// Promises that some of `n` unwritten blocks in a row, from the first on, can become data when they are dirty.
///
/// # Errors
///
/// [`NoSpace`].
///
/// # Context
///
/// Takes spinlocks only.
pub(super) fn promise(inode: &Inode, n: Blocks) -> Result<Blocks, NoSpace> {
    let allocator = inode.sb().volume().allocator();
    let n = some(n, |n| allocator.promise(n))?;
    let cached = inode.nrpages_bytes().div_ceil(blocks::len(inode));
    allocator.settle(inode.with_promised(|promised| promised.write(n.0, cached)));
    Ok(n)
}

/// As [`promise`], of blocks of which the device has the data soon, so that nobody waits for the room.
pub(super) fn promise_direct(inode: &Inode, n: Blocks) -> Result<Blocks, NoSpace> {
    let allocator = inode.sb().volume().allocator();
    some(n, |n| allocator.check_nodes(n))
}

/// So many of `n` blocks as can be had, or about so many.
///
/// # Errors
///
/// [`NoSpace`], not even for one.
pub(super) fn some(
    mut n: Blocks,
    have: impl Fn(Blocks) -> Result<(), NoSpace>,
) -> Result<Blocks, NoSpace> {
    while let Err(error) = have(n) {
        n = Blocks(n.0 / 2);
        if n == Blocks(0) {
            return Err(error);
        }
    }
    Ok(n)
}

/// Blocks that were reserved, and are being allocated: promised until it is known how many there are.
#[must_use = "what is dropped is not promised any more"]
pub(super) struct Owed<'a> {
    inode: &'a Inode,
    n: u64,
}

impl<'a> Owed<'a> {
    /// So many at most.
    pub(super) fn new(inode: &'a Inode, n: Blocks) -> Self {
        inode.sb().volume().allocator().owe(n.0);
        inode.with_promised(|promised| promised.owe(n.0));
        Self { inode, n: n.0 }
    }

    /// So many.
    pub(super) fn keep(mut self, n: Blocks) {
        self.n = self.n.saturating_sub(n.0);
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let n = self.inode.with_promised(|promised| promised.cancel(self.n));
        self.inode.sb().volume().allocator().settle(n);
    }
}

/// Notes that unwritten blocks are being submitted.
pub(super) fn submit(inode: &Inode, n: Blocks) {
    let more = inode.with_promised(|promised| promised.submit(n.0));
    inode.sb().volume().allocator().owe(more);
}

/// Notes that they are data, or that it has failed.
pub(super) fn end(inode: &Inode, n: Blocks) {
    let less = inode.with_promised(|promised| promised.end(n.0));
    inode.sb().volume().allocator().settle(less);
}

/// Notes that nothing of the file is dirty, if so. Of what is on its way from being accepted to being dirty that may
/// not be true; that is little.
pub(super) fn clean(inode: &Inode) {
    if !inode.mapping_is_dirty() {
        let less = inode.with_promised(|promised| promised.clean());
        inode.sb().volume().allocator().settle(less);
    }
}

/// Notes that nothing is promised to an inode that nobody uses any more.
pub(super) fn evict(inode: &Inode) {
    let all = inode.with_promised(core::mem::take).all();
    inode.sb().volume().allocator().settle(all);
}

/// Has room be found, after a commit or after data have been written, those of `inode` first, if that
/// helps. Who mounts or freezes the volume keeps others from writing it back, and is waited for `pauses` times.
///
/// # Errors
///
/// `ENOSPC`; `EAGAIN` if that one would have to be waited for, and is not.
///
/// # Context
///
/// Sleeps, and locks folios. No handle is started, and no folio locked.
pub(super) fn with_room<T>(
    inode: &Inode,
    mut pauses: u32,
    try_it: impl Fn() -> Result<T, NoSpace>,
) -> Result<T> {
    let sb = inode.sb();
    let busy = if pauses == 0 { EAGAIN } else { ENOSPC };
    let mut is_written = false;
    let mut attempts = 0..ATTEMPTS;
    loop {
        match try_it() {
            Ok(done) => return Ok(done),
            Err(error) if error.commit_helps && balloc::make_room(sb) => {}
            Err(error) if error.writing_helps && !is_written => {
                is_written = true;
                // What comes of it, those are told who ask for it.
                let _ = inode.filemap_write_and_wait_range(ByteRange::ALL);
                clean(inode);
            }
            Err(error) if error.writing_helps && sb.try_sync_inodes_sb() => {}
            Err(error) if error.writing_helps => {
                pauses = pauses.checked_sub(1).ok_or(busy)?;
                fsleep(PAUSE);
                continue;
            }
            Err(_) => return Err(ENOSPC),
        }
        if attempts.next().is_none() {
            return Err(ENOSPC);
        }
    }
}

/// Has room be found for a write to the page cache; with `is_locked`, a folio is, for a store to a mapping.
///
/// # Errors
///
/// Those of [`with_room_locked`]; `ENOSPC`.
///
/// # Context
///
/// Sleeps. No handle is started.
pub(super) fn with_room_to_write<T>(
    inode: &Inode,
    is_locked: bool,
    try_it: impl Fn() -> Result<T, NoSpace>,
) -> Result<T> {
    if is_locked {
        with_room_locked(inode.sb(), try_it)
    } else {
        with_room(inode, PAUSES, try_it)
    }
}

/// As [`with_room`], with a folio locked, so that nobody can wait for what is written back.
///
/// # Errors
///
/// `EAGAIN` if that would help: a fault is tried again then, from [`before_store`] on. `ENOSPC`.
///
/// # Context
///
/// Sleeps. No handle is started.
fn with_room_locked<T>(sb: &SuperBlock, try_it: impl Fn() -> Result<T, NoSpace>) -> Result<T> {
    let tried = match try_it() {
        Err(error) if error.commit_helps && balloc::make_room(sb) => try_it(),
        tried => tried,
    };
    tried.map_err(|error| if error.writing_helps { EAGAIN } else { ENOSPC })
}

/// Has room be made by writing what is dirty, and by a commit, for one who has met `ENOSPC`. Whether trying
/// again may help.
///
/// # Context
///
/// As [`with_room`].
pub(super) fn make_room(sb: &SuperBlock) -> bool {
    let is_pending = sb.volume().allocator().pending() > Blocks(0);
    let is_written = is_pending && sb.try_sync_inodes_sb();
    balloc::make_room(sb) || is_written
}

/// Sees to it that a store to the pages of `range` finds room, if there can be some: with the folio locked, it
/// cannot wait for writeback.
///
/// # Errors
///
/// `ENOSPC`, if there is none whatever is written back; `EAGAIN`, to be tried again; what reading the tree says.
///
/// # Context
///
/// As [`with_room`].
pub(super) fn before_store(inode: &Inode, range: ByteRange) -> Result {
    with_room(inode, 0, || match try_store(inode, range) {
        Ok(Some(trial)) => trial.result().map(Ok),
        Ok(None) => Ok(Ok(())),
        Err(error) => Ok(Err(error)),
    })?
}

/// Asks for all at once that a store to the pages of `range` wants, if anything. With room for each part, but not
/// for all of them, it would be tried again for ever.
fn try_store(inode: &Inode, range: ByteRange) -> Result<Option<Trial>> {
    let end = range.end().min(inode.i_size_read());
    let mut lblks = blocks::around(inode, range.pos(), end)?;
    let mut trial = None;
    while lblks.start < lblks.end {
        let seen = map::lookup(inode, lblks.start)?;
        let known = seen.mapping.lblks().end;
        let n = known.min(lblks.end).0.saturating_sub(lblks.start.0).into();
        let sb = inode.sb();
        let allocator = sb.volume().allocator();
        match &seen.mapping {
            Mapping::Extent(extent) if extent.state() == State::Unwritten => {
                trial.get_or_insert_with(|| allocator.trial()).promise(n);
            }
            Mapping::Hole(_) => {
                let who = balloc::who(sb);
                trial
                    .get_or_insert_with(|| allocator.trial())
                    .reserve(n, who);
            }
            Mapping::Extent(_) | Mapping::Reserved(_) => (),
        }
        lblks.start = known.max(Lblk(lblks.start.0.saturating_add(1)));
    }
    Ok(trial)
}
