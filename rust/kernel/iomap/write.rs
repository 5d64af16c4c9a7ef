// SPDX-License-Identifier: GPL-2.0

//! Writing into the page cache.
//!
//! wanted → reserved or found ([`WriteOperations::iomap_begin`]) → folio locked, and the answer still
//! valid → copied to and dirty → what was reserved in vain is given back

use super::{
    iomap_begin,
    to_raw_for_write,
    Flags,
    Kind,
    Operations,
    WriteMapping, //
};
use crate::{
    bindings,
    kernel::{
        inode::Inode,
        kiocb,
        locks::{
            InodeExclusive,
            InvalidateExclusive, //
        },
        sched_mm::NofsScope,
        truncate::ByteRange, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::marker::PhantomData;

/// Operations on mappings for who changes the page cache, as C's `struct iomap_ops` and
/// `struct iomap_write_ops`.
pub(crate) trait WriteOperations: Operations {
    /// What is at `pos` for `len` bytes or fewer, after it has been reserved or allocated if there
    /// was nothing: a hole is an answer only without [`Flags::WRITE`], to who wants zeroes.
    ///
    /// # Errors
    ///
    /// What the system call, or the fault, shall return. What does not answer the question becomes
    /// `EIO`.
    ///
    /// # Context
    ///
    /// May sleep, unless [`Flags::NOWAIT`] is set. No folio is locked, unless [`Flags::FAULT`] is
    /// set: so memory must be allocated in a way that does not wait for folios of the file, and
    /// whoever starts a handle has to have ended it on return.
    fn iomap_begin(
        inode: &Inode<Self::FileSystem>,
        pos: u64,
        len: u64,
        flags: Flags,
    ) -> Result<WriteMapping<'_>>;

    /// Whether a mapping with this [`WriteMapping::validity_cookie`] still tells the truth.
    ///
    /// # Context
    ///
    /// A folio of the mapping is locked: what is true of its blocks stays true until it is dirty.
    /// Must not sleep for long, nor allocate.
    fn iomap_valid(inode: &Inode<Self::FileSystem>, validity_cookie: u64) -> bool;

    /// Gives back what is reserved, and was not allocated meanwhile, in `range`; all else there
    /// stays as it is. The page cache has nothing dirty there.
    ///
    /// # Context
    ///
    /// The `invalidate_lock` is held exclusively, and maybe a folio of the file locked; or it is held
    /// shared, and the folio of `range` locked. So no folio may be locked, and no handle of the journal
    /// started.
    fn punch_delalloc(inode: &Inode<Self::FileSystem>, range: ByteRange);
}

struct WriteTable<U>(PhantomData<U>);

impl<U: WriteOperations> WriteTable<U> {
    const OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::iomap_begin),
        iomap_end: Some(Self::iomap_end),
        ..pin_init::zeroed()
    };

    const WRITE_OPS: bindings::iomap_write_ops = bindings::iomap_write_ops {
        iomap_valid: Some(Self::iomap_valid),
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
            let mapping = <U as WriteOperations>::iomap_begin(inode, pos, len, flags)?;
            to_raw_for_write::<U>(inode, pos, &mapping, flags)
        };
        // SAFETY: By the contract of this function.
        unsafe { iomap_begin(inode, pos, len, flags, iomap, ask) }
    }

    /// # Safety
    ///
    /// Called by iomap only: `inode` is of type `U::FileSystem` and has a reference, `iomap` is the
    /// caller's alone and was made by `iomap_begin`. No folio is locked, and `invalidate_lock` held
    /// exclusively by this thread just if it is a range that gets zeroes.
    unsafe extern "C" fn iomap_end(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        written: isize,
        flags: c_uint,
        iomap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: Valid by the contract of this function.
        let (kind, is) = unsafe { ((*iomap).type_, (*iomap).flags) };
        let was_reserved = u32::from(kind) == bindings::IOMAP_DELALLOC
            && u32::from(is) & bindings::IOMAP_F_NEW != 0;
        if !was_reserved {
            return 0;
        }
        // SAFETY: Valid by the contract of this function.
        let start = unsafe { bindings::iomap_last_written_block(inode, pos, written) };
        // SAFETY: As above.
        let end = unsafe { bindings::round_up_to_block(inode, pos.saturating_add(len)) };
        if start >= end {
            return 0;
        }
        let release = || {
            // SAFETY: As above; the lock that C wants is held, here as below.
            unsafe {
                bindings::iomap_write_delalloc_release(
                    inode,
                    start,
                    end,
                    flags,
                    iomap,
                    Some(Self::punch),
                )
            };
        };
        if flags & (bindings::IOMAP_ZERO | bindings::IOMAP_UNSHARE) != 0 {
            release();
        } else {
            // SAFETY: Valid by the contract of this function; constant.
            let mapping = unsafe { (*inode).i_mapping };
            // SAFETY: The inode's pages, valid as above, whose lock is not held.
            unsafe { bindings::filemap_invalidate_lock(mapping) };
            release();
            // SAFETY: As above; it has just been taken.
            unsafe { bindings::filemap_invalidate_unlock(mapping) };
        }
        0
    }

    /// # Safety
    ///
    /// Called by iomap only, through `iomap_end`: `inode` is of type `U::FileSystem` and has a
    /// reference.
    unsafe extern "C" fn punch(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        _iomap: *mut bindings::iomap,
    ) {
        // SAFETY: By the contract of this function.
        let inode = unsafe { Inode::<U::FileSystem>::from_raw(inode) };
        let range = u64::try_from(pos)
            .ok()
            .zip(u64::try_from(len).ok())
            .and_then(|(pos, len)| ByteRange::new(pos, len));
        if let Some(range) = range {
            U::punch_delalloc(inode, range);
        }
    }

    /// # Safety
    ///
    /// Called by iomap only: `inode` is of type `U::FileSystem` and has a reference, `iomap` was made
    /// by `iomap_begin`.
    unsafe extern "C" fn iomap_valid(
        inode: *mut bindings::inode,
        iomap: *const bindings::iomap,
    ) -> bool {
        // SAFETY: By the contract of this function.
        let inode = unsafe { Inode::<U::FileSystem>::from_raw(inode) };
        // SAFETY: Valid by the contract of this function.
        let cookie = unsafe { (*iomap).validity_cookie };
        U::iomap_valid(inode, cookie)
    }
}

