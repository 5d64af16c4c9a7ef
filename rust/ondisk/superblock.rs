// SPDX-License-Identifier: GPL-2.0

//! The superblock: 1,024 bytes → raw fields → features known → checked values.
//!
//! The order of the checks is part of the answer: a volume of another kind is not called corrupt,
//! fields are not judged before the checksum says that they are what was written, and not by rules
//! that an unknown feature may have changed.
//!
//! Format: [Documentation/filesystems/ext4/super.rst](srctree/Documentation/filesystems/ext4/super.rst).

use super::{
    bytes::raw_structure,
    BlockSize,
    Blocks,
    Compat,
    Crc32c,
    Error,
    Features,
    Incompat,
    Pblk,
    Result,
    RoCompat,
    Settings,
    Structure,
    Unsupported, //
};
use core::num::{
    NonZeroU32,
    NonZeroU64, //
};

/// `s_magic` of every ext2, ext3 and ext4 volume.
const MAGIC: u16 = 0xef53;
/// `s_rev_level` of a volume that has feature flags and inodes of a size of its own.
const DYNAMIC_REV: u32 = 1;
/// `s_checksum_type` of CRC-32C.
const CRC32C_CHKSUM: u8 = 1;
/// The largest `s_log_block_size` that the format allows: 64 KiB.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// The first inode number that no revision of the format reserves.
const GOOD_OLD_FIRST_INO: u32 = 11;
/// The smallest inode, in bytes.
const GOOD_OLD_INODE_SIZE: u32 = 128;
/// Bytes of a group descriptor without `64bit`, whatever `s_desc_size` says.
const MIN_DESC_SIZE: u16 = 32;
/// Bytes of the smallest group descriptor with `64bit`.
const MIN_DESC_SIZE_64BIT: u16 = 64;
/// Bytes of the largest group descriptor: the smallest block.
const MAX_DESC_SIZE: u16 = 1024;

raw_structure! {
    /// The fields as they are on the disk, with their C names.
    struct RawSuperblock [Superblock::LEN] {
        0x000 s_inodes_count: u32,
        0x004 s_blocks_count_lo: u32,
        0x014 s_first_data_block: u32,
        0x018 s_log_block_size: u32,
        0x01c s_log_cluster_size: u32,
        0x020 s_blocks_per_group: u32,
        0x024 s_clusters_per_group: u32,
        0x028 s_inodes_per_group: u32,
        0x038 s_magic: u16,
        0x03a s_state: u16,
        0x04c s_rev_level: u32,
        0x054 s_first_ino: u32,
        0x058 s_inode_size: u16,
        0x05c s_feature_compat: u32,
        0x060 s_feature_incompat: u32,
        0x064 s_feature_ro_compat: u32,
        0x068 s_uuid: [u8; 16],
        0x0ce s_reserved_gdt_blocks: u16,
        0x0fe s_desc_size: u16,
        0x150 s_blocks_count_hi: u32,
        0x175 s_checksum_type: u8,
        0x270 s_checksum_seed: u32,
        0x3fc s_checksum: u32,
    }
}

/// Bytes that the checksum covers: all before `s_checksum`.
pub(super) const CHECKSUMMED: usize = 0x3fc;

/// What the volume says about its own condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u16);

impl State {
    /// Was closed in an orderly way (`EXT4_VALID_FS`).
    pub const VALID: Self = Self(1);
    /// A driver has met an error; `e2fsck` is due (`EXT4_ERROR_FS`).
    pub const ERROR: Self = Self(2);

    /// As on the disk.
    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A superblock that was read, is intact, and describes a volume whose layout is possible.
///
/// Features that forbid writing are left in [`features`](Self::features): whether they matter is
/// for the one who mounts to say.
///
/// # Invariants
///
/// * Group `n` of [`groups_count`](Self::groups_count) holds
///   [`blocks_per_group`](Self::blocks_per_group) blocks, the last one at least one and no more.
/// * A bitmap of one block has a bit for every cluster, and for every inode, of a group; both
///   numbers are multiples of 8. Without `bigalloc` a cluster is a block.
/// * Inodes and group descriptors fill a block without rest, their sizes are powers of two.
/// * [`len`](Self::len) bytes are fewer than 2^63.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    block_size: BlockSize,
    blocks_count: Blocks,
    first_data_block: Pblk,
    blocks_per_group: NonZeroU32,
    inodes_per_group: NonZeroU32,
    blocks_per_cluster: NonZeroU32,
    groups_count: NonZeroU32,
    inodes_count: u32,
    first_ino: u32,
    inode_size: u16,
    desc_size: u16,
    reserved_gdt_blocks: u16,
    features: Features,
    checksum_seed: u32,
    state: State,
    uuid: [u8; 16],
    len: u64,
    settings: Settings,
}

