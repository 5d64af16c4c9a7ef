// SPDX-License-Identifier: GPL-2.0

//! The group descriptors: all read when the volume is mounted, checked, and what is known from
//! them kept.
//!
//! A descriptor that points outside of the volume, or where another structure is, makes a volume
//! that is not mounted. One with a wrong checksum but hides its own group: other files may still be
//! saved.
//!
//! What there is free is known to the [`Allocator`] from then on.

mod allocator;
mod change;
mod ranges;

pub(super) use {
    allocator::{
        Allocator,
        Group, //
    },
    change::{
        Change,
        CREDITS, //
    },
    ranges::{
        spare,
        Spare, //
    },
};

use super::{
    journal::Journal,
    metadata::{
        self,
        Fault, //
    },
    refusal::Refusal,
    zones::{
        Gathering,
        Kind,
        Zones, //
    },
    KernelCrc32c,
};
use crate::{
    allocation::{
        Kept,
        Summary, //
    },
    kernel::{
        current::check_fatal_signal,
        log,
        super_block::OnDevice, //
    },
    ondisk::{
        self,
        group::Descriptor,
        Blocks,
        GroupNumber,
        InBlock,
        Incompat,
        Pblk,
        PblkRange,
        RoCompat,
        Superblock, //
    },
};
use ::kernel::{
    prelude::*,
    sync::Arc, //
};
use core::num::NonZeroU64;

/// Blocks of descriptors that are asked of the device before they are needed.
const READAHEAD: u64 = 128;

/// What the group descriptors say together.
pub(super) struct Groups {
    /// Blocks that hold the format's own structures.
    pub(super) zones: Zones,
    /// Where the inode table of each group begins; 0 for a group whose descriptor cannot be used.
    inode_tables: KVVec<Pblk>,
    /// What is free.
    pub(super) allocator: Arc<Allocator>,
    /// Clusters that hold the format's own structures, and the journal.
    pub(super) overhead_clusters: u64,
}

impl Groups {
    /// Reads all descriptors, of which there may be many.
    pub(super) fn read(
        sb: &OnDevice,
        volume: &Superblock,
        journal: Option<&Journal>,
    ) -> Result<Self, Refusal> {
        let mut gathering = Gathering::default();
        let mut table = Table::new(sb, volume)?;
        let mut summaries = KVVec::new();
        let mut inode_tables = KVVec::new();
        for group in volume.groups() {
            gathering.add_base(volume, group)?;
            let descriptor = table.descriptor(group)?;
            let summary =
                descriptor.map_or(Summary::BAD, |descriptor| Summary::new(&descriptor.usage()));
            summaries
                .push(summary, GFP_KERNEL)
                .map_err(|_| Refusal::NoMemory)?;
            let inode_table =
                descriptor.map_or(Pblk(0), |descriptor| descriptor.inode_table().start);
            inode_tables
                .push(inode_table, GFP_KERNEL)
                .map_err(|_| Refusal::NoMemory)?;
            let Some(descriptor) = descriptor else {
                continue;
            };
            for (kind, pblk) in [
                (Kind::BlockBitmap, descriptor.block_bitmap()),
                (Kind::InodeBitmap, descriptor.inode_bitmap()),
            ] {
                // Inside of the volume, as was checked.
                if let Some(block) = PblkRange::one(pblk) {
                    gathering.add(kind, block, None)?;
                }
            }
            gathering.add(Kind::InodeTable, descriptor.inode_table(), None)?;
        }
        if table.unknown > 1 {
            let unknown = table.unknown;
            log::err(
                sb,
                format_args!("{unknown} group descriptors have wrong checksums"),
            );
        }
        if let Some(journal) = journal {
            for blocks in journal.blocks() {
                gathering.add(Kind::Base, blocks, Some(journal.ino()))?;
            }
        }
        let zones = gathering.finish()?;
        Ok(Self {
            inode_tables,
            overhead_clusters: overhead(volume, &zones, journal),
            zones,
            allocator: Allocator::new(&summaries, kept(volume)).map_err(|_| Refusal::NoMemory)?,
        })
    }
}

impl Groups {
    /// Where the inode table of a group begins, if its descriptor could be used.
    pub(super) fn inode_table(&self, group: GroupNumber) -> Option<Pblk> {
        let n = usize::try_from(group.get()).ok()?;
        self.inode_tables
            .get(n)
            .copied()
            .filter(|table| table.0 > 0)
    }
}

