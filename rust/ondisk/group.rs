// SPDX-License-Identifier: GPL-2.0

//! Group descriptors: where a group's bitmaps and inode table lie, and what is free in it.
//!
//! 32 or more bytes of the descriptor table → checksum → fields inside the volume → checked value.
//!
//! Format: [Documentation/filesystems/ext4/group_descr.rst](srctree/Documentation/filesystems/ext4/group_descr.rst).

mod encode;

pub use encode::{
    Bitmaps,
    Usage, //
};

use super::{
    bytes::raw_structure,
    checksum::{
        Seed,
        Stored, //
    },
    Blocks,
    Crc32c,
    GroupNumber,
    InBlock,
    Incompat,
    Ino,
    Pblk,
    PblkRange,
    Result,
    RoCompat,
    Structure,
    Superblock, //
};

/// Bytes of a descriptor with `64bit` that have a meaning; what follows is for later.
const KNOWN: usize = 64;
/// Bytes of a descriptor without `64bit`: the lower halves of the fields.
const MIN_DESC_SIZE: u16 = 32;
/// Where `bg_checksum` stands.
const CHECKSUM: usize = 0x1e;
/// Where `bg_checksum` ends.
const AFTER_CHECKSUM: usize = 0x20;

raw_structure! {
    /// The fields as they are on the disk, with their C names; those of the second half are 0
    /// where there is none.
    struct RawDescriptor [KNOWN] {
        0x00 bg_block_bitmap_lo: u32,
        0x04 bg_inode_bitmap_lo: u32,
        0x08 bg_inode_table_lo: u32,
        0x0c bg_free_blocks_count_lo: u16,
        0x0e bg_free_inodes_count_lo: u16,
        0x10 bg_used_dirs_count_lo: u16,
        0x12 bg_flags: u16,
        0x18 bg_block_bitmap_csum_lo: u16,
        0x1a bg_inode_bitmap_csum_lo: u16,
        0x1c bg_itable_unused_lo: u16,
        0x1e bg_checksum: u16,
        0x20 bg_block_bitmap_hi: u32,
        0x24 bg_inode_bitmap_hi: u32,
        0x28 bg_inode_table_hi: u32,
        0x2c bg_free_blocks_count_hi: u16,
        0x2e bg_free_inodes_count_hi: u16,
        0x30 bg_used_dirs_count_hi: u16,
        0x32 bg_itable_unused_hi: u16,
        0x38 bg_block_bitmap_csum_hi: u16,
        0x3a bg_inode_bitmap_csum_hi: u16,
    }
}

/// What is not yet written in a group. Means something only on a volume with checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// The inode bitmap, and all of the inode table, are as if empty (`EXT4_BG_INODE_UNINIT`).
    pub const INODE_UNINIT: Self = Self(1);
    /// The block bitmap is to be computed: only metadata is in use (`EXT4_BG_BLOCK_UNINIT`).
    pub const BLOCK_UNINIT: Self = Self(2);
    /// The unused end of the inode table is zeroes (`EXT4_BG_INODE_ZEROED`).
    pub const INODE_ZEROED: Self = Self(4);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags and `flags`.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These flags without `flags`.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// The descriptor of one group, read and checked.
///
/// # Invariants
///
/// * Both bitmaps and the inode table lie inside the volume, without `flex_bg` inside the group;
///   they overlap neither each other nor the superblock and the descriptors of group 0.
/// * Not more is free or unused than the group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    group: GroupNumber,
    block_bitmap: Pblk,
    inode_bitmap: Pblk,
    inode_table: PblkRange,
    free_clusters: u32,
    free_inodes: u32,
    used_dirs: u32,
    itable_unused: u32,
    flags: Flags,
    block_bitmap_csum: Stored,
    inode_bitmap_csum: Stored,
}

impl Descriptor {
    /// Checks the descriptor of `group`: the bytes that
    /// [`descriptor_place`](Superblock::descriptor_place) names.
    ///
    /// # Errors
    ///
    /// [`BadChecksum`](super::Error::BadChecksum), else [`Corrupt`](super::Error::Corrupt).
    pub fn parse<C: Crc32c>(volume: &Superblock, group: GroupNumber, bytes: &[u8]) -> Result<Self> {
        if bytes.len() != usize::from(volume.desc_size()) {
            return Structure::GroupDescriptor.corrupt_len("s_desc_size", bytes.len());
        }
        let mut known = [0; KNOWN];
        for (to, from) in known.iter_mut().zip(bytes) {
            *to = *from;
        }
        let raw = RawDescriptor::new(&known);

        let (Some(before), Some(after)) = (bytes.get(..CHECKSUM), bytes.get(AFTER_CHECKSUM..))
        else {
            return Structure::GroupDescriptor.corrupt_len("s_desc_size", bytes.len());
        };
        Seed::of_volume(volume)
            .with::<C>(&group.0.to_le_bytes())
            .check::<C>(
                Structure::GroupDescriptor,
                Stored::Low(raw.bg_checksum),
                &[before, &[0; AFTER_CHECKSUM - CHECKSUM], after],
            )?;
        raw.check_fields(volume, group)
    }

