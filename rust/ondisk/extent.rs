// SPDX-License-Identifier: GPL-2.0

//! Extent trees: root in the inode → child → … → leaf → extent or hole.
//!
//! A node is checked as a whole when it is made, so that looking into it cannot fail. Only looking
//! into a node makes a [`Child`], which carries the depth and the blocks of the file that the node
//! below has to have: a walk ends after at most [`MAX_DEPTH`] steps, whatever is on the disk.
//!
//! Format: [Documentation/filesystems/ext4/ifork.rst](srctree/Documentation/filesystems/ext4/ifork.rst).

mod edit;
mod encode;

pub use edit::{
    Few,
    NodeMut,
    Run, //
};
pub use encode::{
    block_max,
    Entries,
    ROOT_MAX, //
};

use super::{
    bytes::{
        chunk,
        raw_structure,
        Records, //
    },
    checksum::{
        Seed,
        Stored, //
    },
    Block,
    Blocks,
    Crc32c,
    Lblk,
    LblkRange,
    Pblk,
    PblkRange,
    Result,
    Shift,
    Structure,
    Superblock, //
};

/// Levels of nodes below the root, at most (`EXT4_MAX_EXTENT_DEPTH`).
pub const MAX_DEPTH: u16 = 5;
/// Bytes of the root, which is in the inode.
pub const ROOT_LEN: usize = 60;

/// `eh_magic` of every node.
const MAGIC: u16 = 0xf30a;
/// Bytes of the header, and of each entry.
const RECORD: usize = 12;
/// Bytes of `et_checksum`.
const CHECKSUM_LEN: usize = 4;
/// The longest written extent, in blocks; what `ee_len` has more says that it is unwritten.
const MAX_WRITTEN: u16 = 1 << 15;

raw_structure! {
    /// The head of a node.
    #[derive(Debug)]
    struct RawHeader [RECORD] {
        0x0 eh_magic: u16,
        0x2 eh_entries: u16,
        0x4 eh_max: u16,
        0x6 eh_depth: u16,
    }
}

raw_structure! {
    /// An entry of a leaf.
    struct RawExtent [RECORD] {
        0x0 ee_block: u32,
        0x4 ee_len: u16,
        0x6 ee_start_hi: u16,
        0x8 ee_start_lo: u32,
    }
}

raw_structure! {
    /// An entry of any other node.
    struct RawIndex [RECORD] {
        0x0 ei_block: u32,
        0x4 ei_leaf_lo: u32,
        0x8 ei_leaf_hi: u16,
    }
}

/// What the blocks of an extent hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The file's data.
    Written,
    /// Nothing of the file's: they are allocated, and read as zeroes.
    Unwritten,
}

/// Blocks of a file that follow each other on the volume too.
///
/// # Invariants
///
/// Not empty; ends no later than [`Lblk::END`]. Its blocks on the volume are inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    lblks: LblkRange,
    start: Pblk,
    state: State,
}

impl Extent {
    /// Which blocks of the file.
    pub fn lblks(&self) -> LblkRange {
        self.lblks
    }

    /// Where the first of them is on the volume.
    pub fn start(&self) -> Pblk {
        self.start
    }

    /// Where they are on the volume.
    pub fn pblks(&self) -> PblkRange {
        PblkRange {
            start: self.start,
            // OVERFLOW: the volume ends no earlier than they do.
            end: self.start.checked_add(self.len()).unwrap_or(self.start),
        }
    }

    /// How many.
    pub fn len(&self) -> Blocks {
        // OVERFLOW: the end is not before the start.
        Blocks(self.lblks.end.0.saturating_sub(self.lblks.start.0).into())
    }

    /// What they hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Where a block of the file is on the volume, if it is one of these.
    pub fn pblk(&self, lblk: Lblk) -> Option<Pblk> {
        if !self.lblks.contains(lblk) {
            return None;
        }
        self.start.checked_add(lblk.checked_sub(self.lblks.start)?)
    }

