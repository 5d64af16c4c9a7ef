// SPDX-License-Identifier: GPL-2.0

//! One read of an open file, or one write to it, which may end after the call that began it.
//!
//! read → locked (`i_rwsem` shared), for what does not go through the page cache
//!
//! C header: [include/linux/fs.h](srctree/include/linux/fs.h)

mod write;

pub(crate) use self::write::{
    CheckedWrite,
    ReadyWrite,
    Write, //
};

use super::{
    file::File,
    inode::Inode,
    locks::InodeShared,
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
    ops::Deref,
    ptr::NonNull, //
};

/// What a read and a write have in common, as C's `struct kiocb`.
///
/// # Invariants
///
/// The kiocb is valid, of a [`File<T>`], and the caller's alone for `'a`.
pub(crate) struct Kiocb<'a, T>(NonNull<bindings::kiocb>, PhantomData<&'a File<T>>);

/// One read, with where to, as C's `struct kiocb` and `struct iov_iter`.
pub(crate) struct Read<'a, T> {
    iocb: Kiocb<'a, T>,
    to: &'a mut IovIterDest<'a>,
}

/// A read whose inode has its `i_rwsem` held shared.
pub(crate) struct Locked<'a, T: FileSystemType> {
    read: Read<'a, T>,
    _lock: InodeShared<'a, T>,
}

impl<'a, T: FileSystemType> Kiocb<'a, T> {
    /// # Safety
    ///
    /// `iocb` has to be as the type wants it for `'a`.
    unsafe fn from_raw(iocb: *mut bindings::kiocb) -> Self {
        // SAFETY: Valid by the contract of this function.
        Self(unsafe { NonNull::new_unchecked(iocb) }, PhantomData)
    }

    fn as_ptr(&self) -> *mut bindings::kiocb {
        self.0.as_ptr()
    }

    /// The file.
    pub(crate) fn file(&self) -> &'a File<T> {
        // SAFETY: Valid by the type invariants; constant.
        let file = unsafe { (*self.as_ptr()).ki_filp };
        // SAFETY: By the type invariants.
        unsafe { File::from_raw(file) }
    }

    /// Its inode.
    pub(crate) fn inode(&self) -> &'a Inode<T> {
        self.file().inode()
    }

    /// Where in the file; to write with `O_APPEND`, that is not yet known until the write is checked.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        let pos = unsafe { (*self.as_ptr()).ki_pos };
        // The VFS has refused those below 0.
        u64::try_from(pos).unwrap_or(0)
    }

    /// Whether the page cache is to be left out.
    pub(crate) fn is_direct(&self) -> bool {
        self.has(bindings::IOCB_DIRECT)
    }

    /// Whether the caller would rather be refused (`EAGAIN`) than wait.
    pub(crate) fn is_nowait(&self) -> bool {
        self.has(bindings::IOCB_NOWAIT)
    }

    /// Whether the caller waits until it has ended.
    pub(crate) fn is_sync(&self) -> bool {
        // SAFETY: Valid by the type invariants; constant.
        unsafe { (*self.as_ptr()).ki_complete }.is_none()
    }

    fn has(&self, flag: u32) -> bool {
        // SAFETY: Valid by the type invariants.
        let flags = unsafe { (*self.as_ptr()).ki_flags };
        // CAST: a set of bits.
        flags as u32 & flag != 0
    }
}

impl<'a, T: FileSystemType> Read<'a, T> {
    /// # Safety
    ///
    /// `iocb` has to be as [`Kiocb`] wants it, and `to` a destination that is the caller's alone, for
    /// `'a`.
    pub(super) unsafe fn from_raw(iocb: *mut bindings::kiocb, to: *mut bindings::iov_iter) -> Self {
        Self {
            // SAFETY: By the contract of this function.
            iocb: unsafe { Kiocb::from_raw(iocb) },
            // SAFETY: As above.
            to: unsafe { IovIterDest::from_raw(to) },
        }
    }

    /// How many bytes are wanted, at most.
    pub(crate) fn len(&self) -> usize {
        self.to.len()
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

    /// Takes the inode's `i_rwsem` shared.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the caller does not want to wait for it.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn lock_shared(self) -> Result<Locked<'a, T>> {
        let inode = self.inode();
        let lock = if self.is_nowait() {
            inode.inode_trylock_shared().ok_or(EAGAIN)?
        } else {
            inode.inode_lock_shared()
        };
        Ok(Locked {
            read: self,
            _lock: lock,
        })
    }
}

impl<T: FileSystemType> Locked<'_, T> {
    /// Has C read: it gets the kiocb and the destination, both valid and nobody else's.
    ///
    /// # Errors
    ///
    /// What C returns. The destination is as it was then, unless the read goes on (`EIOCBQUEUED`).
    pub(super) fn read(
        &mut self,
        read: impl FnOnce(*mut bindings::kiocb, *mut bindings::iov_iter) -> isize,
    ) -> Result<usize> {
        let to = &mut *self.read.to;
        let len = to.len();
        let result = ret::to_ssize_t(read(self.read.iocb.as_ptr(), to.as_raw()));
        if matches!(result, Err(error) if error != EIOCBQUEUED) {
            // OVERFLOW: C takes bytes off, and adds none.
            let taken = len - to.len();
            // SAFETY: So much has been taken since.
            unsafe { to.revert(taken) };
        }
        result
    }
}

impl<'a, T: FileSystemType> Deref for Locked<'a, T> {
    type Target = Kiocb<'a, T>;

    fn deref(&self) -> &Self::Target {
        &self.read
    }
}

impl<'a, T> Deref for Read<'a, T> {
    type Target = Kiocb<'a, T>;

    fn deref(&self) -> &Self::Target {
        &self.iocb
    }
}
