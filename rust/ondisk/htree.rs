// SPDX-License-Identifier: GPL-2.0

//! Trees of hashes, by which a large directory finds names: root in its first block → perhaps a
//! node → leaf, a [block of names](super::dir::Leaf).
//!
//! A name is in the leaf of its hash, or, when names of one hash fill more than that leaf, in one
//! of those that follow and [continue](Entry::continues) it. As in an
//! [extent tree](super::extent), only looking into a node makes a [`Child`], and the levels below
//! fall with each.
//!
//! ```text
//! root.index().find(hash) → entry → Child::Leaf(lblk) → not there? → index.after(entry)
//! ```
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst).

mod insert;
mod layout;
mod node;

pub use insert::{
    index,
    Growth,
    Path, //
};
pub use layout::{
    Cost,
    Layout, //
};
pub use node::set_parent;

use super::{
    bytes::{
        chunk,
        raw_structure,
        Records, //
    },
    checksum::Stored,
    dir::rec_len,
    hash,
    inode::Inode,
    Block,
    Crc32c,
    Error,
    Ino,
    Lblk,
    Result,
    Structure,
    Superblock,
    Unsupported, //
};
use core::num::NonZeroU64;

/// Levels of nodes between the root and the leaves, at most; `large_dir` would allow one more.
pub const MAX_LEVELS: u8 = 1;

/// Bytes of the entries for the directory and the one above, with what the root says of the tree.
const ROOT_LEN: usize = 32;
/// Bytes of the unused entry that a node begins with.
const NODE_LEN: usize = 8;
/// Bytes of an entry; the first has its limit and count instead of a hash.
const RECORD: usize = 8;
/// Bytes of the checksum, and those that are reserved before it.
const TAIL_LEN: usize = 8;
/// `info_length`.
const INFO_LEN: u8 = 8;
/// `hash_version` of the hash that takes a key.
const HASH_SIPHASH: u8 = 6;
/// The bits of a block's number; the others are for later.
const BLOCK_MASK: u32 = 0x0fff_ffff;

raw_structure! {
    /// How the first block of an indexed directory begins.
    struct RawRoot [ROOT_LEN] {
        0x00 dot_inode: u32,
        0x04 dot_rec_len: u16,
        0x06 dot_name_len: u8,
        0x07 dot_file_type: u8,
        0x08 dot_name: [u8; 4],
        0x0c dotdot_inode: u32,
        0x10 dotdot_rec_len: u16,
        0x12 dotdot_name_len: u8,
        0x13 dotdot_file_type: u8,
        0x14 dotdot_name: [u8; 4],
        0x18 reserved_zero: u32,
        0x1c hash_version: u8,
        0x1d info_length: u8,
        0x1e indirect_levels: u8,
        0x1f unused_flags: u8,
    }
}

raw_structure! {
    /// How every other node begins.
    struct RawNode [NODE_LEN] {
        0x0 fake_inode: u32,
        0x4 fake_rec_len: u16,
        0x6 name_len: u8,
    }
}

raw_structure! {
    /// The first entry of a root or a node.
    struct RawCount [RECORD] {
        0x0 limit: u16,
        0x2 count: u16,
    }
}

raw_structure! {
    /// Any entry.
    struct RawEntry [RECORD] {
        0x0 hash: u32,
        0x4 block: u32,
    }
}

raw_structure! {
    /// How a block with entries ends.
    struct RawTail [TAIL_LEN] {
        0x0 dt_reserved: [u8; 4],
        0x4 dt_checksum: u32,
    }
}

/// Where to go on below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// To a block of names.
    Leaf(Lblk),
    /// To another node.
    Node(Below),
}

/// The place of a node below another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    lblk: Lblk,
    levels: u8,
}

impl Below {
    /// The block of the directory with the node.
    pub fn lblk(&self) -> Lblk {
        self.lblk
    }
}

/// One entry of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    n: usize,
    hash: u32,
    child: Child,
}

impl Entry {
    /// Where to go on.
    pub fn child(&self) -> Child {
        self.child
    }

    /// The least hash of the names below; in the first entry of a node 0, whose least hash is in
    /// the node above.
    pub fn hash(&self) -> u32 {
        self.hash & !1
    }

