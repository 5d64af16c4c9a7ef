// SPDX-License-Identifier: GPL-2.0

//! One write to an open file, which may end after the call that began it.
//!
//! write → locked (`i_rwsem`) → checked (it is known where, and how much) → ready (the inode knows)
//! → written (unlocked) → on the device, should that have been asked for
//!
//! A write that has to give up a shared lock for an exclusive one goes back to where it began, and
//! is checked again.

use super::Kiocb;
use crate::{
    bindings,
    kernel::{
        locks::InodeLock,
        ret,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    iov::IovIterSource,
    prelude::*, //
};
use core::ops::Deref;

/// One write, with where from, as C's `struct kiocb` and `struct iov_iter`.
pub(crate) struct Write<'a, T> {
    iocb: Kiocb<'a, T>,
    from: &'a mut IovIterSource<'a>,
}

/// A write whose inode is locked.
#[must_use = "nothing is written yet"]
pub(crate) struct LockedWrite<'a, T, L> {
    write: Write<'a, T>,
    lock: L,
}

/// A write that may be done: its position and length are final as long as the inode is locked.
#[must_use = "nothing is written yet"]
pub(crate) struct CheckedWrite<'a, T, L>(LockedWrite<'a, T, L>);

/// A write whose inode has the new times, and no privileges any more that a write takes away.
pub(crate) struct ReadyWrite<'a, T, L> {
    checked: CheckedWrite<'a, T, L>,
    written: usize,
}

/// A write that has been done.
#[must_use = "generic_write_sync() says what the system call returns"]
pub(crate) struct Written<'a, T> {
    write: Write<'a, T>,
    written: usize,
}

impl<'a, T: FileSystemType> Write<'a, T> {
    /// # Safety
    ///
    /// `iocb` has to be as [`Kiocb`] wants it, and `from` a source that is the caller's alone, for
    /// `'a`.
    pub(in crate::kernel) unsafe fn from_raw(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> Self {
        Self {
            // SAFETY: By the contract of this function.
            iocb: unsafe { Kiocb::from_raw(iocb) },
            // SAFETY: As above.
            from: unsafe { IovIterSource::from_raw(from) },
        }
    }

    /// How many bytes are left to write.
    pub(crate) fn len(&self) -> usize {
        self.from.len()
    }

    /// Where in the file it ends.
    pub(crate) fn end(&self) -> u64 {
        // CAST: to a type of at least as many bits.
        self.pos().saturating_add(self.len() as u64)
    }

    /// Takes the inode's `i_rwsem`, as `L` says.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the caller does not want to wait for it.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn lock<L: InodeLock<'a, T>>(self) -> Result<LockedWrite<'a, T, L>> {
        let inode = self.inode();
        let lock = if self.is_nowait() {
            L::trylock(inode).ok_or(EAGAIN)?
        } else {
            L::lock(inode)
        };
        Ok(LockedWrite { write: self, lock })
    }
}

impl<'a, T: FileSystemType, L: InodeLock<'a, T>> LockedWrite<'a, T, L> {
    /// Finds out where to write, and how much: the end of the file for `O_APPEND`, and what limits
    /// there are. `None` if there is nothing to write.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    pub(crate) fn generic_write_checks(self) -> Result<Option<CheckedWrite<'a, T, L>>> {
        let Self { write, lock } = self;
        let iocb = write.iocb.as_ptr();
        // SAFETY: Both are valid and not shared, by the type invariants. The inode is locked.
        let len = unsafe { bindings::generic_write_checks(iocb, write.from.as_raw()) };
        let len = ret::to_ssize_t(len)?;
        Ok((len > 0).then(|| CheckedWrite(Self { write, lock })))
    }
}

impl<'a, T: FileSystemType, L: InodeLock<'a, T>> CheckedWrite<'a, T, L> {
    /// The lock.
    pub(crate) fn inode_lock(&self) -> &L {
        &self.0.lock
    }

    /// Whether it ends behind the end of the file.
    pub(crate) fn extends(&self) -> bool {
        self.end() > self.inode().i_size_read()
    }

    /// Whether the inode is known to have no privileges (set-ID bits, capabilities) that a write
    /// takes away. To take them away, it has to be locked exclusively.
    pub(crate) fn is_nosec(&self) -> bool {
        // SAFETY: Valid by the type invariants of `Inode`; C reads the flags without a lock, too.
        let flags = unsafe { (&raw const (*self.inode().as_ptr()).i_flags).read_volatile() };
        flags & bindings::S_NOSEC != 0
    }

    /// Gives up the lock, to begin again.
    pub(crate) fn unlock(self) -> Write<'a, T> {
        self.0.write
    }

    /// Takes away privileges, and sets the times.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the caller does not want to wait, or if the lock is shared and
    /// [`is_nosec`](Self::is_nosec) says no; else what the system call shall return.
    ///
    /// # Context
    ///
    /// Sleeps. Changes the inode, by way of `setattr` and `dirty_inode`.
    pub(crate) fn kiocb_modified(self) -> Result<ReadyWrite<'a, T, L>> {
        if !L::IS_EXCLUSIVE && !self.is_nosec() {
            return Err(EAGAIN);
        }
        // SAFETY: Valid by the type invariants; the inode is locked.
        to_result(unsafe { bindings::kiocb_modified(self.0.write.iocb.as_ptr()) })?;
        Ok(ReadyWrite {
            checked: self,
            written: 0,
        })
    }
}

