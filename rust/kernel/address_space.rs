// SPDX-License-Identifier: GPL-2.0

//! The page cache of an inode.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h), manual:
//! [Documentation/filesystems/vfs.rst](srctree/Documentation/filesystems/vfs.rst)

use super::{
    folio,
    inode::Inode,
    ret,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::prelude::*;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Operations on the pages of an inode, as C's `struct address_space_operations`.
///
/// What the folios keep of their own is [`iomap`](super::iomap)'s, so that they have to be read with
/// its functions.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose inodes these are.
    type FileSystem: FileSystemType;

    /// Reads a folio that somebody waits for.
    ///
    /// # Errors
    ///
    /// What the system call shall return, if no reading was begun.
    fn read_folio(folio: folio::Locked<'_, Self::FileSystem>) -> Result<folio::Released<'_>>;

    /// Reads folios that nobody waits for yet. Those that are left get dropped.
    fn readahead(rac: Readahead<'_, Self::FileSystem>);

    /// The block of the device in which block `block` of a file is; 0 if it has none.
    fn bmap(inode: &Inode<Self::FileSystem>, block: u64) -> u64;

    /// Writes what is dirty to the device. Without this method, nothing can become dirty.
    ///
    /// # Errors
    ///
    /// What was not written, and why; who waits for the file to be written is told by way of the
    /// page cache.
    ///
    /// # Context
    ///
    /// Sleeps. Any locks may be held that are held over allocations which may wait for filesystems.
    fn writepages(_writeback: Writeback<'_, Self::FileSystem>) -> Result {
        Err(EIO)
    }
}

/// What of an inode is to be written to the device, and how urgently, as C's `struct
/// writeback_control`.
///
/// # Invariants
///
/// The control is the caller's alone for `'a`, and the inode stays for as long.
pub(crate) struct Writeback<'a, T> {
    inode: &'a Inode<T>,
    wbc: NonNull<bindings::writeback_control>,
}

impl<'a, T: FileSystemType> Writeback<'a, T> {
    /// The control, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::writeback_control {
        self.wbc.as_ptr()
    }

    /// The file.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.inode
    }
}

/// Folios that somebody will probably want, as C's `struct readahead_control`.
///
/// # Invariants
///
/// The control and its folios, which are locked and those of an [`Inode<T>`], are the caller's alone
/// for `'a`.
pub(crate) struct Readahead<'a, T>(
    NonNull<bindings::readahead_control>,
    PhantomData<&'a Inode<T>>,
);

impl<'a, T: FileSystemType> Readahead<'a, T> {
    /// The control, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::readahead_control {
        self.0.as_ptr()
    }

    /// The file that they are a part of.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        // SAFETY: Valid by the type invariants; constant.
        let mapping = unsafe { (*self.as_ptr()).mapping };
        // SAFETY: Valid as above; constant.
        let inode = unsafe { (*mapping).host };
        // SAFETY: Folios of a file that is in use, by the type invariants.
        unsafe { Inode::from_raw(inode) }
    }

    /// Where in the file they begin.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let pos = unsafe { bindings::readahead_pos(self.as_ptr()) };
        // CAST: never negative.
        pos as u64
    }

    /// How many bytes they have.
    pub(crate) fn len(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let len = unsafe { bindings::readahead_length(self.as_ptr()) };
        // CAST: to a type of at least as many bits.
        len as u64
    }
}

/// The table of those operations.
pub(crate) struct Ops<T>(*const bindings::address_space_operations, PhantomData<T>);

