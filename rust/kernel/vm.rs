// SPDX-License-Identifier: GPL-2.0

//! Mappings of files into memory, and faults on them.
//!
//! fault → locked (`invalidate_lock` shared), for what does not go through the page cache
//!
//! Stores to the page cache have [a protocol of their own](crate::protocol::fault).
//!
//! C header: [include/linux/mm.h](srctree/include/linux/mm.h)

mod sharers;
mod write_fault;

pub(crate) use self::write_fault::{
    StoreOperations,
    Stored,
    WriteFault, //
};

use self::write_fault::Pagefault;
use super::{
    dax,
    file::File,
    inode::Inode,
    locks::InvalidateShared,
    vfs::FileSystemType, //
};
use crate::{
    bindings,
    protocol::fault::Faulted, //
};
use ::kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A mapping that is being made, as C's `struct vm_area_desc`.
///
/// # Invariants
///
/// The description is valid, of a [`File<T>`], and the caller's alone for `'a`.
pub(crate) struct AreaDesc<'a, T>(NonNull<bindings::vm_area_desc>, PhantomData<&'a File<T>>);

impl<'a, T: FileSystemType> AreaDesc<'a, T> {
    /// # Safety
    ///
    /// `desc` has to be as the type wants it, for `'a`.
    pub(super) unsafe fn from_raw(desc: *mut bindings::vm_area_desc) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(desc) }, PhantomData)
    }

    /// The file.
    pub(crate) fn file(&self) -> &'a File<T> {
        // SAFETY: Valid by the type invariants; constant.
        let file = unsafe { (*self.0.as_ptr()).file };
        // SAFETY: By the type invariants.
        unsafe { File::from_raw(file) }
    }

    /// Whether the file can be mapped as this mapping wants it, on `device` or without one: with
    /// `MAP_SYNC`, only memory that keeps what is stored can be.
    pub(crate) fn daxdev_mapping_supported(&self, device: Option<&dax::Device>) -> bool {
        let inode = self.file().inode();
        if inode.is_dax() && device.is_none() {
            return false;
        }
        let device = device.map_or(core::ptr::null_mut(), dax::Device::as_ptr);
        // SAFETY: All are valid; the device is not looked at unless the inode is a DAX one.
        unsafe { bindings::daxdev_mapping_supported(self.0.as_ptr(), inode.as_ptr(), device) }
    }

    /// Has `U` bring in what there is no page for yet, in large pages too, or say what is to be done
    /// when one is stored to.
    pub(crate) fn set_ops<U: Operations<FileSystem = T>>(self) {
        // SAFETY: Valid and not shared by the type invariants; the table is static.
        unsafe { (*self.0.as_ptr()).vm_ops = &OperationsTable::<U>::TABLE };
        if U::HAS_HUGE_FAULT {
            // SAFETY: As above.
            unsafe { bindings::vma_desc_set_hugepage(self.0.as_ptr()) };
        }
    }
}

/// Operations on mappings, as C's `struct vm_operations_struct`.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose files these are.
    type FileSystem: FileSystemType;

    /// Brings in a page of that order, or has one that is there already be stored to. Without this method, pages come
    /// from the page cache.
    ///
    /// # Context
    ///
    /// Sleeps. The `mmap_lock`, or the lock of the mapping, is held shared.
    fn huge_fault(_fault: Fault<'_, Self::FileSystem>, _order: Order) -> FaultResult {
        FaultResult::SIGBUS
    }

    /// A page of the page cache is about to be written to. Without this method, it just is.
    ///
    /// # Context
    ///
    /// As of [`huge_fault`](Self::huge_fault).
    fn page_mkwrite(_fault: Faulted<WriteFault<'_, Self>>) -> Stored<'_> {
        Stored::vmf_fs_error(EIO)
    }
}

/// How large a page is: that power of two of the smallest.
#[derive(Clone, Copy)]
pub(crate) struct Order(pub(super) c_uint);

impl Order {
    /// Whether it is larger than the smallest.
    pub(crate) fn is_huge(self) -> bool {
        self.0 > 0
    }
}

/// What came of a fault, as C's `vm_fault_t`.
#[derive(Clone, Copy)]
#[must_use = "fault() has to return it"]
pub(crate) struct FaultResult(bindings::vm_fault_t);

impl FaultResult {
    /// The program gets `SIGBUS`.
    pub(crate) const SIGBUS: Self = Self(bindings::vm_fault_reason_VM_FAULT_SIGBUS);

    /// From what C returned.
    pub(super) fn from_raw(result: bindings::vm_fault_t) -> Self {
        Self(result)
    }

    /// That of an error before anything was done.
    pub(crate) fn vmf_fs_error(error: Error) -> Self {
        Self(Stored::vmf_fs_error(error).into_raw())
    }

    /// Whether no page is mapped: there was an error, or smaller ones are to be tried.
    pub(crate) fn has_none(self) -> bool {
        let none = bindings::vm_fault_reason_VM_FAULT_OOM
            | bindings::vm_fault_reason_VM_FAULT_FALLBACK
            | bindings::vm_fault_reason_VM_FAULT_RETRY;
        self.0 & none != 0 || self.is_sigbus()
    }

    /// Whether the program gets `SIGBUS`.
    pub(crate) fn is_sigbus(self) -> bool {
        let sigbus = bindings::vm_fault_reason_VM_FAULT_SIGBUS
            | bindings::vm_fault_reason_VM_FAULT_HWPOISON
            | bindings::vm_fault_reason_VM_FAULT_HWPOISON_LARGE;
        self.0 & sigbus != 0
    }
}

