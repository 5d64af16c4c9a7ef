// SPDX-License-Identifier: GPL-2.0

//! Dirty folios as `writeback_iter()` gives them, but for one step that is left out, or comes at
//! another time: for controls.

use super::{
    pass::Pass,
    WritebackOperations,
    WritebackTable, //
};
use crate::{
    bindings,
    kernel::control::Control, //
};
use ::kernel::prelude::*;
use ::kernel::time::{
    delay::fsleep,
    Delta, //
};
use core::ptr::NonNull;

/// Between two steps that are the wrong way round, so that others find the time.
const PAUSE: Delta = Delta::from_millis(2);
/// How many such are waited for a pin, where a process may take one.
const PAUSES: usize = 500;

/// Whether the folios are taken here, as `writeback_iter()` leaves out no step.
pub(super) fn is_wanted() -> bool {
    [
        Control::SkipProtect,
        Control::EarlyChecksum,
        Control::EarlyPinCheck,
    ]
    .iter()
    .any(|control| control.is_on())
}

/// How far a pass has got.
#[derive(Default)]
pub(in crate::kernel::iomap) struct Unprotected {
    is_started: bool,
    /// The first page to look for.
    index: c_ulong,
    /// Whether the folio was pinned before it was protected.
    was_held: bool,
}

impl Unprotected {
    /// The next dirty folio, locked and clean; null at the end.
    ///
    /// # Safety
    ///
    /// The context has to be a pass's, which asks for the folios with nothing else.
    pub(super) unsafe fn next_folio(
        &mut self,
        wpc: &bindings::iomap_writepage_ctx,
    ) -> *mut bindings::folio {
        // SAFETY: Valid by the contract of this function, here as below.
        let mapping = unsafe { (*wpc.inode).i_mapping };
        if !self.is_started {
            self.is_started = true;
            // SAFETY: As above; ours alone.
            unsafe { bindings::wbc_start(wpc.wbc) };
            // SAFETY: As above.
            self.index = unsafe { bindings::wbc_first(wpc.wbc) };
        }
        loop {
            // SAFETY: As above.
            let folio = unsafe { bindings::wbc_next_folio(wpc.wbc) };
            if folio.is_null() {
                // SAFETY: As above.
                let found = unsafe {
                    let last = bindings::wbc_last(wpc.wbc);
                    bindings::wbc_next_batch(wpc.wbc, mapping, &mut self.index, last)
                };
                if found == 0 {
                    return core::ptr::null_mut();
                }
                continue;
            }
            // SAFETY: It has a reference, here as below.
            unsafe { bindings::folio_lock(folio) };
            // SAFETY: As above.
            if unsafe { bindings::folio_mapping_raw(folio) } == mapping {
                // SAFETY: As above, and locked.
                unsafe { bindings::folio_wait_writeback(folio) };
                // SAFETY: As above.
                if unsafe { bindings::folio_test_dirty_or_writeback(folio) } {
                    if Control::EarlyPinCheck.is_on() {
                        // SAFETY: As above.
                        self.was_held = unsafe { look_too_early(folio) };
                        // SAFETY: As above.
                        unsafe { bindings::folio_clear_dirty_for_io(folio) };
                    } else {
                        // SAFETY: As above.
                        unsafe { bindings::__folio_cancel_dirty(folio) };
                    }
                    return folio;
                }
            }
            // SAFETY: Locked above.
            unsafe { bindings::folio_unlock(folio) };
        }
    }
}

/// Whether anybody has pinned a folio; and then gives others the time to.
///
/// # Safety
///
/// The folio has to be valid.
unsafe fn look_too_early(folio: *mut bindings::folio) -> bool {
    // SAFETY: By the contract of this function.
    let is_pinned = || unsafe { bindings::folio_maybe_dma_pinned(folio) };
    if is_pinned() {
        return true;
    }
    // SAFETY: As above.
    if unsafe { bindings::folio_mapped(folio) } {
        for _ in 0..PAUSES {
            if is_pinned() {
                break;
            }
            fsleep(PAUSE);
        }
    }
    false
}

/// Whether what the pass of a context is at counts as held, by what was seen too early.
///
/// # Safety
///
/// The context has to be a pass's.
pub(super) unsafe fn was_held<U: WritebackOperations>(
    wpc: NonNull<bindings::iomap_writepage_ctx>,
) -> bool {
    // SAFETY: The first part of a pass, by the contract of this function.
    unsafe { (*wpc.cast::<Pass<'_, U>>().as_ptr()).unprotected.was_held }
}

/// Has the device write what the pass has so far, and then write-protects the folio.
///
/// # Safety
///
/// The context has to be a pass's, and the folio valid and locked.
pub(super) unsafe fn submit_and_protect<U: WritebackOperations>(
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
) {
    // SAFETY: By the contract of this function, here as below.
    if !unsafe { (*wpc).wb_ctx }.is_null() {
        // SAFETY: There is an ioend.
        unsafe { WritebackTable::<U>::writeback_submit(wpc, 0) };
        // SAFETY: As above.
        unsafe { (*wpc).wb_ctx = core::ptr::null_mut() };
    }
    fsleep(PAUSE);
    // SAFETY: As above.
    unsafe { bindings::folio_mkclean(folio) };
}
