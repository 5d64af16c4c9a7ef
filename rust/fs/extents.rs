// SPDX-License-Identifier: GPL-2.0

//! Blocks become a file's, and are given back: in the tree on the disk, the volume's bitmaps, the
//! inode's count, and the map in memory, all together.
//!
//! range of the file: hole → allocated, unwritten → written → hole
//!
//! One step of any of this is one extent, in the transaction that the caller has started with
//! the credits of [`Steps`] for it. `loading` of the file's map is held from before the tree is read until the map
//! tells what the tree does.

pub(super) mod place;
pub(super) mod shift;

use super::{
    balloc::{
        self,
        Want, //
    },
    blocks,
    dax,
    inode,
    map::{
        self,
        Changing,
        Mapping, //
    },
    memory::with_memory,
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    promise::Owed,
    symlink,
    transaction::{
        self,
        Edit,
        Transaction, //
    },
    Inode,
    KernelCrc32c, //
};
use crate::{
    allocation::Who,
    extent_tree::{
        self,
        Cost,
        Tree, //
    },
    kernel::{
        errno,
        gfp::GFP_NOFAIL,
        jbd2::Credits, //
    },
    ondisk::{
        extent::{
            Extent,
            State,
            MAX_DEPTH,
            ROOT_LEN, //
        },
        inode::Content,
        Blocks,
        Lblk,
        LblkRange,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::prelude::*;

/// What steps of a file's tree may change, as deep as the tree can be by then.
pub(super) struct Steps {
    depth: u16,
}

impl Steps {
    /// Those of a file. Until the transaction has started, the tree may grow by a level.
    pub(super) fn of(inode: &Inode) -> Self {
        let depth = inode
            .disk()
            .extents(inode.sb().volume())
            .map_or(0, |root| root.depth());
        Self {
            depth: depth.saturating_add(1).min(MAX_DEPTH),
        }
    }

    /// Those of a file without blocks.
    pub(super) const NEW: Self = Self { depth: 0 };

    /// Those of the same file once one more of them has been done.
    pub(super) fn next(&self) -> Self {
        Self {
            depth: self.depth.saturating_add(1).min(MAX_DEPTH),
        }
    }

    /// [`allocate`], or [`append`] without the block itself.
    pub(super) fn allocate(&self) -> Credits {
        balloc::NEW.and(self.nodes(Cost::change(self.depth)))
    }

    /// [`convert`].
    pub(super) fn convert(&self) -> Credits {
        self.nodes(Cost::change(self.depth))
    }

    /// [`remove`].
    pub(super) fn remove(&self, inode: &Inode) -> Credits {
        self.remove_some(inode, most_removed(inode))
    }

    /// [`remove`], of no more than `n` blocks.
    pub(super) fn remove_some(&self, inode: &Inode, n: Blocks) -> Credits {
        let revokes = if holds_metadata(inode) {
            u32::try_from(n.0).unwrap_or(u32::MAX)
        } else {
            0
        };
        let revokes = Credits { blocks: 0, revokes };
        balloc::free_credits(inode.sb(), n)
            .and(revokes)
            .and(self.nodes(Cost::remove(self.depth)))
    }

    /// A step of [`shift`].
    fn shift(&self) -> Credits {
        self.nodes(Cost::shift(self.depth))
            .and(self.nodes(Cost::change(self.depth)))
    }

    fn nodes(&self, cost: Cost) -> Credits {
        let one = Credits::blocks(1);
        let revoke = Credits {
            blocks: 0,
            revokes: 1,
        };
        inode::CREDITS
            .and(one.times(cost.changed.into()))
            .and(one.and(balloc::NEW).times(cost.created.into()))
            .and(balloc::NEW.and(revoke).times(cost.freed.into()))
    }
}

/// Takes blocks for a part of a hole, or of what has been reserved, that begins where `lblks` does;
/// perhaps fewer than were asked for. Returns what the file has there then; `None` if others have been
/// faster, so that it is worth another look.
///
/// For [`Who::Holder`], what is reserved in the file is meant, and only that is taken. Of anyone else,
/// what was reserved in the part is given back.
///
/// # Errors
///
/// `ENOSPC`; what reading the tree says, or the journal. The file has what it had.
///
/// # Context
///
/// Sleeps. The transaction has [`Steps::allocate`] left.
pub(super) fn allocate(
    transaction: &Transaction<'_>,
    inode: &Inode,
    lblks: LblkRange,
    state: State,
    who: Who,
) -> Result<Option<Extent>> {
    let changing = map::change(inode)?;
    let wanted = available(&changing, lblks, who)?.len();
    if wanted == Blocks(0) {
        return Ok(None);
    }
    let want = Want {
        goal: goal(inode, lblks.start),
        lblk: lblks.start,
        wanted: wanted.min(state.max_len()),
        who,
    };
    // Who holds them has dirtied them.
    let owed = (who == Who::Holder).then(|| Owed::new(inode, want.wanted));
    let blocks = balloc::new_blocks(transaction, inode, &want)?;
    let give_back = |error| {
        if balloc::give_back(transaction, inode.ino(), blocks, who).is_err() {
            transaction.abort(error);
        }
        error
    };
    let extent = extent_at(inode, lblks.start, blocks, state).map_err(give_back)?;
    let mut nodes = Nodes::new(transaction, inode).map_err(give_back)?;
    nodes.step(|tree| tree.insert(extent)).map_err(give_back)?;
    nodes.count.taken(extent.len());
    nodes.finish()?;
    let reserved = set(transaction, changing, Mapping::Extent(extent.into()))?;
    inode.uncount_reserved(reserved);
    owed.unwrap_or_else(|| Owed::new(inode, reserved))
        .keep(reserved);
    if who != Who::Holder {
        balloc::cancel(inode.sb(), reserved);
    }
    Ok(Some(extent))
}

/// The part of `lblks`, from its beginning on, for which blocks can be taken.
fn available(changing: &Changing<'_>, lblks: LblkRange, who: Who) -> Result<LblkRange> {
    let mut end = lblks.start;
    while end < lblks.end {
        match changing.lookup(end)?.mapping {
            Mapping::Hole(part) if who != Who::Holder => end = part.end.min(lblks.end),
            Mapping::Reserved(part) => end = part.end.min(lblks.end),
            Mapping::Hole(_) | Mapping::Extent(_) => break,
        }
    }
    Ok(LblkRange { end, ..lblks })
}

/// Gives the file a written block of metadata behind all that it has, which the caller fills in the same
/// transaction, and whose size the caller changes.
///
/// # Errors
///
/// Those of [`allocate`]; `EFBIG`.
///
/// # Context
///
/// As [`allocate`]. `i_rwsem` is held exclusively.
pub(super) fn append(transaction: &Transaction<'_>, inode: &Inode) -> Result<(Lblk, Pblk)> {
    let start = blocks::behind(inode, inode.i_size_read())?;
    let end = start.checked_add(Blocks(1)).ok_or(EFBIG)?;
    let lblks = LblkRange { start, end };
    let extent = allocate(
        transaction,
        inode,
        lblks,
        State::Written,
        balloc::who(inode.sb()),
    )?;
    let extent = extent.ok_or_else(|| {
        let at = At::inode(inode.ino());
        metadata::corrupt(inode.sb(), at, format_args!("has blocks behind its end"))
    })?;
    Ok((start, extent.start()))
}

/// Has some of what the file has in `lblks` be of that state, and returns the block before which all is.
///
/// # Errors
///
/// `ENOSPC`; what reading the tree says, or the journal. The file has what it had.
///
/// # Context
///
/// Sleeps. The transaction has [`Steps::convert`] left.
pub(super) fn convert(
    transaction: &Transaction<'_>,
    inode: &Inode,
    lblks: LblkRange,
    state: State,
) -> Result<Lblk> {
    let changing = map::change(inode)?;
    let mut nodes = Nodes::new(transaction, inode)?;
    let converted = nodes.step(|tree| tree.convert(lblks, state))?;
    nodes.finish()?;
    if let Some(extent) = converted.extent {
        set(transaction, changing, Mapping::Extent(extent.into()))?;
    }
    Ok(converted.next)
}

/// Takes away the last extent that the file has in `lblks`, or what of it is there, and frees its blocks;
/// of a long one perhaps only the end. Returns whether there was one: then there may be more.
///
/// # Errors
///
/// What reading the tree says, or the journal. The file has what it had.
///
/// # Context
///
/// Sleeps. The transaction has [`Steps::remove`] left.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    inode: &Inode,
    lblks: LblkRange,
) -> Result<bool> {
    if !matches!(inode.disk().content(), Content::Extents(_)) {
        return Ok(false);
    }
    let changing = map::change(inode)?;
    let mut nodes = Nodes::new(transaction, inode)?;
    let Some(extent) = nodes.step(|tree| tree.remove(lblks, most_removed(inode)))? else {
        return Ok(false);
    };
    nodes.count.freed(extent.len());
    dax::forget(inode, extent.pblks());
    free(transaction, inode, extent.pblks())
        .and_then(|()| nodes.finish())
        .inspect_err(|error| transaction.abort(*error))?;
    set(transaction, changing, Mapping::Hole(extent.lblks()))?;
    Ok(true)
}

/// Has the map say what the tree does.
fn set(transaction: &Transaction<'_>, changing: Changing<'_>, new: Mapping) -> Result<Blocks> {
    changing
        .set(new)
        .inspect_err(|error| transaction.abort(*error))
}

/// Takes away all that the file has in `lblks`, in as many transactions as that takes. What it has in the
/// page cache may be gone already, so this waits for memory.
///
/// # Errors
///
/// Those of [`remove`]; some is gone then, perhaps.
///
/// # Context
///
/// Sleeps. No handle is started. Of a crash on the way, what is left is left: if it has to go all the
/// same, the inode is noted as an orphan.
pub(super) fn remove_all(inode: &Inode, lblks: LblkRange) -> Result {
    let step = || {
        with_memory(|| {
            let transaction = Transaction::start(inode.sb(), Steps::of(inode).remove(inode))?;
            let more = remove(&transaction, inode, lblks)?;
            transaction.stop().and(Ok(more))
        })
    };
    let mut more = !lblks.is_empty();
    while more {
        more = match step() {
            // An extent was to be split; what has been freed before may be had then.
            Err(error) if error == ENOSPC && balloc::make_room(inode.sb()) => step()?,
            done => done?,
        };
    }
    Ok(())
}

#[inline(never)]
fn free(transaction: &Transaction<'_>, inode: &Inode, blocks: PblkRange) -> Result {
    if holds_metadata(inode) {
        // Nobody may have looked at them before. Others' would be forgotten with what they hold.
        if inode.sb().check_blocks(inode.ino(), blocks).is_err() {
            return Ok(());
        }
        for pblk in blocks.start.0..blocks.end.0 {
            transaction.revoke(Pblk(pblk))?;
        }
    }
    balloc::free_blocks(transaction, inode.ino(), blocks)
}

/// Blocks that [`remove`] takes away at most. Each one of metadata is revoked, and so many revocations as
/// there can be blocks in an extent have no room in a small journal.
fn most_removed(inode: &Inode) -> Blocks {
    const REVOKED: Blocks = Blocks(256);

    let longest = State::Written.max_len();
    if holds_metadata(inode) {
        longest.min(REVOKED)
    } else {
        longest
    }
}

/// Whether what the file holds goes through the journal.
fn holds_metadata(inode: &Inode) -> bool {
    !inode.is_regular()
}

/// Where block `lblk` would best be: behind the block before it.
fn goal(inode: &Inode, lblk: Lblk) -> Option<Pblk> {
    let before = Lblk(lblk.0.checked_sub(1)?);
    match map::lookup_cached(inode, before)?.mapping {
        Mapping::Extent(extent) => extent.pblk(before)?.checked_add(Blocks(1)),
        _ => None,
    }
}

fn extent_at(inode: &Inode, start: Lblk, blocks: PblkRange, state: State) -> Result<Extent> {
    let n = Blocks(blocks.end.0.saturating_sub(blocks.start.0));
    let end = start.checked_add(n).ok_or(EINVAL)?;
    let lblks = LblkRange { start, end };
    Extent::new(inode.sb().volume(), lblks, blocks.start, state).ok_or(EINVAL)
}

/// The nodes of a file's tree, in a transaction.
struct Nodes<'t, 'a> {
    transaction: &'t Transaction<'a>,
    inode: &'t Inode,
    root: [u8; ROOT_LEN],
    /// Whether something has changed.
    is_changed: bool,
    count: Count,
}

/// Blocks that become the file's, and such as are it no more, until the inode says so: it can be written
/// at any time, and a step may be taken back.
#[derive(Default)]
struct Count {
    taken: u64,
    freed: u64,
}

impl Count {
    fn taken(&mut self, n: Blocks) {
        self.taken = self.taken.saturating_add(n.0);
    }

    fn freed(&mut self, n: Blocks) {
        self.freed = self.freed.saturating_add(n.0);
    }
}

// Copies of inodes are large, and not to be on the stack when the next goes deep: so none of these is inlined.
impl<'t, 'a> Nodes<'t, 'a> {
    #[inline(never)]
    fn new(transaction: &'t Transaction<'a>, inode: &'t Inode) -> Result<Self> {
        inode::prepare(transaction, inode)?;
        match inode.disk().content() {
            Content::Extents(root) => Ok(Self {
                transaction,
                inode,
                root: *root,
                is_changed: false,
                count: Count::default(),
            }),
            _ => Err(errno::eopnotsupp()),
        }
    }

    /// Does a step. A step that fails in the middle gives the journal up.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Tree<'_, Self>) -> extent_tree::Result<T, Self>,
    ) -> Result<T> {
        let inode = self.inode;
        let volume = inode.sb().volume();
        let result = step(&mut Tree::new(volume, inode.disk().seed(), self));
        result.map_err(|error| {
            let error = self.errno(error);
            if self.is_changed {
                self.transaction.abort(error);
            }
            error
        })
    }

    fn errno(&self, error: extent_tree::Error<Error>) -> Error {
        let (sb, ino) = (self.inode.sb(), self.inode.ino());
        match error {
            extent_tree::Error::Nodes(error) => error,
            extent_tree::Error::Format { pblk, error } => {
                let at = pblk.map_or(At::inode(ino), |pblk| At::block(ino, pblk));
                metadata::blame(sb, at, error)
            }
            extent_tree::Error::Occupied => metadata::corrupt(
                sb,
                At::inode(ino),
                format_args!("blocks appeared where there was a hole"),
            ),
            extent_tree::Error::TooDeep => EFBIG,
            extent_tree::Error::Inconsistent => {
                transaction::bug(sb, At::inode(ino), "a tree that cannot be changed")
            }
        }
    }

    /// Has the inode say what the step has changed of it.
    #[inline(never)]
    fn finish(self) -> Result {
        let root = self.root;
        let volume = self.inode.sb().volume();
        let update = || {
            let tid = self.transaction.tid()?;
            blocks::count(self.inode, self.count.taken, self.count.freed);
            inode::update(self.transaction, self.inode, |fields| {
                fields.content = Content::Extents(root);
                symlink::forget_target(volume, fields);
            })?;
            self.inode.set_data_tid(tid);
            Ok(())
        };
        update().inspect_err(|error| self.transaction.abort(*error))
    }
}

