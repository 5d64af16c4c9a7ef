// SPDX-License-Identifier: GPL-2.0

//! Blocks are taken, and freed: bitmaps and descriptors on the disk, and what is known of them in
//! memory, together.
//!
//! free → reserved, for data that are to be written → taken, in a transaction → freed, in another
//! one → that is committed: free
//!
//! Which blocks, [`allocation`](crate::allocation) says. A group that turns out to be broken is
//! reported, and nothing is taken from it any more.

use super::{
    groups::{
        spare,
        Allocator,
        Change, //
    },
    metadata,
    transaction::{
        self,
        Transaction, //
    },
    Inode,
    SuperBlock, //
};
use crate::{
    allocation::{
        usage,
        Bitmap,
        Geometry,
        Goal,
        NoSpace,
        Probe,
        Request,
        Run,
        Search,
        Who,
        WrongBit, //
    },
    kernel::{
        capability,
        errno,
        jbd2::Credits, //
    },
    ondisk::{
        Blocks,
        GroupNumber,
        Ino,
        Lblk,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::prelude::*;

/// What blocks are wanted.
pub(super) struct Want {
    /// Where the file ends, or what is next before them; if that is known.
    pub(super) goal: Option<Pblk>,
    /// Which block of the file the first is for.
    pub(super) lblk: Lblk,
    /// How many, at least one.
    pub(super) wanted: Blocks,
    /// For whom; for [`Who::Holder`], those are meant that have been [reserved](reserve).
    pub(super) who: Who,
}

/// What [`new_blocks`] changes, and [`free_blocks`] for one block.
pub(super) const NEW: Credits = super::groups::CREDITS;

/// What [`free_blocks`] changes for `n` blocks in a row.
pub(super) fn free_credits(sb: &SuperBlock, n: Blocks) -> Credits {
    let volume = sb.volume();
    // Besides those in between, there is one that they end in. And so with blocks of descriptors.
    let beyond = n.0.saturating_sub(1);
    let groups = beyond
        .div_ceil(volume.blocks_per_group().get().into())
        .saturating_add(1);
    let per_block = volume.block_size().bytes().get() / u32::from(volume.desc_size()).max(1);
    let descriptors = groups
        .saturating_sub(1)
        .div_ceil(u64::from(per_block).max(1))
        .saturating_add(1);
    Credits::blocks(u32::try_from(groups.saturating_add(descriptors)).unwrap_or(u32::MAX))
}

/// On whose behalf this task takes blocks.
pub(super) fn who() -> Who {
    if capability::has_sys_resource() {
        Who::Root
    } else {
        Who::User
    }
}

/// Reserves blocks for data that this task writes to memory: all or none.
///
/// # Errors
///
/// `ENOSPC`.
///
/// # Context
///
/// Sleeps: where room is short, perhaps until a transaction is committed. No handle is started.
pub(super) fn reserve(sb: &SuperBlock, n: Blocks) -> Result {
    let (allocator, who) = (sb.volume().allocator(), who());
    match allocator.reserve(n, who) {
        Err(NoSpace { commit_helps: true }) if make_room(sb) => (),
        reserved => return reserved.map_err(|NoSpace { .. }| ENOSPC),
    }
    let reserved = allocator.reserve(n, who);
    reserved.map_err(|NoSpace { .. }| ENOSPC)
}

/// Has blocks that were freed be free, by way of a commit, for one who has met `ENOSPC`. Whether trying
/// again may help.
///
/// # Context
///
/// Sleeps. No handle is started.
pub(super) fn make_room(sb: &SuperBlock) -> bool {
    let is_some_freed = sb.volume().allocator().freed() > Blocks(0);
    let journal = sb.journal().filter(|_| is_some_freed);
    journal.is_some_and(|journal| journal.sync(true).is_ok())
}

/// Reserves blocks for a holder who has taken these, and had to give them back.
pub(super) fn reserve_again(sb: &SuperBlock, blocks: PblkRange) {
    // Should that fail, there are as many fewer for others who have reserved, until the file is evicted.
    let _ = sb
        .volume()
        .allocator()
        .reserve(len(blocks), Who::Essential);
}

/// Gives back reserved blocks that are not needed.
pub(super) fn cancel(sb: &SuperBlock, n: Blocks) {
    // Were there not so many, nothing would be done: a bug of the one who reserved them.
    let _ = sb.volume().allocator().cancel(n);
}

/// Takes blocks for a file, in a row: as many as are wanted, or fewer, but at least one.
///
/// # Errors
///
/// `ENOSPC`, perhaps before a commit, which [may help](make_room); what asking the journal says. No
/// block is taken then.
///
/// # Context
///
/// Sleeps. The transaction has [`NEW`] left.
pub(super) fn new_blocks(
    transaction: &Transaction<'_>,
    inode: &Inode,
    want: &Want,
) -> Result<PblkRange> {
    let sb = transaction.sb();
    let geometry = Geometry::new(sb.volume()).ok_or(EROFS)?;
    let allocator = sb.volume().allocator();
    let n = reserve_some(allocator, want)?;
    let taken = search(transaction, geometry, inode, want, n);
    let rest = match &taken {
        Ok(blocks) => Blocks(n.0.saturating_sub(len(*blocks).0)),
        Err(_) => n,
    };
    if want.who != Who::Holder {
        allocator.cancel(rest);
    }
    taken
}

/// As many of the wanted blocks as can be reserved, or about so many.
fn reserve_some(allocator: &Allocator, want: &Want) -> Result<Blocks> {
    let mut n = want.wanted;
    while n > Blocks(0) {
        if allocator.reserve(n, want.who).is_ok() {
            return Ok(n);
        }
        n = Blocks(n.0 / 2);
    }
    Err(ENOSPC)
}

fn search(
    transaction: &Transaction<'_>,
    geometry: Geometry<'_>,
    inode: &Inode,
    want: &Want,
    n: Blocks,
) -> Result<PblkRange> {
    let allocator = transaction.sb().volume().allocator();
    let request = Request {
        goal: goal(geometry, inode, want),
        lblk: want.lblk,
        n,
    };
    let mut search = Search::new(geometry, &request);
    while let Some(probe) = search.next(|group| allocator.summary(group)) {
        if let Some(blocks) = take(transaction, geometry, inode.ino(), &probe)? {
            return Ok(blocks);
        }
    }
    Err(ENOSPC)
}

/// Where the blocks should be: where the file goes on, else near its inode.
fn goal(geometry: Geometry<'_>, inode: &Inode, want: &Want) -> Goal {
    match want.goal {
        Some(pblk) => Goal::At(pblk),
        None => {
            let volume = geometry.volume();
            Goal::Near(volume.group_blocks(volume.group_of(inode.ino())).start)
        }
    }
}

/// Takes what is found in one group, if anything is.
fn take(
    transaction: &Transaction<'_>,
    geometry: Geometry<'_>,
    ino: Ino,
    probe: &Probe,
) -> Result<Option<PblkRange>> {
    let sb = transaction.sb();
    let group = sb.volume().allocator().lock(probe.group())?;
    let take = || {
        let change = Change::new(transaction, geometry, ino, probe.group())?;
        let mut edit = change.block_bitmap()?;
        let len = geometry.len(probe.group());
        let mut bitmap = Bitmap::new(edit.bytes_mut(), len).ok_or(EINVAL)?;
        let Some(blocks) = group.look(geometry, probe, &bitmap) else {
            return Ok(None);
        };
        let at = change.bitmap_at();
        if let Some(pblk) = sb.volume().zones().first_foreign(ino, blocks) {
            return Err(metadata::corrupt(
                sb,
                at,
                format_args!("block {} is free, and holds metadata of the volume", pblk.0),
            ));
        }
        let run = geometry.run(probe.group(), blocks);
        let usage = usage::without_blocks(&change.descriptor().usage(), run.len());
        let (Some(usage), Ok(())) = (usage, bitmap.set(run)) else {
            return Err(transaction::bug(sb, at, "blocks that cannot be taken"));
        };
        change.finish(&usage, Some(edit), None)?;
        group.update(&usage);
        Ok(Some(blocks))
    };
    let Some(blocks) = group.unless_bad(take())?.flatten() else {
        return Ok(None);
    };
    if sb.volume().allocator().take(len(blocks)).is_none() {
        transaction.abort(EINVAL);
        return Err(EINVAL);
    }
    Ok(Some(blocks))
}

/// Frees blocks that are a file's. They can be had again when the transaction is committed.
///
/// # Errors
///
/// `EFSCORRUPTED`, reported, for blocks that are free, or hold structures of the format;
/// `EFSCORRUPTED`, `EFSBADCRC`, `EIO` for a group that is broken; what asking the journal says. Some of
/// the blocks may have been freed.
///
/// # Context
///
/// Sleeps. The transaction has [`free_credits`] left.
pub(super) fn free_blocks(transaction: &Transaction<'_>, ino: Ino, blocks: PblkRange) -> Result {
    let sb = transaction.sb();
    let geometry = Geometry::new(sb.volume()).ok_or(EROFS)?;
    sb.check_blocks(ino, blocks)?;
    let mut start = blocks.start;
    while start < blocks.end {
        let group = geometry.place(start).ok_or(EINVAL)?.group;
        let end = geometry.volume().group_blocks(group).end.min(blocks.end);
        free_in(transaction, geometry, ino, group, PblkRange { start, end })?;
        start = end;
    }
    Ok(())
}

/// Frees blocks of one group.
fn free_in(
    transaction: &Transaction<'_>,
    geometry: Geometry<'_>,
    ino: Ino,
    number: GroupNumber,
    blocks: PblkRange,
) -> Result {
    let sb = transaction.sb();
    let tid = transaction.tid()?;
    let spare = spare()?;
    let group = sb.volume().allocator().lock(number)?;
    let free = || {
        let change = Change::new(transaction, geometry, ino, number)?;
        let mut edit = change.block_bitmap()?;
        let mut bitmap = Bitmap::new(edit.bytes_mut(), geometry.len(number)).ok_or(EINVAL)?;
        let run = geometry.run(number, blocks);
        let at = change.bitmap_at();
        if let Err(WrongBit(bit)) = bitmap.clear(run) {
            let pblk = geometry
                .pblks(
                    number,
                    Run {
                        start: bit,
                        end: bit,
                    },
                )
                .start;
            return Err(metadata::corrupt(
                sb,
                at,
                format_args!("block {} is to be freed, and is free", pblk.0),
            ));
        }
        let around = bitmap.around(run);
        let usage = usage::with_blocks(&change.descriptor().usage(), run.len())
            .ok_or_else(|| transaction::bug(sb, at, "blocks that cannot be freed"))?;
        change.finish(&usage, Some(edit), None)?;
        group
            .freed(&usage, blocks, around, tid.get(), spare)
            .map_err(|_| {
                transaction.abort(EINVAL);
                transaction::bug(sb, at, "blocks that were in use, and held")
            })
    };
    group.unless_bad(free())?.ok_or(errno::efscorrupted())
}

fn len(blocks: PblkRange) -> Blocks {
    Blocks(blocks.end.0.saturating_sub(blocks.start.0))
}
