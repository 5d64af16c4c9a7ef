// SPDX-License-Identifier: GPL-2.0

//! What the VFS keeps of an inode that the disk has, too: all of it at once, for writing it there,
//! and what may be changed without a lock. What wants one is at [`Locked`](super::Locked).
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    Inode,
    Time, //
};
use crate::{
    bindings,
    kernel::vfs::FileSystemType, //
};

/// Flags of an inode that the VFS acts on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flags {
    /// Every write is synchronous (`S_SYNC`).
    pub(crate) sync: bool,
    /// Data may only be appended (`S_APPEND`).
    pub(crate) append: bool,
    /// Nothing may be changed (`S_IMMUTABLE`).
    pub(crate) immutable: bool,
    /// The time of access is not kept (`S_NOATIME`).
    pub(crate) noatime: bool,
    /// Every change of the directory is synchronous (`S_DIRSYNC`).
    pub(crate) dirsync: bool,
    /// Data are accessed without the page cache (`S_DAX`).
    pub(crate) dax: bool,
}

impl Flags {
    /// All of them.
    pub(super) const ALL: Self = Self {
        sync: true,
        append: true,
        immutable: true,
        noatime: true,
        dirsync: true,
        dax: true,
    };

    pub(super) fn bits(self) -> u32 {
        [
            (self.sync, bindings::S_SYNC),
            (self.append, bindings::S_APPEND),
            (self.immutable, bindings::S_IMMUTABLE),
            (self.noatime, bindings::S_NOATIME),
            (self.dirsync, bindings::S_DIRSYNC),
            (self.dax, bindings::S_DAX),
        ]
        .into_iter()
        .filter_map(|(is_set, bit)| is_set.then_some(bit))
        .fold(0, |bits, bit| bits | bit)
    }
}

/// What the VFS keeps of an inode that the disk has, too.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    /// The lower 12 bits of its mode.
    pub(crate) permissions: u16,
    /// Its owner, as the volume's user namespace numbers them.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
    /// Names of it.
    pub(crate) nlink: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// 512 bytes, how many times, it takes on the volume.
    pub(crate) blocks: u64,
    /// When it was read last.
    pub(crate) atime: Time,
    /// When its contents were changed last.
    pub(crate) mtime: Time,
    /// When it was changed last.
    pub(crate) ctime: Time,
    /// How often it was changed.
    pub(crate) version: u64,
}

impl Time {
    /// From C's.
    pub(super) fn from_timespec64(time: bindings::timespec64) -> Self {
        Self {
            sec: time.tv_sec,
            // CAST: less than 10^9 in every time that an inode has.
            nsec: time.tv_nsec as u32,
        }
    }
}

impl<T: FileSystemType> Inode<T> {
    /// What there is to write to the disk. Each field is as some thread set it; that they belong
    /// together is known to who has the inode [`Locked`](super::Locked) only.
    pub(crate) fn attributes(&self) -> Attributes {
        let inode = self.as_ptr();
        // SAFETY: Valid by the type invariants; C reads the mode without a lock, too.
        let i_mode = unsafe { (&raw const (*inode).i_mode).read_volatile() };
        // SAFETY: As above.
        let i_blocks = unsafe { (&raw const (*inode).i_blocks).read_volatile() };
        // SAFETY: Valid by the type invariants; and so below.
        let atime = unsafe { bindings::inode_get_atime(inode) };
        // SAFETY: As above.
        let mtime = unsafe { bindings::inode_get_mtime(inode) };
        // SAFETY: As above.
        let ctime = unsafe { bindings::inode_get_ctime(inode) };
        Attributes {
            permissions: i_mode & 0o7777,
            // SAFETY: As above.
            uid: unsafe { bindings::i_uid_read(inode) },
            // SAFETY: As above.
            gid: unsafe { bindings::i_gid_read(inode) },
            nlink: self.nlink(),
            size: self.i_size_read(),
            blocks: i_blocks,
            atime: Time::from_timespec64(atime),
            mtime: Time::from_timespec64(mtime),
            ctime: Time::from_timespec64(ctime),
            // SAFETY: As above.
            version: unsafe { bindings::inode_peek_iversion(inode) },
        }
    }

    /// Names of it.
    pub(crate) fn nlink(&self) -> u32 {
        // SAFETY: Valid by the type invariants; C reads the number without a lock, too.
        unsafe { (&raw const (*self.as_ptr()).__bindgen_anon_1.i_nlink).read_volatile() }
    }

    /// Whether nothing of it may change, because of a flag of the inode.
    pub(crate) fn is_immutable(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::is_immutable(self.as_ptr()) }
    }

    /// Whether it is swapped to: its blocks stay where they are. That changes with `i_rwsem` held exclusively.
    pub(crate) fn is_swapfile(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::is_swapfile(self.as_ptr()) }
    }

    /// Whether a change of it has to be on the disk before the system call returns, because of a
    /// flag of the inode or an option of the mount.
    pub(crate) fn is_sync(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::is_sync(self.as_ptr()) }
    }

    /// As [`is_sync`](Self::is_sync), of the names in a directory.
    pub(crate) fn is_dirsync(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::is_dirsync(self.as_ptr()) }
    }

    /// It takes more of the volume.
    pub(crate) fn inode_add_bytes(&self, bytes: u64) {
        // A volume has fewer than 2^63 bytes that a file could take.
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // SAFETY: Valid by the type invariants; C takes the lock.
        unsafe { bindings::inode_add_bytes(self.as_ptr(), bytes) };
    }

    /// It takes less of the volume, or nothing if it had even less; returns whether it had so much.
    pub(crate) fn inode_sub_bytes(&self, bytes: u64) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // SAFETY: Valid by the type invariants; C takes the lock.
        unsafe { bindings::inode_sub_bytes_at_most(self.as_ptr(), bytes) }
    }

    /// It was changed now; returns when that is.
    pub(crate) fn inode_set_ctime_current(&self) -> Time {
        // SAFETY: Valid by the type invariants; C exchanges the value with others that set it.
        Time::from_timespec64(unsafe { bindings::inode_set_ctime_current(self.as_ptr()) })
    }

    /// Counts a change.
    pub(crate) fn inode_inc_iversion(&self) {
        // SAFETY: Valid by the type invariants; the count is an atomic one.
        unsafe { bindings::inode_inc_iversion(self.as_ptr()) };
    }
}