impl<'a, T: FileSystemType, L: InodeLock<'a, T>> ReadyWrite<'a, T, L> {
    /// The lock.
    pub(crate) fn inode_lock(&self) -> &L {
        self.checked.inode_lock()
    }

    /// Whether it ends behind the end of the file.
    pub(crate) fn extends(&self) -> bool {
        self.checked.extends()
    }

    /// Has C write: it gets the kiocb and the source, both valid and nobody else's.
    ///
    /// # Errors
    ///
    /// What C returns.
    pub(in crate::kernel) fn write(
        &mut self,
        write: impl FnOnce(*mut bindings::kiocb, *mut bindings::iov_iter) -> isize,
    ) -> Result<usize> {
        let Write { iocb, from, .. } = &mut self.checked.0.write;
        let written = ret::to_ssize_t(write(iocb.as_ptr(), from.as_raw()))?;
        // OVERFLOW: both are parts of one source.
        self.written += written;
        Ok(written)
    }

    /// How many bytes were written so far.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Has the next `len` bytes of the writer's memory be there, so that they can be copied without a fault; for a
    /// while.
    ///
    /// # Errors
    ///
    /// `EFAULT`: not even one.
    ///
    /// # Context
    ///
    /// Sleeps, and faults.
    pub(crate) fn fault_in_readable(&mut self, len: usize) -> Result {
        let from = self.checked.0.write.from.as_raw();
        // SAFETY: Valid by the type invariants.
        let missing = unsafe { bindings::fault_in_iov_iter_readable(from, len) };
        if missing >= len {
            return Err(EFAULT);
        }
        Ok(())
    }

    /// Takes back the last `len` bytes that were written, for want of a place.
    pub(crate) fn revert(&mut self, len: usize) {
        let Write { iocb, from, .. } = &mut self.checked.0.write;
        let len = len.min(self.written);
        self.written -= len;
        // CAST: bytes of one system call. SAFETY: So many have been taken.
        unsafe {
            bindings::iov_iter_revert(from.as_raw(), len);
            let iocb = iocb.as_ptr();
            (*iocb).ki_pos = (*iocb).ki_pos.saturating_sub(len as i64);
        }
    }

    /// Ends a write of which `direct` bytes went without the page cache, and `buffered` through it:
    /// those are written to the device, and removed from the page cache. Returns how many count as
    /// written.
    ///
    /// # Errors
    ///
    /// What the system call shall return: nothing was written.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn direct_write_fallback(
        &mut self,
        direct: usize,
        buffered: Result<usize>,
    ) -> Result<usize> {
        let Write { iocb, from, .. } = &mut self.checked.0.write;
        // CAST: bytes of one system call, less than 2^31.
        let (direct, buffered) = (direct as isize, ret::ssize_t(buffered));
        // SAFETY: Both are valid and not shared, by the type invariants.
        let written = unsafe {
            bindings::direct_write_fallback(iocb.as_ptr(), from.as_raw(), direct, buffered)
        };
        self.written = ret::to_ssize_t(written)?;
        Ok(self.written)
    }

    /// The lock alone, which stays held: nothing more is written.
    pub(in crate::kernel) fn into_inode_lock(self) -> L {
        self.checked.0.lock
    }

    /// Gives up the lock, to begin again: what was written of it stays so.
    pub(crate) fn start_again(self) -> Write<'a, T> {
        self.checked.unlock()
    }

    /// Gives up the lock.
    pub(crate) fn unlock(self) -> Written<'a, T> {
        Written {
            write: self.checked.unlock(),
            written: self.written,
        }
    }
}

impl<T: FileSystemType> Written<'_, T> {
    /// Has what was written reach the device, if the file or the caller wants that. Returns how
    /// many bytes were written.
    ///
    /// # Errors
    ///
    /// What the system call shall return.
    ///
    /// # Context
    ///
    /// Sleeps. Calls `fsync`.
    pub(crate) fn generic_write_sync(self) -> Result<usize> {
        if self.written == 0 {
            return Ok(0);
        }
        // CAST: bytes of one system call, less than 2^31.
        let written = self.written as isize;
        // SAFETY: Valid by the type invariants, and its position is behind what was written.
        let synced = unsafe { bindings::generic_write_sync(self.write.iocb.as_ptr(), written) };
        ret::to_ssize_t(synced)
    }
}

impl<'a, T> Deref for Write<'a, T> {
    type Target = Kiocb<'a, T>;

    fn deref(&self) -> &Self::Target {
        &self.iocb
    }
}

impl<'a, T, L> Deref for LockedWrite<'a, T, L> {
    type Target = Write<'a, T>;

    fn deref(&self) -> &Self::Target {
        &self.write
    }
}

impl<'a, T, L> Deref for CheckedWrite<'a, T, L> {
    type Target = Write<'a, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a, T, L> Deref for ReadyWrite<'a, T, L> {
    type Target = Write<'a, T>;

    fn deref(&self) -> &Self::Target {
        &self.checked
    }
}
