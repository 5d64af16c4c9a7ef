// SPDX-License-Identifier: GPL-2.0

//! How memory is allocated where there is no way back, or no need.
//!
//! C header: [include/linux/gfp_types.h](srctree/include/linux/gfp_types.h)

use crate::bindings;
use ::kernel::alloc::Flags;
use core::mem::transmute;

/// Waits for memory as long as it takes, and calls no filesystem meanwhile. For less than two pages, and
/// where an error would leave something half done; as jbd2 and the buffer cache do.
///
/// # Context
///
/// Sleeps.
// SAFETY: `Flags` has one field, of type `u32`, which any bits are a value of. It is as long as that, or
// this does not compile.
pub(crate) const GFP_NOFAIL: Flags = unsafe { transmute::<u32, Flags>(bindings::GFP_NOFAIL) };

/// Waits a little for memory, calls no filesystem meanwhile, and says nothing if there is none: for what
/// can be done without.
///
/// # Context
///
/// Sleeps.
// SAFETY: As above.
pub(crate) const GFP_SPARE: Flags = unsafe { transmute::<u32, Flags>(bindings::GFP_SPARE) };
