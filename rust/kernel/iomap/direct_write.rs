// SPDX-License-Identifier: GPL-2.0

//! Writing without the page cache.
//!
//! ready ([`direct::Write`] says where the bytes are taken from) → page cache written out and invalidated → submitted → finished by the device → recorded
//! ([`DirectWriteOperations::end_io`]) → invalidated once more
//!
//! or, where the page cache cannot be invalidated or the filesystem says so (`ENOTBLK`): ready, still,
//! for the rest to be written through the page cache.

use super::{
    iomap_begin,
    to_raw_for_write,
    Flags,
    Operations,
    WriteMapping, //
};
use crate::{
    bindings,
    kernel::{
        control::Control,
        errno,
        inode::Inode,
        kiocb,
        locks::{
            Held,
            InodeExclusive,
            InodeLock, //
        },
        ret,
        vfs::FileSystemType, //
    },
    protocol::direct::{
        self,
        Source, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::marker::PhantomData;

/// Of devices with protection information, and of those that compute checksums themselves, as a RAID
/// does. Of all, if the filesystem asks for that.
impl<T: FileSystemType> direct::Checks for Inode<T> {
    fn has_checksums(&self) -> bool {
        self.mapping_stable_writes()
    }
}

/// Operations on mappings for direct writes, as C's `struct iomap_ops` and `struct iomap_dio_ops`.
pub(crate) trait DirectWriteOperations: Operations {
    /// What is at `pos` for `len` bytes or fewer, after it has been allocated if there was nothing.
    /// `ENOTBLK` has what is left written through the page cache.
    ///
    /// # Errors
    ///
    /// What the system call shall return. What does not answer the question, as a hole or a
    /// reservation, becomes `EIO`.
    ///
    /// # Context
    ///
    /// May sleep, unless [`Flags::NOWAIT`] is set. `i_rwsem` is held, maybe shared: others may
    /// allocate at the same time. Whoever starts a handle has to have ended it on return.
    fn iomap_begin(
        inode: &Inode<Self::FileSystem>,
        pos: u64,
        len: u64,
        flags: Flags,
    ) -> Result<WriteMapping<'_>>;

    /// Records that the device has the data of a write that went to an unwritten extent, or behind
    /// the end of the file; or says what becomes of one that failed. Not called for others.
    ///
    /// # Errors
    ///
    /// What the system call shall return, unless the write itself has failed.
    ///
    /// # Context
    ///
    /// Sleeps. Either in the call that writes, with `i_rwsem` held, or in a worker.
    fn end_io(write: &DirectWrite<'_, Self::FileSystem>) -> Result;
}

/// A direct write that the device has finished.
pub(crate) struct DirectWrite<'a, T: FileSystemType> {
    /// The file.
    pub(crate) inode: &'a Inode<T>,
    /// To where.
    pub(crate) pos: u64,
    /// How many bytes, as far as the device was told to write them.
    pub(crate) len: u64,
    /// Whether all of them were written, and what went wrong if not.
    pub(crate) result: Result,
    /// Whether it has to do with unwritten extents.
    pub(crate) unwritten: bool,
    /// If it ends behind the end of the file: the lock, to move that. Not to be used to wait for
    /// direct I/O, of which this is one.
    pub(crate) extends: Option<Held<'a, InodeExclusive<'a, T>>>,
}

/// What came of a direct write.
pub(crate) enum DirectWritten<'a, T, L> {
    /// All was written; as durably as was asked for.
    Done {
        /// How many bytes.
        written: usize,
        /// The lock, still held.
        lock: L,
    },
    /// What is left has to go through the page cache.
    NeedsBuffered {
        /// What is left.
        write: kiocb::ReadyWrite<'a, T, L>,
        /// How many bytes were written.
        direct: usize,
    },
}

/// Why a direct write has failed, and the lock, still held.
pub(crate) struct DirectFailed<L> {
    /// Why.
    pub(crate) error: Error,
    /// The lock.
    pub(crate) lock: L,
}

impl<L> From<DirectFailed<L>> for Error {
    fn from(failed: DirectFailed<L>) -> Self {
        failed.error
    }
}

struct DirectWriteTable<U>(PhantomData<U>);

impl<U: DirectWriteOperations> DirectWriteTable<U> {
    const OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::iomap_begin),
        ..pin_init::zeroed()
    };

    const DIO_OPS: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(Self::end_io),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by iomap only: `inode` is of type `U::FileSystem` and has a reference, `iomap` is the
    /// caller's alone.
    unsafe extern "C" fn iomap_begin(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        flags: c_uint,
        iomap: *mut bindings::iomap,
        _srcmap: *mut bindings::iomap,
    ) -> c_int {
        let ask = |inode: &Inode<U::FileSystem>, pos, len, flags| {
            let mapping = <U as DirectWriteOperations>::iomap_begin(inode, pos, len, flags)?;
            to_raw_for_write::<U>(inode, pos, &mapping, flags)
        };
        // SAFETY: By the contract of this function.
        unsafe { iomap_begin(inode, pos, len, flags, iomap, ask) }
    }

    /// # Safety
    ///
    /// Called by iomap only: `iocb` is of an open file of type `U::FileSystem`, from a call of
    /// [`dio_write::<U>`].
    ///
    /// # Context
    ///
    /// A task, if there was an error, or it has to do with unwritten extents or the end of the file;
    /// else any.
    unsafe extern "C" fn end_io(
        iocb: *mut bindings::kiocb,
        size: isize,
        error: c_int,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: Valid by the contract of this function.
        let file = unsafe { (*iocb).ki_filp };
        // SAFETY: Valid: the file has a reference until the write has ended.
        let inode = unsafe { (*file).f_inode };
        // SAFETY: By the contract of this function; the file has a reference.
        let inode = unsafe { Inode::<U::FileSystem>::from_raw(inode) };
        // SAFETY: Valid by the contract of this function.
        let pos = unsafe { (*iocb).ki_pos };
        let pos = u64::try_from(pos).unwrap_or(0);
        let len = u64::try_from(size).unwrap_or(0);
        let result = to_result(error);
        let unwritten = flags & bindings::IOMAP_DIO_UNWRITTEN != 0;
        let extends = len != 0 && pos.saturating_add(len) > inode.i_size_read();
        if result.is_ok() && !unwritten && !extends {
            return 0;
        }
        let write = DirectWrite {
            inode,
            pos,
            len,
            result,
            unwritten,
            extends: extends.then(|| {
                // SAFETY: `dio_write` has seen that the write goes there, and so has the lock and
                // waits: this is its call. Nobody makes the file shorter without waiting for
                // direct writes; see `NoDirectIo`.
                unsafe { InodeExclusive::held(inode) }
            }),
        };
        let recorded = <U as DirectWriteOperations>::end_io(&write);
        ret::int(result.and(recorded))
    }
}

