// SPDX-License-Identifier: GPL-2.0

//! The locks of an inode that C has, as guards. What they protect, and in which order they are
//! taken, is the filesystem's to say.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

mod exclusive;

pub(crate) use self::exclusive::{
    Held,
    InodeExclusive,
    InodeLock,
    InvalidateExclusive, //
};

use super::{
    inode::Inode,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::types::NotThreadSafe;

/// The `i_rwsem` of an inode, held shared.
///
/// # Invariants
///
/// Held by this thread, as long as there is a value.
#[must_use = "the lock is given up when this is dropped"]
pub(crate) struct InodeShared<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

/// The `invalidate_lock` of an inode's pages, held shared.
///
/// # Invariants
///
/// Held by this thread, as long as there is a value.
#[must_use = "the lock is given up when this is dropped"]
pub(crate) struct InvalidateShared<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

/// The `invalidate_lock` of an inode's pages, held exclusively by one who need not
/// hold any other lock.
///
/// # Invariants
///
/// Held by this thread, as long as there is a value.
#[must_use = "the lock is given up when this is dropped"]
pub(crate) struct InvalidateAlone<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

impl<T: FileSystemType> InvalidateAlone<'_, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> &Inode<T> {
        self.0
    }
}

impl<T: FileSystemType> Inode<T> {
    /// Takes `i_rwsem` shared.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn inode_lock_shared(&self) -> InodeShared<'_, T> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_lock_shared(self.as_ptr()) };
        InodeShared(self, NotThreadSafe)
    }

    /// Takes `i_rwsem` shared, unless that means to wait.
    pub(crate) fn inode_trylock_shared(&self) -> Option<InodeShared<'_, T>> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_trylock_shared(self.as_ptr()) }
            .then(|| InodeShared(self, NotThreadSafe))
    }

    /// Takes the `invalidate_lock` of its pages shared.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn filemap_invalidate_lock_shared(&self) -> InvalidateShared<'_, T> {
        // SAFETY: The pages are the inode's, valid by the type invariants.
        unsafe { bindings::filemap_invalidate_lock_shared(self.i_mapping()) };
        InvalidateShared(self, NotThreadSafe)
    }

    /// Takes the `invalidate_lock` of its pages exclusively.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn filemap_invalidate_lock(&self) -> InvalidateAlone<'_, T> {
        // SAFETY: The pages are the inode's, valid by the type invariants.
        unsafe { bindings::filemap_invalidate_lock(self.i_mapping()) };
        InvalidateAlone(self, NotThreadSafe)
    }
}

impl<T: FileSystemType> Drop for InodeShared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this thread by the type invariants.
        unsafe { bindings::inode_unlock_shared(self.0.as_ptr()) };
    }
}

impl<T: FileSystemType> Drop for InvalidateShared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this thread by the type invariants.
        unsafe { bindings::filemap_invalidate_unlock_shared(self.0.i_mapping()) };
    }
}

impl<T: FileSystemType> Drop for InvalidateAlone<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this thread by the type invariants.
        unsafe { bindings::filemap_invalidate_unlock(self.0.i_mapping()) };
    }
}