/// Copies into the page cache, and makes the file larger by what goes behind its end. Fewer bytes
/// than wanted were written if something went wrong on the way.
///
/// # Errors
///
/// What the system call shall return; nothing was written then.
///
/// # Context
///
/// Sleeps, and locks folios. Waits for writeback if there is too much dirty.
pub(crate) fn file_buffered_write<'a, U: WriteOperations>(
    write: &mut kiocb::ReadyWrite<'a, U::FileSystem, InodeExclusive<'a, U::FileSystem>>,
) -> Result<usize> {
    write.write(|iocb, from| {
        // SAFETY: Both are valid and not shared, the tables fit the inode, and it is locked.
        unsafe {
            bindings::iomap_file_buffered_write(
                iocb,
                from,
                &WriteTable::<U>::OPS,
                &WriteTable::<U>::WRITE_OPS,
                core::ptr::null_mut(),
            )
        }
    })
}

/// Writes zeroes to `range`, where there are not zeroes already. Returns whether anything became
/// dirty. Behind the page with the end of the file, there may be nothing but holes and unwritten
/// extents.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// Sleeps, and locks folios. No handle of the journal may be open.
pub(crate) fn zero_range<U: WriteOperations>(
    lock: &InvalidateExclusive<'_, U::FileSystem>,
    range: ByteRange,
) -> Result<bool> {
    let (pos, last) = range.into_raw();
    let mut did_zero = false;
    // SAFETY: The tables fit the inode; it and its pages are locked. OVERFLOW: neither is negative.
    let err = unsafe {
        bindings::iomap_zero_range(
            lock.inode().as_ptr(),
            pos,
            (last - pos).saturating_add(1),
            &mut did_zero,
            &WriteTable::<U>::OPS,
            &WriteTable::<U>::WRITE_OPS,
            core::ptr::null_mut(),
        )
    };
    to_result(err).map(|()| did_zero)
}

/// Writes zeroes from `pos` to the end of its block, unless it is one. Returns whether anything
/// became dirty.
///
/// # Errors
///
/// What the system call shall return; `EFBIG` if no file has that position.
///
/// # Context
///
/// As of [`zero_range`].
pub(crate) fn truncate_page<U: WriteOperations>(
    lock: &InvalidateExclusive<'_, U::FileSystem>,
    pos: u64,
) -> Result<bool> {
    let pos = i64::try_from(pos).map_err(|_| EFBIG)?;
    let mut did_zero = false;
    // SAFETY: The tables fit the inode; it and its pages are locked.
    let err = unsafe {
        bindings::iomap_truncate_page(
            lock.inode().as_ptr(),
            pos,
            &mut did_zero,
            &WriteTable::<U>::OPS,
            &WriteTable::<U>::WRITE_OPS,
            core::ptr::null_mut(),
        )
    };
    to_result(err).map(|()| did_zero)
}

/// Reserves what is not reserved, or allocated, of `range`: all that a locked folio has of its file.
///
/// # Errors
///
/// What the fault shall fail with. What was reserved is given back.
///
/// # Context
///
/// Sleeps. The folio of `range` is locked, and the `invalidate_lock` held shared.
pub(in crate::kernel) fn reserve<U: WriteOperations>(
    inode: &Inode<U::FileSystem>,
    range: ByteRange,
) -> Result {
    let mut new = KVec::new();
    reserve_all::<U>(inode, range, &mut new).inspect_err(|_| {
        for part in &new {
            U::punch_delalloc(inode, *part);
        }
    })
}

/// Notes in `new` which parts were a hole, but for one up to the end of `range`: after that nothing can
/// fail.
fn reserve_all<U: WriteOperations>(
    inode: &Inode<U::FileSystem>,
    range: ByteRange,
    new: &mut KVec<ByteRange>,
) -> Result {
    let flags = Flags(bindings::IOMAP_WRITE | bindings::IOMAP_FAULT);
    let mut pos = range.pos();
    while let Some(len) = range.end().checked_sub(pos).filter(|len| *len > 0) {
        let found = <U as WriteOperations>::iomap_begin(inode, pos, len, flags)?;
        let mapping = found.mapping;
        let end = mapping.pos.saturating_add(mapping.len);
        if mapping.pos > pos || end <= pos || matches!(mapping.kind, Kind::Hole) {
            return Err(EIO);
        }
        if found.is_new && end < range.end() {
            let part = ByteRange::new(mapping.pos, mapping.len).ok_or(EIO)?;
            let _nofs = NofsScope::memalloc_nofs_save();
            new.push(part, GFP_KERNEL)
                .inspect_err(|_| U::punch_delalloc(inode, part))?;
        }
        pos = end;
    }
    Ok(())
}
