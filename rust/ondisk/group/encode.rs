// SPDX-License-Identifier: GPL-2.0

//! What allocation changes in a descriptor: counts, flags and checksums of bitmaps → fields →
//! checksum of the descriptor.

use super::{
    bitmap_checksum,
    Descriptor,
    Flags,
    RawDescriptor,
    AFTER_CHECKSUM,
    CHECKSUM,
    KNOWN,
    MIN_DESC_SIZE, //
};
use crate::ondisk::{
    bytes::Put,
    checksum::Seed,
    Crc32c,
    Superblock, //
};

/// What a descriptor is to say of its group. See [`Descriptor::usage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Clusters that are free.
    pub free_clusters: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// Inodes that are directories.
    pub used_dirs: u32,
    /// Inodes at the end of the table that were never used.
    pub itable_unused: u32,
    /// What is not yet written.
    pub flags: Flags,
}

/// Bitmaps that changed, and whose checksum the descriptor has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bitmaps<'a> {
    /// That of the clusters.
    pub block: Option<&'a [u8]>,
    /// That of the inodes.
    pub inode: Option<&'a [u8]>,
}

impl Descriptor {
    /// What the descriptor says of its group.
    pub fn usage(&self) -> Usage {
        Usage {
            free_clusters: self.free_clusters,
            free_inodes: self.free_inodes,
            used_dirs: self.used_dirs,
            itable_unused: self.itable_unused,
            flags: self.flags,
        }
    }

    /// Changes this descriptor, in `bytes` as it was read, and gives what it is afterwards; unless
    /// the group cannot be as `usage` says, a bitmap is too short, or the bytes are those of
    /// another descriptor: then they stay. Fields without a meaning stay in any case.
    pub fn encode<C: Crc32c>(
        &self,
        volume: &Superblock,
        usage: &Usage,
        bitmaps: &Bitmaps<'_>,
        bytes: &mut [u8],
    ) -> Option<Self> {
        let is_long = volume.desc_size() > MIN_DESC_SIZE;
        let mut known = [0; KNOWN];
        let known_len = bytes.len().min(KNOWN);
        known
            .get_mut(..known_len)?
            .copy_from_slice(bytes.get(..known_len)?);
        let mut raw = RawDescriptor::new(&known);
        if raw.check_fields(volume, self.group).ok()? != *self {
            return None;
        }

        (raw.bg_free_blocks_count_lo, raw.bg_free_blocks_count_hi) = halves(usage.free_clusters);
        (raw.bg_free_inodes_count_lo, raw.bg_free_inodes_count_hi) = halves(usage.free_inodes);
        (raw.bg_used_dirs_count_lo, raw.bg_used_dirs_count_hi) = halves(usage.used_dirs);
        (raw.bg_itable_unused_lo, raw.bg_itable_unused_hi) = halves(usage.itable_unused);
        raw.bg_flags = usage.flags.0;
        if let Some(bitmap) = bitmaps.block {
            let checksum = bitmap_checksum::<C>(volume, bitmap, volume.clusters_per_group())?;
            if let Some(checksum) = checksum {
                (raw.bg_block_bitmap_csum_lo, raw.bg_block_bitmap_csum_hi) = halves(checksum);
            }
        }
        if let Some(bitmap) = bitmaps.inode {
            let checksum = bitmap_checksum::<C>(volume, bitmap, volume.inodes_per_group().get())?;
            if let Some(checksum) = checksum {
                (raw.bg_inode_bitmap_csum_lo, raw.bg_inode_bitmap_csum_hi) = halves(checksum);
            }
        }
        if !is_long {
            raw.forget_upper_half();
        }
        let descriptor = raw.check_fields(volume, self.group).ok()?;
        if descriptor.usage() != *usage {
            return None;
        }

        raw.put(&mut known);
        bytes
            .get_mut(..known_len)?
            .copy_from_slice(known.get(..known_len)?);
        let checksum = Seed::of_volume(volume)
            .with::<C>(&self.group.0.to_le_bytes())
            .compute::<C>(&[
                bytes.get(..CHECKSUM)?,
                &[0; AFTER_CHECKSUM - CHECKSUM],
                bytes.get(AFTER_CHECKSUM..)?,
            ]);
        if let Some(checksum) = checksum {
            let (lo, _) = halves(checksum);
            let field = bytes.get_mut(CHECKSUM..AFTER_CHECKSUM)?;
            field.copy_from_slice(&lo.to_le_bytes());
        }
        Some(descriptor)
    }
}

impl RawDescriptor {
    /// A count without room for its upper half is then not the one that was to be written, which
    /// is noticed; of a checksum the lower half is what is stored.
    fn forget_upper_half(&mut self) {
        self.bg_free_blocks_count_hi = 0;
        self.bg_free_inodes_count_hi = 0;
        self.bg_used_dirs_count_hi = 0;
        self.bg_itable_unused_hi = 0;
        self.bg_block_bitmap_csum_hi = 0;
        self.bg_inode_bitmap_csum_hi = 0;
    }
}

fn halves(number: u32) -> (u16, u16) {
    let [b0, b1, b2, b3] = number.to_le_bytes();
    (u16::from_le_bytes([b0, b1]), u16::from_le_bytes([b2, b3]))
}
