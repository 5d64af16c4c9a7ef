// SPDX-License-Identifier: GPL-2.0

//! The blocks of a directory, changed: a name more, one less, one of another inode.
//!
//! block in a private copy → changed → written, with all that belongs to it
//!
//! Where there is no room for a name, the directory grows: by a block, or by two if it gets an index,
//! or a node of the index is split, too. What goes wrong before the first block is written leaves the
//! directory as it was.

use super::{
    super::{
        blocks, dir,
        extents::{
            self,
            Steps, //
        },
        htree::{
            self,
            Visited, //
        },
        inode::{
            self,
            pblk_of,
            read_block, //
        },
        memory::with_memory,
        metadata::{
            self,
            At, //
        },
        transaction::{
            self,
            Edit,
            Transaction, //
        },
        Inode, KernelCrc32c, Stablefs,
    },
    lookup::Found,
    whole,
};
use crate::{
    kernel::{
        inode::Locked,
        jbd2::Credits,
        log, //
    },
    ondisk::{
        self,
        dir::{
            DirBlock,
            LeafMut,
            NewEntry,
            Slot, //
        },
        hash::{
            Hash,
            Hasher, //
        },
        htree::{
            index,
            set_parent,
            Growth,
            Layout,
            Path, //
        },
        inode::{
            Flags,
            Type, //
        },
        Blocks,
        Ino,
        Lblk,
        LblkRange,
        Pblk, //
    },
};
use ::kernel::prelude::*;
use core::ops::ControlFlow;

/// Blocks that a directory grows by when it gets a name, at most.
const GROWTH: u8 = 2;

/// What [`add`] changes, and [`finish`] afterwards.
pub(super) fn add_credits(dir: &Inode) -> Credits {
    let cost = Layout::of(dir.sb().volume(), &dir.disk()).cost();
    let steps = Steps::of(dir);
    let undone = steps.next().remove_some(dir, Blocks(GROWTH.into()));
    Credits::blocks(cost.old.saturating_add(cost.new))
        .and(steps.allocate())
        .and(steps.next().allocate())
        .and(undone)
        .and(inode::CREDITS)
}

/// What [`remove`] or [`replace`] changes, and [`finish`] afterwards.
pub(super) const CREDITS: Credits = Credits::blocks(2);

/// A directory whose blocks have changed, and whose inode is to follow before the blocks are looked at.
#[must_use]
pub(super) struct Changed {
    is_indexed: bool,
}

impl Changed {
    /// Has the inode say so.
    ///
    /// # Errors
    ///
    /// Those of [`inode::update`].
    pub(super) fn finish(self, transaction: &Transaction<'_>, dir: Locked<'_, Stablefs>) -> Result {
        let now = dir.inode_set_ctime_current();
        dir.inode_set_mtime(now);
        dir.inode_inc_iversion();
        inode::update(transaction, &dir, |fields| {
            fields.flags = if self.is_indexed {
                fields.flags.with(Flags::INDEX)
            } else {
                fields.flags.without(Flags::INDEX)
            };
        })
    }
}

/// Has the inode say that the blocks of a directory have changed, which it has as many of as before.
///
/// # Errors
///
/// Those of [`inode::update`].
pub(super) fn finish(transaction: &Transaction<'_>, dir: Locked<'_, Stablefs>) -> Result {
    let is_indexed = dir.disk().is_indexed(dir.sb().volume());
    Changed { is_indexed }.finish(transaction, dir)
}

/// Takes a name out of its block, in the copy of it.
///
/// # Errors
///
/// What checking the block says.
pub(super) fn remove(
    dir: Locked<'_, Stablefs>,
    found: &Found,
    edit: &mut Edit<'_>,
    name: &[u8],
) -> Result {
    check(&dir, found.lblk, found.pblk, edit.bytes_mut())?
        .remove::<KernelCrc32c>(name)
        .ok_or_else(|| bug(&dir, "a name that cannot be taken away"))
}

