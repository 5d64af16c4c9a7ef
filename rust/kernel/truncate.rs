// SPDX-License-Identifier: GPL-2.0

//! Changing the size of a file, and what the page cache has of it.
//!
//! Each function is a method of the lock that it wants.
//!
//! C source: [mm/truncate.c](srctree/mm/truncate.c), [mm/filemap.c](srctree/mm/filemap.c)

use super::{
    inode::Inode,
    locks::{
        InodeExclusive,
        InvalidateExclusive, //
    },
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};

/// Bytes of a file; not empty.
///
/// # Invariants
///
/// `start` is not negative, and `last` not less.
#[derive(Clone, Copy)]
pub(crate) struct ByteRange {
    /// The first.
    start: i64,
    /// And the last.
    last: i64,
}

impl ByteRange {
    /// All bytes that a file can have.
    pub(crate) const ALL: Self = Self {
        start: 0,
        last: i64::MAX,
    };

    /// `len` bytes from `pos` on, if there are any and a file can have them.
    pub(crate) fn new(pos: u64, len: u64) -> Option<Self> {
        let last = pos.checked_add(len.checked_sub(1)?)?;
        Some(Self {
            start: i64::try_from(pos).ok()?,
            last: i64::try_from(last).ok()?,
        })
    }

    /// All bytes that a file can have from `pos` on, if it can have some there. The last is one less than the largest size,
    /// so that C can compute the end.
    pub(crate) fn all_from(pos: u64) -> Option<Self> {
        let end = u64::try_from(i64::MAX).ok()?;
        Self::new(pos, end.checked_sub(pos)?)
    }

    /// From C's, which names the last byte.
    ///
    /// # Errors
    ///
    /// `EINVAL` for what is no part of a file.
    pub(in crate::kernel) fn from_raw(start: i64, last: i64) -> Result<Self> {
        if start < 0 || last < start {
            return Err(EINVAL);
        }
        Ok(Self { start, last })
    }

    /// Where it begins.
    pub(crate) fn pos(self) -> u64 {
        u64::try_from(self.start).unwrap_or(0)
    }

    /// The position behind its last byte.
    pub(crate) fn end(self) -> u64 {
        u64::try_from(self.last).map_or(0, |last| last.saturating_add(1))
    }

    /// As C has it.
    pub(in crate::kernel) fn into_raw(self) -> (i64, i64) {
        (self.start, self.last)
    }
}

impl<T: FileSystemType> Inode<T> {
    /// Writes what is dirty in the page cache, and waits until the device has it.
    ///
    /// # Errors
    ///
    /// That of a write that failed since somebody was last told.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of the journal may be open, and no folio locked.
    pub(crate) fn filemap_write_and_wait_range(&self, range: ByteRange) -> Result {
        let (start, last) = range.into_raw();
        // SAFETY: The pages are the inode's, valid by the type invariants.
        to_result(unsafe { bindings::filemap_write_and_wait_range(self.i_mapping(), start, last) })
    }

    /// Bytes that the page cache has of the file, about.
    pub(crate) fn nrpages_bytes(&self) -> u64 {
        // SAFETY: The pages are the inode's, valid by the type invariants. C changes the number under a lock, and
        // reads it without.
        let pages = unsafe { (&raw const (*self.i_mapping()).nrpages).read_volatile() };
        // CAST: to types of at least as many bits.
        (pages as u64).saturating_mul(PAGE_SIZE as u64)
    }

    /// Whether anything in the page cache is dirty that is not under writeback.
    pub(crate) fn mapping_is_dirty(&self) -> bool {
        // SAFETY: The pages are the inode's, valid by the type invariants.
        unsafe { bindings::mapping_is_dirty(self.i_mapping()) }
    }

    /// Begins to write what is dirty in the page cache. Errors are left for those to see who wait.
    ///
    /// # Context
    ///
    /// Sleeps, and locks folios. No handle of the journal may be open.
    pub(crate) fn filemap_flush(&self) {
        // SAFETY: The pages are the inode's, valid by the type invariants.
        let _ = unsafe { bindings::filemap_flush(self.i_mapping()) };
    }

    /// Whether the device wants what it is being given not to change: it computes checksums, or
    /// somebody before it.
    pub(crate) fn mapping_stable_writes(&self) -> bool {
        // SAFETY: The pages are the inode's, valid by the type invariants.
        unsafe { bindings::mapping_stable_writes(self.i_mapping()) }
    }