    /// The same blocks of the volume, elsewhere in the file; `None` where no file has these.
    pub fn shifted(&self, shift: Shift) -> Option<Self> {
        let start = self.lblks.start.shifted(shift)?;
        let end = start.checked_add(self.len())?;
        Some(Self {
            lblks: LblkRange { start, end },
            ..*self
        })
    }
}

/// Where to go on below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    pblk: Pblk,
    depth: u16,
    lblks: LblkRange,
}

impl Child {
    /// The block with the node.
    pub fn pblk(&self) -> Pblk {
        self.pblk
    }

    /// Levels of nodes below that node.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// The blocks of the file of which that node tells all.
    pub fn lblks(&self) -> LblkRange {
        self.lblks
    }
}

/// What a node tells of a block of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It belongs to an extent.
    Extent(Extent),
    /// It belongs to a hole, which goes at least that far in the range of this node.
    Hole(LblkRange),
    /// The node below knows.
    Child(Child),
}

/// A node that was read and checked.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// One with extents.
    Leaf(Leaf<'a>),
    /// One with other nodes below.
    Inner(Inner<'a>),
}

/// A node with extents.
///
/// # Invariants
///
/// They are in order, do not overlap, and lie in the blocks of which the node tells.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    entries: Records<'a, RECORD>,
    max: u16,
    lblks: LblkRange,
}

/// A node with other nodes below.
///
/// # Invariants
///
/// Not empty; they are in order, begin in the blocks of which the node tells, and lie inside the
/// volume.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    entries: Records<'a, RECORD>,
    max: u16,
    depth: u16,
    lblks: LblkRange,
}

impl<'a> Node<'a> {
    /// Checks the root of a file's tree, which is in its inode.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt).
    pub fn root(volume: &Superblock, bytes: &'a [u8; ROOT_LEN]) -> Result<Self> {
        let header = RawHeader::check(bytes, ROOT_LEN)?;
        if header.eh_depth > MAX_DEPTH {
            return Structure::ExtentNode.corrupt("eh_depth", header.eh_depth);
        }
        let lblks = LblkRange {
            start: Lblk(0),
            end: Lblk::END,
        };
        header.check_entries(volume, bytes, lblks, None)
    }

    /// Checks the node of a [`Child`], whose file has that [seed](super::Inode::seed).
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt) when the checksum cannot be found,
    /// [`BadChecksum`](super::Error::BadChecksum), else [`Corrupt`](super::Error::Corrupt).
    pub fn child<C: Crc32c>(
        volume: &Superblock,
        seed: Seed,
        child: Child,
        block: Block<'a>,
    ) -> Result<Self> {
        // The checksum follows the last entry that there is room for.
        let header = RawHeader::check(&block, block.len().saturating_sub(CHECKSUM_LEN))?;
        let stored = chunk(&block, header.entries_end()).copied();
        if let (Some(covered), Some(stored)) = (block.get(..header.entries_end()), stored) {
            let stored = Stored::Full(u32::from_le_bytes(stored));
            seed.check::<C>(Structure::ExtentNode, stored, &[covered])?;
        }
        if header.eh_depth != child.depth {
            return Structure::ExtentNode.corrupt("eh_depth", header.eh_depth);
        }
        let start = Some(child.lblks.start);
        header.check_entries(volume, block.bytes(), child.lblks, start)
    }

    /// What the node tells of a block; of one outside [`lblks`](Self::lblks), what it tells of the
    /// nearest inside.
    pub fn lookup(&self, lblk: Lblk) -> Lookup {
        match self {
            Self::Leaf(leaf) => leaf.lookup(lblk),
            Self::Inner(inner) => inner.lookup(lblk),
        }
    }

    /// The blocks of the file of which the node tells all.
    pub fn lblks(&self) -> LblkRange {
        match self {
            Self::Leaf(leaf) => leaf.lblks,
            Self::Inner(inner) => inner.lblks,
        }
    }

    /// Levels of nodes below.
    pub fn depth(&self) -> u16 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner(inner) => inner.depth,
        }
    }

    /// How many entries there is room for.
    pub fn max(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.max.into(),
            Self::Inner(inner) => inner.max.into(),
        }
    }

    /// The entries.
    pub fn run(&self) -> Run<'a> {
        match self {
            Self::Leaf(leaf) => Run::new(leaf.entries, true),
            Self::Inner(inner) => Run::new(inner.entries, false),
        }
    }
}

