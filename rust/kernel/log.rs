// SPDX-License-Identifier: GPL-2.0

//! Lines about a volume in the kernel's log: `stablefs (sda): message`.
//!
//! C header: [include/linux/printk.h](srctree/include/linux/printk.h),
//! [include/linux/ratelimit.h](srctree/include/linux/ratelimit.h)

use super::super_block::OnDevice;
use crate::bindings;
use ::kernel::prelude::*;
use core::fmt;

/// Prints a line at level error, unless this and other lines of this module came too fast of late.
pub(crate) fn err(sb: &OnDevice, message: fmt::Arguments<'_>) {
    print(sb, c"\x013%s (%s): %pA\n", message);
}

/// Prints a line at level warning; else as [`err`].
pub(crate) fn warn(sb: &OnDevice, message: fmt::Arguments<'_>) {
    print(sb, c"\x014%s (%s): %pA\n", message);
}

/// Prints a line at level info; else as [`err`].
pub(crate) fn info(sb: &OnDevice, message: fmt::Arguments<'_>) {
    print(sb, c"\x016%s (%s): %pA\n", message);
}

/// Stops the kernel, as the administrator wants it after an error. While it stops already, the
/// device may well be gone, and errors mean nothing.
pub(crate) fn panic(sb: &OnDevice) {
    // SAFETY: C reads and writes it as we do.
    let state = unsafe { (&raw const bindings::system_state).read_volatile() };
    if matches!(
        state,
        bindings::system_states_SYSTEM_HALT
            | bindings::system_states_SYSTEM_POWER_OFF
            | bindings::system_states_SYSTEM_RESTART
    ) {
        return;
    }
    // SAFETY: The format takes two strings, which `sb` keeps valid.
    unsafe {
        bindings::panic(
            c"%s (%s): panic because of errors=panic\n".as_char_ptr(),
            sb.type_name(),
            sb.id(),
        )
    };
}

/// `format` has a level, and takes the type's name, the volume's and the message, in this order.
fn print(sb: &OnDevice, format: &'static CStr, message: fmt::Arguments<'_>) {
    // SAFETY: The function has no preconditions.
    if !unsafe { bindings::ratelimit() } {
        return;
    }
    // SAFETY: The format takes two strings, which `sb` keeps valid until the function returns, and
    // with `%pA` the address of a `fmt::Arguments`, which this function owns.
    unsafe {
        bindings::_printk(
            format.as_char_ptr(),
            sb.type_name(),
            sb.id(),
            (&raw const message).cast::<c_void>(),
        )
    };
}
