// SPDX-License-Identifier: GPL-2.0

//! What allocations of this thread may do while memory is reclaimed for them.
//!
//! C header: [include/linux/sched/mm.h](srctree/include/linux/sched/mm.h)

use crate::bindings;
use ::kernel::{
    ffi::c_uint,
    types::NotThreadSafe, //
};

/// Until this is dropped, allocations of this thread do not call into filesystems.
///
/// Such scopes may lie in each other, and end in the reverse order.
#[must_use = "the scope ends when this is dropped"]
pub(crate) struct NofsScope {
    flags: c_uint,
    _thread: NotThreadSafe,
}

impl NofsScope {
    /// Begins a scope.
    pub(crate) fn memalloc_nofs_save() -> Self {
        Self {
            // SAFETY: Changes a flag of this thread, and may be called by any.
            flags: unsafe { bindings::memalloc_nofs_save() },
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for NofsScope {
    fn drop(&mut self) {
        // SAFETY: What this thread got when the scope began, as the value cannot go elsewhere.
        unsafe { bindings::memalloc_nofs_restore(self.flags) };
    }
}
