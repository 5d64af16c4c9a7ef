// SPDX-License-Identifier: GPL-2.0

//! The dirty folios of a file, one after the other.

use super::{
    WritebackOperations,
    WritebackTable, //
};
use crate::{
    bindings,
    kernel::{
        address_space::Writeback,
        control::Control,
        inode::Inode,
        ret,
        sched_mm::NofsScope, //
    },
    protocol::writeback::{
        self as protocol,
        write_pages,
        Protected, //
    },
};
use ::kernel::{
    error::to_result,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A folio that is locked, was write-protected in every mapping, and then made clean.
///
/// # Invariants
///
/// The folio is in the page cache of an inode, with a reference, and locked by this thread.
pub(super) struct Folio(NonNull<bindings::folio>);

/// Goes through the dirty folios of a file, as C's `struct iomap_writepage_ctx`.
///
/// # Invariants
///
/// The context is of an inode of type `U::FileSystem`, with the table of `U`, and nobody else's.
#[repr(C)]
pub(super) struct Pass<'a, U: WritebackOperations> {
    /// First, so that C's pointer to it is one to all.
    wpc: bindings::iomap_writepage_ctx,
    /// The folio before, or null.
    folio: *mut bindings::folio,
    /// What C is told of it, and at the end what it says.
    error: c_int,
    #[cfg(stablefs_controls)]
    pub(super) unprotected: super::unprotected::Unprotected,
    _inode: PhantomData<(&'a Inode<U::FileSystem>, U)>,
}

/// Has the device write what is dirty of a file, in the order of [`write_pages`].
///
/// # Errors
///
/// What was not written, and why.
///
/// # Context
///
/// Sleeps, and locks folios. No handle of the journal may be open.
pub(crate) fn writepages<U: WritebackOperations>(
    writeback: Writeback<'_, U::FileSystem>,
) -> Result {
    // Memory reclaim must not wait for these folios, nor for the volume being thawed.
    let _nofs = NofsScope::memalloc_nofs_save();
    let mut pass = Pass::<'_, U> {
        wpc: bindings::iomap_writepage_ctx {
            inode: writeback.inode().as_ptr(),
            wbc: writeback.as_ptr(),
            ops: &WritebackTable::<U>::OPS,
            ..pin_init::zeroed()
        },
        folio: core::ptr::null_mut(),
        error: 0,
        #[cfg(stablefs_controls)]
        unprotected: Default::default(),
        _inode: PhantomData,
    };
    write_pages(&mut pass);
    let result = to_result(pass.error);
    if pass.wpc.wb_ctx.is_null() {
        return result;
    }
    // Where another folio has no room, this is written all the same.
    // SAFETY: The context has an ioend that was not submitted.
    let submitted = unsafe { WritebackTable::<U>::writeback_submit(&mut pass.wpc, 0) };
    result.and(to_result(submitted))
}

impl<U: WritebackOperations> Pass<'_, U> {
    fn next_folio(&mut self) -> *mut bindings::folio {
        #[cfg(stablefs_controls)]
        if super::unprotected::is_wanted() {
            // SAFETY: The inode and the control are valid by the type invariants.
            return unsafe { self.unprotected.next_folio(&self.wpc) };
        }
        let inode = self.wpc.inode;
        // SAFETY: Valid by the type invariants; constant.
        let mapping = unsafe { (*inode).i_mapping };
        // SAFETY: As above; the folio is what the last call returned, and no longer locked.
        unsafe { bindings::writeback_iter(mapping, self.wpc.wbc, self.folio, &mut self.error) }
    }
}

impl<U: WritebackOperations> protocol::Pass for Pass<'_, U> {
    type Folio = Folio;
    type Error = Error;

    fn next(&mut self, last: Result) -> Option<Folio> {
        self.error = ret::int(last);
        self.folio = self.next_folio();
        // INVARIANT: C returned it locked, with a reference until it is asked for the next.
        NonNull::new(self.folio).map(Folio)
    }

    fn start_writeback(&mut self, folio: &Protected<Folio>) -> Result {
        let folio = folio.folio().0.as_ptr();
        // SAFETY: A folio of the context's inode, locked, and clean.
        let result = to_result(unsafe { bindings::iomap_writeback_folio(&mut self.wpc, folio) });
        #[cfg(stablefs_controls)]
        if Control::EarlyChecksum.is_on() {
            // SAFETY: As above.
            unsafe { super::unprotected::submit_and_protect::<U>(&mut self.wpc, folio) };
        }
        result
    }
}

impl protocol::Folio for Folio {
    fn maybe_dma_pinned(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        !Control::SkipKeepDirty.is_on() && unsafe { is_pinned(self.0) }
    }

    fn mark_dirty(&mut self) {
        // SAFETY: Valid and locked by the type invariants.
        unsafe { bindings::folio_mark_dirty(self.0.as_ptr()) };
    }

    fn unlock(self) {}
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: Locked by this thread, by the type invariants.
        unsafe { bindings::folio_unlock(self.0.as_ptr()) };
    }
}

/// Whether anybody may hold a pin of a folio.
///
/// # Safety
///
/// The folio has to be valid.
pub(super) unsafe fn is_pinned(folio: NonNull<bindings::folio>) -> bool {
    // SAFETY: By the contract of this function.
    unsafe { bindings::folio_maybe_dma_pinned(folio.as_ptr()) }
}
