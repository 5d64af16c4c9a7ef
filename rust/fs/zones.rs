// SPDX-License-Identifier: GPL-2.0

//! Blocks that hold the format's own structures: gathered group by group → sorted, merged, found
//! not to overlap → asked whenever a file says that blocks are its own.
//!
//! Copies of the superblock with the group descriptors and the room for more of those, bitmaps,
//! inode tables; and the journal, whose blocks belong to its inode.

use super::{
    metadata::{
        self,
        At, //
    },
    refusal::Refusal,
    SuperBlock, //
};
use crate::{
    kernel::sort::sort_by_key,
    ondisk::{
        Blocks,
        GroupNumber,
        Ino,
        Pblk,
        PblkRange,
        Superblock, //
    },
};
use ::kernel::prelude::*;

/// How many ranges are kept in memory, at most: 48 MiB. A volume of 128 TiB has no more without
/// `flex_bg`, one with it a tenth of that.
const MAX_ZONES: usize = 2 << 20;

/// Blocks that follow each other and have one owner.
#[derive(Clone, Copy)]
struct Zone {
    blocks: PblkRange,
    /// The inode that they belong to, or none.
    owner: Option<Ino>,
}

impl Zone {
    /// Both as one, if `next` begins where this ends.
    fn join(self, next: Self) -> Option<Self> {
        let joins = self.blocks.end == next.blocks.start && self.owner == next.owner;
        joins.then_some(Self {
            blocks: PblkRange {
                start: self.blocks.start,
                end: next.blocks.end,
            },
            owner: self.owner,
        })
    }
}

/// The blocks that hold the format's own structures.
///
/// # Invariants
///
/// Sorted, without overlaps, none empty.
pub(super) struct Zones(KVVec<Zone>);

impl Zones {
    /// The first of some blocks that is not for inode `ino` to use.
    pub(super) fn first_foreign(&self, ino: Ino, blocks: PblkRange) -> Option<Pblk> {
        self.around(blocks)
            .find(|zone| zone.owner != Some(ino))
            .map(|zone| zone.blocks.start.max(blocks.start))
    }

    /// Those of some blocks that hold such structures; and perhaps more around them.
    pub(super) fn within(&self, blocks: PblkRange) -> impl Iterator<Item = PblkRange> + '_ {
        self.around(blocks).map(|zone| zone.blocks)
    }

    /// The zones that have some of the blocks.
    fn around(&self, blocks: PblkRange) -> impl Iterator<Item = &Zone> {
        let first = self
            .0
            .partition_point(|zone| zone.blocks.end <= blocks.start);
        self.0
            .iter()
            .skip(first)
            .take_while(move |zone| zone.blocks.start < blocks.end)
    }

    /// How many clusters have such blocks, those that belong to an inode left out.
    pub(super) fn clusters(&self, volume: &Superblock) -> u64 {
        let per_cluster = u64::from(volume.blocks_per_cluster().get());
        let mut clusters = 0_u64;
        let mut counted = 0_u64;
        for zone in self.0.iter().filter(|zone| zone.owner.is_none()) {
            let cluster = |pblk: u64| pblk.checked_div(per_cluster).unwrap_or(pblk);
            // One cluster may have the end of a zone and the beginning of the next.
            let start = cluster(zone.blocks.start.0).max(counted);
            let end = cluster(zone.blocks.end.0.saturating_sub(1)).saturating_add(1);
            clusters = clusters.saturating_add(end.saturating_sub(start));
            counted = end.max(counted);
        }
        clusters
    }
}

/// Zones that are being gathered.
#[derive(Default)]
pub(super) struct Gathering {
    zones: KVVec<Zone>,
    /// What was added last, of each [`Kind`]: the next may well join it.
    open: [Option<Zone>; 4],
}

/// What blocks hold. Those of one kind follow each other from group to group with `flex_bg`.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A copy of the superblock, and what comes with it; or what belongs to an inode.
    Base,
    /// Bitmaps of blocks.
    BlockBitmap,
    /// Bitmaps of inodes.
    InodeBitmap,
    /// Inode tables.
    InodeTable,
}

