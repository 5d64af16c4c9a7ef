// SPDX-License-Identifier: GPL-2.0

//! Blocks are taken, and freed: bitmaps and descriptors on the disk, and what is known of them in
//! memory, together.
//!
//! free → reserved, for data that are to be written → taken, in a transaction → freed, in another
//! one → that is committed: free
//!
//! Which blocks, [`allocation`](crate::allocation) says. While a file is open to be written, and grows, it
//! has a window of free blocks before it. A group that turns out to be broken is
//! reported, and nothing is taken from it any more.

use super::{
    blocks,
    groups::{
        spare,
        Allocator,
        Change,
        Group,
        Spare, //
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
        ahead,
        huge::Cut,
        usage,
        Bitmap,
        Geometry,
        Goal,
        Request,
        Run,
        Search,
        Who,
        Window,
        WrongBit, //
    },
    kernel::{
        capability, current, errno,
        jbd2::{
            Credits,
            Tid, //
        },
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
    // OVERFLOW: groups of the volume.
    let descriptors_len = groups
        .saturating_sub(1)
        .saturating_mul(volume.desc_size().into());
    let descriptors = descriptors_len
        .div_ceil(volume.block_size().bytes().get().into())
        .saturating_add(1);
    Credits::blocks(u32::try_from(groups.saturating_add(descriptors)).unwrap_or(u32::MAX))
}

/// On whose behalf this task takes blocks.
pub(super) fn who(sb: &SuperBlock) -> Who {
    let settings = sb.volume().settings();
    let gid = settings.reserved_gid();
    if current::fsuid_is(settings.reserved_uid().into())
        || (gid != 0 && current::is_in_group(gid.into()))
        || capability::has_sys_resource()
    {
        Who::Root
    } else {
        Who::User
    }
}

/// Has blocks that were freed be free, by way of a commit, for one who has met `ENOSPC`. Whether trying
/// again may help.
///
/// # Context
///
/// Sleeps. No handle is started.
pub(super) fn make_room(sb: &SuperBlock) -> bool {
    let allocator = sb.volume().allocator();
    let is_some_freed = allocator.freed() > Blocks(0);
    let Some(journal) = sb.journal().filter(|_| is_some_freed) else {
        return false;
    };
    if journal.sync(true).is_err() {
        return false;
    }
    // The thread that commits may not have come to it.
    allocator.commit(journal.commit_sequence().get());
    true
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
/// Sleeps. The transaction has [`NEW`] left. Nobody else takes blocks for the file.
pub(super) fn new_blocks(
    transaction: &Transaction<'_>,
    inode: &Inode,
    want: &Want,
) -> Result<PblkRange> {
    let volume = transaction.sb().volume();
    let geometry = Geometry::new(volume).ok_or(EROFS)?;
    let allocator = volume.allocator();
    let is_growing = is_growing(inode, want);
    let cut = cut(geometry, inode, want, is_growing);
    let n = reserve_some(allocator, cut.n, want.who).inspect_err(|_| volume.count_shortage())?;
    let taking = Taking {
        transaction,
        geometry,
        ino: inode.ino(),
        huge: inode.is_dax(),
        cut: Cut { n, ..cut },
    };
    let taken = if is_growing {
        let mut window = inode.take_window();
        let taken = taking.grow(want, &mut window);
        inode.set_window(window);
        taken
    } else {
        taking.search(want, None)
    };
    let rest = match &taken {
        Ok(blocks) => Blocks(n.0.saturating_sub(len(*blocks).0)),
        Err(_) => n,
    };
    if want.who != Who::Holder {
        allocator.cancel(rest);
    }
    taken
}

/// How many of the wanted blocks to take, and how many more the file is to have before it, if it is growing.
fn cut(geometry: Geometry<'_>, inode: &Inode, want: &Want, is_growing: bool) -> Cut {
    let (n, huge) = (want.wanted, inode.is_dax());
    let mut len = u64::from(want.lblk.0);
    if huge && n >= Blocks(geometry.huge().get().into()) {
        // A fault takes no more of a window than all of a huge page.
        len = len.saturating_add(n.0);
    }
    let ahead = match is_growing {
        true => ahead(geometry.volume().block_size(), Blocks(len)),
        false => Blocks(0),
    };
    if huge {
        return Cut::new(geometry, want.goal, want.lblk, n, ahead);
    }
    Cut {
        n,
        ahead,
        in_window: true,
    }
}

/// As many of `n` blocks as can be reserved, or about so many.
fn reserve_some(allocator: &Allocator, mut n: Blocks, who: Who) -> Result<Blocks> {
    while n > Blocks(0) {
        if allocator.reserve(n, who).is_ok() {
            return Ok(n);
        }
        n = Blocks(n.0 / 2);
    }
    Err(ENOSPC)
}

/// Whether the blocks are for the end of a file to which more may be written.
fn is_growing(inode: &Inode, want: &Want) -> bool {
    let end = u64::from(want.lblk.0).saturating_add(want.wanted.0);
    want.who != Who::Essential
        && inode.is_regular()
        && inode.is_open_for_write()
        && end >= inode.i_size_read().div_ceil(blocks::len(inode))
}

/// Keeps blocks free no longer for a file to grow into, as nobody writes to it any more.
///
/// # Context
///
/// Takes spinlocks only.
pub(super) fn close_window(inode: &Inode) {
    let window = inode.take_window();
    close(inode.sb(), inode.ino(), window);
}

fn close(sb: &SuperBlock, ino: Ino, mut window: Window) {
    let place = Geometry::new(sb.volume()).zip(window.pblk());
    if let Some(place) = place.and_then(|(geometry, pblk)| geometry.place(pblk)) {
        let allocator = sb.volume().allocator();
        allocator.close_window(place.group, &mut window, ino);
    }
}

/// Blocks that are being taken for a file.
struct Taking<'a> {
    transaction: &'a Transaction<'a>,
    geometry: Geometry<'a>,
    ino: Ino,
    /// Whether huge pages are to map them.
    huge: bool,
    /// How many, at most; so many are reserved.
    cut: Cut,
}

impl Taking<'_> {
    fn allocator(&self) -> &Allocator {
        self.transaction.sb().volume().allocator()
    }

    /// Takes blocks of the window of the file, or searches for others, and a window behind them.
    fn grow(&self, want: &Want, window: &mut Window) -> Result<PblkRange> {
        if let Some(blocks) = self.of_window(want, window)? {
            return Ok(blocks);
        }
        close(self.transaction.sb(), self.ino, core::mem::take(window));
        self.search(want, Some(window))
    }

    fn of_window(&self, want: &Want, window: &mut Window) -> Result<Option<PblkRange>> {
        let place = window.pblk().and_then(|pblk| self.geometry.place(pblk));
        let goal = want.goal.filter(|_| self.cut.in_window);
        let (Some(goal), Some(place)) = (goal, place) else {
            return Ok(None);
        };
        let spare = spare()?;
        let group = self.allocator().lock(place.group)?;
        let Some(blocks) = group.claim(window, self.ino, goal, self.cut.n, spare) else {
            return Ok(None);
        };
        let taken = self.take(place.group, &group, |_| Some(blocks));
        group.unclaim(blocks);
        taken
    }

    /// Searches for blocks; where they are for a file that grows, for more than are wanted, of which the
    /// rest becomes its window.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if groups have turned out to be broken: there are as many blocks as are reserved.
    fn search(&self, want: &Want, mut window: Option<&mut Window>) -> Result<PblkRange> {
        loop {
            let returns = self.allocator().returns();
            if let Some(blocks) = self.search_once(want, window.as_deref_mut())? {
                return Ok(blocks);
            }
            if self.allocator().returns() == returns {
                self.transaction.sb().volume().count_shortage();
                return Err(ENOSPC);
            }
        }
    }

    /// Looks once into each group that may have what is wanted.
    fn search_once(
        &self,
        want: &Want,
        mut window: Option<&mut Window>,
    ) -> Result<Option<PblkRange>> {
        let request = Request {
            goal: self.goal(want),
            lblk: want.lblk,
            // OVERFLOW: blocks of a file, and a few more.
            n: Blocks(self.cut.n.0.saturating_add(self.cut.ahead.0)),
            huge: self.huge,
        };
        let allocator = self.allocator();
        let mut search = Search::new(self.geometry, &request);
        while let Some(probe) = search.next(|group| allocator.summary(group)) {
            let spare = spare()?;
            let group = allocator.lock(probe.group())?;
            let mut rest = None;
            let taken = self.take(probe.group(), &group, |bitmap| {
                let found = group.look(self.geometry, &probe, bitmap)?;
                let cut = found.start.checked_add(self.cut.n)?.min(found.end);
                rest = Some(PblkRange {
                    start: cut,
                    end: found.end,
                });
                Some(PblkRange { end: cut, ..found })
            });
            let Some(blocks) = taken? else {
                continue;
            };
            let rest = rest.filter(|rest| len(*rest) > Blocks(0));
            if let Some((window, rest)) = window.take().zip(rest) {
                group.open(window, self.ino, rest, spare);
            }
            return Ok(Some(blocks));
        }
        Ok(None)
    }

    /// Where the blocks should be: where the file goes on, else near its inode.
    fn goal(&self, want: &Want) -> Goal {
        match want.goal {
            Some(pblk) => Goal::At(pblk),
            None => {
                let volume = self.geometry.volume();
                Goal::Near(volume.group_blocks(volume.group_of(self.ino)).start)
            }
        }
    }

    /// Takes the blocks that `find` finds in the bitmap of a group, if it finds any, and the group is not
    /// broken.
    fn take(
        &self,
        number: GroupNumber,
        group: &Group<'_>,
        find: impl FnOnce(&Bitmap<&mut [u8]>) -> Option<PblkRange>,
    ) -> Result<Option<PblkRange>> {
        let (transaction, geometry) = (self.transaction, self.geometry);
        let sb = transaction.sb();
        let take = || {
            let change = Change::new(transaction, geometry, self.ino, number)?;
            let mut edit = change.block_bitmap()?;
            let mut bitmap = Bitmap::new(edit.bytes_mut(), geometry.len(number)).ok_or(EINVAL)?;
            let Some(blocks) = find(&bitmap) else {
                return Ok(None);
            };
            let at = change.bitmap_at();
            if let Some(pblk) = sb.volume().zones().first_foreign(self.ino, blocks) {
                return Err(metadata::corrupt(
                    sb,
                    at,
                    format_args!("block {} is free, and holds metadata of the volume", pblk.0),
                ));
            }
            let run = geometry.run(number, blocks);
            let usage = usage::without_blocks(&change.descriptor().usage(), run.len())
                .ok_or_else(|| change.misfit(at, format_args!("fewer blocks are free")))?;
            bitmap
                .set(run)
                .map_err(|_| transaction::bug(sb, at, "blocks that cannot be taken"))?;
            change.finish(&usage, Some(edit), None)?;
            group.update(&usage);
            Ok(Some(blocks))
        };
        let Some(blocks) = group.unless_bad(take())?.flatten() else {
            return Ok(None);
        };
        if self.allocator().take(len(blocks)).is_none() {
            transaction.abort(EINVAL);
            return Err(EINVAL);
        }
        Ok(Some(blocks))
    }
}

