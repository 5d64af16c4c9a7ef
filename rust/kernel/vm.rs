// SPDX-License-Identifier: GPL-2.0

//! Mappings of files into memory.
//!
//! C header: [include/linux/mm.h](srctree/include/linux/mm.h)

use super::{
    file::File,
    vfs::FileSystemType, //
};
use crate::bindings;
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

    /// Has pages come from the page cache, to be read only.
    pub(crate) fn set_page_cache(self) {
        // SAFETY: Valid and not shared by the type invariants; the table is static.
        unsafe { (*self.0.as_ptr()).vm_ops = &PageCache::TABLE };
    }
}

/// Pages of the page cache. No page may ever be written to, as long as no file can be opened for
/// writing.
struct PageCache;

impl PageCache {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(bindings::filemap_fault),
        map_pages: Some(bindings::filemap_map_pages),
        ..pin_init::zeroed()
    };
}