/// An access to a mapping where there is no page of the page cache.
///
/// # Invariants
///
/// The fault is valid, of a mapping of a [`File<T>`], and the caller's alone for `'a`; the file has
/// a reference.
pub(crate) struct Fault<'a, T>(NonNull<bindings::vm_fault>, PhantomData<&'a File<T>>);

/// A fault on a file whose pages cannot be invalidated.
pub(crate) struct LockedFault<'a, T: FileSystemType> {
    fault: Fault<'a, T>,
    _lock: InvalidateShared<'a, T>,
    /// For a store.
    _pagefault: Option<Pagefault<'a, T>>,
}

/// A store to memory that data are in, on a volume that is not frozen meanwhile.
pub(crate) struct StoreFault<'a, T: FileSystemType> {
    fault: Fault<'a, T>,
    pagefault: Pagefault<'a, T>,
}

impl<'a, T: FileSystemType> StoreFault<'a, T> {
    /// Sets the times of the file.
    ///
    /// # Errors
    ///
    /// What changing the inode says.
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
    pub(crate) fn filemap_invalidate_lock_shared(self) -> LockedFault<'a, T> {
        LockedFault {
            _lock: self.fault.inode().filemap_invalidate_lock_shared(),
            fault: self.fault,
            _pagefault: Some(self.pagefault),
        }
    }
}

impl<'a, T: FileSystemType> Fault<'a, T> {
    fn vma(&self) -> *mut bindings::vm_area_struct {
        // SAFETY: Valid by the type invariants; constant.
        unsafe { (*self.0.as_ptr()).__bindgen_anon_1.vma }
    }

    fn file(&self) -> &'a File<T> {
        // SAFETY: Valid by the type invariants; constant.
        let file = unsafe { (*self.vma()).vm_file };
        // SAFETY: By the type invariants.
        unsafe { File::from_raw(file) }
    }

    /// The inode of the file.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.file().inode()
    }

    /// Whether the file is going to be stored to: not just a copy of what is there.
    pub(crate) fn is_store(&self) -> bool {
        // SAFETY: Valid by the type invariants; the lock of the mapping keeps its flags.
        let (flags, vm_flags) = unsafe {
            (
                (*self.0.as_ptr()).flags,
                (*self.vma()).__bindgen_anon_2.vm_flags,
            )
        };
        flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0
            && vm_flags & c_ulong::from(bindings::VM_SHARED) != 0
    }

    /// Keeps the volume from being frozen, for a store.
    ///
    /// # Context
    ///
    /// Sleeps, as long as it is frozen.
    pub(crate) fn sb_start_pagefault(self) -> StoreFault<'a, T> {
        StoreFault {
            pagefault: Pagefault::sb_start_pagefault(self.inode()),
            fault: self,
        }
    }

    /// Where in the file the smallest page begins that is wanted.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let pgoff = unsafe { (*self.0.as_ptr()).__bindgen_anon_1.pgoff };
        // CAST: both are at most 64 bits; the position is one of the file's, less than 2^63.
        (pgoff as u64).wrapping_mul(PAGE_SIZE as u64)
    }

    /// Takes the `invalidate_lock` of the file's pages shared.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn filemap_invalidate_lock_shared(self) -> LockedFault<'a, T> {
        LockedFault {
            _lock: self.inode().filemap_invalidate_lock_shared(),
            fault: self,
            _pagefault: None,
        }
    }
}

impl<T: FileSystemType> LockedFault<'_, T> {
    /// The fault, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::vm_fault {
        self.fault.0.as_ptr()
    }

    /// The inode of the file.
    pub(super) fn inode(&self) -> &Inode<T> {
        self.fault.inode()
    }
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: if U::HAS_HUGE_FAULT {
            Some(Self::fault)
        } else {
            Some(bindings::filemap_fault)
        },
        huge_fault: if U::HAS_HUGE_FAULT {
            Some(Self::huge_fault)
        } else {
            None
        },
        map_pages: if U::HAS_HUGE_FAULT {
            None
        } else {
            Some(bindings::filemap_map_pages)
        },
        page_mkwrite: if U::HAS_PAGE_MKWRITE {
            Some(Self::page_mkwrite)
        } else if U::HAS_HUGE_FAULT {
            // Of the page of zeroes.
            Some(Self::fault)
        } else {
            None
        },
        pfn_mkwrite: if U::HAS_HUGE_FAULT {
            Some(Self::fault)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by mm only: `vmf` is the caller's alone, of a mapping that [`AreaDesc::set_ops::<U>`]
    /// was used for.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the contract of this function.
        unsafe { Self::huge_fault(vmf, 0) }
    }

    /// # Safety
    ///
    /// As of `fault`.
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        // SAFETY: Valid by the contract of this function.
        let vmf = unsafe { NonNull::new_unchecked(vmf) };
        // INVARIANT: By the contract of this function; the mapping has the reference.
        U::huge_fault(Fault(vmf, PhantomData), Order(order)).0
    }

    /// # Safety
    ///
    /// Called by mm only: `vmf` is the caller's alone, of a mapping that [`AreaDesc::set_ops::<U>`]
    /// was used for, and has a page with a reference.
    unsafe extern "C" fn page_mkwrite(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the contract of this function; the mapping has a reference to the file.
        let fault = unsafe { WriteFault::from_raw(vmf) };
        U::page_mkwrite(Faulted::new(fault)).into_raw()
    }
}
