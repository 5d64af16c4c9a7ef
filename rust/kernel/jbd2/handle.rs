// SPDX-License-Identifier: GPL-2.0

//! Handles: changes of metadata that are done together, or not at all.
//!
//! started → access to a block granted → the block changed, and dirty → stopped
//!
//! What a handle has changed is committed with its transaction, later; a crash before that undoes all
//! of it. Nothing else does: a handle that is stopped in the middle leaves half of a change to be
//! committed. So whoever starts changing blocks must be able to go through with it, or has to
//! [abort](super::Loaded::abort) the journal.
//!
//! C header: [include/linux/jbd2.h](srctree/include/linux/jbd2.h)

use super::{
    super::{
        buffer::{
            BdevAddr,
            Buffer, //
        },
        super_block::OnDevice, //
    },
    Loaded,
    Map,
    Tid, //
};
use crate::bindings;
use ::kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// What a handle may do at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credits {
    /// Blocks that it changes.
    pub(crate) blocks: u32,
    /// Blocks that it [revokes](Handle::revoke).
    pub(crate) revokes: u32,
}

impl Credits {
    /// To change `n` blocks.
    pub(crate) const fn blocks(n: u32) -> Self {
        Self {
            blocks: n,
            revokes: 0,
        }
    }

    /// For one after the other. More than 32 bits hold is more than any journal has.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            blocks: self.blocks.saturating_add(other.blocks),
            revokes: self.revokes.saturating_add(other.revokes),
        }
    }

    /// For `n` times the same.
    pub(crate) const fn times(self, n: u32) -> Self {
        Self {
            blocks: self.blocks.saturating_mul(n),
            revokes: self.revokes.saturating_mul(n),
        }
    }

    /// Whether `other` may be done with these.
    pub(crate) const fn cover(self, other: Self) -> bool {
        self.blocks >= other.blocks && self.revokes >= other.revokes
    }

    fn to_raw(self) -> Result<(c_int, c_int)> {
        let raw = |n| c_int::try_from(n).map_err(|_| ENOSPC);
        Ok((raw(self.blocks)?, raw(self.revokes)?))
    }
}

impl<M: Map> Loaded<'_, M> {
    /// Starts a handle. If this task has one started already, it is the same; what that may do has to
    /// be enough then.
    ///
    /// # Errors
    ///
    /// `EROFS` if the journal has been given up; `ENOSPC` for more than fits into it; `ENOMEM`.
    ///
    /// # Context
    ///
    /// Sleeps, perhaps until a transaction is committed: whatever a handle of another task may wait
    /// for must not be held. Folio locks may be held, as no handle waits for them.
    pub(crate) fn start(&self, credits: Credits) -> Result<Handle<'_>> {
        let (blocks, revokes) = credits.to_raw()?;
        // SAFETY: Valid by the type invariants, and loaded.
        let handle = unsafe {
            bindings::jbd2__journal_start(
                self.as_ptr(),
                blocks,
                0,
                revokes,
                bindings::GFP_NOFS,
                0,
                0,
            )
        };
        let handle = NonNull::new(from_err_ptr(handle)?).ok_or(EROFS)?;
        // INVARIANT: C has started it, or counted another reference.
        Ok(Handle(handle, PhantomData))
    }
}

/// A handle that is started. It is stopped on drop.
///
/// # Invariants
///
/// The handle is valid, of this task, and this value has a reference on it; its journal lives as long
/// as `'j`.
#[must_use = "the handle is stopped when this is dropped"]
pub(crate) struct Handle<'j>(NonNull<bindings::handle_t>, PhantomData<&'j ()>);