impl<T: FileSystemType> Ops<T> {
    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
    }

    /// Those of `U` for a file that is accessed without the page cache.
    pub(crate) const fn new_dax<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::DAX_TABLE, PhantomData)
    }

    /// Gives them to an inode.
    ///
    /// # Safety
    ///
    /// The inode has to be valid, of type `T`, and not yet seen by anyone else.
    pub(super) unsafe fn set(&self, inode: *mut bindings::inode) {
        // SAFETY: By the contract of this function; the table is static.
        unsafe { (*inode).i_data.a_ops = self.0 };
    }

    /// Gives them to a regular file, whose folios may be larger than a page, but not as large as a PMD:
    /// `collapse_file()`, of khugepaged, takes `invalidate_lock` with folios locked, the reverse of all
    /// others, and waits for ever for who cuts or punches the file meanwhile.
    ///
    /// # Safety
    ///
    /// As for [`set`](Self::set).
    pub(super) unsafe fn set_with_large_folios(&self, inode: *mut bindings::inode) {
        // SAFETY: By the contract of this function.
        unsafe { self.set(inode) };
        // SAFETY: By the contract of this function.
        unsafe { bindings::mapping_set_large_folios(&raw mut (*inode).i_data) };
    }
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::address_space_operations = bindings::address_space_operations {
        read_folio: Some(Self::read_folio),
        readahead: Some(Self::readahead),
        bmap: Some(Self::bmap),
        writepages: if U::HAS_WRITEPAGES {
            Some(Self::writepages)
        } else {
            None
        },
        dirty_folio: if U::HAS_WRITEPAGES {
            Some(bindings::iomap_dirty_folio)
        } else {
            None
        },
        invalidate_folio: Some(Self::invalidate_folio),
        release_folio: Some(bindings::iomap_release_folio),
        migrate_folio: Some(bindings::filemap_migrate_folio),
        is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
        error_remove_folio: Some(bindings::generic_error_remove_folio),
        ..pin_init::zeroed()
    };

    const DAX_TABLE: bindings::address_space_operations = bindings::address_space_operations {
        writepages: if U::HAS_WRITEPAGES {
            Some(Self::writepages)
        } else {
            None
        },
        dirty_folio: Some(bindings::noop_dirty_folio),
        bmap: Some(Self::bmap),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by mm only: `folio` is in the page cache of an inode of type `U::FileSystem`; both
    /// have a reference until this function returns, and the lock is handed over.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> c_int {
        // SAFETY: Valid by the contract of this function.
        let folio = unsafe { NonNull::new_unchecked(folio) };
        // SAFETY: By the contract of this function.
        let folio = unsafe { folio::Locked::from_raw(folio) };
        U::read_folio(folio).map_or_else(|error| error.to_errno(), folio::Released::into_raw)
    }

    /// # Safety
    ///
    /// Called by mm only: `rac` is the caller's alone, with locked folios of an inode of type
    /// `U::FileSystem`.
    unsafe extern "C" fn readahead(rac: *mut bindings::readahead_control) {
        // SAFETY: Valid by the contract of this function.
        let rac = unsafe { NonNull::new_unchecked(rac) };
        // INVARIANT: By the contract of this function.
        U::readahead(Readahead(rac, PhantomData));
    }

    /// # Safety
    ///
    /// Called by mm only: `folio` is in the page cache of an inode of type `U::FileSystem`, locked, and
    /// has `len` bytes from `offset` on.
    unsafe extern "C" fn invalidate_folio(folio: *mut bindings::folio, offset: usize, len: usize) {
        // SAFETY: Valid by the contract of this function, here as below.
        let is_part = unsafe { len < bindings::folio_size(folio) };
        // What is left of a folio that is pinned stays dirty, all of it: a device may store to it, and
        // nobody would say so. Zeroes in a hole do no harm.
        // SAFETY: As above.
        if is_part && unsafe { bindings::folio_maybe_dma_pinned(folio) } {
            return;
        }
        // SAFETY: As C calls it.
        unsafe { bindings::iomap_invalidate_folio(folio, offset, len) };
    }

    /// # Safety
    ///
    /// Called by the VFS only: `mapping` is that of an inode of type `U::FileSystem`, which has a
    /// reference.
    unsafe extern "C" fn bmap(mapping: *mut bindings::address_space, block: u64) -> u64 {
        // SAFETY: Valid by the contract of this function; constant.
        let inode = unsafe { (*mapping).host };
        // SAFETY: By the contract of this function.
        U::bmap(unsafe { Inode::from_raw(inode) }, block)
    }

    /// # Safety
    ///
    /// Called by mm only: `mapping` is that of an inode of type `U::FileSystem`, which stays until
    /// this function returns, and `wbc` the caller's alone.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        wbc: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: Valid by the contract of this function; constant.
        let inode = unsafe { (*mapping).host };
        // INVARIANT: By the contract of this function.
        let writeback = Writeback {
            // SAFETY: By the contract of this function.
            inode: unsafe { Inode::from_raw(inode) },
            // SAFETY: Valid by the contract of this function.
            wbc: unsafe { NonNull::new_unchecked(wbc) },
        };
        ret::int(U::writepages(writeback))
    }
}