impl<'t> extent_tree::Nodes for Nodes<'t, '_> {
    type Error = Error;
    type Crc = KernelCrc32c;
    type Block = MetaBlock;
    type Access = Edit<'t>;
    type New = Pblk;

    fn root(&self) -> [u8; ROOT_LEN] {
        self.root
    }

    fn read(&mut self, pblk: Pblk) -> Result<MetaBlock> {
        MetaBlock::read(self.inode.sb(), self.inode.ino(), pblk)
    }

    fn access(&mut self, block: MetaBlock) -> Result<Edit<'t>> {
        self.transaction.edit(self.inode.ino(), block.pblk)
    }

    fn create(&mut self) -> Result<Pblk> {
        let want = Want {
            goal: None,
            lblk: Lblk(0),
            wanted: Blocks(1),
            who: Who::Essential,
        };
        let blocks = balloc::new_blocks(self.transaction, self.inode, &want)?;
        self.count.taken(Blocks(1));
        Ok(blocks.start)
    }

    fn pblk(new: &Pblk) -> Pblk {
        *new
    }

    fn cancel(&mut self, new: Pblk) {
        self.count.freed(Blocks(1));
        let (transaction, ino) = (self.transaction, self.inode.ino());
        let given_back = PblkRange::one(new)
            .ok_or(EINVAL)
            .and_then(|block| balloc::give_back(transaction, ino, block, Who::Essential));
        if let Err(error) = given_back {
            transaction.abort(error);
        }
    }

    fn fill<T>(&mut self, new: Pblk, fill: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        self.is_changed = true;
        let len = usize::try_from(blocks::len(self.inode)).map_err(|_| EINVAL)?;
        let mut block = KVec::from_elem(0_u8, len, GFP_NOFAIL)?;
        let filled = fill(&mut block);
        self.transaction.create(new, &block)?;
        Ok(filled)
    }

    fn change<T>(&mut self, mut block: Edit<'t>, change: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        self.is_changed = true;
        let changed = change(block.bytes_mut());
        block.write()?;
        Ok(changed)
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result {
        self.is_changed = true;
        self.root = *root;
        Ok(())
    }

    fn free(&mut self, block: MetaBlock) -> Result {
        self.is_changed = true;
        let freed = PblkRange::one(block.pblk).ok_or(EINVAL)?;
        self.transaction.revoke(block.pblk)?;
        balloc::free_blocks(self.transaction, self.inode.ino(), freed)?;
        self.count.freed(Blocks(1));
        Ok(())
    }
}