    /// Whether somebody has it mapped so that he can store to it, or could be allowed to.
    pub(crate) fn mapping_writably_mapped(&self) -> bool {
        // SAFETY: The pages are the inode's, valid by the type invariants.
        unsafe { bindings::mapping_writably_mapped(self.i_mapping()) }
    }
}

impl<T: FileSystemType> InodeExclusive<'_, T> {
    /// Whether the file may have that size: the process's limit, the volume's, and no swap file.
    ///
    /// # Errors
    ///
    /// `EFBIG`, and the process gets `SIGXFSZ` if it is its own limit; `ETXTBSY`.
    pub(crate) fn inode_newsize_ok(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: Valid by the type invariants.
        to_result(unsafe { bindings::inode_newsize_ok(self.inode().as_ptr(), size) })
    }

    /// Moves the end of the file further. What the page cache has there is for the caller to take
    /// care of.
    ///
    /// # Errors
    ///
    /// `EFBIG` if no file can have that size; `EINVAL` if the file is larger.
    pub(crate) fn i_size_write(&self, size: u64) -> Result {
        if size < self.inode().i_size_read() {
            return Err(EINVAL);
        }
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: Valid by the type invariants; the lock is held, as C wants it.
        unsafe { bindings::i_size_write(self.inode().as_ptr(), size) };
        Ok(())
    }

    /// Prepares the page with the old end of the file, `from`, for there being more behind it: the
    /// size is `to` or larger already. A store to it faults again, so that its blocks are reserved.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the size is less than `to`.
    ///
    /// # Context
    ///
    /// Sleeps. Locks a folio.
    pub(crate) fn pagecache_isize_extended(&self, from: u64, to: u64) -> Result {
        if to > self.inode().i_size_read() {
            return Err(EINVAL);
        }
        let from = i64::try_from(from).map_err(|_| EINVAL)?;
        let to = i64::try_from(to).map_err(|_| EINVAL)?;
        // SAFETY: Valid by the type invariants; the lock is held, as C wants it.
        unsafe { bindings::pagecache_isize_extended(self.inode().as_ptr(), from, to) };
        Ok(())
    }
}

impl<T: FileSystemType> InvalidateExclusive<'_, T> {
    /// Discards what the page cache has of `range`, dirty or not, and waits for what is being written of
    /// it. The part of a folio that has other bytes, too, becomes zeroes; if that is part of a page, it
    /// stays mapped.
    ///
    /// # Context
    ///
    /// Sleeps, and locks folios. No handle of the journal may be open.
    pub(crate) fn truncate_pagecache_range(&self, range: ByteRange) {
        let (start, last) = range.into_raw();
        // SAFETY: Valid by the type invariants; the locks that C wants are held.
        unsafe { bindings::truncate_pagecache_range(self.inode().as_ptr(), start, last) };
    }

    /// Removes all folios with bytes of `range` from the page cache, and from all mappings of the file; none is cut. They
    /// have been written.
    ///
    /// # Errors
    ///
    /// `EBUSY` if some are dirty, which stay.
    ///
    /// # Context
    ///
    /// Sleeps, and locks folios. No handle of the journal may be open.
    pub(crate) fn invalidate_inode_pages2_range(&self, range: ByteRange) -> Result {
        let (start, last) = range.into_raw();
        // CAST: not negative, and as many bits as a number of pages has.
        let page = |pos: i64| (pos as u64 / PAGE_SIZE as u64) as c_ulong;
        // SAFETY: The pages are the inode's, valid by the type invariants.
        to_result(unsafe {
            bindings::invalidate_inode_pages2_range(
                self.inode().i_mapping(),
                page(start),
                page(last),
            )
        })
    }

    /// Sets the size, and removes from the page cache, and from all mappings, what is behind it.
    ///
    /// # Errors
    ///
    /// `EFBIG` if no file can have it.
    ///
    /// # Context
    ///
    /// Sleeps, and locks folios. No handle of the journal may be open.
    pub(crate) fn truncate_setsize(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: Valid by the type invariants; the locks that C wants are held.
        unsafe { bindings::truncate_setsize(self.inode().as_ptr(), size) };
        Ok(())
    }
}
