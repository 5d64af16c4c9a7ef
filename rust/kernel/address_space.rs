// SPDX-License-Identifier: GPL-2.0

//! The page cache of an inode.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::vfs::FileSystemType;
use crate::bindings;
use core::marker::PhantomData;

/// Operations on the pages of an inode, as C's `struct address_space_operations`.
pub(crate) trait Operations: Sized + 'static {
    /// The filesystem whose inodes these are.
    type FileSystem: FileSystemType;
}

/// The table of those operations.
pub(crate) struct Ops<T>(*const bindings::address_space_operations, PhantomData<T>);

impl<T: FileSystemType> Ops<T> {
    /// Those of `U`.
    pub(crate) const fn new<U: Operations<FileSystem = T>>() -> Self {
        Self(&OperationsTable::<U>::TABLE, PhantomData)
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
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::address_space_operations = bindings::address_space_operations {
        ..pin_init::zeroed()
    };
}