impl Superblock {
    /// Where it begins, in bytes from the beginning of the volume.
    pub const POS: u64 = 1024;
    /// How long it is, in bytes.
    pub const LEN: usize = 1024;
    /// Where it ends.
    pub const END: u64 = 2048;

    /// Checks a superblock from the disk.
    ///
    /// ```
    /// # use ondisk::{Crc32c, Error, Superblock};
    /// # struct Crc;
    /// # impl Crc32c for Crc { fn crc32c(_: u32, _: &[u8]) -> u32 { 0 } }
    /// let blank = [0; Superblock::LEN];
    /// assert_eq!(Superblock::parse::<Crc>(&blank), Err(Error::NotExt4 { magic: 0 }));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotExt4`], else [`Error::BadChecksum`], else [`Error::Unsupported`], else
    /// [`Error::Corrupt`].
    pub fn parse<C: Crc32c>(bytes: &[u8; Self::LEN]) -> Result<Self> {
        let raw = RawSuperblock::new(bytes);

        if raw.s_magic != MAGIC {
            return Err(Error::NotExt4 { magic: raw.s_magic });
        }
        let features = Features {
            compat: Compat::from_bits(raw.s_feature_compat),
            ro_compat: RoCompat::from_bits(raw.s_feature_ro_compat),
            incompat: Incompat::from_bits(raw.s_feature_incompat),
        };
        if features.ro_compat.contains(RoCompat::METADATA_CSUM) {
            raw.check_checksum::<C>(bytes)?;
        } else if features.incompat.contains(Incompat::CSUM_SEED) {
            // No tool makes a seed without checksums. Taking it for a damaged word leaves no
            // single bit of a volume with default features whose loss goes unnoticed.
            return corrupt("s_feature_ro_compat", raw.s_feature_ro_compat);
        }
        if raw.s_rev_level != DYNAMIC_REV {
            return unsupported(Unsupported::Revision(raw.s_rev_level));
        }
        if !features.incompat.unsupported().is_empty() {
            return unsupported(Unsupported::Incompat(features.incompat.unsupported()));
        }
        raw.check_fields::<C>(features, bytes)
    }

    /// The size of a block.
    pub fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Blocks of the volume, those before [`first_data_block`](Self::first_data_block) included.
    pub fn blocks_count(&self) -> Blocks {
        self.blocks_count
    }

    /// The block in which group 0 begins.
    pub fn first_data_block(&self) -> Pblk {
        self.first_data_block
    }

    /// Blocks of a group; the last group may have fewer.
    pub fn blocks_per_group(&self) -> NonZeroU32 {
        self.blocks_per_group
    }

    /// Blocks that are allocated together: a power of two, and 1 without `bigalloc`.
    pub fn blocks_per_cluster(&self) -> NonZeroU32 {
        self.blocks_per_cluster
    }

    /// Inodes of a group, of the last one too.
    pub fn inodes_per_group(&self) -> NonZeroU32 {
        self.inodes_per_group
    }

    /// Groups of the volume.
    pub fn groups_count(&self) -> NonZeroU32 {
        self.groups_count
    }

    /// Inodes of the volume; the highest inode number, as the lowest is 1.
    pub fn inodes_count(&self) -> u32 {
        self.inodes_count
    }

    /// The lowest inode number that a file made by a user can have.
    pub fn first_ino(&self) -> u32 {
        self.first_ino
    }

    /// Bytes of an inode in the inode table, a power of two.
    pub fn inode_size(&self) -> u16 {
        self.inode_size
    }

    /// Bytes of a group descriptor, a power of two.
    pub fn desc_size(&self) -> u16 {
        self.desc_size
    }

