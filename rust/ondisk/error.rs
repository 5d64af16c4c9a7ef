// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with bytes from a disk. Broken, not verifiable and not known are different
//! errors, because their remedies differ: `e2fsck`, another disk, another driver.

use super::{
    Incompat,
    JournalIncompat, //
};
use core::fmt;

/// A [`core::result::Result`] of this module.
pub type Result<T> = core::result::Result<T, Error>;

/// Why bytes from a disk were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Without the magic number this is not an ext4 volume at all.
    NotExt4 {
        /// What stands where the magic number belongs.
        magic: u16,
    },
    /// A field has a value that the format does not allow.
    Corrupt {
        /// Where the field is.
        structure: Structure,
        /// The C name of the field, or what the names of its two halves have in common.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The structure is not as it was when its checksum was computed.
    BadChecksum {
        /// What the checksum covers.
        structure: Structure,
        /// The checksum on the disk.
        stored: u32,
        /// The checksum of the bytes on the disk.
        computed: u32,
    },
    /// Valid as far as one can tell, but more than this implementation knows.
    Unsupported(Unsupported),
}

/// The structures of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// The superblock, 1,024 bytes from the beginning of the volume.
    Superblock,
    /// The descriptor of a group.
    GroupDescriptor,
    /// The bitmap of a group's blocks.
    BlockBitmap,
    /// The bitmap of a group's inodes.
    InodeBitmap,
    /// An inode.
    Inode,
    /// A node of an extent tree, be it in an inode or a block of its own.
    ExtentNode,
    /// A block of a directory that holds names.
    Directory,
    /// A block of a directory that holds hashes of names.
    HashTree,
    /// Extended attributes in an inode.
    InodeXattrs,
    /// Extended attributes in a block of their own.
    XattrBlock,
    /// An access control list.
    Acl,
    /// The superblock of the journal.
    JournalSuperblock,
    /// A block of the orphan file.
    OrphanBlock,
}

impl Structure {
    /// The error that `field` of this structure cannot be `value`.
    pub(super) fn corrupt<T>(self, field: &'static str, value: impl Into<u64>) -> Result<T> {
        Err(Error::Corrupt {
            structure: self,
            field,
            value: value.into(),
        })
    }

    /// [`corrupt`](Self::corrupt) for a length or a place in a slice.
    pub(super) fn corrupt_len<T>(self, field: &'static str, value: usize) -> Result<T> {
        // CAST: lossless where `usize` has at most 64 bits.
        self.corrupt(field, u64::try_from(value).unwrap_or(u64::MAX))
    }
}

/// What a volume may ask for and this implementation does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Features without which not even reading is safe. Never empty.
    Incompat(Incompat),
    /// A revision of the format other than 1, the one with feature flags.
    Revision(u32),
    /// Blocks larger than [`BlockSize`](super::BlockSize) can be: how many bytes they have.
    BlockSize(u32),
    /// A checksum algorithm other than CRC-32C.
    ChecksumType(u8),
    /// A volume made for an operating system whose inodes are laid out otherwise: `s_creator_os`.
    CreatorOs(u32),
    /// A journal on a device of its own: its number in the form the superblock has.
    JournalDevice(u32),
    /// Features without which the journal cannot be replayed. Never empty.
    Journal(JournalIncompat),
    /// A file whose blocks are mapped one by one, as ext2 did.
    BlockMap,
    /// A directory with hashes of this kind: `hash_version`.
    HashVersion(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotExt4 { magic } => {
                write!(f, "not an ext4 volume: magic number {magic:#06x}")
            }
            Self::Corrupt {
                structure,
                field,
                value,
            } => {
                write!(f, "{structure} is corrupt: {field} is ")?;
                write_value(f, field, *value)
            }
            Self::BadChecksum {
                structure,
                stored,
                computed,
            } => write!(
                f,
                "{structure} is corrupt: checksum {stored:#010x} stored, {computed:#010x} computed"
            ),
            Self::Unsupported(what) => what.fmt(f),
        }
    }
}

/// Writes what `field` holds in the digits that it is known by, as `debugfs` has it.
fn write_value(f: &mut fmt::Formatter<'_>, field: &str, value: u64) -> fmt::Result {
    match field {
        "i_mode" => write!(f, "0{value:o}"),
        "dot_name"
        | "dotdot_name"
        | "e_hash"
        | "eh_magic"
        | "h_magic"
        | "hash"
        | "i_flags"
        | "name"
        | "ob_magic"
        | "s_feature_incompat"
        | "s_feature_ro_compat"
        | "unused_flags" => {
            write!(f, "{value:#x}")
        }
        _ => write!(f, "{value}"),
    }
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superblock => "superblock",
            Self::GroupDescriptor => "group descriptor",
            Self::BlockBitmap => "block bitmap",
            Self::InodeBitmap => "inode bitmap",
            Self::Inode => "inode",
            Self::ExtentNode => "extent tree node",
            Self::Directory => "directory block",
            Self::HashTree => "hash tree node",
            Self::InodeXattrs => "attribute area of the inode",
            Self::XattrBlock => "attribute block",
            Self::Acl => "access control list",
            Self::JournalSuperblock => "superblock of the journal",
            Self::OrphanBlock => "orphan file block",
        })
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incompat(features) => write!(f, "unsupported features: {features}"),
            Self::Revision(revision) => write!(f, "unsupported revision of the format: {revision}"),
            Self::BlockSize(bytes) => write!(f, "unsupported block size: {bytes} bytes"),
            Self::ChecksumType(number) => write!(f, "unsupported checksum type: {number}"),
            Self::CreatorOs(number) => write!(f, "unsupported creator OS: {number}"),
            Self::JournalDevice(number) => {
                write!(f, "unsupported journal on another device: {number:#x}")
            }
            Self::Journal(features) => write!(f, "unsupported features of the journal: {features}"),
            Self::BlockMap => f.write_str("unsupported file without extents"),
            Self::HashVersion(number) => match number {
                6 => f.write_str("unsupported hash of directories: siphash"),
                _ => write!(f, "unsupported hash of directories: {number}"),
            },
        }
    }
}
