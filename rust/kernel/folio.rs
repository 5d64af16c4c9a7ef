// SPDX-License-Identifier: GPL-2.0

//! Folios of the page cache.
//!
//! locked → being read → released (read or not, and no longer locked by us); or locked → removed
//!
//! for a store: lock → looked at → dirty → left locked
//!
//! C header: [include/linux/pagemap.h](srctree/include/linux/pagemap.h)

use super::{
    inode::Inode,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*, //
};
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

    /// The folio, whose lock somebody else gives back from now on.
    pub(super) fn into_being_read(self) -> BeingRead<'a, T> {
        let inode = self.inode();
        let pos = self.pos();
        let len = self.len();
        // INVARIANT: As of `self`.
        BeingRead {
            folio: ManuallyDrop::new(self).0,
            inode,
            pos,
            len,
        }
    }

    /// The file that it is a part of.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        // SAFETY: In the page cache, and locked, by the type invariants.
        let mapping = unsafe { bindings::folio_mapping_raw(self.0.as_ptr()) };
        // SAFETY: Valid as above; constant.
        let inode = unsafe { (*mapping).host };
        // SAFETY: By the type invariants, for `'a`.
        unsafe { Inode::from_raw(inode) }
    }

    /// Where in the file it begins.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: In the page cache, and locked, by the type invariants.
        let pos = unsafe { bindings::folio_pos(self.0.as_ptr()) };
        // CAST: never negative.
        pos as u64
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let len = unsafe { bindings::folio_size(self.0.as_ptr()) };
        // CAST: to a type of at least as many bits.
        len as u64
    }

    /// Whether it is larger than a page.
    pub(crate) fn is_large(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::folio_test_large(self.0.as_ptr()) }
    }

    /// Whether the device does not have what is in it, or did not when it was last asked.
    pub(crate) fn is_dirty_or_writeback(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::folio_test_dirty_or_writeback(self.0.as_ptr()) }
    }

    /// Removes it from the page cache of a regular file, and has whoever waits for it look again.
    ///
    /// # Errors
    ///
    /// `EIO` if it may not be removed.
    pub(crate) fn remove(self) -> Result<Released<'a>> {
        if self.is_dirty_or_writeback() {
            return Err(EIO);
        }
        let mapping = self.inode().i_mapping();
        // SAFETY: In that page cache, and locked, by the type invariants.
        let err = unsafe { bindings::generic_error_remove_folio(mapping, self.0.as_ptr()) };
        to_result(err)?;
        // CAST: a small number.
        Ok(Released(
            bindings::positive_aop_returns_AOP_TRUNCATED_PAGE as c_int,
            PhantomData,
        ))
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Locked by this thread, by the type invariants.
        unsafe { bindings::folio_unlock(self.0.as_ptr()) };
    }
}

/// A folio that is being read, or has been: whoever ends that unlocks it.
///
/// # Invariants
///
/// The folio and the inode have a reference for `'a`.
pub(crate) struct BeingRead<'a, T> {
    folio: NonNull<bindings::folio>,
    inode: &'a Inode<T>,
    pos: u64,
    len: u64,
}

impl<'a, T: FileSystemType> BeingRead<'a, T> {
    /// The folio, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::folio {
        self.folio.as_ptr()
    }

    /// The file that it is, or was, a part of.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Where in the file it begins.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Waits until nobody has it locked, and returns whether that was in vain: it was not read, and
    /// not for its being removed from the file, nor for a signal that kills this task.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn wait_has_failed(&self) -> bool {
        let folio = self.as_ptr();
        // SAFETY: Valid by the type invariants.
        if unsafe { bindings::folio_wait_locked_killable(folio) } != 0 {
            return false;
        }
        // SAFETY: As above.
        if unsafe { bindings::folio_test_uptodate(folio) } {
            return false;
        }
        // SAFETY: As above; the inode's pages are but compared.
        unsafe { bindings::folio_mapping_raw(folio) == self.inode.i_mapping() }
    }

    /// Leaves it to whoever ends the reading.
    pub(crate) fn release(self) -> Released<'a> {
        Released(0, PhantomData)
    }
}

/// A folio whose lock is given back, or will be, as the C function that asked to have it read has to
/// be told.
#[must_use = "read_folio() has to return it"]
pub(crate) struct Released<'a>(c_int, PhantomData<&'a ()>);

impl Released<'_> {
    /// What C shall be told.
    pub(super) fn into_raw(self) -> c_int {
        self.0
    }
}

/// The lock of a folio that was in the page cache of a file when it was found, and may be in none any
/// more. Dropping it unlocks the folio.
///
/// # Invariants
///
/// The folio is locked by this thread, and has a reference for `'a`.
#[must_use = "the folio is unlocked when this is dropped"]
pub(super) struct Lock<'a>(NonNull<bindings::folio>, PhantomData<&'a bindings::folio>);

impl Lock<'_> {
    /// Locks a folio.
    ///
    /// # Errors
    ///
    /// `EINTR` if a signal came that ends the program.
    ///
    /// # Context
    ///
    /// Sleeps.
    ///
    /// # Safety
    ///
    /// The folio has to have a reference for the lifetime of the value, and be, or have been, in the
    /// page cache.
    pub(super) unsafe fn folio_lock_killable(folio: NonNull<bindings::folio>) -> Result<Self> {
        // SAFETY: Valid by the contract of this function.
        to_result(unsafe { bindings::folio_lock_killable(folio.as_ptr()) })?;
        // INVARIANT: Just locked; the reference is the caller's.
        Ok(Self(folio, PhantomData))
    }

    /// How many bytes of it are inside the file, whose folio it is or was.
    ///
    /// # Errors
    ///
    /// `EFAULT`: none, or it was removed.
    pub(super) fn mkwrite_check_truncate<T: FileSystemType>(
        &self,
        inode: &Inode<T>,
    ) -> Result<usize> {
        // SAFETY: Both are valid by their type invariants.
        let len =
            unsafe { bindings::folio_mkwrite_check_truncate(self.0.as_ptr(), inode.as_ptr()) };
        usize::try_from(len).map_err(|_| EFAULT)
    }

    /// Whether it has what the file has there.
    pub(super) fn is_uptodate(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::folio_test_uptodate(self.0.as_ptr()) }
    }

    /// Whether it is under writeback. If not it will not be, as long as it is locked.
    pub(super) fn is_writeback(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::folio_test_writeback(self.0.as_ptr()) }
    }

    /// Waits until it is not under writeback.
    ///
    /// # Errors
    ///
    /// `EINTR` if a signal came that ends the program.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of the journal may be open.
    pub(super) fn wait_writeback_killable(&mut self) -> Result {
        // SAFETY: Valid by the type invariants.
        to_result(unsafe { bindings::folio_wait_writeback_killable(self.0.as_ptr()) })
    }

    /// Where in the file it begins, or did when it was removed.
    pub(super) fn pos(&self) -> Result<u64> {
        // SAFETY: Valid by the type invariants; it was in the page cache, so that this is its place.
        let pos = unsafe { bindings::folio_pos(self.0.as_ptr()) };
        u64::try_from(pos).map_err(|_| EINVAL)
    }

    /// Marks all of it as dirty.
    pub(super) fn mark_dirty(&mut self) {
        // SAFETY: Valid by the type invariants, and locked, so that it stays in its file.
        unsafe { bindings::folio_mark_dirty(self.0.as_ptr()) };
    }

    /// Leaves it to somebody else to unlock it.
    pub(super) fn leave_locked(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by this thread, by the type invariants.
        unsafe { bindings::folio_unlock(self.0.as_ptr()) };
    }
}
