// SPDX-License-Identifier: GPL-2.0

//! What time it is.
//!
//! C header: [include/linux/timekeeping.h](srctree/include/linux/timekeeping.h)

use crate::bindings;

/// Seconds since 1970; 0 for a clock that says to be before.
pub(crate) fn ktime_get_real_seconds() -> u64 {
    // SAFETY: Has no preconditions.
    let seconds = unsafe { bindings::ktime_get_real_seconds() };
    u64::try_from(seconds).unwrap_or(0)
}
