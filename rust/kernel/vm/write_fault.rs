// SPDX-License-Identifier: GPL-2.0

//! Stores to pages of a mapping that were not to be written to so far, as
//! [`protocol::fault`](crate::protocol::fault) lets them in.
//!
//! Each state holds what those before it have taken, and gives it up in the reverse order.

use super::Operations;
use crate::{
    bindings,
    kernel::{
        control::Control,
        file::File,
        folio,
        inode::Inode,
        iomap::write::{
            reserve,
            WriteOperations, //
        },
        locks::InvalidateShared,
        truncate::ByteRange,
        vfs::FileSystemType, //
    },
    protocol,
};
use ::kernel::{
    error::to_result,
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What a filesystem does for a store, where the protocol says so.
pub(crate) trait StoreOperations: Operations {
    /// Who reserves the blocks.
    type Mappings: WriteOperations<FileSystem = Self::FileSystem>;

    /// Whether what the file has of `range` may be stored to, which is the folio of the fault if that
    /// stays as it is. [`WriteOperations::iomap_begin`] is asked with the folio locked, so here is
    /// the place to make room by writing what is dirty.
    ///
    /// # Errors
    ///
    /// As of [`Stored::vmf_fs_error`].
    ///
    /// # Context
    ///
    /// Sleeps. The volume is not frozen meanwhile; no folio is locked.
    fn prepare(inode: &Inode<Self::FileSystem>, range: ByteRange) -> Result;

    /// A store has waited so long for writeback.
    fn waited(inode: &Inode<Self::FileSystem>, time: Delta);
}

/// What came of a store, as C has to be told.
#[must_use = "page_mkwrite() has to return it"]
pub(crate) struct Stored<'a>(bindings::vm_fault_t, PhantomData<&'a ()>);

impl Stored<'_> {
    /// What a store fails with: for want of memory; to be tried again (`EAGAIN`, `EFAULT`), as what
    /// it was for is not there any more; else the program gets `SIGBUS`.
    ///
    /// That is for `EINTR`, too: who is being killed does not get it. But one who stores to the page
    /// inside the kernel, for `read()`, would try again for ever, as mm looks for signals there only
    /// after `VM_FAULT_RETRY`, which it does not expect from `page_mkwrite()`.
    pub(crate) fn vmf_fs_error(error: Error) -> Self {
        let result = if error == EFAULT || error == EAGAIN {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE
        } else if error == ENOMEM {
            bindings::vm_fault_reason_VM_FAULT_OOM
        } else {
            bindings::vm_fault_reason_VM_FAULT_SIGBUS
        };
        Self(result, PhantomData)
    }

    /// As C wants it.
    pub(super) fn into_raw(self) -> bindings::vm_fault_t {
        self.0
    }
}

/// A store to a page of the page cache that is mapped for reading.
///
/// # Invariants
///
/// The fault is valid, of a mapping of a file of `U::FileSystem`, and the caller's alone for `'a`; the
/// file has a reference, and so has the page that the fault names.
pub(crate) struct WriteFault<'a, U: Operations>(
    NonNull<bindings::vm_fault>,
    PhantomData<(&'a File<U::FileSystem>, U)>,
);

impl<'a, U: Operations> WriteFault<'a, U> {
    /// # Safety
    ///
    /// `vmf` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw(vmf: *mut bindings::vm_fault) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(vmf) }, PhantomData)
    }

    fn file(&self) -> &'a File<U::FileSystem> {
        // SAFETY: Valid by the type invariants; constant.
        let vma = unsafe { (*self.0.as_ptr()).__bindgen_anon_1.vma };
        // SAFETY: As above.
        let file = unsafe { (*vma).vm_file };
        // SAFETY: By the type invariants.
        unsafe { File::from_raw(file) }
    }

    fn inode(&self) -> &'a Inode<U::FileSystem> {
        self.file().inode()
    }

    /// The folio, which has a reference for `'a`.
    fn folio(&self) -> NonNull<bindings::folio> {
        // SAFETY: Valid by the type invariants; constant.
        let page = unsafe { (*self.0.as_ptr()).page };
        // SAFETY: The page has a reference, by the type invariants, and so has its folio.
        unsafe { NonNull::new_unchecked(bindings::page_folio(page)) }
    }

    /// Its place in the file, if it is still there.
    fn range(&self) -> Option<ByteRange> {
        let folio = self.folio().as_ptr();
        // SAFETY: Valid, see there. It is not locked: this may be wrong when it is read.
        let (pos, len) = unsafe { (bindings::folio_pos(folio), bindings::folio_size(folio)) };
        // CAST: to a type of at least as many bits.
        ByteRange::new(u64::try_from(pos).ok()?, len as u64)
    }
}

/// The right to dirty pages of a volume in a fault: it is not frozen meanwhile.
///
/// # Invariants
///
/// Taken by this thread, as long as there is a value.
pub(super) struct Pagefault<'a, T: FileSystemType>(&'a Inode<T>, NotThreadSafe);

