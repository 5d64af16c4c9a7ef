// SPDX-License-Identifier: GPL-2.0

//! What the superblock says beside the layout: its counts, the inodes with a purpose, the hash of
//! directories, what the administrator chose.
//!
//! Format: [Documentation/filesystems/ext4/super.rst](srctree/Documentation/filesystems/ext4/super.rst).

use super::{
    bytes::raw_structure,
    hash,
    Compat,
    Error,
    Features,
    Incompat,
    Ino,
    Result,
    Structure,
    Superblock,
    Unsupported, //
};
use core::num::NonZeroU32;

/// `s_creator_os` of Linux.
const OS_LINUX: u32 = 0;
/// `s_errors` of a volume that goes on.
const ERRORS_CONTINUE: u16 = 1;
/// `s_errors` of a volume that stops the kernel.
const ERRORS_PANIC: u16 = 3;
/// The bit of `s_flags` that directories are hashed as where characters are unsigned.
const FLAGS_UNSIGNED_HASH: u32 = 2;

raw_structure! {
    /// The fields as they are on the disk, with their C names.
    struct RawSettings [Superblock::LEN] {
        0x008 s_r_blocks_count_lo: u32,
        0x00c s_free_blocks_count_lo: u32,
        0x010 s_free_inodes_count: u32,
        0x02c s_mtime: u32,
        0x030 s_wtime: u32,
        0x03c s_errors: u16,
        0x048 s_creator_os: u32,
        0x050 s_def_resuid: u16,
        0x052 s_def_resgid: u16,
        0x078 s_volume_name: [u8; Settings::NAME_LEN],
        0x0e0 s_journal_inum: u32,
        0x0e4 s_journal_dev: u32,
        0x0e8 s_last_orphan: u32,
        0x0ec s_hash_seed_0: u32,
        0x0f0 s_hash_seed_1: u32,
        0x0f4 s_hash_seed_2: u32,
        0x0f8 s_hash_seed_3: u32,
        0x0fc s_def_hash_version: u8,
        0x100 s_default_mount_opts: u32,
        0x154 s_r_blocks_count_hi: u32,
        0x158 s_free_blocks_count_hi: u32,
        0x160 s_flags: u32,
        0x174 s_log_groups_per_flex: u8,
        0x248 s_overhead_clusters: u32,
        0x24c s_backup_bgs_0: u32,
        0x250 s_backup_bgs_1: u32,
        0x274 s_wtime_hi: u8,
        0x275 s_mtime_hi: u8,
        0x280 s_orphan_file_inum: u32,
    }
}

/// What to do when a structure turns out to be corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// Report, and go on.
    Continue,
    /// Report, and write no more.
    RemountRo,
    /// Stop the kernel.
    Panic,
}

/// Mount options that the administrator stored in the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultMountOptions(u32);

impl DefaultMountOptions {
    /// `user_xattr` (`EXT4_DEFM_XATTR_USER`).
    pub const USER_XATTR: Self = Self(0x4);
    /// `acl` (`EXT4_DEFM_ACL`).
    pub const ACL: Self = Self(0x8);

    /// Whether all of `options` are set.
    pub const fn contains(self, options: Self) -> bool {
        self.0 & options.0 == options.0
    }
}

/// What the superblock says beside the layout.
///
/// # Invariants
///
/// The journal, the orphan file and the first orphan are inodes that the volume has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    free_clusters: u64,
    reserved_clusters: u64,
    reserved_uid: u16,
    reserved_gid: u16,
    overhead_clusters: u32,
    free_inodes: u32,
    mounted: u64,
    written: u64,
    errors: Errors,
    volume_name: [u8; Self::NAME_LEN],
    journal: Option<Ino>,
    last_orphan: Option<Ino>,
    orphan_file: Option<Ino>,
    hash_seed: [u32; 4],
    hash_chars: hash::Chars,
    def_hash_version: Option<hash::Version>,
    default_mount_options: DefaultMountOptions,
    backup_groups: [u32; 2],
    groups_per_flex: NonZeroU32,
}

impl Settings {
    /// Bytes of the longest name of a volume.
    const NAME_LEN: usize = 16;

    pub(super) fn parse(
        bytes: &[u8; Superblock::LEN],
        features: Features,
        inodes_count: u32,
    ) -> Result<Self> {
        RawSettings::new(bytes).check(features, inodes_count)
    }

    /// Clusters that are free; blocks, without `bigalloc`. True when the volume was last closed,
    /// and a hint since.
    pub fn free_clusters(&self) -> u64 {
        self.free_clusters
    }

    /// Blocks that only the superuser may take.
    pub fn reserved_blocks(&self) -> u64 {
        self.reserved_clusters
    }

    /// The user who may take those as well.
    pub fn reserved_uid(&self) -> u16 {
        self.reserved_uid
    }

    /// The group whose members may; 0 for none.
    pub fn reserved_gid(&self) -> u16 {
        self.reserved_gid
    }

    /// Clusters that hold the format's own structures and the journal, and so no files, as whoever
    /// made the volume counted them; 0 where nobody has. A hint: it may be more than there are.
    pub fn overhead_clusters(&self) -> u32 {
        self.overhead_clusters
    }

    /// Inodes that are free. True when the volume was last closed, and a hint since.
    pub fn free_inodes(&self) -> u32 {
        self.free_inodes
    }

    /// When the volume was last mounted to be written, in seconds since 1970.
    pub fn mounted(&self) -> u64 {
        self.mounted
    }

    /// When the superblock was last written, in seconds since 1970.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What to do when a structure turns out to be corrupt.
    pub fn errors(&self) -> Errors {
        self.errors
    }

