// SPDX-License-Identifier: GPL-2.0

//! Nodes of extent trees as bytes: entries → node with its header → checksum.

use super::{
    Child,
    Extent,
    Node,
    RawExtent,
    RawHeader,
    RawIndex,
    State,
    CHECKSUM_LEN,
    MAGIC,
    MAX_DEPTH,
    MAX_WRITTEN,
    RECORD,
    ROOT_LEN, //
};
use crate::ondisk::{
    bytes::{
        Put,
        Writer, //
    },
    checksum::Seed,
    Blocks,
    Crc32c,
    LblkRange,
    Pblk,
    PblkRange,
    Superblock, //
};

/// Entries a root has room for.
pub const ROOT_MAX: u16 = 4;

impl Extent {
    /// Blocks of a file that follow each other on the volume, if they are an extent: at least one
    /// of them, not more than [`max_len`](State::max_len), and inside the volume.
    pub fn new(volume: &Superblock, lblks: LblkRange, start: Pblk, state: State) -> Option<Self> {
        let len = lblks.end.checked_sub(lblks.start)?;
        let end = start.checked_add(len)?;
        (len > Blocks(0) && len <= state.max_len() && volume.holds(PblkRange { start, end }))
            .then_some(Self {
                lblks,
                start,
                state,
            })
    }

    pub(super) fn record(&self) -> Option<[u8; RECORD]> {
        let len = u16::try_from(self.len().0).ok()?;
        let (ee_start_lo, ee_start_hi) = halves(self.start)?;
        let raw = RawExtent {
            ee_block: self.lblks.start.0,
            ee_len: match self.state {
                State::Written => len,
                State::Unwritten => len.checked_add(MAX_WRITTEN)?,
            },
            ee_start_hi,
            ee_start_lo,
        };
        Some(record(&raw))
    }
}

impl State {
    /// Blocks of the longest extent.
    pub fn max_len(self) -> Blocks {
        let max = match self {
            Self::Written => MAX_WRITTEN,
            // One more would be a written extent.
            Self::Unwritten => MAX_WRITTEN.saturating_sub(1),
        };
        Blocks(max.into())
    }
}

impl Child {
    /// A node in block `pblk` with as many levels below, that tells of the blocks `lblks`; where
    /// there can be one.
    pub fn new(volume: &Superblock, pblk: Pblk, depth: u16, lblks: LblkRange) -> Option<Self> {
        (depth < MAX_DEPTH && lblks.start < lblks.end && volume.holds_block(pblk)).then_some(Self {
            pblk,
            depth,
            lblks,
        })
    }

    pub(super) fn record(&self) -> Option<[u8; RECORD]> {
        let (ei_leaf_lo, ei_leaf_hi) = halves(self.pblk)?;
        let raw = RawIndex {
            ei_block: self.lblks.start.0,
            ei_leaf_lo,
            ei_leaf_hi,
        };
        Some(record(&raw))
    }
}

/// What a node is to hold.
#[derive(Clone, Copy, Debug)]
pub enum Entries<'a> {
    /// Extents, in order.
    Extents(&'a [Extent]),
    /// Nodes below, in order, all of one depth, and at least one.
    Children(&'a [Child]),
}

impl Entries<'_> {
    /// The root with these entries, unless they are too many, or not what a root can hold.
    ///
    /// ```
    /// # use ondisk::{extent::{Entries, Node}, Superblock};
    /// fn empty(volume: &Superblock) {
    ///     let root = Entries::Extents(&[]).root(volume).unwrap();
    ///     assert!(matches!(Node::root(volume, &root), Ok(Node::Leaf(_))));
    /// }
    /// ```
    pub fn root(self, volume: &Superblock) -> Option<[u8; ROOT_LEN]> {
        let mut bytes = [0; ROOT_LEN];
        self.put(ROOT_MAX, &mut bytes)?;
        Node::root(volume, &bytes).ok()?;
        Some(bytes)
    }

    /// Makes a block that is to be `child` of another node, in a file with that
    /// [seed](crate::ondisk::Inode::seed), into the node with these entries. If they are too many,
    /// or not what that child can hold, the block means nothing afterwards.
    pub fn block<C: Crc32c>(
        self,
        volume: &Superblock,
        seed: Seed,
        child: Child,
        block: &mut [u8],
    ) -> Option<()> {
        block.fill(0);
        let max = block_max(block.len())?;
        self.put(max, block)?;
        let end = RawHeader::check(block, block.len().checked_sub(CHECKSUM_LEN)?)
            .ok()?
            .entries_end();
        let (covered, rest) = block.split_at_mut_checked(end)?;
        if let Some(checksum) = seed.compute::<C>(&[covered]) {
            Writer::new(rest).put(&checksum.to_le_bytes())?;
        }
        let block = crate::ondisk::Block::new(block)?;
        Node::child::<C>(volume, seed, child, block).ok()?;
        Some(())
    }

    /// Writes header and entries.
    fn put(self, max: u16, bytes: &mut [u8]) -> Option<()> {
        let (len, depth) = match self {
            Self::Extents(extents) => (extents.len(), 0),
            Self::Children(children) => {
                let depth = children.first()?.depth;
                if children.iter().any(|child| child.depth != depth) {
                    return None;
                }
                (children.len(), depth.checked_add(1)?)
            }
        };
        let header = RawHeader {
            eh_magic: MAGIC,
            eh_entries: u16::try_from(len).ok().filter(|len| *len <= max)?,
            eh_max: max,
            eh_depth: depth,
        };
        let mut writer = Writer::new(bytes);
        writer.put(&record(&header))?;
        match self {
            Self::Extents(extents) => {
                for extent in extents {
                    writer.put(&extent.record()?)?;
                }
            }
            Self::Children(children) => {
                for child in children {
                    writer.put(&child.record()?)?;
                }
            }
        }
        Some(())
    }
}

/// Entries that a node in a block of that many bytes has room for, before its checksum.
pub fn block_max(block_len: usize) -> Option<u16> {
    let room = block_len.checked_sub(CHECKSUM_LEN)?.checked_sub(RECORD)?;
    u16::try_from(room / RECORD).ok()
}

pub(super) fn record(raw: &impl Put<RECORD>) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    raw.put(&mut bytes);
    bytes
}

/// The lower 32 and the upper 16 bits of a block's number, if it has no more.
fn halves(pblk: Pblk) -> Option<(u32, u16)> {
    let [b0, b1, b2, b3, b4, b5, 0, 0] = pblk.0.to_le_bytes() else {
        return None;
    };
    let lo = u32::from_le_bytes([b0, b1, b2, b3]);
    Some((lo, u16::from_le_bytes([b4, b5])))
}
