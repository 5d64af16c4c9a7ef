// SPDX-License-Identifier: GPL-2.0

//! Roots and nodes changed in place: block → checked → entries more or less → checksum.
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst).

use super::{
    Below,
    Index,
    RawCount,
    RawEntry,
    RawNode,
    RawRoot,
    RawTail,
    Root,
    BLOCK_MASK,
    INFO_LEN,
    NODE_LEN,
    RECORD,
    ROOT_LEN,
    TAIL_LEN, //
};
use crate::ondisk::{
    bytes::{
        chunk,
        Put,
        Records, //
    },
    checksum::Seed,
    dir::{
        number,
        LeafMut, //
    },
    hash::Hasher,
    inode::{
        Inode,
        Type, //
    },
    Block,
    Crc32c,
    Ino,
    Lblk,
    Result,
    Structure,
    Superblock, //
};

/// Says in the root of an indexed directory that another one is above: what `..` is the name of.
///
/// # Errors
///
/// Those of [`Root::parse`]; the block then stays as it is.
pub fn set_parent<C: Crc32c>(
    volume: &Superblock,
    dir: &Inode,
    parent: Ino,
    block: &mut [u8],
) -> Result<()> {
    let (mut root, _) = NodeMut::root::<C>(volume, dir, block)?;
    root.change_root(|raw| raw.dotdot_inode = parent.get());
    root.seal::<C>();
    Ok(())
}

/// A root or a node to be changed.
///
/// # Invariants
///
/// The block is one that [`Root::parse`] or [`Index::below`] takes, but for its checksum; or a new
/// one whose entries are still to come.
#[derive(Debug)]
pub(super) struct NodeMut<'a> {
    block: &'a mut [u8],
    /// Where its entries begin.
    pos: usize,
    /// Where they can go to at most.
    end: usize,
    seed: Seed,
    levels: u8,
}