/// Clusters that are kept from files, as ext4 keeps them: some for the superuser, and others, not more
/// than a fiftieth of the volume, for splitting extents when nothing else is left.
pub(super) fn kept(volume: &Superblock) -> Kept {
    /// Of those others, at most.
    const MAX_ESSENTIAL: u64 = 4096;

    let clusters = volume.blocks_count().0 / NonZeroU64::from(volume.blocks_per_cluster());
    let has_extents = volume.features().incompat.contains(Incompat::EXTENTS);
    Kept {
        root: volume.settings().reserved_blocks(),
        essential: if has_extents {
            (clusters / 50).min(MAX_ESSENTIAL)
        } else {
            0
        },
    }
}

/// Clusters that no file can have, as ext4 counts them.
fn overhead(volume: &Superblock, zones: &Zones, journal: Option<&Journal>) -> u64 {
    let stored = u64::from(volume.settings().overhead_clusters());
    let bigalloc = volume.features().ro_compat.contains(RoCompat::BIGALLOC);
    if bigalloc && stored != 0 && stored <= volume.blocks_count().0 {
        return stored;
    }
    let clusters = |blocks: u64| blocks.div_ceil(volume.blocks_per_cluster().get().into());
    let journal = journal.map_or(0, |journal| clusters(journal.len().into()));
    clusters(volume.first_data_block().0)
        .saturating_add(zones.clusters(volume))
        .saturating_add(journal)
}

/// The blocks of the descriptors, read one after the other.
struct Table<'a> {
    sb: &'a OnDevice,
    volume: &'a Superblock,
    blocks: PblkRange,
    block: Option<(Pblk, KVec<u8>)>,
    /// How many have wrong checksums.
    unknown: u32,
}

impl<'a> Table<'a> {
    fn new(sb: &'a OnDevice, volume: &'a Superblock) -> Result<Self, Refusal> {
        Ok(Self {
            sb,
            volume,
            blocks: volume.descriptor_blocks().map_err(Refusal::Superblock)?,
            block: None,
            unknown: 0,
        })
    }

    /// The descriptor of a group; none if its checksum is wrong, of which the log gets the first.
    fn descriptor(&mut self, group: GroupNumber) -> Result<Option<Descriptor>, Refusal> {
        let place = self
            .volume
            .descriptor_place(group)
            .map_err(Refusal::Superblock)?;
        let refused = |fault| Refusal::Group { group, fault };
        let volume = self.volume;
        let bytes = self.bytes(place).map_err(refused)?;
        match Descriptor::parse::<KernelCrc32c>(volume, group, bytes) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(error @ ondisk::Error::BadChecksum { .. }) => {
                if self.unknown == 0 {
                    log::err(self.sb, format_args!("group {}: {error}", group.get()));
                }
                self.unknown = self.unknown.saturating_add(1);
                Ok(None)
            }
            Err(error) => Err(refused(Fault::Format(error))),
        }
    }

    fn bytes(&mut self, place: InBlock) -> Result<&[u8], Fault> {
        if !matches!(&self.block, Some((pblk, _)) if *pblk == place.pblk) {
            check_fatal_signal().map_err(Fault::Read)?;
            self.read_ahead(place.pblk);
            let bytes =
                metadata::copy_block(self.sb, self.volume, place.pblk).map_err(Fault::Read)?;
            self.block = Some((place.pblk, bytes));
        }
        let range = usize::try_from(place.start)
            .ok()
            .and_then(|start| Some(start..start.checked_add(usize::try_from(place.len).ok()?)?));
        self.block
            .as_ref()
            .zip(range)
            .and_then(|((_, bytes), range)| bytes.get(range))
            .ok_or(Fault::Read(EINVAL))
    }

    /// Asks for the blocks from `pblk` on, many at a time, and half of them ahead of time.
    fn read_ahead(&self, pblk: Pblk) {
        let n = pblk.0.saturating_sub(self.blocks.start.0);
        if n.checked_rem(READAHEAD) != Some(0) {
            return;
        }
        let from = if n == 0 { 0 } else { READAHEAD };
        let ahead = |n| {
            let ahead = pblk.checked_add(Blocks(n)).unwrap_or(self.blocks.end);
            ahead.min(self.blocks.end)
        };
        let blocks = PblkRange {
            start: ahead(from),
            end: ahead(READAHEAD.saturating_mul(2)),
        };
        if blocks.start < blocks.end {
            metadata::read_ahead(self.sb, self.volume, blocks.start, || Some(blocks));
        }
    }
}
