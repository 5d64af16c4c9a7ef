// SPDX-License-Identifier: GPL-2.0

//! Delayed allocation: data in the page cache have room promised, and get blocks when they are
//! written to the device, many at a time.
//!
//! hole → reserved, in the file's map and of the room that the volume has → allocated, by writeback, or
//! by one who leaves out the page cache; or a hole again, for data that are cut off
//!
//! What is reserved stops being so with `loading` of the map held: so who allocates it finds it
//! reserved to the end.

use super::{
    balloc,
    map::{
        self,
        Reserved, //
    },
    promise,
    Inode, //
};
use crate::ondisk::{
    Blocks,
    LblkRange, //
};
use ::kernel::prelude::*;

/// Reserves the beginning of `lblks`, if that is still a hole. With `is_locked`, a folio is, and writeback cannot be
/// waited for.
///
/// # Errors
///
/// `ENOSPC`; what reading the tree says; `ENOMEM`.
///
/// # Context
///
/// Sleeps. No handle is started.
pub(super) fn reserve(inode: &Inode, lblks: LblkRange, is_locked: bool) -> Result<Reserved> {
    let sb = inode.sb();
    let (allocator, who) = (sb.volume().allocator(), balloc::who(sb));
    let some = || promise::some(lblks.len(), |n| allocator.reserve(n, who));
    let room = promise::with_room_to_write(inode, is_locked, some)?;
    let end = lblks.start.checked_add(room).ok_or(EINVAL);
    let reserved = end.and_then(|end| map::reserve(inode, LblkRange { end, ..lblks }));
    let new = match &reserved {
        Ok(Reserved::New(seen)) => seen.mapping.lblks().len(),
        _ => Blocks(0),
    };
    inode.count_reserved(new);
    balloc::cancel(sb, Blocks(room.0.saturating_sub(new.0)));
    reserved
}

/// Has what is reserved in `lblks` be a hole again. The page cache has nothing dirty there.
///
/// # Context
///
/// Sleeps. Folios of the file may be locked; no handle is started.
pub(super) fn release(inode: &Inode, lblks: LblkRange) {
    let released = map::release(inode, lblks);
    inode.uncount_reserved(released);
    balloc::cancel(inode.sb(), released);
}

/// Forgets what is reserved for an inode that nobody uses any more, and all else of its map.
pub(super) fn evict(inode: &Inode) {
    balloc::cancel(inode.sb(), map::evict(inode));
}
