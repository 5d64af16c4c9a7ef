// SPDX-License-Identifier: GPL-2.0

//! Inodes that only this thread changes, and what may be changed then.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    Flags,
    Inode,
    Time, //
};
use crate::{
    bindings,
    kernel::vfs::FileSystemType, //
};
use ::kernel::types::NotThreadSafe;
use core::ops::Deref;

/// An inode that only this thread changes.
///
/// # Invariants
///
/// For `'a`, this thread holds the inode's `i_rwsem` exclusively, or the inode is one that nobody else
/// looks at: new, or being evicted.
pub(crate) struct Locked<'a, T>(&'a Inode<T>, NotThreadSafe);

impl<T> Clone for Locked<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Locked<'_, T> {}

impl<T> Deref for Locked<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        self.0
    }
}

impl<'a, T: FileSystemType> Locked<'a, T> {
    /// # Safety
    ///
    /// `inode` has to be as the type wants it, for `'a`.
    pub(in crate::kernel) unsafe fn new(inode: &'a Inode<T>) -> Self {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::assert_inode_locked(inode.as_ptr()) };
        // INVARIANT: By the contract of this function.
        Self(inode, NotThreadSafe)
    }

    /// The inode, for as long as it stays locked.
    pub(crate) fn inode(self) -> &'a Inode<T> {
        self.0
    }

    /// Sets how many bytes the file has, less than 2^63; what the page cache has of it does not
    /// change.
    pub(crate) fn i_size_write(self, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // SAFETY: Valid, and nobody else writes the size, by the type invariants.
        unsafe { bindings::i_size_write(self.as_ptr(), size) };
    }

    /// Sets the lower 12 bits of the mode.
    pub(crate) fn set_permissions(self, permissions: u16) {
        // SAFETY: Valid by the type invariants.
        let i_mode = unsafe { &raw mut (*self.as_ptr()).i_mode };
        // SAFETY: As above. Nobody else writes it by the type invariants; C reads it without a lock.
        let mode = unsafe { i_mode.read_volatile() };
        // SAFETY: As above.
        unsafe { i_mode.write_volatile(mode & !0o7777 | permissions & 0o7777) };
    }

    /// Sets what the flags mean to the VFS, and leaves alone what else the VFS notes there.
    pub(crate) fn inode_set_flags(self, flags: Flags) {
        // SAFETY: Valid, and nobody else changes these flags, by the type invariants.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags.bits(), Flags::ALL.bits()) };
    }

    /// Waits until direct I/O that was submitted before has ended.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of the journal is open, and no folio locked, as direct writes end with a handle.
    pub(crate) fn inode_dio_wait(self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_dio_wait(self.as_ptr()) };
    }

    /// One name more. There may have been none only if the VFS has the file linked that was made by
    /// `O_TMPFILE`.
    pub(crate) fn inc_nlink(self) {
        // SAFETY: Valid, and nobody else changes the number, by the type invariants.
        unsafe { bindings::inc_nlink(self.as_ptr()) };
    }

    /// One name less; returns how many are left. If there was none, nothing happens.
    #[must_use = "there may have been no name to take away"]
    pub(crate) fn drop_nlink(self) -> Option<u32> {
        let left = self.nlink().checked_sub(1)?;
        // SAFETY: As above; there is at least one name.
        unsafe { bindings::drop_nlink(self.as_ptr()) };
        Some(left)
    }

    /// No name any more.
    pub(crate) fn clear_nlink(self) {
        // SAFETY: Valid, and nobody else changes the number, by the type invariants.
        unsafe { bindings::clear_nlink(self.as_ptr()) };
    }

    /// Sets how many names there are.
    pub(crate) fn set_nlink(self, nlink: u32) {
        // SAFETY: Valid, and nobody else changes the number, by the type invariants.
        unsafe { bindings::set_nlink(self.as_ptr(), nlink) };
    }

    /// Sets when the contents were changed last.
    pub(crate) fn inode_set_mtime(self, time: Time) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_set_mtime(self.as_ptr(), time.sec, time.nsec) };
    }
}
