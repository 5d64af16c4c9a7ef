// SPDX-License-Identifier: GPL-2.0

//! Nodes of extent trees that change in place: checked → some entries replaced by others, or moved in the file → sealed.
//!
//! Entries that stay are moved as bytes, so that a change costs what it moves, and the checksum.
//! Who changes a node keeps its key in the node above as it has to be.

use super::{
    block_max,
    encode::record,
    first_lblk,
    Child,
    Extent,
    RawHeader,
    CHECKSUM_LEN,
    MAGIC,
    MAX_DEPTH,
    RECORD,
    ROOT_LEN,
    ROOT_MAX, //
};
use crate::ondisk::{
    bytes::{
        Put,
        Records,
        Writer, //
    },
    checksum::Seed,
    Blocks,
    Crc32c,
    Lblk,
    Shift, //
};
use core::ops::Range;

/// Entries that follow each other in a node, or are to.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    entries: Records<'a, RECORD>,
    /// Whether they are extents.
    is_leaf: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(entries: Records<'a, RECORD>, is_leaf: bool) -> Self {
        Self { entries, is_leaf }
    }

    /// All of the root in these bytes, which were [checked](super::Node::root).
    pub fn of_root(bytes: &'a [u8; ROOT_LEN]) -> Option<Self> {
        Self::of_node(bytes, ROOT_LEN)
    }

    /// All of the node in this block, which was [checked](super::Node::child).
    pub fn of_block(bytes: &'a [u8]) -> Option<Self> {
        Self::of_node(bytes, bytes.len().checked_sub(CHECKSUM_LEN)?)
    }

    fn of_node(bytes: &'a [u8], end: usize) -> Option<Self> {
        let header = RawHeader::check(bytes, end).ok()?;
        let entries = Records::new(bytes, RECORD, header.eh_entries)?;
        Some(Self::new(entries, header.eh_depth == 0))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The block of the file that entry `n` begins with.
    pub fn start(&self, n: usize) -> Option<Lblk> {
        self.entries.get(n).map(first_lblk)
    }

    /// Some of them, if there are those.
    pub fn slice(self, at: Range<usize>) -> Option<Self> {
        Some(Self::new(self.entries.slice(at)?, self.is_leaf))
    }
}

/// Up to [`MAX`](Self::MAX) entries that are to go into a node.
#[derive(Clone, Copy, Debug)]
pub struct Few {
    bytes: [u8; Self::MAX * RECORD],
    len: u16,
    is_leaf: bool,
}

impl Few {
    /// What one extent becomes, at most, when its middle changes.
    pub const MAX: usize = 3;

    /// No entries, which any node takes.
    pub const NONE: Self = Self {
        bytes: [0; Self::MAX * RECORD],
        len: 0,
        is_leaf: false,
    };

    /// The entries for these extents, unless they are too many.
    pub fn extents(extents: &[Extent]) -> Option<Self> {
        Self::collect(true, extents.iter().map(Extent::record))
    }

    /// The entries for these nodes, unless they are too many.
    pub fn children(children: &[Child]) -> Option<Self> {
        Self::collect(false, children.iter().map(Child::record))
    }

    /// The entries.
    pub fn run(&self) -> Run<'_> {
        // BOUNDS: as many as were put.
        let entries = Records::new(&self.bytes, 0, self.len).unwrap_or_default();
        Run::new(entries, self.is_leaf)
    }

    fn collect(is_leaf: bool, records: impl Iterator<Item = Option<[u8; RECORD]>>) -> Option<Self> {
        let mut few = Self {
            is_leaf,
            ..Self::NONE
        };
        let mut writer = Writer::new(&mut few.bytes);
        for record in records {
            writer.put(&record?)?;
            few.len = few.len.checked_add(1)?;
        }
        Some(few)
    }
}

/// A node that is being changed.
///
/// # Invariants
///
/// There are no more entries than there is room for, and room for them in the bytes; in a block,
/// for the checksum as well.
#[derive(Debug)]
#[must_use = "the checksum of a block is wrong until the node is sealed"]
pub struct NodeMut<'a> {
    bytes: &'a mut [u8],
    header: RawHeader,
}

impl<'a> NodeMut<'a> {
    /// The root in these bytes, which were [checked](super::Node::root).
    pub fn root(bytes: &'a mut [u8; ROOT_LEN]) -> Option<Self> {
        Self::check(bytes, ROOT_LEN)
    }

    /// The node in this block, which was [checked](super::Node::child).
    pub fn block(bytes: &'a mut [u8]) -> Option<Self> {
        let end = bytes.len().checked_sub(CHECKSUM_LEN)?;
        Self::check(bytes, end)
    }

    /// Makes these bytes a root without entries, over as many levels. It is none before it has
    /// some, unless there are no levels.
    pub fn new_root(bytes: &'a mut [u8; ROOT_LEN], depth: u16) -> Option<Self> {
        Self::create(bytes, ROOT_MAX, depth).filter(|node| node.header.eh_depth <= MAX_DEPTH)
    }