/// Makes a name that of another inode, in the copy of its block.
///
/// # Errors
///
/// What checking the block says.
pub(super) fn replace(
    dir: Locked<'_, Stablefs>,
    found: &Found,
    edit: &mut Edit<'_>,
    entry: &NewEntry<'_>,
) -> Result {
    check(&dir, found.lblk, found.pblk, edit.bytes_mut())?
        .replace::<KernelCrc32c>(entry)
        .ok_or_else(|| bug(&dir, "a name that cannot be given away"))
}

/// Says in a copy of the first block of a directory that is to move that another one is above.
///
/// # Errors
///
/// `EFSCORRUPTED` if it is not `from` now; what checking the block says.
pub(super) fn move_below<'t>(
    transaction: &'t Transaction<'_>,
    dir: &Inode,
    from: Ino,
    to: Ino,
) -> Result<Edit<'t>> {
    let (sb, disk) = (dir.sb(), dir.disk());
    let pblk = pblk_of(dir, Lblk(0))?;
    let at = At::block(dir.ino(), pblk);
    let mut edit = transaction.edit(dir.ino(), pblk)?;
    let above = if disk.is_indexed(sb.volume()) {
        let above = htree::parent(dir)?;
        set_parent::<KernelCrc32c>(sb.volume(), &disk, to, edit.bytes_mut())
            .map_err(|error| metadata::blame(sb, at, error))?;
        Some(above)
    } else {
        let mut leaf = check(dir, Lblk(0), pblk, edit.bytes_mut())?;
        let above = leaf
            .leaf()
            .find(b"..")
            .map_err(|error| metadata::blame(sb, at, error))?
            .map(|entry| entry.ino());
        let entry = NewEntry {
            ino: to,
            file_type: Type::Directory,
            name: b"..",
        };
        leaf.replace::<KernelCrc32c>(&entry)
            .ok_or_else(|| bug(dir, "a directory that cannot be moved"))?;
        above
    };
    if above != Some(from) {
        let (above, from) = (above.map_or(0, Ino::get), from.get());
        return Err(metadata::corrupt(
            sb,
            at,
            format_args!("inode {above} is said to be above, and inode {from} has the name"),
        ));
    }
    Ok(edit)
}