impl<'a> Leaf<'a> {
    /// The extents, in order.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + Clone + 'a {
        self.entries.iter().filter_map(Extent::from_record)
    }

    /// The extent of that number, from 0.
    pub fn get(&self, n: usize) -> Option<Extent> {
        Extent::from_record(self.entries.get(n)?)
    }

    /// How many extents begin with a block of the file or before it.
    pub fn position(&self, lblk: Lblk) -> usize {
        position(self.entries, lblk)
    }

    fn lookup(&self, lblk: Lblk) -> Lookup {
        let after = self.position(lblk);
        let before = after.checked_sub(1).and_then(|n| self.get(n));
        match before {
            Some(extent) if extent.lblks.contains(lblk) => Lookup::Extent(extent),
            _ => Lookup::Hole(LblkRange {
                start: before.map_or(self.lblks.start, |extent| extent.lblks.end),
                end: self.entries.get(after).map_or(self.lblks.end, first_lblk),
            }),
        }
    }
}

impl<'a> Inner<'a> {
    /// The nodes below, in order.
    pub fn children(&self) -> impl Iterator<Item = Child> + 'a {
        let this = *self;
        (0..self.entries.len()).filter_map(move |n| this.get(n))
    }

    /// How many nodes below begin with a block of the file or before it.
    pub fn position(&self, lblk: Lblk) -> usize {
        position(self.entries, lblk)
    }

    fn lookup(&self, lblk: Lblk) -> Lookup {
        let after = self.position(lblk);
        match after.checked_sub(1).and_then(|n| self.get(n)) {
            Some(child) => Lookup::Child(child),
            None => Lookup::Hole(LblkRange {
                start: self.lblks.start,
                end: self.entries.get(after).map_or(self.lblks.end, first_lblk),
            }),
        }
    }

    /// The node below of that number, from 0.
    pub fn get(&self, n: usize) -> Option<Child> {
        let entry = self.entries.get(n)?;
        let next = self.entries.get(n.checked_add(1)?);
        Some(Child {
            pblk: RawIndex::new(entry).pblk(),
            depth: self.depth.checked_sub(1)?,
            lblks: LblkRange {
                start: first_lblk(entry),
                end: next.map_or(self.lblks.end, first_lblk),
            },
        })
    }
}

impl RawHeader {
    /// Checks what tells where the entries are; they have to end with `end`.
    fn check(bytes: &[u8], end: usize) -> Result<Self> {
        let Some(header) = chunk(bytes, 0).map(Self::new) else {
            return Structure::ExtentNode.corrupt_len("eh_magic", bytes.len());
        };
        if header.eh_magic != MAGIC {
            return Structure::ExtentNode.corrupt("eh_magic", header.eh_magic);
        }
        if header.eh_max == 0 || header.entries_end() > end {
            return Structure::ExtentNode.corrupt("eh_max", header.eh_max);
        }
        Ok(header)
    }

    /// Where the last entry ends that there is room for.
    fn entries_end(&self) -> usize {
        // OVERFLOW: 2^16 records of 12 bytes.
        usize::from(self.eh_max)
            .saturating_add(1)
            .saturating_mul(RECORD)
    }

