// SPDX-License-Identifier: GPL-2.0

//! What a file has behind a place moves: to the left over what goes, or to the right, and there is a hole.
//!
//! collapse: extents removed → those behind moved, a leaf at a time, the first one first → size
//!
//! insert: the extent there split → size → extents moved, a leaf at a time, the last one first
//!
//! All of it is one transaction, and a crash shows the file before or after, if there is room for the nodes that change in
//! half of the longest transaction that the journal has. If not, some is done in each: a crash, or an error, then leaves
//! a file in good order, with a hole somewhere behind; neither what it was nor what was wanted. (ext4 and XFS leave
//! such files, too.)
//!
//! The device is waited for before: all nodes have been read, and found to be in order.

use super::{
    dax,
    remove,
    Nodes,
    Steps, //
};
use crate::{
    extent_tree::{
        self,
        Tree, //
    },
    fs::{
        balloc,
        inode,
        map::{
            self,
            Behind,
            Changing,
            Mapping, //
        },
        memory::with_memory,
        promise,
        transaction::{
            with_room,
            Transaction, //
        },
        Inode,
        Stablefs, //
    },
    kernel::{
        jbd2::Credits,
        locks::InodeExclusive, //
    },
    ondisk::{
        Blocks,
        Lblk,
        LblkRange,
        PblkRange, //
    },
};
use ::kernel::prelude::*;
use core::cell::Cell;

/// Takes away what a file has in `lblks`, has what is behind follow what is before, and has the disk say that the
/// file ends at `size`.
///
/// # Errors
///
/// `ENOSPC`; what reading the tree says, or the journal.
///
/// # Context
///
/// Sleeps. No handle is started. The page cache has nothing of the blocks from `lblks` on, nor can it; nobody maps them.
pub(in crate::fs) fn collapse(
    lock: &InodeExclusive<'_, Stablefs>,
    lblks: LblkRange,
    size: u64,
) -> Result {
    let inode = lock.inode();
    let sb = inode.sb();
    forget_claims(inode, lblks.end)?;
    let Behind { nodes, extents, .. } = map::read_behind(inode, lblks)?;
    let mut rest = Some(lblks);
    while let Some(hole) = rest {
        rest = with_room(sb, || {
            let steps = Steps::of(inode);
            let (one, more) = (steps.remove(inode), steps.remove(inode).times(extents));
            let transaction = start(inode, one, more.and(Credits::blocks(nodes)))?;
            finish(transaction, |transaction, is_changed| {
                // It is where it was, so nothing has been moved there.
                if hole == lblks && !remove_some(transaction, is_changed, inode, lblks)? {
                    return Ok(rest);
                }
                let shifting = Shifting::new(transaction, is_changed, inode, lblks.start)?;
                let rest = shifting.some(hole, |tree, hole| tree.shift_left(hole))?;
                if rest.is_none() {
                    shifting.step(|tree| tree.join(lblks.start))?;
                    shifting.set_size(size)?;
                }
                Ok(rest)
            })
        })?;
    }
    Ok(())
}

/// Has a file be a hole in `lblks`, has what was there, and behind, follow, and has the file end at `size`.
///
/// # Errors
///
/// `EINVAL` if a file cannot have blocks where it would have some then; `ENOSPC`; what reading the tree says, or the
/// journal.
///
/// # Context
///
/// As [`collapse`].
pub(in crate::fs) fn insert(
    lock: &InodeExclusive<'_, Stablefs>,
    lblks: LblkRange,
    size: u64,
) -> Result {
    let inode = lock.inode();
    let sb = inode.sb();
    forget_claims(inode, lblks.start)?;
    let Behind { nodes, end, .. } = map::read_behind(inode, lblks)?;
    end.checked_add(lblks.len()).ok_or(EINVAL)?;
    let allocator = sb.volume().allocator();
    let all = LblkRange::all_from(lblks.start);
    let mut rest = Some(all);
    while let Some(now) = rest {
        // Each time, as it may split.
        promise::with_room(inode, promise::PAUSES, || allocator.check_nodes(Blocks(1)))?;
        rest = with_room(sb, || {
            let transaction = start(inode, Steps::of(inode).convert(), Credits::blocks(nodes))?;
            finish(transaction, |transaction, is_changed| {
                let shifting = Shifting::new(transaction, is_changed, inode, lblks.start)?;
                // Who writes what is before may have joined it since it was split.
                shifting.step(|tree| tree.split(lblks.start))?;
                let rest = shifting.some(now, |tree, now| tree.shift_right(now, lblks.len()))?;
                if now == all {
                    shifting.set_size(size)?;
                    // No sooner, as memory does not come back with the journal.
                    lock.i_size_write(size)?;
                }
                Ok(rest)
            })
        })?;
    }
    Ok(())
}

