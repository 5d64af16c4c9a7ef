// SPDX-License-Identifier: GPL-2.0

//! The task that runs.
//!
//! C headers: [include/linux/cred.h](srctree/include/linux/cred.h),
//! [include/linux/sched.h](srctree/include/linux/sched.h),
//! [include/linux/sched/signal.h](srctree/include/linux/sched/signal.h)

use crate::bindings;
use ::kernel::prelude::*;

/// Lets other tasks run, if they should: to be called now and then by those who have long work to do.
///
/// # Context
///
/// May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: There always is a task that runs. Where it may not sleep this is a bug, as with all that
    // sleeps, but none of memory.
    unsafe { bindings::cond_resched() };
}

/// Whether the task accesses files as that user, in the first user namespace.
pub(crate) fn fsuid_is(uid: u32) -> bool {
    // SAFETY: There always is a task that runs.
    unsafe { bindings::current_fsuid_is(uid) }
}

/// Whether the task is in that group, in the first user namespace.
pub(crate) fn is_in_group(gid: u32) -> bool {
    // SAFETY: There always is a task that runs.
    unsafe { bindings::current_in_group(gid) }
}

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