impl<'a, T: FileSystemType> Pagefault<'a, T> {
    /// Takes it.
    ///
    /// # Context
    ///
    /// Sleeps, as long as the volume is frozen.
    pub(super) fn sb_start_pagefault(inode: &'a Inode<T>) -> Self {
        // SAFETY: An inode's superblock, valid as long as it.
        unsafe { bindings::sb_start_pagefault(inode.sb().as_ptr()) };
        // INVARIANT: Just taken.
        Self(inode, NotThreadSafe)
    }
}

impl<T: FileSystemType> Drop for Pagefault<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Taken by this thread, by the type invariants.
        unsafe { bindings::sb_end_pagefault(self.0.sb().as_ptr()) };
    }
}

/// A store to a volume that is not frozen meanwhile.
pub(crate) struct Started<'a, U: Operations> {
    fault: WriteFault<'a, U>,
    pagefault: Pagefault<'a, U::FileSystem>,
}

/// A store to a file whose pages are not invalidated meanwhile.
pub(crate) struct Invalidate<'a, U: Operations> {
    fault: WriteFault<'a, U>,
    invalidate: InvalidateShared<'a, U::FileSystem>,
    pagefault: Pagefault<'a, U::FileSystem>,
}

/// The folio of a store, locked.
pub(crate) struct Folio<'a, U: Operations> {
    lock: folio::Lock<'a>,
    inode: &'a Inode<U::FileSystem>,
    _invalidate: InvalidateShared<'a, U::FileSystem>,
    _pagefault: Pagefault<'a, U::FileSystem>,
}

impl<'a, U: StoreOperations> protocol::fault::WriteFault for WriteFault<'a, U> {
    type Started = Started<'a, U>;

    fn sb_start_pagefault(self) -> Started<'a, U> {
        Started {
            pagefault: Pagefault::sb_start_pagefault(self.inode()),
            fault: self,
        }
    }
}

impl<'a, U: StoreOperations> protocol::fault::Started for Started<'a, U> {
    type Error = Error;
    type Invalidate = Invalidate<'a, U>;

    fn prepare(&mut self) -> Result {
        U::prepare(self.fault.inode(), self.fault.range().ok_or(EFAULT)?)
    }

    fn file_update_time(&mut self) -> Result {
        // SAFETY: Valid by the type invariants of `File`.
        to_result(unsafe { bindings::file_update_time(self.fault.file().as_ptr()) })
    }

    fn filemap_invalidate_lock_shared(self) -> Invalidate<'a, U> {
        Invalidate {
            invalidate: self.fault.inode().filemap_invalidate_lock_shared(),
            fault: self.fault,
            pagefault: self.pagefault,
        }
    }
}

impl<'a, U: StoreOperations> protocol::fault::Invalidate for Invalidate<'a, U> {
    type Error = Error;
    type Folio = Folio<'a, U>;

    fn folio_lock(self) -> Result<Folio<'a, U>> {
        // SAFETY: It has a reference for `'a`, and came from the page cache.
        let lock = unsafe { folio::Lock::folio_lock_killable(self.fault.folio()) }?;
        Ok(Folio {
            lock,
            inode: self.fault.inode(),
            _invalidate: self.invalidate,
            _pagefault: self.pagefault,
        })
    }
}

impl<U: StoreOperations> protocol::folio::Locked for Folio<'_, U> {
    type Error = Error;

    fn check(&self) -> Result<usize> {
        let len = self.lock.mkwrite_check_truncate(self.inode)?;
        if !self.lock.is_uptodate() {
            return Err(EIO);
        }
        Ok(len)
    }

    fn wait_for_writeback(&mut self) -> Result {
        if Control::SkipFaultWait.is_on() {
            return Ok(());
        }
        // Without anybody who computes checksums, the device may have either.
        if !self.inode.mapping_stable_writes() || !self.lock.is_writeback() {
            return Ok(());
        }
        let since = Instant::<Monotonic>::now();
        let waited = self.lock.wait_writeback_killable();
        U::waited(self.inode, since.elapsed());
        waited
    }
}

impl<'a, U: StoreOperations> protocol::fault::Folio for Folio<'a, U> {
    type Outcome = Stored<'a>;

    fn reserve(&mut self, len: usize) -> Result {
        // CAST: to a type of at least as many bits.
        let range = ByteRange::new(self.lock.pos()?, len as u64).ok_or(EFAULT)?;
        reserve::<U::Mappings>(self.inode, range)
    }

    fn mark_dirty(&mut self) {
        self.lock.mark_dirty();
    }

    fn into_locked(self) -> Stored<'a> {
        self.lock.leave_locked();
        Stored(bindings::vm_fault_reason_VM_FAULT_LOCKED, PhantomData)
    }
}