    /// The volume's name, without the zeroes that follow; not always UTF-8.
    pub fn volume_name(&self) -> &[u8] {
        let mut parts = self.volume_name.split(|byte| *byte == 0);
        parts.next().unwrap_or_default()
    }

    /// The inode with the journal; there is one with [`Compat::HAS_JOURNAL`].
    pub fn journal(&self) -> Option<Ino> {
        self.journal
    }

    /// The first inode of the list of those to be deleted, or cut, when the volume is next mounted.
    pub fn last_orphan(&self) -> Option<Ino> {
        self.last_orphan
    }

    /// The inode with the table of those to be deleted; there is one with [`Compat::ORPHAN_FILE`].
    pub fn orphan_file(&self) -> Option<Ino> {
        self.orphan_file
    }

    /// What hashes of names begin with.
    pub fn hash_seed(&self) -> [u32; 4] {
        self.hash_seed
    }

    /// How characters beyond ASCII enter hashes of names.
    ///
    /// A volume that says neither was made for the signed characters of x86, as Linux assumes
    /// there too.
    pub fn hash_chars(&self) -> hash::Chars {
        self.hash_chars
    }

    /// The hash for new directories, where it is one of those that can be made.
    pub fn def_hash_version(&self) -> Option<hash::Version> {
        self.def_hash_version
    }

    /// Mount options that the administrator stored in the volume.
    pub fn default_mount_options(&self) -> DefaultMountOptions {
        self.default_mount_options
    }

    /// Groups whose bitmaps and inode tables lie together, in the first of them: a power of two,
    /// and 1 without `flex_bg`.
    pub fn groups_per_flex(&self) -> NonZeroU32 {
        self.groups_per_flex
    }

    /// The groups that have copies of the superblock with [`Compat::SPARSE_SUPER2`]; 0 for none.
    pub(super) fn backup_groups(&self) -> [u32; 2] {
        self.backup_groups
    }
}

impl RawSettings {
    fn check(&self, features: Features, inodes_count: u32) -> Result<Settings> {
        // Others keep parts of an inode elsewhere, and no checksum in it.
        if self.s_creator_os != OS_LINUX {
            return Err(Error::Unsupported(Unsupported::CreatorOs(
                self.s_creator_os,
            )));
        }
        let ino = |field, number: u32| match NonZeroU32::new(number) {
            Some(_) if number > inodes_count => Structure::Superblock.corrupt(field, number),
            ino => Ok(ino.map(Ino)),
        };
        let journal = features.compat.contains(Compat::HAS_JOURNAL);
        if features.incompat.contains(Incompat::RECOVER) && !journal {
            let incompat = features.incompat.bits();
            return Structure::Superblock.corrupt("s_feature_incompat", incompat);
        }
        Ok(Settings {
            free_clusters: join(self.s_free_blocks_count_lo, self.s_free_blocks_count_hi),
            reserved_clusters: join(self.s_r_blocks_count_lo, self.s_r_blocks_count_hi),
            reserved_uid: self.s_def_resuid,
            reserved_gid: self.s_def_resgid,
            overhead_clusters: self.s_overhead_clusters,
            free_inodes: self.s_free_inodes_count,
            mounted: join(self.s_mtime, self.s_mtime_hi.into()),
            written: join(self.s_wtime, self.s_wtime_hi.into()),
            errors: match self.s_errors {
                ERRORS_CONTINUE => Errors::Continue,
                ERRORS_PANIC => Errors::Panic,
                _ => Errors::RemountRo,
            },
            volume_name: self.s_volume_name,
            journal: if journal {
                let journal = ino("s_journal_inum", self.s_journal_inum)?;
                match (journal, self.s_journal_dev) {
                    (Some(_), 0) => journal,
                    (None, 0) => return Structure::Superblock.corrupt("s_journal_inum", 0_u32),
                    (None, dev) => {
                        return Err(Error::Unsupported(Unsupported::JournalDevice(dev)));
                    }
                    (Some(_), dev) => return Structure::Superblock.corrupt("s_journal_dev", dev),
                }
            } else {
                None
            },
            last_orphan: ino("s_last_orphan", self.s_last_orphan)?,
            orphan_file: if features.compat.contains(Compat::ORPHAN_FILE) {
                match ino("s_orphan_file_inum", self.s_orphan_file_inum)? {
                    None => return Structure::Superblock.corrupt("s_orphan_file_inum", 0_u32),
                    orphan_file => orphan_file,
                }
            } else {
                None
            },
            hash_seed: [
                self.s_hash_seed_0,
                self.s_hash_seed_1,
                self.s_hash_seed_2,
                self.s_hash_seed_3,
            ],
            hash_chars: if self.s_flags & FLAGS_UNSIGNED_HASH != 0 {
                hash::Chars::Unsigned
            } else {
                hash::Chars::Signed
            },
            def_hash_version: hash::Version::from_disk(self.s_def_hash_version),
            default_mount_options: DefaultMountOptions(self.s_default_mount_opts),
            backup_groups: [self.s_backup_bgs_0, self.s_backup_bgs_1],
            groups_per_flex: self.groups_per_flex(features),
        })
    }

    /// A power that is no number of groups is as if there were no `flex_bg`, as with ext4.
    fn groups_per_flex(&self, features: Features) -> NonZeroU32 {
        let log = u32::from(self.s_log_groups_per_flex);
        let groups = 1_u32.checked_shl(log).and_then(NonZeroU32::new);
        groups
            .filter(|_| features.incompat.contains(Incompat::FLEX_BG))
            .unwrap_or(NonZeroU32::MIN)
    }
}

fn join(lo: u32, hi: u32) -> u64 {
    u64::from(hi).wrapping_shl(u32::BITS) | u64::from(lo)
}