    /// Checks the entries of a node that tells of `lblks`, and begins with `first` exactly.
    fn check_entries<'a>(
        &self,
        volume: &Superblock,
        bytes: &'a [u8],
        lblks: LblkRange,
        first: Option<Lblk>,
    ) -> Result<Node<'a>> {
        let entries = (self.eh_entries <= self.eh_max)
            .then(|| Records::new(bytes, RECORD, self.eh_entries))
            .flatten();
        let Some(entries) = entries else {
            return Structure::ExtentNode.corrupt("eh_entries", self.eh_entries);
        };
        if self.eh_depth == 0 {
            check_extents(volume, entries, lblks, first)?;
            Ok(Node::Leaf(Leaf {
                entries,
                max: self.eh_max,
                lblks,
            }))
        } else {
            if entries.len() == 0 {
                return Structure::ExtentNode.corrupt("eh_entries", self.eh_entries);
            }
            check_indexes(volume, entries, lblks, first)?;
            Ok(Node::Inner(Inner {
                entries,
                max: self.eh_max,
                depth: self.eh_depth,
                lblks,
            }))
        }
    }
}

fn check_extents(
    volume: &Superblock,
    entries: Records<'_, RECORD>,
    lblks: LblkRange,
    first: Option<Lblk>,
) -> Result<()> {
    let mut end = lblks.start;
    let mut expected = first;
    for entry in entries.iter() {
        let raw = RawExtent::new(entry);
        if raw.ee_block < end.0 || expected.is_some_and(|first| raw.ee_block != first.0) {
            return Structure::ExtentNode.corrupt("ee_block", raw.ee_block);
        }
        let Some(extent) = Extent::from_record(entry).filter(|new| new.lblks.end <= lblks.end)
        else {
            return Structure::ExtentNode.corrupt("ee_len", raw.ee_len);
        };
        let pblks = extent.start.checked_add(extent.len()).map(|end| PblkRange {
            start: extent.start,
            end,
        });
        if !pblks.is_some_and(|pblks| volume.holds(pblks)) {
            return Structure::ExtentNode.corrupt("ee_start", extent.start.0);
        }
        end = extent.lblks.end;
        expected = None;
    }
    Ok(())
}

fn check_indexes(
    volume: &Superblock,
    entries: Records<'_, RECORD>,
    lblks: LblkRange,
    first: Option<Lblk>,
) -> Result<()> {
    // The least that the next entry may begin with.
    let mut least = Some(lblks.start);
    let mut expected = first;
    for entry in entries.iter() {
        let raw = RawIndex::new(entry);
        let lblk = Lblk(raw.ei_block);
        if least.is_none_or(|least| lblk < least)
            || lblk >= lblks.end
            || expected.is_some_and(|first| lblk != first)
        {
            return Structure::ExtentNode.corrupt("ei_block", raw.ei_block);
        }
        if !volume.holds_block(raw.pblk()) {
            return Structure::ExtentNode.corrupt("ei_leaf", raw.pblk().0);
        }
        least = lblk.checked_add(Blocks(1));
        expected = None;
    }
    Ok(())
}

impl Extent {
    /// From an entry of a leaf, if it is not empty and its end is a number that 32 bits hold.
    fn from_record(record: &[u8; RECORD]) -> Option<Self> {
        let raw = RawExtent::new(record);
        let start = Lblk(raw.ee_block);
        let (len, state) = match raw.ee_len.checked_sub(MAX_WRITTEN) {
            None | Some(0) => (raw.ee_len, State::Written),
            Some(len) => (len, State::Unwritten),
        };
        let end = start.checked_add(Blocks(len.into()))?;
        (len > 0).then_some(Self {
            lblks: LblkRange { start, end },
            start: wide(raw.ee_start_lo, raw.ee_start_hi),
            state,
        })
    }
}

impl RawIndex {
    fn pblk(&self) -> Pblk {
        wide(self.ei_leaf_lo, self.ei_leaf_hi)
    }
}

/// Where an entry of any node begins, as `ee_block` and `ei_block` are in one place.
fn first_lblk(record: &[u8; RECORD]) -> Lblk {
    Lblk(RawIndex::new(record).ei_block)
}

/// How many entries begin with a block or before it, of those of a node, which are in order.
fn position(entries: Records<'_, RECORD>, lblk: Lblk) -> usize {
    entries.partition_point(|entry| first_lblk(entry) <= lblk)
}

fn wide(lo: u32, hi: u16) -> Pblk {
    Pblk(u64::from(hi).wrapping_shl(u32::BITS) | u64::from(lo))
}