    /// Whether names of that hash may be below although they are below the entry before, too.
    pub fn continues(&self, hash: hash::Hash) -> bool {
        self.hash == hash.major | 1
    }
}

/// The root of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a> {
    parent: Ino,
    hasher: hash::Hasher,
    index: Index<'a>,
}

impl<'a> Root<'a> {
    /// Checks the first block of an [indexed](Inode::is_indexed) directory.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt) when the checksum cannot be found,
    /// [`BadChecksum`](Error::BadChecksum), else [`Corrupt`](Error::Corrupt), or
    /// [`Unsupported`](Error::Unsupported) for the hash that takes a key.
    pub fn parse<C: Crc32c>(volume: &Superblock, dir: &Inode, block: Block<'a>) -> Result<Self> {
        let Some(raw) = chunk(&block, 0).map(RawRoot::new) else {
            return Structure::HashTree.corrupt_len("dot_rec_len", block.len());
        };
        let index = Index::parse::<C>(volume, dir, block, ROOT_LEN, raw.indirect_levels)?;

        if raw.dot_inode != dir.ino().get() {
            return Structure::HashTree.corrupt("dot.inode", raw.dot_inode);
        }
        if raw.dot_rec_len != 12 {
            return Structure::HashTree.corrupt("dot.rec_len", raw.dot_rec_len);
        }
        if raw.dot_name_len != 1 || raw.dot_name != *b".\0\0\0" {
            return Structure::HashTree.corrupt("dot_name", u32::from_be_bytes(raw.dot_name));
        }
        let Some(parent) = volume.ino(raw.dotdot_inode) else {
            return Structure::HashTree.corrupt("dotdot.inode", raw.dotdot_inode);
        };
        let dotdot_len = rec_len(raw.dotdot_rec_len, block.len());
        if dotdot_len.checked_add(12) != Some(block.len()) {
            return Structure::HashTree.corrupt("dotdot.rec_len", raw.dotdot_rec_len);
        }
        if raw.dotdot_name_len != 2 || raw.dotdot_name != *b"..\0\0" {
            return Structure::HashTree.corrupt("dotdot_name", u32::from_be_bytes(raw.dotdot_name));
        }
        if raw.reserved_zero != 0 {
            return Structure::HashTree.corrupt("reserved_zero", raw.reserved_zero);
        }
        if raw.info_length != INFO_LEN {
            return Structure::HashTree.corrupt("info_length", raw.info_length);
        }
        if raw.indirect_levels > MAX_LEVELS {
            return Structure::HashTree.corrupt("indirect_levels", raw.indirect_levels);
        }
        if raw.unused_flags & 1 != 0 {
            return Structure::HashTree.corrupt("unused_flags", raw.unused_flags);
        }
        if raw.hash_version == HASH_SIPHASH {
            let version = Unsupported::HashVersion(raw.hash_version);
            return Err(Error::Unsupported(version));
        }
        let Some(version) = hash::Version::from_disk(raw.hash_version) else {
            return Structure::HashTree.corrupt("hash_version", raw.hash_version);
        };
        let settings = volume.settings();
        Ok(Self {
            parent,
            hasher: hash::Hasher::new(version, settings.hash_chars(), settings.hash_seed()),
            index,
        })
    }

    /// The directory above, which has its name (`..`) here and not in a leaf.
    pub fn parent(&self) -> Ino {
        self.parent
    }

    /// The directory's hash function.
    pub fn hasher(&self) -> hash::Hasher {
        self.hasher
    }

    /// The entries of the root.
    pub fn index(&self) -> Index<'a> {
        self.index
    }
}

/// The entries of the root or of a node.
///
/// # Invariants
///
/// At least one; their hashes do not fall; their blocks are blocks of the directory, and none is
/// the root's.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// Whose hash is that of the entry above.
    first: &'a [u8; RECORD],
    others: Records<'a, RECORD>,
    levels: u8,
}