/// Writes without the page cache, from where [`direct::write`] says: a copy, if it has to be one, is made
/// in this call. A write that goes behind the end of the file is waited for.
///
/// # Errors
///
/// What [`DirectWriteOperations::end_io`] returns, or the device; `EIOCBQUEUED` if the write ends
/// later; `EINVAL` if it is not aligned as `statx()` says. `EFAULT` if there is no memory where some of
/// the bytes should be; what comes before them is written or not. `EAGAIN` if the caller does not want
/// to wait; also if `i_rwsem` is held shared, and it goes behind the end of the file.
///
/// # Context
///
/// Sleeps, and faults on the caller's memory. For `O_SYNC` calls `fsync`, with `i_rwsem` held or from
/// a worker.
pub(crate) fn dio_write<'a, U: DirectWriteOperations, L: InodeLock<'a, U::FileSystem>>(
    write: direct::Write<kiocb::ReadyWrite<'a, U::FileSystem, L>>,
) -> Result<DirectWritten<'a, U::FileSystem, L>, DirectFailed<L>> {
    let (mut write, source) = write.into_parts();
    let flags = match source {
        Source::Copy if Control::SkipDioCopy.is_on() => 0,
        Source::Copy => bindings::IOMAP_DIO_BOUNCE,
        Source::InPlace => 0,
    };
    let flags = match (write.extends(), L::IS_EXCLUSIVE) {
        (true, false) => {
            return Err(DirectFailed {
                error: EAGAIN,
                lock: write.into_inode_lock(),
            })
        }
        (true, true) => flags | bindings::IOMAP_DIO_FORCE_WAIT,
        (false, _) => flags,
    };
    let written = write.write(|iocb, from| {
        // SAFETY: Both are valid and not shared, the tables fit the inode, and it is locked.
        unsafe {
            bindings::iomap_dio_rw(
                iocb,
                from,
                &DirectWriteTable::<U>::OPS,
                &DirectWriteTable::<U>::DIO_OPS,
                flags,
                core::ptr::null_mut(),
                0,
            )
        }
    });
    match written {
        Ok(written) if write.len() == 0 => Ok(DirectWritten::Done {
            written,
            lock: write.into_inode_lock(),
        }),
        Ok(direct) => Ok(DirectWritten::NeedsBuffered { write, direct }),
        Err(error) if error == errno::enotblk() => {
            Ok(DirectWritten::NeedsBuffered { write, direct: 0 })
        }
        // After `EIOCBQUEUED` the write is somebody else's, and nothing but the lock is looked at any more.
        Err(error) => Err(DirectFailed {
            error,
            lock: write.into_inode_lock(),
        }),
    }
}
