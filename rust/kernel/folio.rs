// SPDX-License-Identifier: GPL-2.0

//! Folios of the page cache.
//!
//! locked → being read → released (read or not, and no longer locked by us)
//!
//! C header: [include/linux/pagemap.h](srctree/include/linux/pagemap.h)

use super::{
    inode::Inode,
    vfs::FileSystemType, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// A folio that is locked, so that it stays where it is in its file. Dropping it unlocks it.
///
/// # Invariants
///
/// The folio is in the page cache of an [`Inode<T>`], locked by this thread; it and the inode have
/// a reference for `'a`.
#[must_use = "the folio is unlocked when this is dropped"]
pub(crate) struct Locked<'a, T>(NonNull<bindings::folio>, PhantomData<&'a Inode<T>>);

impl<'a, T: FileSystemType> Locked<'a, T> {
    /// # Safety
    ///
    /// `folio` has to be as the type wants it, and its lock the caller's to hand over.
    pub(super) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the contract of this function.
        Self(folio, PhantomData)
    }

    /// The folio, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::folio {
        self.0.as_ptr()
    }

    /// The folio, whose lock is the caller's to give back.
    pub(super) fn into_raw(self) -> *mut bindings::folio {
        ManuallyDrop::new(self).as_ptr()
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Locked by this thread, by the type invariants.
        unsafe { bindings::folio_unlock(self.0.as_ptr()) };
    }
}

/// A folio that is being read, or has been: whoever ends that unlocks it.
#[must_use = "read_folio() has to return it"]
pub(crate) struct BeingRead<'a>(PhantomData<&'a ()>);

impl BeingRead<'_> {
    /// # Safety
    ///
    /// Nobody has to unlock the folio any more but the end of a read that has begun.
    pub(super) unsafe fn new() -> Self {
        Self(PhantomData)
    }
}