    /// Which group it describes.
    pub fn group(&self) -> GroupNumber {
        self.group
    }

    /// The block with a bit for each cluster of the group.
    pub fn block_bitmap(&self) -> Pblk {
        self.block_bitmap
    }

    /// The block with a bit for each inode of the group.
    pub fn inode_bitmap(&self) -> Pblk {
        self.inode_bitmap
    }

    /// The blocks with the inodes of the group.
    pub fn inode_table(&self) -> PblkRange {
        self.inode_table
    }

    /// The blocks with the inodes of the group that have been in use.
    pub fn inode_table_used(&self, volume: &Superblock) -> PblkRange {
        let table = self.inode_table;
        let end = self
            .inodes_used(volume)
            .checked_sub(1)
            .map_or(table.start, |last| {
                let last = volume.in_block(table.start, last.into(), volume.inode_size());
                last.pblk.checked_add(Blocks(1)).unwrap_or(table.end)
            });
        PblkRange {
            start: table.start,
            end: end.min(table.end),
        }
    }

    /// Clusters that are free; blocks, without `bigalloc`.
    pub fn free_clusters(&self) -> u32 {
        self.free_clusters
    }

    /// Inodes that are free.
    pub fn free_inodes(&self) -> u32 {
        self.free_inodes
    }

    /// Inodes that are directories.
    pub fn used_dirs(&self) -> u32 {
        self.used_dirs
    }

    /// Inodes at the end of the table that were never used.
    pub fn itable_unused(&self) -> u32 {
        self.itable_unused
    }

    /// How many inodes of the group, from the first on, have been in use.
    pub fn inodes_used(&self, volume: &Superblock) -> u32 {
        if self.flags.contains(Flags::INODE_UNINIT) {
            return 0;
        }
        let inodes = volume.inodes_per_group().get();
        inodes.saturating_sub(self.itable_unused)
    }

    /// Whether an inode of the group was never used, so that nothing can be said of its bytes.
    pub fn is_never_used(&self, volume: &Superblock, ino: Ino) -> bool {
        volume.index_in_group(ino) >= self.inodes_used(volume)
    }

    /// What is not yet written.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Where an inode is, if it is of this group.
    pub fn inode_place(&self, volume: &Superblock, ino: Ino) -> Option<InBlock> {
        let place = volume.inode_place(self.inode_table.start, ino);
        (volume.group_of(ino) == self.group).then_some(place)
    }

    /// Checks the block bitmap, unless it is [not written yet](Flags::BLOCK_UNINIT).
    ///
    /// # Errors
    ///
    /// [`BadChecksum`](super::Error::BadChecksum).
    pub fn check_block_bitmap<C: Crc32c>(&self, volume: &Superblock, bytes: &[u8]) -> Result<()> {
        check_bitmap::<C>(
            volume,
            Structure::BlockBitmap,
            self.block_bitmap_csum,
            bytes,
            volume.clusters_per_group(),
        )
    }

    /// Checks the inode bitmap, unless it is [not written yet](Flags::INODE_UNINIT).
    ///
    /// # Errors
    ///
    /// [`BadChecksum`](super::Error::BadChecksum).
    pub fn check_inode_bitmap<C: Crc32c>(&self, volume: &Superblock, bytes: &[u8]) -> Result<()> {
        check_bitmap::<C>(
            volume,
            Structure::InodeBitmap,
            self.inode_bitmap_csum,
            bytes,
            volume.inodes_per_group().get(),
        )
    }
}

fn check_bitmap<C: Crc32c>(
    volume: &Superblock,
    structure: Structure,
    stored: Stored,
    bytes: &[u8],
    bits: u32,
) -> Result<()> {
    match used(bytes, bits) {
        Some(used) => Seed::of_volume(volume).check::<C>(structure, stored, &[used]),
        None => structure.corrupt_len("s_log_block_size", bytes.len()),
    }
}

/// The checksum of a bitmap, where there are checksums; nothing if the bitmap is too short.
fn bitmap_checksum<C: Crc32c>(volume: &Superblock, bytes: &[u8], bits: u32) -> Option<Option<u32>> {
    let used = used(bytes, bits)?;
    Some(Seed::of_volume(volume).compute::<C>(&[used]))
}

