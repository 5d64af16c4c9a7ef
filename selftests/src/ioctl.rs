// SPDX-License-Identifier: GPL-2.0

//! The ioctls of files and filesystems that tests ask with. Structures are those of `include/uapi/linux/fs.h` and
//! `fiemap.h`.

#![expect(
    unsafe_code,
    reason = "an ioctl is safe only if number and structure belong together, which no type can say"
)]

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, Opcode, Setter, Updater};

/// Extents that one FIEMAP call asks for.
const EXTENTS: usize = 256;

const GETFLAGS: Opcode = opcode::read::<u64>(b'f', 1);
const SETFLAGS: Opcode = opcode::write::<u64>(b'f', 2);
const GETVERSION: Opcode = opcode::read::<u64>(b'v', 1);
const FSGETXATTR: Opcode = opcode::read::<Fsxattr>(b'X', 31);
const FSSETXATTR: Opcode = opcode::write::<Fsxattr>(b'X', 32);
const FREEZE: Opcode = opcode::read_write::<u32>(b'X', 119);
const THAW: Opcode = opcode::read_write::<u32>(b'X', 120);
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
const GETFSLABEL: Opcode = opcode::read::<[u8; 256]>(0x94, 49);
const GETFSUUID: Opcode = opcode::read::<Uuid>(0x15, 0);
const FIEMAP: Opcode = opcode::read_write::<FiemapHead>(b'f', 11);

/// `struct fsxattr`: the inode flags and project as XFS names them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fsxattr {
    /// `fsx_xflags`
    pub xflags: u32,
    /// `fsx_extsize`
    pub extsize: u32,
    /// `fsx_nextents`
    pub nextents: u32,
    /// `fsx_projid`
    pub projid: u32,
    /// `fsx_cowextsize`
    pub cowextsize: u32,
    /// `fsx_pad`
    pub pad: [u8; 8],
}

/// `struct fsuuid2`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uuid {
    /// Bytes of `uuid` that count.
    pub len: u8,
    /// The identifier.
    pub uuid: [u8; 16],
}

/// `struct fiemap` without its extents.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FiemapHead {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// `fe_logical`: bytes in the file.
    pub logical: u64,
    /// `fe_physical`: bytes on the block device.
    pub physical: u64,
    /// `fe_length`: bytes.
    pub length: u64,
    /// Unused.
    pub reserved64: [u64; 2],
    /// `fe_flags`: `FIEMAP_EXTENT_*`.
    pub flags: u32,
    /// Unused.
    pub reserved: [u32; 3],
}

/// `FIEMAP_EXTENT_DATA_INLINE`
pub const EXTENT_DATA_INLINE: u32 = 0x200;
/// `FIEMAP_EXTENT_LAST`
pub const EXTENT_LAST: u32 = 0x1;
/// `FIEMAP_FLAG_SYNC`
pub const FIEMAP_SYNC: u32 = 0x1;
/// `FIEMAP_FLAG_XATTR`
pub const FIEMAP_XATTR: u32 = 0x2;

/// `FS_IMMUTABLE_FL`, `FS_APPEND_FL`, ... of [`getflags`] and [`setflags`].
pub mod flag {
    /// `FS_SYNC_FL`
    pub const SYNC: u32 = 0x8;
    /// `FS_IMMUTABLE_FL`
    pub const IMMUTABLE: u32 = 0x10;
    /// `FS_APPEND_FL`
    pub const APPEND: u32 = 0x20;
    /// `FS_NODUMP_FL`
    pub const NODUMP: u32 = 0x40;
    /// `FS_NOATIME_FL`
    pub const NOATIME: u32 = 0x80;
    /// `FS_DIRSYNC_FL`
    pub const DIRSYNC: u32 = 0x10000;
    /// `FS_TOPDIR_FL`
    pub const TOPDIR: u32 = 0x20000;
    /// `FS_DAX_FL`
    pub const DAX: u32 = 0x0200_0000;
}

/// What becomes of the journal when a filesystem is [shut down](shutdown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// `FS_SHUTDOWN_FLAGS_LOGFLUSH`: transactions so far are written to it first.
    Flushed,
    /// `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`
    NotFlushed,
}

/// `FS_IOC_GETFLAGS`
///
/// # Errors
/// ioctl(2)'s.
pub fn getflags(file: impl AsFd) -> Result<u32, Errno> {
    update::<GETFLAGS, _>(file, [0_u32; 2]).map(|words| words[0])
}

/// `FS_IOC_SETFLAGS`
///
/// # Errors
/// ioctl(2)'s.
pub fn setflags(file: impl AsFd, flags: u32) -> Result<(), Errno> {
    // The number says long, the kernel reads an int: the second word only fills the long.
    // SAFETY: The kernel reads 4 of the 8 bytes.
    unsafe { ioctl(file, Setter::<SETFLAGS, _>::new([flags, 0])) }
}

