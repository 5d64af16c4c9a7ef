// SPDX-License-Identifier: GPL-2.0

//! Ioends on their way to the device.

use super::{
    completions::Completions,
    Added,
    Ioend,
    MappedRange,
    WritebackOperations, //
};
use crate::{
    bindings,
    kernel::{
        audit,
        iomap::verifier, //
    },
    protocol::writeback::{
        self as protocol,
        Bytes,
        Gather,
        Stable, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// The ioend of a pass that is not submitted yet, which each range knows, and the copies.
pub(crate) struct Ioends<'a, U>(PhantomData<&'a U>);

impl<U> Ioends<'_, U> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'a, U: WritebackOperations> Gather<MappedRange<'a, U>> for Ioends<'a, U> {
    type Added = Result<Added>;

    /// Adds what the mapping has of a range to the ioend; that before is submitted, unless this goes
    /// on where it ends. A copy is submitted at once: whoever makes the next may wait for its memory.
    fn add(&mut self, bytes: Stable<MappedRange<'a, U>>) -> Result<Added> {
        match bytes.into_bytes() {
            Bytes::Own(range) => range.add_to_ioend(),
            Bytes::Copy(copy) => Ok(copy.submit()),
        }
    }
}

/// An ioend that has not been submitted.
///
/// # Invariants
///
/// The context is that of a pass of `U`, and nobody else's; its ioend is this value's.
pub(crate) struct Io<'a, U: WritebackOperations> {
    wpc: NonNull<bindings::iomap_writepage_ctx>,
    /// Whether it is to be audited.
    is_audited: bool,
    _pass: PhantomData<&'a U>,
}

impl<U: WritebackOperations> Io<'_, U> {
    /// # Safety
    ///
    /// `wpc` has to be as the type wants it, for the lifetime of the value.
    pub(super) unsafe fn from_raw(wpc: *mut bindings::iomap_writepage_ctx) -> Self {
        Self {
            // SAFETY: Valid by the contract of this function.
            wpc: unsafe { NonNull::new_unchecked(wpc) },
            is_audited: false,
            _pass: PhantomData,
        }
    }

    fn ioend(&self) -> *mut bindings::iomap_ioend {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.wpc.as_ptr()).wb_ctx }.cast()
    }

    /// Ends it without the device.
    pub(super) fn fail(self, error: Error) -> Result {
        ManuallyDrop::new(self).end(error.to_errno())
    }

    /// Has the device write it, or ends it, if there is an error.
    fn end(&mut self, error: c_int) -> Result {
        let raw = self.ioend();
        // SAFETY: Ours by the type invariants; the inode stays, as it has folios under writeback.
        let ioend = unsafe { Ioend::<U::FileSystem>::from_raw(raw) };
        // SAFETY: As above.
        let flags = u32::from(unsafe { (*raw).io_flags });
        // To drop folios after writing them (DONTCACHE) wants a task, too.
        let wants_task = bindings::IOMAP_IOEND_UNWRITTEN | bindings::IOMAP_IOEND_DONTCACHE;
        if self.is_audited || flags & wants_task != 0 || U::needs_end_io(&ioend) {
            // SAFETY: As above.
            unsafe { Completions::<U>::attach(raw) };
        }
        let wpc = self.wpc.as_ptr();
        // SAFETY: Valid by the type invariants.
        let is = unsafe { (*wpc).iomap.flags };
        // What C would do for this, `seal` has done.
        // CAST: less than 2^16. SAFETY: As above.
        unsafe { (*wpc).iomap.flags = is & !(bindings::IOMAP_F_INTEGRITY as u16) };
        // SAFETY: The context has the ioend, which is not used any more.
        let submitted = to_result(unsafe { bindings::iomap_ioend_writeback_submit(wpc, error) });
        // SAFETY: As above. C goes on with the mapping.
        unsafe { (*wpc).iomap.flags = is };
        submitted
    }
}

impl<U: WritebackOperations> protocol::Io for Io<'_, U> {
    type Submitted = Result;

    fn seal(&mut self) {
        let raw = self.ioend();
        // SAFETY: Ours by the type invariants; the inode stays, as it has folios under writeback.
        let ioend = unsafe { Ioend::<U::FileSystem>::from_raw(raw) };
        // SAFETY: As above.
        let bio = unsafe { &raw mut (*raw).io_bio };
        if verifier::<U>(ioend.inode).is_some() {
            // SAFETY: As above. C frees the tags when it ends the ioend.
            unsafe { bindings::fs_bio_integrity_generate(bio) };
        }
        // SAFETY: As above; complete, and its folios are under writeback.
        self.is_audited = unsafe { audit::seal::<U>(ioend.inode, ioend.pos, bio) };
    }

    fn submit(self) -> Result {
        ManuallyDrop::new(self).end(0)
    }
}

impl<U: WritebackOperations> Drop for Io<'_, U> {
    fn drop(&mut self) {
        // Nobody is told that it was written.
        let _ = self.end(EIO.to_errno());
    }
}