impl<'a> NodeMut<'a> {
    /// Checks the first block of an indexed directory, and gives the hash function, too.
    pub(super) fn root<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        block: &'a mut [u8],
    ) -> Result<(Self, Hasher)> {
        let root = Root::parse::<C>(volume, dir, whole(block)?)?;
        let (hasher, levels) = (root.hasher(), root.index().levels);
        // INVARIANT: It was parsed.
        Ok((Self::new(block, ROOT_LEN, dir.seed(), levels), hasher))
    }

    /// Checks the node below another one.
    pub(super) fn below<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        below: Below,
        block: &'a mut [u8],
    ) -> Result<Self> {
        Index::below::<C>(volume, dir, below, whole(block)?)?;
        // INVARIANT: It was parsed.
        Ok(Self::new(block, NODE_LEN, dir.seed(), below.levels))
    }

    fn new(block: &'a mut [u8], pos: usize, seed: Seed, levels: u8) -> Self {
        let tail_len = if seed.is_some() { TAIL_LEN } else { 0 };
        Self {
            pos,
            end: block.len().saturating_sub(tail_len),
            block,
            seed,
            levels,
        }
    }

    /// Makes a block of names into a root above one leaf, with this hash function.
    pub(super) fn from_leaf(
        leaf: LeafMut<'a>,
        parent: Ino,
        hasher: &Hasher,
        lblk: Lblk,
    ) -> Option<Self> {
        let directory = match leaf.has_types() {
            true => number(Type::Directory),
            false => 0,
        };
        let (dir, seed) = (leaf.dir(), leaf.seed());
        let block = leaf.into_block();
        let raw = RawRoot {
            dot_inode: dir.get(),
            dot_rec_len: 12,
            dot_name_len: 1,
            dot_file_type: directory,
            dot_name: *b".\0\0\0",
            dotdot_inode: parent.get(),
            dotdot_rec_len: u16::try_from(block.len().checked_sub(12)?).ok()?,
            dotdot_name_len: 2,
            dotdot_file_type: directory,
            dotdot_name: *b"..\0\0",
            reserved_zero: 0,
            hash_version: hasher.hash_version(),
            info_length: INFO_LEN,
            indirect_levels: 0,
            unused_flags: 0,
        };
        block.fill(0);
        raw.put(block.first_chunk_mut()?);
        let mut root = Self::new(block, ROOT_LEN, seed, 0);
        root.put_entry(0, 0, lblk)?;
        root.put_count(1)?;
        Some(root)
    }

    /// Makes a new block, as long as this one, into a node below the root, whose entries are still
    /// to come.
    pub(super) fn another<'b>(&self, block: &'b mut [u8]) -> Option<NodeMut<'b>> {
        if block.len() != self.block.len() {
            return None;
        }
        let raw = RawNode {
            fake_inode: 0,
            fake_rec_len: u16::try_from(block.len()).ok()?,
            name_len: 0,
        };
        block.fill(0);
        raw.put(block.first_chunk_mut()?);
        Some(NodeMut::new(block, NODE_LEN, self.seed, 0))
    }

    /// The entries.
    pub(super) fn index(&self) -> Option<Index<'_>> {
        let others_pos = self.pos.checked_add(RECORD)?;
        let others = self.count()?.checked_sub(1)?;
        Some(Index {
            first: chunk(self.block, self.pos)?,
            others: Records::new(self.block, others_pos, u16::try_from(others).ok()?)?,
            levels: self.levels,
        })
    }

    /// Whether there is no room for another entry.
    pub(super) fn is_full(&self) -> bool {
        self.count().is_none_or(|count| count >= self.limit())
    }

    /// Puts an entry behind that of number `after`. Leaves the checksum.
    pub(super) fn insert(&mut self, after: usize, hash: u32, lblk: Lblk) -> Option<()> {
        let count = self.count().filter(|_| !self.is_full())?;
        let n = after.checked_add(1).filter(|n| *n <= count)?;
        let (start, end) = (self.entry_pos(n)?, self.entry_pos(count)?);
        // BOUNDS: there is room for one more than `count`.
        self.block
            .copy_within(start..end, start.checked_add(RECORD)?);
        self.put_entry(n, hash, lblk)?;
        self.put_count(count.checked_add(1)?)
    }

    /// How many entries stay when [half of them go](Self::split) to another node.
    pub(super) fn half(&self) -> Option<usize> {
        Some(self.count()? / 2)
    }

    /// The hash of an entry other than the first, with the bit that says whether it continues.
    pub(super) fn hash_of(&self, n: usize) -> Option<u32> {
        Some(self.index()?.entry(n)?.hash)
    }

    /// Moves the entries from number `from` on to a node that has none. Leaves the checksums.
    pub(super) fn split(&mut self, from: usize, new: &mut NodeMut<'_>) -> Option<()> {
        self.move_entries(from, new)?;
        self.put_count(from)
    }

    /// Moves all entries of a root to a node that has none, `lblk`, so that there is a level
    /// between it and the leaves. Leaves the checksums.
    pub(super) fn deepen(&mut self, lblk: Lblk, new: &mut NodeMut<'_>) -> Option<()> {
        self.move_entries(0, new)?;
        self.put_entry(0, 0, lblk)?;
        self.put_count(1)?;
        // OVERFLOW: it was less than `MAX_LEVELS`.
        self.levels = self.levels.saturating_add(1);
        let levels = self.levels;
        self.change_root(|raw| raw.indirect_levels = levels);
        Some(())
    }

    /// Puts the checksum right, where there is one.
    pub(super) fn seal<C: Crc32c>(&mut self) {
        let used = self.count().and_then(|count| self.entry_pos(count));
        let Some((covered, tail)) = self.block.split_at_mut_checked(self.end) else {
            return;
        };
        let Some(tail) = tail.first_chunk_mut() else {
            return;
        };
        let mut raw = RawTail::new(tail);
        let covered = used.and_then(|used| covered.get(..used));
        let parts = [covered.unwrap_or_default(), &raw.dt_reserved, &[0; 4]];
        if let Some(dt_checksum) = self.seed.compute::<C>(&parts) {
            raw.dt_checksum = dt_checksum;
            raw.put(tail);
        }
    }

    fn move_entries(&mut self, from: usize, new: &mut NodeMut<'_>) -> Option<()> {
        let count = self.count()?;
        let (start, end) = (self.entry_pos(from)?, self.entry_pos(count)?);
        let moved = self.block.get_mut(start..end)?;
        let place = new.block.get_mut(new.pos..new.end)?;
        place.get_mut(..moved.len())?.copy_from_slice(moved);
        moved.fill(0);
        new.put_count(count.checked_sub(from)?)
    }

    fn limit(&self) -> usize {
        self.end.saturating_sub(self.pos) / RECORD
    }

    fn count(&self) -> Option<usize> {
        let raw = chunk(self.block, self.pos).map(RawCount::new)?;
        Some(raw.count.into())
    }

    fn entry_pos(&self, n: usize) -> Option<usize> {
        self.pos.checked_add(n.checked_mul(RECORD)?)
    }

    /// Says how many entries there are. The first has that instead of a hash.
    fn put_count(&mut self, count: usize) -> Option<()> {
        let raw = RawCount {
            limit: u16::try_from(self.limit()).ok()?,
            count: u16::try_from(count).ok()?,
        };
        raw.put(self.block.get_mut(self.pos..)?.first_chunk_mut()?);
        Some(())
    }

    fn put_entry(&mut self, n: usize, hash: u32, lblk: Lblk) -> Option<()> {
        let raw = RawEntry {
            hash,
            block: Some(lblk.0).filter(|block| *block <= BLOCK_MASK)?,
        };
        let pos = self.entry_pos(n)?;
        raw.put(self.block.get_mut(pos..)?.first_chunk_mut()?);
        Some(())
    }

    fn change_root(&mut self, change: impl FnOnce(&mut RawRoot)) {
        if let Some(bytes) = self.block.first_chunk_mut() {
            let mut raw = RawRoot::new(bytes);
            change(&mut raw);
            raw.put(bytes);
        }
    }
}

fn whole(block: &[u8]) -> Result<Block<'_>> {
    match Block::new(block) {
        Some(block) => Ok(block),
        None => Structure::HashTree.corrupt_len("limit", block.len()),
    }
}
