// SPDX-License-Identifier: GPL-2.0

//! Blocks of the block device in its page cache.
//!
//! read → released, on drop
//!
//! User space can map a block device and write to it, so what is in a buffer changes under the
//! reader's hands: no reference to it, only copies.
//!
//! C header: [include/linux/buffer_head.h](srctree/include/linux/buffer_head.h)

use super::{
    gfp::GFP_NOFAIL,
    super_block::OnDevice, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A place on the block device, in bytes from its beginning.
#[derive(Clone, Copy)]
pub(crate) struct BdevAddr(pub(crate) u64);

/// Asks for `n` blocks, from the one that holds `addr` on, and waits for none of them.
///
/// # Context
///
/// May sleep.
pub(crate) fn sb_breadahead(sb: &OnDevice, addr: BdevAddr, n: u32) {
    let Some(block_size) = sb.block_size() else {
        return;
    };
    let first = addr.0 / u64::from(block_size.get());
    let plug = Opaque::uninit();
    // SAFETY: The plug is initialised by this, and does not move until it is finished below.
    unsafe { bindings::blk_start_plug(plug.get()) };
    for block in first..first.saturating_add(n.into()) {
        // SAFETY: `OnDevice` guarantees an open device.
        unsafe { bindings::sb_breadahead(sb.as_ptr(), block) };
    }
    // SAFETY: Started above, by this task.
    unsafe { bindings::blk_finish_plug(plug.get()) };
}

/// One block of the block device, read.
///
/// # Invariants
///
/// The buffer is valid, up to date, and this value has a reference on it.
pub(crate) struct Buffer<'sb> {
    bh: NonNull<bindings::buffer_head>,
    start: u64,
    _sb: PhantomData<&'sb OnDevice>,
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
    pub(crate) fn sb_bread(sb: &'sb OnDevice, addr: BdevAddr) -> Result<Self> {
        let block_size = u64::from(sb.block_size().ok_or(EINVAL)?.get());
        let block = addr.0 / block_size;
        // SAFETY: `OnDevice` guarantees an open device; the block size is not 0.
        let bh = unsafe { bindings::sb_bread(sb.as_ptr(), block) };
        // INVARIANT: C returns a reference to a buffer that is up to date, or null.
        Ok(Self {
            bh: NonNull::new(bh).ok_or(EIO)?,
            // OVERFLOW: at most `addr`.
            start: block * block_size,
            _sb: PhantomData,
        })
    }

    /// The block that holds `addr`, if it is in memory.
    pub(crate) fn sb_find_get_block(sb: &'sb OnDevice, addr: BdevAddr) -> Option<Self> {
        let block_size = u64::from(sb.block_size()?.get());
        let block = addr.0 / block_size;
        // SAFETY: `OnDevice` guarantees an open device; the block size is not 0.
        let bh = unsafe { bindings::sb_find_get_block_uptodate(sb.as_ptr(), block) };
        // INVARIANT: C returns a reference to a buffer that is up to date, or null.
        Some(Self {
            bh: NonNull::new(bh)?,
            // OVERFLOW: at most `addr`.
            start: block * block_size,
            _sb: PhantomData,
        })
    }

    /// The block that holds `addr`, without reading it: one that somebody is about to fill.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the superblock has no block size; `ENOMEM`, or `EIO` behind the device's end.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(super) fn sb_getblk(sb: &'sb OnDevice, addr: BdevAddr) -> Result<Blank<'sb>> {
        let block_size = u64::from(sb.block_size().ok_or(EINVAL)?.get());
        if addr.0 >= sb.bdev_nr_bytes() {
            return Err(EIO);
        }
        let block = addr.0 / block_size;
        // SAFETY: `OnDevice` guarantees an open device; the block size is not 0.
        let bh = unsafe { bindings::sb_getblk(sb.as_ptr(), block) };
        Ok(Blank(Self {
            bh: NonNull::new(bh).ok_or(ENOMEM)?,
            // OVERFLOW: at most `addr`.
            start: block * block_size,
            _sb: PhantomData,
        }))
    }

    /// The buffer, for use within `rust/kernel`, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::buffer_head {
        self.bh.as_ptr()
    }

    /// Copies the bytes from `addr` on to `to`.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless all of them lie in this block.
    pub(crate) fn copy_to_slice(&self, addr: BdevAddr, to: &mut [u8]) -> Result {
        let from = self.bytes(addr, to.len())?;
        // SAFETY: `from` is valid for reads, `to` for writes, of that many bytes; nobody else can
        // have the memory of `to`. What others write to the buffer meanwhile is no data race of
        // ours, as C reads it.
        unsafe { bindings::memcpy_racy(to.as_mut_ptr().cast(), from.cast(), to.len()) };
        Ok(())
    }

    /// Copies `len` bytes from `addr` on to memory of their own, which is waited for: a handle may be
    /// started, and something half done. C waits for that of the buffer, too.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless all of them lie in this block.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn to_vec(&self, addr: BdevAddr, len: usize) -> Result<KVec<u8>> {
        let from = self.bytes(addr, len)?;
        let mut to: KVec<u8> = KVec::with_capacity(len, GFP_NOFAIL)?;
        // SAFETY: `from` is valid for reads, `to` for writes, of that many bytes; else as in
        // `copy_to_slice`.
        unsafe { bindings::memcpy_racy(to.as_mut_ptr().cast(), from.cast(), len) };
        // SAFETY: So many bytes have been written, and there is room for them.
        unsafe { to.inc_len(len) };
        Ok(to)
    }

    /// Changes the bytes from `addr` on, and has the device write the block: when this returns, it
    /// is not only in a cache.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless all of them lie in this block; `EIO` if the device does not write it.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn write_through(&self, addr: BdevAddr, from: &[u8]) -> Result {
        let to = self.bytes(addr, from.len())?;
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::lock_buffer(self.bh.as_ptr()) };
        // SAFETY: `to` is valid for writes, `from` for reads, of that many bytes. The lock keeps
        // writeback out; those who copy meanwhile may get some of it, as with C.
        unsafe { bindings::memcpy_racy(to.cast_mut().cast(), from.as_ptr().cast(), from.len()) };
        // SAFETY: Valid by the type invariants, and locked above.
        unsafe { bindings::mark_buffer_dirty(self.bh.as_ptr()) };
        // SAFETY: As above.
        unsafe { bindings::unlock_buffer(self.bh.as_ptr()) };
        // SAFETY: Valid by the type invariants.
        to_result(unsafe { bindings::sync_dirty_buffer_fua(self.bh.as_ptr()) })
    }

    /// Where `len` bytes from `addr` on are, as long as `self`.
    pub(super) fn bytes(&self, addr: BdevAddr, len: usize) -> Result<*const c_char> {
        // SAFETY: Valid by the type invariants; the field does not change while referenced.
        let data = unsafe { (*self.bh.as_ptr()).b_data };
        // SAFETY: As before.
        let size = unsafe { (*self.bh.as_ptr()).b_size };
        let skip = addr.0.checked_sub(self.start).ok_or(EINVAL)?;
        let skip = usize::try_from(skip).map_err(|_| EINVAL)?;
        let end = skip.checked_add(len).ok_or(EINVAL)?;
        if end > size {
            return Err(EINVAL);
        }
        // SAFETY: The buffer has `size` bytes, of which `skip..end` are a part.
        Ok(unsafe { data.add(skip) })
    }
}

/// A block of the block device that may not have been read.
///
/// # Invariants
///
/// As [`Buffer`], but it need not be up to date.
pub(super) struct Blank<'sb>(Buffer<'sb>);

impl Blank<'_> {
    /// The buffer, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut bindings::buffer_head {
        self.0.as_ptr()
    }

    /// Where all of it is, as long as `self`.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless it begins at `addr` and has `len` bytes.
    pub(super) fn whole(&self, addr: BdevAddr, len: usize) -> Result<*const c_char> {
        // SAFETY: Valid by the type invariants; the field does not change while referenced.
        let size = unsafe { (*self.as_ptr()).b_size };
        if addr.0 != self.0.start || len != size {
            return Err(EINVAL);
        }
        self.0.bytes(addr, len)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: The reference is given back, which no other code does.
        unsafe { bindings::brelse(self.bh.as_ptr()) };
    }
}
