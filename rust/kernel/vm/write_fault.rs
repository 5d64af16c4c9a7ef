// SPDX-License-Identifier: GPL-2.0

//! Stores to pages of a mapping that were not to be written to so far.
//!
//! fault → the volume cannot be frozen → locked (`invalidate_lock` shared) → result

use super::FaultResult;
use crate::{
    bindings,
    kernel::{
        file::File,
        inode::Inode,
        locks::InvalidateShared,
        truncate::ByteRange,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

impl FaultResult {
    /// The program gets `SIGBUS`.
    pub(crate) const SIGBUS: Self = Self(bindings::vm_fault_reason_VM_FAULT_SIGBUS);
    /// The program tries again: what it wanted to store to is not there any more.
    pub(crate) const NOPAGE: Self = Self(bindings::vm_fault_reason_VM_FAULT_NOPAGE);

    /// What a store fails with: for want of memory; to be tried again (`EAGAIN`, `EFAULT`); else
    /// `SIGBUS`.
    pub(crate) fn vmf_fs_error(error: Error) -> Self {
        if error == EFAULT || error == EAGAIN {
            Self::NOPAGE
        } else if error == ENOMEM {
            Self(bindings::vm_fault_reason_VM_FAULT_OOM)
        } else {
            Self::SIGBUS
        }
    }
}

/// A store to a page of the page cache that is mapped for reading.
///
/// # Invariants
///
/// The fault is valid, of a mapping of a [`File<T>`], and the caller's alone for `'a`; the file has
/// a reference, and so has the page that the fault names.
pub(crate) struct WriteFault<'a, T>(NonNull<bindings::vm_fault>, PhantomData<&'a File<T>>);

/// The right to dirty pages of a volume in a fault: it is not frozen meanwhile.
///
/// # Invariants
///
/// Taken by this thread, as long as there is a value.
struct Pagefault<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

/// A store to a volume that is not frozen meanwhile.
pub(crate) struct StartedWriteFault<'a, T: FileSystemType> {
    fault: WriteFault<'a, T>,
    pagefault: Pagefault<'a, T>,
}

/// A store to a file whose pages cannot be invalidated.
pub(crate) struct LockedWriteFault<'a, T: FileSystemType> {
    fault: WriteFault<'a, T>,
    /// Given up before `_pagefault` is.
    _lock: InvalidateShared<'a, T>,
    _pagefault: Pagefault<'a, T>,
}

impl<'a, T: FileSystemType> WriteFault<'a, T> {
    /// # Safety
    ///
    /// `vmf` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw(vmf: *mut bindings::vm_fault) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(vmf) }, PhantomData)
    }

    /// The file.
    pub(crate) fn file(&self) -> &'a File<T> {
        // SAFETY: Valid by the type invariants; constant.
        let vma = unsafe { (*self.0.as_ptr()).__bindgen_anon_1.vma };
        // SAFETY: As above.
        let file = unsafe { (*vma).vm_file };
        // SAFETY: By the type invariants.
        unsafe { File::from_raw(file) }
    }

    /// Its inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.file().inode()
    }

    /// Waits until the volume is not frozen, and keeps it from being frozen.
    ///
    /// # Context
    ///
    /// Sleeps. No other lock of the filesystem is held.
    pub(crate) fn sb_start_pagefault(self) -> StartedWriteFault<'a, T> {
        let inode = self.inode();
        // SAFETY: An inode's superblock, valid as long as it.
        unsafe { bindings::sb_start_pagefault(inode.sb().as_ptr()) };
        StartedWriteFault {
            fault: self,
            // INVARIANT: Just taken.
            pagefault: Pagefault(inode, NotThreadSafe),
        }
    }
}

impl<'a, T: FileSystemType> StartedWriteFault<'a, T> {
    /// The inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.fault.inode()
    }

    /// What the folio of the fault has of the file, if that stays as it is.
    pub(crate) fn range(&self) -> Option<ByteRange> {
        // SAFETY: Valid by the type invariants; constant.
        let page = unsafe { (*self.fault.0.as_ptr()).page };
        // SAFETY: The page has a reference, by the type invariants, and so has its folio.
        let folio = unsafe { bindings::page_folio(page) };
        // SAFETY: As above. It is not locked: this may be wrong when it is read.
        let (pos, len) = unsafe { (bindings::folio_pos(folio), bindings::folio_size(folio)) };
        // CAST: to a type of at least as many bits.
        ByteRange::new(u64::try_from(pos).ok()?, len as u64)
    }

    /// Sets the times of the file, if they are not those already.
    ///
    /// # Errors
    ///
    /// What could not be done to the inode.
    ///
    /// # Context
    ///
    /// Sleeps. Changes the inode, by way of `dirty_inode`.
    pub(crate) fn file_update_time(&self) -> Result {
        // SAFETY: Valid by the type invariants of `File`.
        to_result(unsafe { bindings::file_update_time(self.fault.file().as_ptr()) })
    }

    /// Takes the `invalidate_lock` of the file's pages shared.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn filemap_invalidate_lock_shared(self) -> LockedWriteFault<'a, T> {
        LockedWriteFault {
            _lock: self.inode().filemap_invalidate_lock_shared(),
            fault: self.fault,
            _pagefault: self.pagefault,
        }
    }
}

impl<'a, T: FileSystemType> LockedWriteFault<'a, T> {
    /// The fault, for use within `rust/kernel`.
    pub(in crate::kernel) fn as_ptr(&self) -> *mut bindings::vm_fault {
        self.fault.0.as_ptr()
    }
}

impl<T: FileSystemType> Drop for Pagefault<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Taken by this thread, by the type invariants.
        unsafe { bindings::sb_end_pagefault(self.0.sb().as_ptr()) };
    }
}