impl Handle<'_> {
    /// The transaction that the handle is a part of.
    ///
    /// # Errors
    ///
    /// `EROFS` if the journal has been given up.
    pub(crate) fn tid(&self) -> Result<Tid> {
        // SAFETY: Valid by the type invariants. There is a transaction unless restarting failed.
        let transaction = unsafe { (*self.0.as_ptr()).__bindgen_anon_1.h_transaction };
        let transaction = NonNull::new(transaction).ok_or(EROFS)?;
        // SAFETY: It lives as long as a handle of it is started.
        Ok(Tid(unsafe { (*transaction.as_ptr()).t_tid }))
    }

    /// What it may still do.
    pub(crate) fn credits_left(&self) -> Credits {
        if self.is_aborted() {
            return Credits::default();
        }
        // SAFETY: Valid by the type invariants, of this task, and with a transaction.
        let blocks = unsafe { bindings::jbd2_handle_buffer_credits(self.0.as_ptr()) };
        // SAFETY: As above.
        let revokes = unsafe { (*self.0.as_ptr()).h_revoke_credits };
        Credits {
            blocks: u32::try_from(blocks).unwrap_or(0),
            revokes: u32::try_from(revokes).unwrap_or(0),
        }
    }

    /// Has the task wait, when it stops the handle, until what it did is committed.
    pub(crate) fn set_sync(&mut self) {
        // SAFETY: Valid by the type invariants, and of this task.
        unsafe { bindings::jbd2_handle_set_sync(self.0.as_ptr()) };
    }

    /// Asks for the right to change a block.
    ///
    /// # Errors
    ///
    /// `EROFS` if the journal has been given up; `ENOMEM`.
    ///
    /// # Context
    ///
    /// Sleeps. What protects the block's contents may be held.
    pub(crate) fn get_write_access<'h, 'sb>(
        &'h self,
        buffer: Buffer<'sb>,
    ) -> Result<Access<'h, 'sb>> {
        // SAFETY: Both are valid by their type invariants, the handle is of this task.
        to_result(unsafe {
            bindings::jbd2_journal_get_write_access(self.0.as_ptr(), buffer.as_ptr())
        })?;
        // INVARIANT: Granted just now.
        Ok(Access {
            handle: self,
            buffer,
        })
    }

    /// Makes the block at `addr`, which nobody used before, one of metadata with these contents.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless `bytes` are as many as a block has, and `addr` is where it begins; `EROFS` if
    /// the journal has been given up; `ENOMEM`, `EIO`.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn create(&self, sb: &OnDevice, addr: BdevAddr, bytes: &[u8]) -> Result {
        let buffer = Buffer::sb_getblk(sb, addr)?;
        let bh = buffer.as_ptr();
        let to = buffer.whole(addr, bytes.len())?;
        // SAFETY: Valid by the type invariants of the buffer, of which this has a reference; and so
        // below.
        unsafe { bindings::lock_buffer(bh) };
        // SAFETY: As above, and of this task.
        let granted = unsafe { bindings::jbd2_journal_get_create_access(self.0.as_ptr(), bh) };
        let granted = to_result(granted);
        if granted.is_ok() {
            // SAFETY: `to` is valid for writes, `bytes` for reads, of that many bytes. Nobody else
            // uses the block; what user space does to the device is no data race of ours.
            unsafe {
                bindings::memcpy_racy(to.cast_mut().cast(), bytes.as_ptr().cast(), bytes.len())
            };
            // SAFETY: As above; all of it has just been written.
            unsafe { bindings::set_buffer_uptodate(bh) };
        }
        // SAFETY: As above; locked above.
        unsafe { bindings::unlock_buffer(bh) };
        granted?;
        // SAFETY: As above; access has been granted.
        to_result(unsafe { bindings::jbd2_journal_dirty_metadata(self.0.as_ptr(), bh) })
    }

    /// Has a block of metadata be nothing to the journal any more, because it is given back: it is
    /// neither written, nor written again by a replay.
    ///
    /// # Errors
    ///
    /// `EINVAL` for what cannot be on the device; `EROFS` if the journal has been given up; `ENOMEM`,
    /// `EIO`.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn revoke(&self, sb: &OnDevice, addr: BdevAddr) -> Result {
        let block_size = u64::from(sb.block_size().ok_or(EINVAL)?.get());
        if self.is_aborted() {
            return Err(EROFS);
        }
        let block = addr.0 / block_size;
        // SAFETY: Valid by the type invariants, of this task, and with a transaction.
        to_result(unsafe {
            bindings::jbd2_journal_revoke(self.0.as_ptr(), block, core::ptr::null_mut())
        })?;
        let Some(buffer) = Buffer::sb_find_get_block(sb, addr) else {
            return Ok(());
        };
        let bh = ManuallyDrop::new(buffer).as_ptr();
        // SAFETY: Both are valid, and the handle is of this task. C takes over the reference to the
        // buffer, unless it says that the journal has been given up.
        let result = to_result(unsafe { bindings::jbd2_journal_forget(self.0.as_ptr(), bh) });
        if result == Err(EROFS) {
            // SAFETY: The reference is still ours.
            unsafe { bindings::brelse(bh) };
        }
        result
    }

    /// Whether the journal has been given up.
    pub(crate) fn is_aborted(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::is_handle_aborted(self.0.as_ptr()) }
    }

    /// Stops the handle, and waits for the commit if it was to be [`set_sync`](Self::set_sync).
    ///
    /// # Errors
    ///
    /// `EIO` if the journal has been given up.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn stop(self) -> Result {
        let this = ManuallyDrop::new(self);
        // SAFETY: Valid by the type invariants; the reference is given back.
        to_result(unsafe { bindings::jbd2_journal_stop(this.0.as_ptr()) })
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // The error, if any, is that of a journal that has been given up, which the next handle
        // meets.
        // SAFETY: Valid by the type invariants; the reference is given back.
        unsafe { bindings::jbd2_journal_stop(self.0.as_ptr()) };
    }
}

/// The right to change a block.
///
/// # Invariants
///
/// jbd2 has granted the handle write access to the buffer.
pub(crate) struct Access<'h, 'sb> {
    handle: &'h Handle<'h>,
    buffer: Buffer<'sb>,
}

impl<'sb> Access<'_, 'sb> {
    /// Changes the bytes from `addr` on, and has the transaction commit the block.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless all of them lie in this block; `EROFS` if the journal has been given up;
    /// `ENOSPC` for more blocks than the handle has credits for.
    ///
    /// # Context
    ///
    /// May sleep. What protects these bytes has to be held.
    pub(crate) fn write(&mut self, addr: BdevAddr, from: &[u8]) -> Result {
        let bh = self.buffer.as_ptr();
        let to = self.buffer.bytes(addr, from.len())?;
        // First, so that what is changed is also committed.
        // SAFETY: Both are valid by their type invariants, the handle is of this task, and access has
        // been granted.
        to_result(unsafe { bindings::jbd2_journal_dirty_metadata(self.handle.0.as_ptr(), bh) })?;
        // SAFETY: `to` is valid for writes, `from` for reads, of that many bytes. jbd2 keeps writeback
        // off the block until the handle is stopped; what user space does to the device is no data
        // race of ours.
        unsafe { bindings::memcpy_racy(to.cast_mut().cast(), from.as_ptr().cast(), from.len()) };
        Ok(())
    }
}
