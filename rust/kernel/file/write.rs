// SPDX-License-Identifier: GPL-2.0

//! What writers do with an open file.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h),
//! [include/uapi/linux/falloc.h](srctree/include/uapi/linux/falloc.h)

use super::File;
use crate::{
    bindings,
    kernel::{
        errno,
        locks::InodeExclusive,
        truncate::ByteRange,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};

/// What a caller of `fallocate()` wants.
pub(crate) struct Fallocate {
    /// What is to be done.
    pub(crate) mode: FallocateMode,
    /// Whether the file may not become larger by it.
    pub(crate) keep_size: bool,
    /// With which part of the file.
    pub(crate) range: ByteRange,
}

/// What is to be done with a part of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FallocateMode {
    /// Room for all of it.
    Allocate,
    /// Room, and zeroes there.
    ZeroRange,
    /// A hole. The size stays always.
    PunchHole,
    /// It goes, and what is behind moves up.
    CollapseRange,
    /// A hole before what is there, which moves down.
    InsertRange,
    /// No other file has the same blocks.
    UnshareRange,
    /// Zeroes that are written to the device.
    WriteZeroes,
}

impl Fallocate {
    /// From what the VFS has checked.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for what is not known here.
    pub(super) fn from_raw(mode: c_int, pos: i64, len: i64) -> Result<Self> {
        // CAST: a set of bits.
        let mode = mode as u32;
        let range = u64::try_from(pos)
            .ok()
            .zip(u64::try_from(len).ok())
            .and_then(|(pos, len)| ByteRange::new(pos, len));
        Ok(Self {
            mode: match mode & !bindings::FALLOC_FL_KEEP_SIZE {
                bindings::FALLOC_FL_ALLOCATE_RANGE => FallocateMode::Allocate,
                bindings::FALLOC_FL_ZERO_RANGE => FallocateMode::ZeroRange,
                bindings::FALLOC_FL_PUNCH_HOLE => FallocateMode::PunchHole,
                bindings::FALLOC_FL_COLLAPSE_RANGE => FallocateMode::CollapseRange,
                bindings::FALLOC_FL_INSERT_RANGE => FallocateMode::InsertRange,
                bindings::FALLOC_FL_UNSHARE_RANGE => FallocateMode::UnshareRange,
                bindings::FALLOC_FL_WRITE_ZEROES => FallocateMode::WriteZeroes,
                _ => return Err(errno::eopnotsupp()),
            },
            keep_size: mode & bindings::FALLOC_FL_KEEP_SIZE != 0,
            range: range.ok_or(EINVAL)?,
        })
    }
}

impl<T: FileSystemType> File<T> {
    /// Whether it was opened for writing.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: Valid by the type invariants; the bit is constant once the file is open.
        let mode = unsafe { (&raw const (*self.as_ptr()).f_mode).read_volatile() };
        mode & bindings::FMODE_WRITE != 0
    }

    /// Whether what is done to the file has to reach the device before the system call returns.
    pub(crate) fn is_dsync(&self) -> bool {
        // SAFETY: Valid by the type invariants; C reads the flags without a lock, too.
        let flags = unsafe { (&raw const (*self.as_ptr()).f_flags).read_volatile() };
        flags & bindings::O_DSYNC != 0 || self.inode().is_sync()
    }

    /// Writes what is dirty in the page cache, and waits until the device has it.
    ///
    /// # Errors
    ///
    /// What has failed since this file was last told.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of the journal may be open, and no folio locked.
    pub(crate) fn file_write_and_wait_range(&self, range: ByteRange) -> Result {
        let (start, last) = range.into_raw();
        // SAFETY: Valid by the type invariants.
        to_result(unsafe { bindings::file_write_and_wait_range(self.as_ptr(), start, last) })
    }

    /// Takes away privileges that a change of the data takes away, and sets the times.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the lock is that of another inode; else what the system call shall return.
    ///
    /// # Context
    ///
    /// Sleeps. Changes the inode, by way of `setattr` and `dirty_inode`.
    pub(crate) fn file_modified(&self, lock: &InodeExclusive<'_, T>) -> Result {
        if !core::ptr::eq(lock.inode(), self.inode()) {
            return Err(EINVAL);
        }
        // SAFETY: Valid by the type invariants; the inode is locked.
        to_result(unsafe { bindings::file_modified(self.as_ptr()) })
    }
}