    /// Makes a block a node without entries, over as many levels. It is none before it has some.
    pub fn new_block(bytes: &'a mut [u8], depth: u16) -> Option<Self> {
        let max = block_max(bytes.len())?;
        Self::create(bytes, max, depth).filter(|node| node.header.eh_depth < MAX_DEPTH)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.header.eh_entries.into()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the entries `at` by others. Unless there are those and room for the others, and all
    /// are in order then and of the kind that the node has, nothing is changed.
    ///
    /// ```
    /// # use ondisk::extent::{Few, Extent, NodeMut, ROOT_LEN};
    /// fn append(root: &mut [u8; ROOT_LEN], extent: Extent) -> Option<()> {
    ///     let mut node = NodeMut::root(root)?;
    ///     let end = node.len();
    ///     node.splice(end..end, Few::extents(&[extent])?.run())
    /// }
    /// ```
    pub fn splice(&mut self, at: Range<usize>, with: Run<'_>) -> Option<()> {
        let old = Records::<RECORD>::new(self.bytes, RECORD, self.header.eh_entries)?;
        let moved = old.slice(at.end..old.len())?.len();
        let with_end = at.start.checked_add(with.len())?;
        let end = with_end.checked_add(moved)?;
        let eh_entries = u16::try_from(end)
            .ok()
            .filter(|n| *n <= self.header.eh_max)?;
        if at.start > at.end || !(with.is_empty() || with.is_leaf == self.is_leaf()) {
            return None;
        }
        let before = at.start.checked_sub(1).and_then(|n| old.get(n));
        let after = old.get(at.end);
        let all = before.into_iter().chain(with.entries.iter()).chain(after);
        if !self.are_ordered(all) {
            return None;
        }

        let old_end = old.len();
        let [start, with_end, end, from, old_end] =
            // OVERFLOW: numbers of entries, of 12 bytes each.
            [at.start, with_end, end, at.end, old_end].map(|n| n.saturating_mul(RECORD));
        let entries = self.bytes.get_mut(RECORD..)?;
        // BOUNDS: both before the last entry that there is room for.
        entries.copy_within(from..old_end, with_end);
        entries
            .get_mut(start..with_end)?
            .copy_from_slice(with.entries.bytes());
        if let Some(gone) = entries.get_mut(end..old_end) {
            gone.fill(0);
        }
        self.header.eh_entries = eh_entries;
        self.header.put(self.bytes.first_chunk_mut()?);
        Some(())
    }

    /// Has the extents `at` be elsewhere in the file. Unless there are some, and all extents are in order
    /// then, nothing is changed.
    pub fn shift(&mut self, at: Range<usize>, shift: Shift) -> Option<()> {
        let old = Records::<RECORD>::new(self.bytes, RECORD, self.header.eh_entries)?;
        let before = at.start.checked_sub(1).and_then(|n| old.get(n));
        let [first, last] = [at.start, at.end.checked_sub(1)?].map(|n| {
            let moved = Extent::from_record(old.get(n)?)?.shifted(shift)?;
            moved.record()
        });
        let (first, last) = (first?, last?);
        // Those in between keep their order, and one in a row is the first and the last.
        let ends = [first, last];
        let moved = ends.iter().take(at.len().min(2));
        let all = before.into_iter().chain(moved).chain(old.get(at.end));
        if at.is_empty() || !self.is_leaf() || !self.are_ordered(all) {
            return None;
        }
        let entries = self.bytes.get_mut(RECORD..)?;
        for entry in entries.chunks_exact_mut(RECORD).take(at.end).skip(at.start) {
            let entry: &mut [u8; RECORD] = entry.first_chunk_mut()?;
            *entry = Extent::from_record(entry)?.shifted(shift)?.record()?;
        }
        Some(())
    }

    /// Puts the checksum of a block right, in a file with that [seed](crate::ondisk::Inode::seed).
    pub fn seal<C: Crc32c>(self, seed: Seed) -> Option<()> {
        let end = self.header.entries_end();
        let (covered, rest) = self.bytes.split_at_mut_checked(end)?;
        if let Some(checksum) = seed.compute::<C>(&[covered]) {
            Writer::new(rest).put(&checksum.to_le_bytes())?;
        }
        Some(())
    }

    /// Checks the header of a node whose last entry has to end before `end`.
    fn check(bytes: &'a mut [u8], end: usize) -> Option<Self> {
        let header = RawHeader::check(bytes, end).ok()?;
        // INVARIANT: The rest has just been checked.
        (header.eh_entries <= header.eh_max).then_some(Self { bytes, header })
    }

    fn create(bytes: &'a mut [u8], max: u16, depth: u16) -> Option<Self> {
        bytes.fill(0);
        let header = RawHeader {
            eh_magic: MAGIC,
            eh_entries: 0,
            eh_max: max,
            eh_depth: depth,
        };
        *bytes.first_chunk_mut()? = record(&header);
        // INVARIANT: `max` is that of a root, or of a block of that length.
        Some(Self { bytes, header })
    }

    fn is_leaf(&self) -> bool {
        self.header.eh_depth == 0
    }

    /// Whether each entry ends before the next one begins.
    fn are_ordered<'b>(&self, entries: impl Iterator<Item = &'b [u8; RECORD]>) -> bool {
        let mut end = Lblk(0);
        for entry in entries {
            let start = first_lblk(entry);
            let next = if self.is_leaf() {
                Extent::from_record(entry).map(|extent| extent.lblks.end)
            } else {
                start.checked_add(Blocks(1))
            };
            match next {
                Some(next) if end <= start => end = next,
                _ => return false,
            }
        }
        true
    }
}
