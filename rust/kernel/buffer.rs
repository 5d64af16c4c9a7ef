// SPDX-License-Identifier: GPL-2.0

//! Blocks of the block device in its page cache.
//!
//! read → released, on drop
//!
//! User space can map a block device and write to it, so what is in a buffer changes under the
//! reader's hands: no reference to it, only copies.
//!
//! C header: [include/linux/buffer_head.h](srctree/include/linux/buffer_head.h)

use super::vfs::NewSuperBlock;
use crate::bindings;
use ::kernel::prelude::*;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A place on the block device, in bytes from its beginning.
#[derive(Clone, Copy)]
pub(crate) struct BdevAddr(pub(crate) u64);

/// One block of the block device, read.
///
/// # Invariants
///
/// The buffer is valid, up to date, and this value has a reference on it.
pub(crate) struct Buffer<'sb> {
    bh: NonNull<bindings::buffer_head>,
    start: u64,
    _sb: PhantomData<&'sb NewSuperBlock<'sb>>,
}

impl<'sb> Buffer<'sb> {
    /// Reads the block that holds `addr`, of the size that the superblock has set.
    ///
    /// # Errors
    ///
    /// `EIO` if the device cannot read it, or ends before it; `EINVAL` if the superblock has no
    /// block size.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn sb_bread(sb: &'sb NewSuperBlock<'_>, addr: BdevAddr) -> Result<Self> {
        let block_size = u64::from(sb.block_size().ok_or(EINVAL)?.get());
        let block = addr.0 / block_size;
        // SAFETY: `NewSuperBlock` guarantees an open device; the block size is not 0.
        let bh = unsafe { bindings::sb_bread(sb.as_ptr(), block) };
        // INVARIANT: C returns a reference to a buffer that is up to date, or null.
        Ok(Self {
            bh: NonNull::new(bh).ok_or(EIO)?,
            // OVERFLOW: at most `addr`.
            start: block * block_size,
            _sb: PhantomData,
        })
    }

    /// Copies the bytes from `addr` on to `to`.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless all of them lie in this block.
    pub(crate) fn copy_to_slice(&self, addr: BdevAddr, to: &mut [u8]) -> Result {
        // SAFETY: Valid by the type invariants; the field does not change while referenced.
        let data = unsafe { (*self.bh.as_ptr()).b_data };
        // SAFETY: As before.
        let size = unsafe { (*self.bh.as_ptr()).b_size };
        let skip = addr.0.checked_sub(self.start).ok_or(EINVAL)?;
        let skip = usize::try_from(skip).map_err(|_| EINVAL)?;
        let end = skip.checked_add(to.len()).ok_or(EINVAL)?;
        if end > size {
            return Err(EINVAL);
        }
        // SAFETY: The buffer has `size` bytes, of which `skip..end` are a part.
        let from = unsafe { data.add(skip) };
        // SAFETY: `from` is valid for reads, `to` for writes, of that many bytes; nobody else can
        // have the memory of `to`. What others write to the buffer meanwhile is no data race of
        // ours, as C reads it.
        unsafe { bindings::memcpy_racy(to.as_mut_ptr().cast(), from.cast(), to.len()) };
        Ok(())
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: The reference is given back, which no other code does.
        unsafe { bindings::brelse(self.bh.as_ptr()) };
    }
}
