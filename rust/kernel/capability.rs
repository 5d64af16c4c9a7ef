// SPDX-License-Identifier: GPL-2.0

//! What the current task may do beyond what others may.
//!
//! C header: [include/linux/capability.h](srctree/include/linux/capability.h)

use crate::bindings;
use ::kernel::prelude::*;

/// Whether the task administers the system, in the first user namespace (`CAP_SYS_ADMIN`).
pub(crate) fn is_sys_admin() -> bool {
    // CAST: one of the smallest numbers.
    // SAFETY: The function has no preconditions.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
}

/// Whether the task may use what is reserved for the administrator, in the first user namespace
/// (`CAP_SYS_RESOURCE`).
pub(crate) fn has_sys_resource() -> bool {
    // CAST: one of the smallest numbers.
    // SAFETY: The function has no preconditions.
    unsafe { bindings::capable(bindings::CAP_SYS_RESOURCE as c_int) }
}