    /// Blocks that follow the group descriptors to let them grow.
    pub fn reserved_gdt_blocks(&self) -> u16 {
        self.reserved_gdt_blocks
    }

    /// All feature flags, those included that forbid writing.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The seed of every metadata checksum but the superblock's. Means something only with
    /// [`RoCompat::METADATA_CSUM`].
    pub fn checksum_seed(&self) -> u32 {
        self.checksum_seed
    }

    /// What the volume says about its own condition.
    pub fn state(&self) -> State {
        self.state
    }

    /// The volume's identity.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// What does not bear on the layout.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Bytes of the volume; the device has to have at least as many.
    #[expect(clippy::len_without_is_empty, reason = "a volume is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }
}

impl RawSuperblock {
    fn check_checksum<C: Crc32c>(&self, bytes: &[u8; Superblock::LEN]) -> Result<()> {
        if self.s_checksum_type != CRC32C_CHKSUM {
            return unsupported(Unsupported::ChecksumType(self.s_checksum_type));
        }
        let (covered, _) = bytes.split_at(CHECKSUMMED);
        let computed = C::crc32c(!0, covered);
        if computed == self.s_checksum {
            Ok(())
        } else {
            Err(Error::BadChecksum {
                structure: Structure::Superblock,
                stored: self.s_checksum,
                computed,
            })
        }
    }

    fn check_fields<C: Crc32c>(
        &self,
        features: Features,
        bytes: &[u8; Superblock::LEN],
    ) -> Result<Superblock> {
        let block_size = self.block_size()?;

        let blocks_per_cluster = self.blocks_per_cluster(features.ro_compat)?;
        let clusters_per_group = per_group(
            "s_clusters_per_group",
            self.s_clusters_per_group,
            block_size,
        )?;
        let blocks_per_group = match clusters_per_group.checked_mul(blocks_per_cluster) {
            Some(blocks) if blocks.get() == self.s_blocks_per_group => blocks,
            _ => return corrupt("s_blocks_per_group", self.s_blocks_per_group),
        };
        let inodes_per_group =
            per_group("s_inodes_per_group", self.s_inodes_per_group, block_size)?;

        let inode_size = u32::from(self.s_inode_size);
        if !inode_size.is_power_of_two()
            || inode_size < GOOD_OLD_INODE_SIZE
            || inode_size > block_size.bytes().get()
        {
            return corrupt("s_inode_size", inode_size);
        }
        // OVERFLOW: 2^15 inodes a group, of 2^12 bytes.
        let table_len = inodes_per_group.get().saturating_mul(inode_size);
        if table_len % block_size.bytes() != 0 {
            return corrupt("s_inodes_per_group", self.s_inodes_per_group);
        }
        if u32::from(self.s_reserved_gdt_blocks) > block_size.bytes().get() / 4 {
            return corrupt("s_reserved_gdt_blocks", self.s_reserved_gdt_blocks);
        }

        let blocks_count = self.blocks_count();
        let first_data_block = self.first_data_block(block_size, blocks_per_cluster)?;
        let groups_count = groups(blocks_count, first_data_block, blocks_per_group)?;
        let inodes_count =
            u64::from(groups_count.get()).saturating_mul(self.s_inodes_per_group.into());
        if inodes_count != u64::from(self.s_inodes_count) {
            return corrupt("s_inodes_count", self.s_inodes_count);
        }
        if self.s_first_ino < GOOD_OLD_FIRST_INO || self.s_first_ino > self.s_inodes_count {
            return corrupt("s_first_ino", self.s_first_ino);
        }

        Ok(Superblock {
            block_size,
            blocks_count,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            blocks_per_cluster,
            groups_count,
            inodes_count: self.s_inodes_count,
            first_ino: self.s_first_ino,
            inode_size: self.s_inode_size,
            desc_size: self.desc_size(features.incompat)?,
            reserved_gdt_blocks: self.s_reserved_gdt_blocks,
            features,
            checksum_seed: if features.incompat.contains(Incompat::CSUM_SEED) {
                self.s_checksum_seed
            } else {
                C::crc32c(!0, &self.s_uuid)
            },
            state: State(self.s_state),
            uuid: self.s_uuid,
            len: match blocks_count.bytes(block_size) {
                Some(len) if i64::try_from(len).is_ok() => len,
                _ => return corrupt("s_blocks_count", blocks_count.0),
            },
            settings: Settings::parse(bytes, features, self.s_inodes_count)?,
        })
    }