/// `FS_IOC_GETVERSION`: the generation number.
///
/// # Errors
/// ioctl(2)'s.
pub fn getversion(file: impl AsFd) -> Result<u32, Errno> {
    update::<GETVERSION, _>(file, [0_u32; 2]).map(|words| words[0])
}

/// `FS_IOC_FSGETXATTR`
///
/// # Errors
/// ioctl(2)'s.
pub fn fsgetxattr(file: impl AsFd) -> Result<Fsxattr, Errno> {
    update::<FSGETXATTR, _>(file, Fsxattr::default())
}

/// `FS_IOC_FSSETXATTR`
///
/// # Errors
/// ioctl(2)'s.
pub fn fssetxattr(file: impl AsFd, fsxattr: Fsxattr) -> Result<(), Errno> {
    // SAFETY: The number is made of the structure's own size, and the kernel only reads it.
    unsafe { ioctl(file, Setter::<FSSETXATTR, _>::new(fsxattr)) }
}

/// `FS_IOC_GETFSLABEL`, up to its first 0.
///
/// # Errors
/// ioctl(2)'s.
pub fn getfslabel(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let label = update::<GETFSLABEL, _>(file, [0_u8; 256])?;
    Ok(label.into_iter().take_while(|&byte| byte != 0).collect())
}

/// `FS_IOC_GETFSUUID`
///
/// # Errors
/// ioctl(2)'s.
pub fn getfsuuid(file: impl AsFd) -> Result<Uuid, Errno> {
    update::<GETFSUUID, _>(file, Uuid::default())
}

/// `EXT4_IOC_SHUTDOWN`: the filesystem stops, as if the machine did.
///
/// # Errors
/// ioctl(2)'s.
pub fn shutdown(file: impl AsFd, log: Log) -> Result<(), Errno> {
    let flags: u32 = match log {
        Log::Flushed => 1,
        Log::NotFlushed => 2,
    };
    // SAFETY: The kernel reads an int through the pointer.
    unsafe { ioctl(file, Setter::<SHUTDOWN, _>::new(flags)) }
}

/// `FIFREEZE`: everything is written, and whoever changes anything waits.
///
/// # Errors
/// ioctl(2)'s.
pub fn freeze(dir: impl AsFd) -> Result<(), Errno> {
    update::<FREEZE, _>(dir, 0_u32).map(drop)
}

/// `FITHAW`
///
/// # Errors
/// ioctl(2)'s.
pub fn thaw(dir: impl AsFd) -> Result<(), Errno> {
    update::<THAW, _>(dir, 0_u32).map(drop)
}

/// `FS_IOC_FIEMAP`: all extents of the file from its beginning, in as many calls as it takes.
///
/// # Errors
/// ioctl(2)'s; `EIO` when the answers do not advance.
pub fn fiemap(file: impl AsFd, flags: u32) -> Result<Vec<Extent>, Errno> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Request {
        head: FiemapHead,
        extents: [Extent; EXTENTS],
    }
    let mut all: Vec<Extent> = Vec::new();
    let mut start = 0;
    loop {
        let mut request = Request {
            head: FiemapHead {
                start,
                length: u64::MAX - start,
                flags,
                extent_count: EXTENTS as u32,
                ..FiemapHead::default()
            },
            extents: [Extent::default(); EXTENTS],
        };
        // SAFETY: `request` has room for the `extent_count` extents behind its head, which the kernel may write.
        unsafe { ioctl(file.as_fd(), Updater::<FIEMAP, _>::new(&mut request))? };
        let mapped = request.head.mapped_extents as usize;
        let Some([.., last]) = request.extents.get(..mapped) else {
            return Ok(all);
        };
        let next = last.logical.saturating_add(last.length);
        let ended = last.flags & EXTENT_LAST != 0 || mapped < EXTENTS;
        all.extend_from_slice(&request.extents[..mapped]);
        if ended {
            return Ok(all);
        }
        if next <= start {
            return Err(Errno::IO);
        }
        start = next;
    }
}

/// An ioctl that fills a structure whose size is not smaller than what the kernel writes for it.
fn update<const OPCODE: Opcode, T>(file: impl AsFd, mut value: T) -> Result<T, Errno> {
    // SAFETY: Each caller names a number of this file with the structure that the kernel fills for it.
    unsafe { ioctl(file, Updater::<OPCODE, _>::new(&mut value))? };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_headers() {
        assert_eq!(
            [GETFLAGS, SETFLAGS, GETVERSION, FSGETXATTR, FSSETXATTR],
            [
                0x8008_6601,
                0x4008_6602,
                0x8008_7601,
                0x801c_581f,
                0x401c_5820
            ]
        );
        assert_eq!(
            [SHUTDOWN, GETFSLABEL, GETFSUUID, FIEMAP],
            [0x8004_587d, 0x8100_9431, 0x8011_1500, 0xc020_660b]
        );
        assert_eq!([FREEZE, THAW], [0xc004_5877, 0xc004_5878]);
        assert_eq!(size_of::<Extent>(), 56);
    }
}