impl Gathering {
    /// Adds the superblock and the descriptors that a group may begin with.
    pub(super) fn add_base(
        &mut self,
        volume: &Superblock,
        group: GroupNumber,
    ) -> Result<(), Refusal> {
        if !volume.has_super(group) {
            return Ok(());
        }
        let descriptors = volume.descriptor_blocks().map_err(Refusal::Superblock)?;
        let len = descriptors
            .end
            .0
            .saturating_sub(descriptors.start.0)
            .saturating_add(volume.reserved_gdt_blocks().into())
            .saturating_add(1);
        let blocks = volume.group_blocks(group);
        let end = blocks.start.checked_add(Blocks(len));
        let blocks = PblkRange {
            start: blocks.start,
            // A last group that is short has fewer.
            end: end.map_or(blocks.end, |end| end.min(blocks.end)),
        };
        self.add(Kind::Base, blocks, None)
    }

    /// Adds blocks that belong to `owner`, or to no inode.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        blocks: PblkRange,
        owner: Option<Ino>,
    ) -> Result<(), Refusal> {
        let [base, block_bitmap, inode_bitmap, inode_table] = &mut self.open;
        let open = match kind {
            Kind::Base => base,
            Kind::BlockBitmap => block_bitmap,
            Kind::InodeBitmap => inode_bitmap,
            Kind::InodeTable => inode_table,
        };
        let new = Zone { blocks, owner };
        let Some(last) = *open else {
            *open = Some(new);
            return Ok(());
        };
        if let Some(joined) = last.join(new) {
            *open = Some(joined);
            return Ok(());
        }
        *open = Some(new);
        push(&mut self.zones, last)
    }

    /// All of them, sorted.
    ///
    /// # Errors
    ///
    /// [`Refusal::Overlap`]; [`Refusal::Scattered`]; [`Refusal::NoMemory`].
    pub(super) fn finish(mut self) -> Result<Zones, Refusal> {
        for open in self.open.iter_mut() {
            if let Some(zone) = open.take() {
                push(&mut self.zones, zone)?;
            }
        }
        let mut sorted = self.zones;
        sort_by_key(&mut sorted, |zone| zone.blocks.start);
        let mut merged: KVVec<Zone> = KVVec::new();
        let mut last: Option<Zone> = None;
        for zone in sorted.iter().copied() {
            last = Some(match last {
                None => zone,
                Some(last) if zone.blocks.start < last.blocks.end => {
                    return Err(Refusal::Overlap {
                        pblk: zone.blocks.start,
                    });
                }
                Some(last) => match last.join(zone) {
                    Some(joined) => joined,
                    None => {
                        push(&mut merged, last)?;
                        zone
                    }
                },
            });
        }
        if let Some(last) = last {
            push(&mut merged, last)?;
        }
        // INVARIANT: As just seen; empty ranges are not pushed.
        Ok(Zones(merged))
    }
}

fn push(zones: &mut KVVec<Zone>, zone: Zone) -> Result<(), Refusal> {
    if zone.blocks.start >= zone.blocks.end {
        return Ok(());
    }
    if zones.len() >= MAX_ZONES {
        return Err(Refusal::Scattered);
    }
    zones.push(zone, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
}

impl SuperBlock {
    /// Checks that blocks which inode `ino` claims can be its own. That they lie inside the volume
    /// is checked already where they were parsed.
    ///
    /// # Errors
    ///
    /// `EFSCORRUPTED`, reported, if one of them holds a structure of the format.
    pub(super) fn check_blocks(&self, ino: Ino, blocks: PblkRange) -> Result {
        match self.volume().zones().first_foreign(ino, blocks) {
            None => Ok(()),
            Some(pblk) => Err(metadata::corrupt(
                self,
                At::block(ino, pblk),
                format_args!("the block is the file's, and holds metadata of the volume"),
            )),
        }
    }
}