/// Undoes [`new_blocks`] in the transaction that has taken the blocks, all that it gave; `who` is for
/// whom. They have not been used.
///
/// # Errors
///
/// Those of [`free_blocks`].
///
/// # Context
///
/// As [`new_blocks`], but the transaction needs nothing more.
pub(super) fn give_back(
    transaction: &Transaction<'_>,
    ino: Ino,
    blocks: PblkRange,
    who: Who,
) -> Result {
    free_in(transaction, ino, blocks, Freeing::Undo(who))
}

/// Frees blocks that are a file's. They can be had again when the transaction is committed.
///
/// What is wrong with them is reported: that they are free, or hold structures of the format, or that their group
/// is broken. Then they stay as they are, and are left to `e2fsck`: the file is rid of them all the same.
///
/// # Errors
///
/// What asking the journal says. Some of the blocks may have been freed.
///
/// # Context
///
/// Sleeps. The transaction has [`free_credits`] left.
pub(super) fn free_blocks(transaction: &Transaction<'_>, ino: Ino, blocks: PblkRange) -> Result {
    let sb = transaction.sb();
    let geometry = Geometry::new(sb.volume()).ok_or(EROFS)?;
    if sb.check_blocks(ino, blocks).is_err() {
        return Ok(());
    }
    let mut start = blocks.start;
    while start < blocks.end {
        let group = geometry.place(start).ok_or(EINVAL)?.group;
        let end = geometry.volume().group_blocks(group).end.min(blocks.end);
        let freeing = Freeing::Freed {
            tid: transaction.tid()?,
            spare: spare()?,
        };
        free_in(transaction, ino, PblkRange { start, end }, freeing)?;
        start = end;
    }
    Ok(())
}

