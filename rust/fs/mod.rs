// SPDX-License-Identifier: GPL-2.0

//! The filesystem: what to do with a volume. How, [`crate::kernel`] knows; what is on it,
//! [`crate::ondisk`].
//!
//! | module | subject |
//! | --- | --- |
//! | [`mount`] | from a device to a root, or a refusal |
//! | [`refusal`] | why a volume is not mounted |
//! | [`options`] | mount options |
//! | [`sops`] | what a mounted volume does |
//! | [`volume`] | what is kept for a mounted volume |
//! | [`counters`] | what is counted of it |
//! | [`superblock`] | the superblock, read and written |
//! | [`recovery`] | what has to happen before a volume means anything |
//! | [`journal`] | where the journal is |
//! | [`reserved`] | inodes that the format itself uses |
//! | [`writing`] | volumes opened to be written, and closed |
//! | [`transaction`] | metadata, changed |
//! | [`groups`] | the groups: their descriptors and bitmaps, and what is free in them |
//! | [`balloc`] | blocks, taken and freed |
//! | [`ialloc`] | inodes, taken and freed |
//! | [`orphan`] | inodes that are to be deleted, or cut, whatever happens |
//! | [`zones`] | blocks that hold the format's own structures |
//! | [`metadata`] | blocks of metadata: read, copied, blamed |
//! | [`inode`] | inodes of the disk as inodes of the VFS |
//! | [`evict`] | inodes that nobody uses any more |
//! | [`attr`] | what is told of an inode |
//! | [`ioctl`] | ioctls |
//! | [`export`] | files found by their handles |
//! | [`symlink`] | symbolic links |
//! | [`xattr`] | extended attributes |
//! | [`acl`] | access control lists |
//! | [`map`] | where the blocks of a file are |
//! | [`iomap`] | the same, for reading and writing |
//! | [`extents`] | where they are on the disk, changed |
//! | [`file`] | regular files, opened |
//! | [`blocks`] | bytes of a file, as blocks |
//! | [`delalloc`] | room for what is only in the page cache |
//! | [`promise`] | room for what it takes to make that data of the file |
//! | [`fault`] | stores to mappings |
//! | [`writeback`] | data on their way to the device |
//! | [`audit`] | whether they change meanwhile |
//! | [`fsync`] | and there |
//! | [`size`] | files become longer or shorter |
//! | [`fallocate`] | room, zeroes, holes |
//! | [`zeroes`] | zeroes in a block with other data |
//! | [`aops`] | their pages |
//! | [`dio`] | the same without a page cache |
//! | [`dax`] | and in the memory that they are in: which files, and how |
//! | [`locks`] | every lock, and the order |
//! | [`read_error`] | data that a reader did not get |
//! | [`namei`] | names, looked up |
//! | [`htree`] | the leaves of an indexed directory |
//! | [`dir`] | directories, read |

#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod acl;
mod aops;
mod attr;
mod audit;
mod balloc;
mod blocks;
mod counters;
mod dax;
mod delalloc;
mod dio;
mod dir;
mod evict;
mod export;
mod extents;
mod fallocate;
mod fault;
mod file;
mod fsync;
mod groups;
mod htree;
mod ialloc;
mod inode;
mod ioctl;
mod iomap;
mod journal;
mod locks;
mod map;
mod memory;
mod metadata;
mod mount;
mod namei;
mod options;
mod orphan;
mod promise;
mod read_error;
mod recovery;
mod refusal;
mod reserved;
mod size;
mod sops;
mod superblock;
mod symlink;
mod transaction;
mod volume;
mod writeback;
mod writing;
mod xattr;
mod zeroes;
mod zones;

use crate::{
    kernel::{
        self,
        crc32c::crc32c,
        debugfs,
        vfs, //
    },
    ondisk,
};
use ::kernel::prelude::*;

static STABLEFS: vfs::FileSystem<Stablefs> = vfs::FileSystem::new(&crate::THIS_MODULE);

/// Makes volumes mountable, for as long as the value is kept.
pub(crate) fn register() -> Result<Registration> {
    let dir = debugfs::TypeDir::new(<Stablefs as vfs::FileSystemType>::NAME);
    Ok(Registration {
        _types: STABLEFS.register()?,
        _dir: dir,
    })
}

/// Keeps volumes mountable.
pub(crate) struct Registration {
    _types: vfs::Registration<Stablefs>,
    /// Dropped after the last volume, which has a directory in it.
    _dir: debugfs::TypeDir,
}

/// The filesystem type.
pub(crate) struct Stablefs;

type SuperBlock = kernel::super_block::SuperBlock<Stablefs>;
type Inode = kernel::inode::Inode<Stablefs>;
type File = kernel::file::File<Stablefs>;

/// The kernel's CRC-32C.
struct KernelCrc32c;

impl ondisk::Crc32c for KernelCrc32c {
    fn crc32c(seed: u32, data: &[u8]) -> u32 {
        crc32c(seed, data)
    }
}