/// The bytes of a bitmap that have a meaning. A group has a multiple of 8 clusters, and of inodes.
fn used(bytes: &[u8], bits: u32) -> Option<&[u8]> {
    bytes.get(..usize::try_from(bits / 8).ok()?)
}

impl RawDescriptor {
    fn check_fields(&self, volume: &Superblock, group: GroupNumber) -> Result<Descriptor> {
        let block_bitmap = blocks(
            volume,
            group,
            "bg_block_bitmap",
            wide(self.bg_block_bitmap_lo, self.bg_block_bitmap_hi),
            Blocks(1),
        )?;
        let inode_bitmap = blocks(
            volume,
            group,
            "bg_inode_bitmap",
            wide(self.bg_inode_bitmap_lo, self.bg_inode_bitmap_hi),
            Blocks(1),
        )?;
        let inode_table = blocks(
            volume,
            group,
            "bg_inode_table",
            wide(self.bg_inode_table_lo, self.bg_inode_table_hi),
            volume.inode_table_len(),
        )?;
        if inode_bitmap.overlaps(block_bitmap) {
            return Structure::GroupDescriptor.corrupt("bg_inode_bitmap", inode_bitmap.start.0);
        }
        if inode_table.overlaps(block_bitmap) || inode_table.overlaps(inode_bitmap) {
            return Structure::GroupDescriptor.corrupt("bg_inode_table", inode_table.start.0);
        }

        let inodes = volume.inodes_per_group().get();
        // Otherwise the groups are written, whatever the fields say.
        let features = volume.features().ro_compat;
        let may_be_unwritten =
            features.contains(RoCompat::METADATA_CSUM) || features.contains(RoCompat::GDT_CSUM);
        let full_csum = volume.desc_size() > MIN_DESC_SIZE;
        Ok(Descriptor {
            group,
            block_bitmap: block_bitmap.start,
            inode_bitmap: inode_bitmap.start,
            inode_table,
            free_clusters: count(
                "bg_free_blocks_count",
                [self.bg_free_blocks_count_lo, self.bg_free_blocks_count_hi],
                volume.clusters(volume.group_blocks(group)),
            )?,
            free_inodes: count(
                "bg_free_inodes_count",
                [self.bg_free_inodes_count_lo, self.bg_free_inodes_count_hi],
                inodes,
            )?,
            used_dirs: count(
                "bg_used_dirs_count",
                [self.bg_used_dirs_count_lo, self.bg_used_dirs_count_hi],
                inodes,
            )?,
            itable_unused: if may_be_unwritten {
                count(
                    "bg_itable_unused",
                    [self.bg_itable_unused_lo, self.bg_itable_unused_hi],
                    inodes,
                )?
            } else {
                0
            },
            flags: if may_be_unwritten {
                Flags(self.bg_flags)
            } else {
                Flags(0)
            },
            block_bitmap_csum: stored(
                full_csum,
                [self.bg_block_bitmap_csum_lo, self.bg_block_bitmap_csum_hi],
            ),
            inode_bitmap_csum: stored(
                full_csum,
                [self.bg_inode_bitmap_csum_lo, self.bg_inode_bitmap_csum_hi],
            ),
        })
    }
}

/// Checks that blocks of a group's metadata are where such blocks can be.
fn blocks(
    volume: &Superblock,
    group: GroupNumber,
    field: &'static str,
    start: Pblk,
    len: Blocks,
) -> Result<PblkRange> {
    let range = start.checked_add(len).map(|end| PblkRange { start, end });
    let descriptors = PblkRange {
        start: volume.superblock_block(),
        end: volume.descriptor_blocks()?.end,
    };
    let flex_bg = volume.features().incompat.contains(Incompat::FLEX_BG);
    match range {
        Some(range)
            if volume.holds(range)
                && !range.overlaps(descriptors)
                && (flex_bg || volume.group_blocks(group).covers(range)) =>
        {
            Ok(range)
        }
        _ => Structure::GroupDescriptor.corrupt(field, start.0),
    }
}

/// Joins the halves of a count, which has a limit.
fn count(field: &'static str, [lo, hi]: [u16; 2], limit: u32) -> Result<u32> {
    let count = join(lo, hi);
    if count > limit {
        return Structure::GroupDescriptor.corrupt(field, count);
    }
    Ok(count)
}

fn stored(full: bool, [lo, hi]: [u16; 2]) -> Stored {
    if full {
        Stored::Full(join(lo, hi))
    } else {
        Stored::Low(lo)
    }
}

fn join(lo: u16, hi: u16) -> u32 {
    u32::from(hi).wrapping_shl(u16::BITS) | u32::from(lo)
}

fn wide(lo: u32, hi: u32) -> Pblk {
    Pblk(u64::from(hi).wrapping_shl(u32::BITS) | u64::from(lo))
}