/// Starts a transaction with credits for `one` step and one that moves extents, and for as much `more` as is wanted,
/// up to half of what there can be: others want to have room, too.
fn start<'a>(inode: &'a Inode, one: Credits, more: Credits) -> Result<Transaction<'a>> {
    let sb = inode.sb();
    let most = sb.journal().ok_or(EROFS)?.most_credits() / 2;
    let least = one.and(Steps::of(inode).shift());
    let wanted = least.and(more);
    let credits = Credits {
        blocks: wanted.blocks.min(most).max(least.blocks),
        // Far less than a block each.
        revokes: wanted.revokes.min(most).max(least.revokes),
    };
    with_memory(|| Transaction::start(sb, credits))
}

/// Does all of `change`, which notes when it has changed something, and stops the transaction. If it fails after that,
/// gives the journal up: what it has done so far is not to be committed.
fn finish<T>(
    transaction: Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>, &Cell<bool>) -> Result<T>,
) -> Result<T> {
    let is_changed = Cell::new(false);
    let done = change(&transaction, &is_changed).inspect_err(|error| {
        if is_changed.get() {
            transaction.abort(*error);
        }
    })?;
    transaction.stop()?;
    Ok(done)
}

/// Removes what there is in `lblks`, and says whether that is all; if not, there is no room for more.
fn remove_some(
    transaction: &Transaction<'_>,
    is_changed: &Cell<bool>,
    inode: &Inode,
    lblks: LblkRange,
) -> Result<bool> {
    let steps = Steps::of(inode);
    let one = steps.remove(inode).and(steps.shift());
    while transaction.credits_left().cover(one) {
        if !with_memory(|| remove(transaction, inode, lblks))? {
            return Ok(true);
        }
        is_changed.set(true);
    }
    Ok(false)
}

/// Has the blocks from `from` on be mapped from nowhere: they are about to be elsewhere in the file.
fn forget_claims(inode: &Inode, from: Lblk) -> Result {
    let mut lblk = from;
    while inode.has_claims() && lblk < Lblk::END {
        let mapping = map::lookup(inode, lblk)?.mapping;
        if let Mapping::Extent(extent) = &mapping {
            let start = extent.pblk(lblk).ok_or(EINVAL)?;
            let n = extent.lblks().end.checked_sub(lblk).ok_or(EINVAL)?;
            let end = start.checked_add(n).ok_or(EINVAL)?;
            dax::forget(inode, PblkRange { start, end });
        }
        lblk = mapping.lblks().end;
    }
    Ok(())
}

/// A transaction that moves extents. Nobody else reads or changes the tree meanwhile.
struct Shifting<'t, 'a> {
    transaction: &'t Transaction<'a>,
    /// Whether it has changed something.
    is_changed: &'t Cell<bool>,
    inode: &'t Inode,
    /// What a step may change, with one after the last.
    one: Credits,
    _changing: Changing<'t>,
}

impl<'t, 'a> Shifting<'t, 'a> {
    /// One that moves what is behind `from`.
    fn new(
        transaction: &'t Transaction<'a>,
        is_changed: &'t Cell<bool>,
        inode: &'t Inode,
        from: Lblk,
    ) -> Result<Self> {
        let changing = with_memory(|| map::change(inode))?;
        let reserved = changing.forget(from)?;
        inode.uncount_reserved(reserved);
        balloc::cancel(inode.sb(), reserved);
        Ok(Self {
            transaction,
            is_changed,
            inode,
            one: Steps::of(inode).shift(),
            _changing: changing,
        })
    }

    /// Does a step. One that fails for want of memory has changed nothing, and is tried again.
    fn step<T>(
        &self,
        step: impl Fn(&mut Tree<'_, Nodes<'t, 'a>>) -> extent_tree::Result<T, Nodes<'t, 'a>>,
    ) -> Result<T> {
        with_memory(|| {
            let mut nodes = Nodes::new(self.transaction, self.inode)?;
            let done = nodes.step(&step)?;
            if nodes.is_changed {
                self.is_changed.set(true);
            }
            nodes.finish()?;
            Ok(done)
        })
    }

    /// Has the disk say that the file ends at `size`, and that it has changed: who has asked for that since the page cache
    /// lost what was there may have read it before.
    fn set_size(&self, size: u64) -> Result {
        self.inode.inode_set_ctime_current();
        self.inode.inode_inc_iversion();
        with_memory(|| inode::update(self.transaction, self.inode, |fields| fields.size = size))?;
        self.is_changed.set(true);
        Ok(())
    }

    /// Does steps until nothing is left, or there may be no room for another one and for what is behind the last, and returns
    /// what is left.
    fn some(
        &self,
        rest: LblkRange,
        step: impl Fn(
            &mut Tree<'_, Nodes<'t, 'a>>,
            LblkRange,
        ) -> extent_tree::Result<Option<LblkRange>, Nodes<'t, 'a>>,
    ) -> Result<Option<LblkRange>> {
        let mut rest = Some(rest);
        let mut is_first = true;
        while let Some(now) = rest {
            if !is_first && !self.transaction.credits_left().cover(self.one) {
                break;
            }
            rest = self.step(|tree| step(tree, now))?;
            is_first = false;
        }
        Ok(rest)
    }
}
