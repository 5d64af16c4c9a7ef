// SPDX-License-Identifier: GPL-2.0

//! Why a volume is not mounted: one sentence that names what to look at, and an errno.

use super::{
    metadata::{
        self,
        Fault, //
    },
    reserved::Broken,
};
use crate::{
    kernel::errno,
    ondisk::{
        self,
        GroupNumber,
        Ino,
        Pblk,
        RoCompat, //
    },
};
use ::kernel::prelude::*;
use core::fmt;

/// Why a volume is not mounted.
pub(super) enum Refusal {
    /// The device ends before a superblock does.
    TooSmall { device_len: u64 },
    /// A sector of the device is more than a page, and the VFS reads no such device for us.
    SectorSize,
    /// The device did not read the block with the superblock.
    Unreadable,
    /// The superblock is not one of ours to mount.
    Superblock(ondisk::Error),
    /// The volume is larger than the device.
    Truncated { volume_len: u64, device_len: u64 },
    /// To be written, but has features beside which that is not safe.
    WriteProtected(RoCompat),
    /// To be written, but lacks a feature without which this version cannot do that.
    Lacks(&'static str),
    /// To be written, and its journal has been given up.
    Aborted,
    /// To be written, and what is in its journal has been left alone.
    Unrecovered,
    /// To be only read from now on, and something could not be written before.
    Unwritten(Error),
    /// Mounted, and to have an option that has to be there from the beginning.
    FixedOption(&'static str),
    /// Its journal has to be replayed first, and the device cannot be written.
    NeedsRecovery,
    /// Its journal has to be replayed, and is none that can be.
    Journal(Fault),
    /// Replaying the journal failed.
    Replay(Error),
    /// The device did not write the superblock.
    SuperblockWrite,
    /// The device cannot read blocks of that size.
    BlockSize { block_len: u32 },
    /// The descriptor of a group is broken, or cannot be read.
    Group { group: GroupNumber, fault: Fault },
    /// Two structures of the format have a block in common.
    Overlap { pblk: Pblk },
    /// The format's structures are in too many places.
    Scattered,
    /// The inode with the journal is not one that a journal can have.
    JournalInode { ino: Ino, broken: Broken },
    /// The inode with the orphan file is not one that it can have.
    OrphanFile { ino: Ino, broken: Broken },
    /// What was left to be deleted or cut could not be.
    Orphans(Error),
    /// There is not enough memory.
    NoMemory,
}

impl Refusal {
    /// What `mount()` shall return.
    pub(super) fn errno(&self) -> Error {
        match self {
            Self::TooSmall { .. }
            | Self::SectorSize
            | Self::Superblock(ondisk::Error::NotExt4 { .. }) => EINVAL,
            Self::Unreadable | Self::SuperblockWrite => EIO,
            Self::Superblock(error) => metadata::errno_of(error),
            Self::Truncated { .. } | Self::Overlap { .. } => errno::efscorrupted(),
            Self::Group { fault, .. } => fault.errno(),
            Self::JournalInode { broken, .. } => broken.errno(),
            Self::OrphanFile { broken, .. } => broken.errno(),
            Self::Orphans(error) | Self::Unwritten(error) => *error,
            Self::NoMemory => ENOMEM,
            Self::Journal(fault) => fault.errno(),
            // jbd2 has this one for most of what can be wrong with a journal.
            Self::Replay(error) if *error == EINVAL => errno::efscorrupted(),
            Self::Replay(error) => *error,
            Self::WriteProtected(_) | Self::Lacks(_) | Self::Scattered => errno::eopnotsupp(),
            Self::Aborted | Self::Unrecovered | Self::NeedsRecovery => EROFS,
            Self::BlockSize { .. } | Self::FixedOption(_) => EINVAL,
        }
    }

    /// Whether the device may well hold something else that is in good order.
    pub(super) fn is_other_format(&self) -> bool {
        matches!(
            self,
            Self::TooSmall { .. } | Self::Superblock(ondisk::Error::NotExt4 { .. })
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { device_len } => {
                write!(f, "not an ext4 volume: the device has {device_len} bytes")
            }
            Self::SectorSize => f.write_str("the device's sectors are larger than a page"),
            Self::Unreadable => f.write_str("cannot read the superblock: I/O error"),
            Self::Superblock(error) => error.fmt(f),
            Self::Truncated {
                volume_len,
                device_len,
            } => write!(
                f,
                "the volume has {volume_len} bytes, the device only {device_len}"
            ),
            Self::WriteProtected(features) => {
                write!(f, "unsupported features, read-only at best: {features}")
            }
            Self::Lacks(feature) => {
                write!(f, "unsupported without the feature {feature}, read-only at best")
            }
            Self::Aborted => f.write_str("the journal has been given up: unmount, and run e2fsck"),
            Self::Unrecovered => f.write_str(
                "the journal has not been replayed (noload): the volume can only be read",
            ),
            Self::FixedOption(option) => {
                write!(f, "{option} cannot be changed while the volume is mounted")
            }
            Self::Unwritten(error) => write!(
                f,
                "what is to be written before cannot be: error {}",
                error.to_errno()
            ),
            Self::NeedsRecovery => f.write_str(
                "the journal has to be replayed, and the device is read-only; noload mounts without",
            ),
            Self::Journal(fault) => write!(f, "the journal has to be replayed: {fault}"),
            Self::Replay(error) => write!(
                f,
                "replaying the journal failed with error {}: see the lines of JBD2",
                error.to_errno()
            ),
            Self::SuperblockWrite => f.write_str("cannot write the superblock: I/O error"),
            Self::Group { group, fault } => write!(f, "group {}: {fault}", group.get()),
            Self::Overlap { pblk } => {
                write!(
                    f,
                    "block {} belongs to two structures of the format",
                    pblk.0
                )
            }
            Self::Scattered => f.write_str("unsupported: metadata in more than two million places"),
            Self::JournalInode { ino, broken } => {
                write!(f, "the journal, inode {}: {broken}", ino.get())
            }
            Self::OrphanFile { ino, broken } => {
                write!(f, "the orphan file, inode {}: {broken}", ino.get())
            }
            Self::Orphans(error) => write!(
                f,
                "what was being deleted cannot be: error {}; run e2fsck",
                error.to_errno()
            ),
            Self::NoMemory => f.write_str("not enough memory"),
            Self::BlockSize { block_len } => {
                write!(
                    f,
                    "blocks of {block_len} bytes are smaller than the device's sectors"
                )
            }
        }
    }
}
