// SPDX-License-Identifier: GPL-2.0

//! One read or write of an open file, which may end after the call that began it.
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

use super::{
    file::File,
    ret,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    iov::IovIterDest,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// One read, with where to, as C's `struct kiocb` and `struct iov_iter`.
///
/// # Invariants
///
/// The kiocb is valid, of a [`File<T>`], and the caller's alone for `'a`.
pub(crate) struct Read<'a, T> {
    iocb: NonNull<bindings::kiocb>,
    to: &'a mut IovIterDest<'a>,
    _file: PhantomData<&'a File<T>>,
}

impl<'a, T: FileSystemType> Read<'a, T> {
    /// # Safety
    ///
    /// `iocb` has to be as the type wants it, and `to` a destination that is the caller's alone, for
    /// `'a`.
    pub(super) unsafe fn from_raw(iocb: *mut bindings::kiocb, to: *mut bindings::iov_iter) -> Self {
        Self {
            // SAFETY: Valid by the contract of this function.
            iocb: unsafe { NonNull::new_unchecked(iocb) },
            // SAFETY: By the contract of this function.
            to: unsafe { IovIterDest::from_raw(to) },
            _file: PhantomData,
        }
    }

    /// Reads through the page cache.
    ///
    /// # Errors
    ///
    /// What the system call shall return; nothing was read then.
    pub(crate) fn generic_file_read_iter(self) -> Result<usize> {
        // SAFETY: Both are valid and not shared, by the type invariants.
        let read =
            unsafe { bindings::generic_file_read_iter(self.iocb.as_ptr(), self.to.as_raw()) };
        ret::to_ssize_t(read)
    }
}
