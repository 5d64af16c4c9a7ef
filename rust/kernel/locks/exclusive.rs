// SPDX-License-Identifier: GPL-2.0

//! The locks of those who change an inode's data.
//!
//! `i_rwsem` exclusive → no direct I/O under way → `invalidate_lock` exclusive

use super::InodeShared;
use crate::{
    bindings,
    kernel::{
        inode::Inode,
        vfs::FileSystemType, //
    },
};
use ::kernel::types::NotThreadSafe;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref, //
};

/// The `i_rwsem` of an inode, held exclusively.
///
/// # Invariants
///
/// Held by this thread, as long as there is a value.
#[must_use = "the lock is given up when this is dropped"]
pub(crate) struct InodeExclusive<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

/// Evidence that no direct I/O to an inode is under way, and that none can begin: it takes `i_rwsem`
/// at least shared until it has been submitted.
#[derive(Clone, Copy)]
pub(crate) struct NoDirectIo<'a, T: FileSystemType>(&'a InodeExclusive<'a, T>);

/// The `invalidate_lock` of an inode's pages, held exclusively: nobody can bring in a page, or map
/// one. `i_rwsem` is held as well, and direct I/O is not under way.
///
/// # Invariants
///
/// Held by this thread, as long as there is a value.
#[must_use = "the lock is given up when this is dropped"]
pub(crate) struct InvalidateExclusive<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

/// A lock that C took before it called, and gives up.
pub(crate) struct Held<'a, L>(ManuallyDrop<L>, PhantomData<&'a ()>);

/// A guard of `i_rwsem`.
///
/// # Safety
///
/// As long as there is a value, this thread holds the lock of the inode that it was made for, in the
/// way that [`IS_EXCLUSIVE`](Self::IS_EXCLUSIVE) says.
pub(crate) unsafe trait InodeLock<'a, T: FileSystemType>: Sized {
    /// Whether nobody else can hold it.
    const IS_EXCLUSIVE: bool;

    /// Takes the lock.
    ///
    /// # Context
    ///
    /// Sleeps.
    fn lock(inode: &'a Inode<T>) -> Self;

    /// Takes it, unless that means to wait.
    fn trylock(inode: &'a Inode<T>) -> Option<Self>;
}

// SAFETY: By the type invariants, and `inode_lock_shared` and `inode_trylock_shared`.
unsafe impl<'a, T: FileSystemType> InodeLock<'a, T> for InodeShared<'a, T> {
    const IS_EXCLUSIVE: bool = false;

    fn lock(inode: &'a Inode<T>) -> Self {
        inode.inode_lock_shared()
    }

    fn trylock(inode: &'a Inode<T>) -> Option<Self> {
        inode.inode_trylock_shared()
    }
}

// SAFETY: By the type invariants, and `inode_lock` and `inode_trylock`.
unsafe impl<'a, T: FileSystemType> InodeLock<'a, T> for InodeExclusive<'a, T> {
    const IS_EXCLUSIVE: bool = true;

    fn lock(inode: &'a Inode<T>) -> Self {
        inode.inode_lock()
    }

    fn trylock(inode: &'a Inode<T>) -> Option<Self> {
        inode.inode_trylock()
    }
}

impl<T: FileSystemType> Inode<T> {
    /// Takes `i_rwsem` exclusively.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn inode_lock(&self) -> InodeExclusive<'_, T> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_lock(self.as_ptr()) };
        InodeExclusive(self, NotThreadSafe)
    }

    /// Takes `i_rwsem` exclusively, unless that means to wait.
    pub(crate) fn inode_trylock(&self) -> Option<InodeExclusive<'_, T>> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_trylock(self.as_ptr()) }
            .then(|| InodeExclusive(self, NotThreadSafe))
    }
}

impl<'a, T: FileSystemType> InodeExclusive<'a, T> {
    /// The lock of an inode that C has locked; with lockdep, C is asked whether it has.
    ///
    /// # Safety
    ///
    /// `i_rwsem` has to be held exclusively by this thread for `'a`.
    pub(in crate::kernel) unsafe fn held(inode: &'a Inode<T>) -> Held<'a, Self> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::lockdep_assert_inode_locked(inode.as_ptr()) };
        // INVARIANT: By the contract of this function.
        let lock = Self(inode, NotThreadSafe);
        Held(ManuallyDrop::new(lock), PhantomData)
    }

    /// The inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.0
    }

    /// Waits until direct I/O that was submitted before has ended.
    ///
    /// # Context
    ///
    /// Sleeps. What direct writes do at their end must not wait for this thread: no handle of the
    /// journal may be open, and no folio locked.
    pub(crate) fn inode_dio_wait(&self) -> NoDirectIo<'_, T> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::inode_dio_wait(self.0.as_ptr()) };
        NoDirectIo(self)
    }
}

impl<'a, T: FileSystemType> NoDirectIo<'a, T> {
    /// Takes the `invalidate_lock` of the inode's pages exclusively.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn filemap_invalidate_lock(self) -> InvalidateExclusive<'a, T> {
        let inode = self.0.inode();
        // SAFETY: The pages are the inode's, valid by the type invariants.
        unsafe { bindings::filemap_invalidate_lock(inode.i_mapping()) };
        InvalidateExclusive(inode, NotThreadSafe)
    }
}

impl<'a, T: FileSystemType> InvalidateExclusive<'a, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.0
    }
}

impl<L> Deref for Held<'_, L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.0
    }
}

impl<T: FileSystemType> Drop for InodeExclusive<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this thread by the type invariants.
        unsafe { bindings::inode_unlock(self.0.as_ptr()) };
    }
}

impl<T: FileSystemType> Drop for InvalidateExclusive<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this thread by the type invariants.
        unsafe { bindings::filemap_invalidate_unlock(self.0.i_mapping()) };
    }
}
