// SPDX-License-Identifier: GPL-2.0

//! The task that runs.
//!
//! C header: [include/linux/sched/signal.h](srctree/include/linux/sched/signal.h)

use crate::bindings;
use ::kernel::prelude::*;

/// To be called by those who go through much that a disk says: it is up to the disk how much.
///
/// # Errors
///
/// `EINTR` once the task is to be killed: then nobody waits for the result.
pub(crate) fn check_fatal_signal() -> Result {
    // SAFETY: There always is a task that runs.
    if unsafe { bindings::current_fatal_signal_pending() } {
        return Err(EINTR);
    }
    Ok(())
}