    fn block_size(&self) -> Result<BlockSize> {
        match BlockSize::from_log(self.s_log_block_size) {
            Some(size) => Ok(size),
            None if self.s_log_block_size <= MAX_LOG_BLOCK_SIZE => unsupported(
                Unsupported::BlockSize(1024_u32.wrapping_shl(self.s_log_block_size)),
            ),
            None => corrupt("s_log_block_size", self.s_log_block_size),
        }
    }

    fn blocks_count(&self) -> Blocks {
        let hi = u64::from(self.s_blocks_count_hi).wrapping_shl(u32::BITS);
        Blocks(hi | u64::from(self.s_blocks_count_lo))
    }

    /// Blocks that are allocated together: a power of two, and 1 without `bigalloc`.
    fn blocks_per_cluster(&self, ro_compat: RoCompat) -> Result<NonZeroU32> {
        let bigalloc = ro_compat.contains(RoCompat::BIGALLOC);
        let log = self.s_log_cluster_size.checked_sub(self.s_log_block_size);
        match log.and_then(|log| NonZeroU32::new(1_u32.checked_shl(log)?)) {
            Some(blocks) if bigalloc || blocks == NonZeroU32::MIN => Ok(blocks),
            _ => corrupt("s_log_cluster_size", self.s_log_cluster_size),
        }
    }

    fn first_data_block(&self, block_size: BlockSize, per_cluster: NonZeroU32) -> Result<Pblk> {
        // Group 0 begins with the cluster that holds the superblock.
        let cluster_len =
            u64::from(block_size.bytes().get()).saturating_mul(per_cluster.get().into());
        let pblk = u64::from(cluster_len <= Superblock::POS);
        if u64::from(self.s_first_data_block) != pblk {
            return corrupt("s_first_data_block", self.s_first_data_block);
        }
        Ok(Pblk(pblk))
    }

    fn desc_size(&self, incompat: Incompat) -> Result<u16> {
        if !incompat.contains(Incompat::BIT64) {
            return Ok(MIN_DESC_SIZE);
        }
        let allowed = MIN_DESC_SIZE_64BIT..=MAX_DESC_SIZE;
        if !allowed.contains(&self.s_desc_size) || !self.s_desc_size.is_power_of_two() {
            return corrupt("s_desc_size", self.s_desc_size);
        }
        Ok(self.s_desc_size)
    }
}

/// Checks how many clusters or inodes a group has, of which a bitmap of one block tells.
fn per_group(field: &'static str, value: u32, block_size: BlockSize) -> Result<NonZeroU32> {
    match NonZeroU32::new(value) {
        Some(n) if value <= block_size.bits() && value % 8 == 0 => Ok(n),
        _ => corrupt(field, value),
    }
}

/// How many groups there are, the last one perhaps shorter than the others.
fn groups(
    blocks_count: Blocks,
    first_data_block: Pblk,
    blocks_per_group: NonZeroU32,
) -> Result<NonZeroU32> {
    let Some(grouped) = blocks_count.0.checked_sub(first_data_block.0) else {
        return corrupt("s_blocks_count", blocks_count.0);
    };
    let per_group = NonZeroU64::from(blocks_per_group);
    let short_group = u64::from(grouped % per_group != 0);
    // OVERFLOW: too many groups either way.
    let groups = (grouped / per_group).saturating_add(short_group);
    match u32::try_from(groups).map(NonZeroU32::new) {
        Ok(Some(groups)) => Ok(groups),
        _ => corrupt("s_blocks_count", blocks_count.0),
    }
}

fn corrupt<T>(field: &'static str, value: impl Into<u64>) -> Result<T> {
    Err(Error::Corrupt {
        structure: Structure::Superblock,
        field,
        value: value.into(),
    })
}

fn unsupported<T>(what: Unsupported) -> Result<T> {
    Err(Error::Unsupported(what))
}