/// Why blocks are freed.
enum Freeing {
    /// They were a file's until this transaction.
    Freed { tid: Tid, spare: Spare },
    /// They were taken in this transaction.
    Undo(Who),
}

/// Frees blocks of one group.
fn free_in(transaction: &Transaction<'_>, ino: Ino, blocks: PblkRange, freeing: Freeing) -> Result {
    let sb = transaction.sb();
    let geometry = Geometry::new(sb.volume()).ok_or(EROFS)?;
    let number = geometry.place(blocks.start).ok_or(EINVAL)?.group;
    let group = sb.volume().allocator().lock(number)?;
    // What is undone is reserved again.
    let may_leak = matches!(freeing, Freeing::Freed { .. });
    let free = || {
        let change = Change::new(transaction, geometry, ino, number)?;
        let mut edit = change.block_bitmap()?;
        let mut bitmap = Bitmap::new(edit.bytes_mut(), geometry.len(number)).ok_or(EINVAL)?;
        let run = geometry.run(number, blocks);
        let at = change.bitmap_at();
        if let Err(WrongBit(bit)) = bitmap.clear(run) {
            let wrong = Run {
                start: bit,
                end: bit,
            };
            return Err(metadata::corrupt(
                sb,
                at,
                format_args!(
                    "block {} is to be freed, and is free",
                    geometry.pblks(number, wrong).start.0
                ),
            ));
        }
        let around = bitmap.around(run);
        let usage = usage::with_blocks(&change.descriptor().usage(), run.len())
            .ok_or_else(|| change.misfit(at, format_args!("fewer blocks are in use")))?;
        change.finish(&usage, Some(edit), None)?;
        let noted = match freeing {
            Freeing::Freed { tid, spare } => group.freed(&usage, blocks, around, tid.get(), spare),
            Freeing::Undo(who) => {
                group.given_back(&usage, blocks, around, who);
                Ok(())
            }
        };
        noted.map_err(|_| {
            transaction.abort(EINVAL);
            transaction::bug(sb, at, "blocks that were in use, and held")
        })
    };
    match group.unless_bad(free())? {
        None if !may_leak => Err(errno::efscorrupted()),
        _ => Ok(()),
    }
}

fn len(blocks: PblkRange) -> Blocks {
    Blocks(blocks.end.0.saturating_sub(blocks.start.0))
}