impl<'a> Index<'a> {
    /// Checks the node below another one.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt) when the checksum cannot be found,
    /// [`BadChecksum`](Error::BadChecksum), else [`Corrupt`](Error::Corrupt).
    pub fn below<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        below: Below,
        block: Block<'a>,
    ) -> Result<Self> {
        let Some(raw) = chunk(&block, 0).map(RawNode::new) else {
            return Structure::HashTree.corrupt_len("fake.rec_len", block.len());
        };
        // Otherwise it is a block of names.
        if raw.fake_inode != 0 {
            return Structure::HashTree.corrupt("fake.inode", raw.fake_inode);
        }
        if rec_len(raw.fake_rec_len, block.len()) != block.len() {
            return Structure::HashTree.corrupt("fake.rec_len", raw.fake_rec_len);
        }
        if raw.name_len != 0 {
            return Structure::HashTree.corrupt("fake.name_len", raw.name_len);
        }
        Self::parse::<C>(volume, dir, block, NODE_LEN, below.levels)
    }

    fn parse<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        block: Block<'a>,
        pos: usize,
        levels: u8,
    ) -> Result<Self> {
        let Some(raw) = chunk(&block, pos).map(RawCount::new) else {
            return Structure::HashTree.corrupt_len("limit", block.len());
        };
        let tail_len = if dir.seed().is_some() { TAIL_LEN } else { 0 };
        let end = block.len().saturating_sub(tail_len);
        if usize::from(raw.limit) != end.saturating_sub(pos) / RECORD {
            return Structure::HashTree.corrupt("limit", raw.limit);
        }
        // OVERFLOW: less than a block.
        let others_pos = pos.saturating_add(RECORD);
        let others = match raw.count.checked_sub(1) {
            Some(others) if raw.count <= raw.limit => {
                Records::new(block.bytes(), others_pos, others)
            }
            _ => None,
        };
        let (Some(first), Some(others)) = (chunk(block.bytes(), pos), others) else {
            return Structure::HashTree.corrupt("count", raw.count);
        };
        if let Some(tail) = chunk(&block, end).map(RawTail::new) {
            // OVERFLOW: less than a block.
            let used = others_pos.saturating_add(others.len().saturating_mul(RECORD));
            dir.seed().check::<C>(
                Structure::HashTree,
                Stored::Full(tail.dt_checksum),
                &[
                    block.get(..used).unwrap_or_default(),
                    &tail.dt_reserved,
                    &[0; 4],
                ],
            )?;
        }

        let blocks = dir.size() / NonZeroU64::from(volume.block_size().bytes());
        let is_possible = |entry: &RawEntry| {
            let lblk = entry.lblk();
            lblk != Lblk(0) && u64::from(lblk.0) < blocks
        };
        let entry = RawEntry::new(first);
        if !is_possible(&entry) {
            return Structure::HashTree.corrupt("block", entry.block);
        }
        let mut least = 0;
        for entry in others.iter().map(RawEntry::new) {
            if entry.hash < least {
                return Structure::HashTree.corrupt("hash", entry.hash);
            }
            if !is_possible(&entry) {
                return Structure::HashTree.corrupt("block", entry.block);
            }
            least = entry.hash;
        }
        Ok(Self {
            first,
            others,
            levels,
        })
    }

    /// The entry below which a name of that hash is, or the first of those.
    pub fn find(&self, hash: hash::Hash) -> Entry {
        // The first entry has no hash, and comes before all others.
        let n = self
            .others
            .partition_point(|entry| RawEntry::new(entry).hash <= hash.major);
        self.entry(n).unwrap_or_else(|| self.first())
    }

    /// The first entry.
    pub fn first(&self) -> Entry {
        Entry {
            n: 0,
            hash: 0,
            child: self.child(RawEntry::new(self.first).lblk()),
        }
    }

    /// The entry that follows another one of this node.
    pub fn after(&self, entry: Entry) -> Option<Entry> {
        self.entry(entry.n.checked_add(1)?)
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + 'a {
        let this = *self;
        core::iter::successors(Some(self.first()), move |entry| this.after(*entry))
    }

    /// The entry of that number, unless it is the first.
    fn entry(&self, n: usize) -> Option<Entry> {
        let raw = RawEntry::new(self.others.get(n.checked_sub(1)?)?);
        Some(Entry {
            n,
            hash: raw.hash,
            child: self.child(raw.lblk()),
        })
    }

    fn child(&self, lblk: Lblk) -> Child {
        match self.levels.checked_sub(1) {
            None => Child::Leaf(lblk),
            Some(levels) => Child::Node(Below { lblk, levels }),
        }
    }
}

impl RawEntry {
    fn lblk(&self) -> Lblk {
        Lblk(self.block & BLOCK_MASK)
    }
}