/// Whether a directory has no names but for itself and the one above.
///
/// # Errors
///
/// What reading and checking the directory says.
pub(super) fn is_empty(dir: &Inode) -> Result<bool> {
    let is_empty = |lblk| {
        let block = read_block(dir, lblk)?;
        dir::leaf(dir, lblk, &block)?
            .is_empty()
            .map_err(|error| metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error))
    };
    if !dir.disk().is_indexed(dir.sb().volume()) {
        for lblk in dir::lblks(dir) {
            if !is_empty(lblk)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let least = Hash { major: 0, minor: 0 };
    let found = htree::for_each_leaf(
        dir,
        |_| least,
        |leaf| {
            Ok(if is_empty(leaf.lblk)? {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        },
    )?;
    Ok(found.is_continue())
}

/// Adds a name that the directory does not have.
///
/// # Errors
///
/// `ENOSPC`; what reading and checking the directory says, or the journal. The directory is as it was.
///
/// # Context
///
/// Sleeps. The transaction has [`add_credits`] left.
pub(super) fn add(
    transaction: &Transaction<'_>,
    dir: Locked<'_, Stablefs>,
    entry: &NewEntry<'_>,
) -> Result<Changed> {
    let disk = dir.disk();
    let is_indexed = match Layout::of(dir.sb().volume(), &disk) {
        Layout::Linear => add_linear(transaction, dir, &disk, entry)?,
        Layout::OneBlock(hasher) => add_one_block(transaction, dir, &hasher, entry)?,
        Layout::Indexed => add_indexed(transaction, dir, &disk, entry)?,
    };
    Ok(Changed { is_indexed })
}

fn add_linear(
    transaction: &Transaction<'_>,
    dir: Locked<'_, Stablefs>,
    disk: &ondisk::Inode,
    entry: &NewEntry<'_>,
) -> Result<bool> {
    let volume = dir.sb().volume();
    for lblk in dir::lblks(&dir) {
        let block = read_block(&dir, lblk)?;
        let at = At::block(dir.ino(), block.pblk);
        let has_room = dir::leaf(&dir, lblk, &block)?
            .has_room(entry)
            .map_err(|error| metadata::blame(dir.sb(), at, error))?;
        if has_room {
            let mut edit = transaction.edit(dir.ino(), block.pblk)?;
            check(&dir, lblk, block.pblk, edit.bytes_mut())?
                .insert::<KernelCrc32c>(entry)
                .ok_or_else(|| bug(&dir, "a name that cannot be added"))?;
            edit.write()?;
            return Ok(false);
        }
    }
    let mut grown = Grown::new(transaction, dir, 1)?;
    for new in &mut grown.blocks {
        ondisk::dir::encode::<KernelCrc32c>(volume, disk, new.lblk, &[*entry], &mut new.bytes)
            .ok_or_else(|| bug(&dir, "a name that cannot be encoded"))?;
    }
    whole(transaction, || grown.write())?;
    Ok(false)
}

fn add_one_block(
    transaction: &Transaction<'_>,
    dir: Locked<'_, Stablefs>,
    hasher: &Hasher,
    entry: &NewEntry<'_>,
) -> Result<bool> {
    let pblk = pblk_of(&dir, Lblk(0))?;
    let mut edit = transaction.edit(dir.ino(), pblk)?;
    let mut leaf = check(&dir, Lblk(0), pblk, edit.bytes_mut())?;
    if leaf.insert_packed::<KernelCrc32c>(entry).is_some() {
        edit.write()?;
        return Ok(false);
    }
    let mut slots = slots()?;
    let mut grown = Grown::new(transaction, dir, 2)?;
    let indexed = match grown.blocks.as_mut_slice() {
        [lower, upper] => {
            let leaves = [lower.dir_block(), upper.dir_block()];
            index::<KernelCrc32c>(leaf, hasher, entry, leaves, &mut slots)
        }
        _ => None,
    };
    indexed.ok_or_else(|| bug(&dir, "a directory that cannot be indexed"))?;
    whole(transaction, || {
        grown.write()?;
        edit.write()
    })?;
    Ok(true)
}

fn add_indexed(
    transaction: &Transaction<'_>,
    dir: Locked<'_, Stablefs>,
    disk: &ondisk::Inode,
    entry: &NewEntry<'_>,
) -> Result<bool> {
    let (sb, ino) = (dir.sb(), dir.ino());
    let edit = |lblk| transaction.edit(ino, pblk_of(&dir, lblk)?);
    let Visited { lblk, node, .. } = htree::leaf_of(&dir, entry.name)?;
    let pblk = pblk_of(&dir, lblk)?;
    let mut leaf_edit = transaction.edit(ino, pblk)?;
    let mut leaf = check(&dir, lblk, pblk, leaf_edit.bytes_mut())?;
    if leaf.insert_packed::<KernelCrc32c>(entry).is_some() {
        leaf_edit.write()?;
        return Ok(true);
    }

    let mut slots = slots()?;
    let mut root_edit = edit(Lblk(0))?;
    let mut node_edit = node.map(edit).transpose()?;
    let has_node = node_edit.is_some();
    let node = match (node, &mut node_edit) {
        (Some(lblk), Some(edit)) => {
            let bytes = edit.bytes_mut();
            Some(DirBlock { lblk, bytes })
        }
        _ => None,
    };
    let path =
        Path::check::<KernelCrc32c>(sb.volume(), disk, *entry, root_edit.bytes_mut(), node, leaf)
            .map_err(|error| metadata::blame(sb, At::inode(ino), error))?
            .ok_or_else(|| bug(&dir, "a leaf that is not where it was"))?;
    let growth = path.growth().ok_or_else(|| full(&dir))?;
    let mut grown = Grown::new(transaction, dir, if growth.needs_node() { 2 } else { 1 })?;
    let mut new = grown.blocks.iter_mut().map(New::dir_block);
    let split = match (new.next(), new.next()) {
        (Some(leaf), node) => path.split::<KernelCrc32c>(leaf, node, &mut slots),
        _ => None,
    };
    split.ok_or_else(|| bug(&dir, "a leaf that cannot be split"))?;
    whole(transaction, || {
        grown.write()?;
        leaf_edit.write()?;
        node_edit.map_or(Ok(()), Edit::write)?;
        // The entry for the new leaf has gone to the node, if there was one with room for it.
        if has_node && growth == Growth::Leaf {
            return Ok(());
        }
        root_edit.write()
    })?;
    Ok(true)
}

fn full(dir: &Inode) -> Error {
    let number = dir.ino().get();
    log::warn(
        dir.sb(),
        format_args!(
            "inode {number}: the directory's index is full, and the volume has no large_dir"
        ),
    );
    ENOSPC
}

/// Blocks that a directory has been given, to be filled and [written](Self::write); if that does not
/// happen, they are taken away again.
struct Grown<'t, 'a> {
    transaction: &'t Transaction<'a>,
    dir: Locked<'t, Stablefs>,
    old_size: u64,
    blocks: KVec<New>,
    is_written: bool,
}

struct New {
    lblk: Lblk,
    pblk: Pblk,
    bytes: KVec<u8>,
}

impl New {
    fn dir_block(&mut self) -> DirBlock<'_> {
        DirBlock {
            lblk: self.lblk,
            bytes: &mut self.bytes,
        }
    }
}

impl<'t, 'a> Grown<'t, 'a> {
    fn new(transaction: &'t Transaction<'a>, dir: Locked<'t, Stablefs>, n: usize) -> Result<Self> {
        let block_len = blocks::len(&dir);
        let mut grown = Self {
            transaction,
            dir,
            old_size: dir.i_size_read(),
            blocks: KVec::with_capacity(GROWTH.into(), GFP_KERNEL)?,
            is_written: false,
        };
        for _ in 0..n {
            let len = usize::try_from(block_len).map_err(|_| EINVAL)?;
            let bytes = KVec::from_elem(0, len, GFP_KERNEL)?;
            let (lblk, pblk) = extents::append(transaction, &dir)?;
            dir.i_size_write(dir.i_size_read().saturating_add(block_len));
            grown.blocks.push(New { lblk, pblk, bytes }, GFP_KERNEL)?;
        }
        Ok(grown)
    }

    /// Makes them blocks of metadata.
    fn write(mut self) -> Result {
        self.is_written = true;
        self.blocks
            .iter()
            .try_for_each(|new| self.transaction.create(new.pblk, &new.bytes))
    }

    fn undo(&self) -> Result {
        let lblks = LblkRange::all_from(blocks::at(&self.dir, self.old_size)?);
        self.dir.i_size_write(self.old_size);
        while with_memory(|| extents::remove(self.transaction, &self.dir, lblks))? {}
        Ok(())
    }
}

impl Drop for Grown<'_, '_> {
    fn drop(&mut self) {
        if !self.is_written && self.dir.i_size_read() != self.old_size {
            // What it says went into the log; the journal is given up.
            let _ = whole(self.transaction, || self.undo());
        }
    }
}

/// Room to sort the names of a block.
fn slots() -> Result<KVec<Slot>> {
    Ok(KVec::from_elem(Slot::default(), Slot::MAX, GFP_KERNEL)?)
}

fn check<'b>(dir: &Inode, lblk: Lblk, pblk: Pblk, bytes: &'b mut [u8]) -> Result<LeafMut<'b>> {
    LeafMut::check::<KernelCrc32c>(dir.sb().volume(), &dir.disk(), lblk, bytes)
        .map_err(|error| metadata::blame(dir.sb(), At::block(dir.ino(), pblk), error))
}

fn bug(dir: &Inode, what: &str) -> Error {
    transaction::bug(dir.sb(), At::inode(dir.ino()), what)
}
