// SPDX-License-Identifier: GPL-2.0

//! CRC-32C with the instructions that the processor has for it.
//!
//! C header: [include/linux/crc32.h](srctree/include/linux/crc32.h)

use crate::bindings;

/// The shift register after `data`, having been `seed` before; complemented at neither end.
pub(crate) fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: The slice is valid for reads of its length until the function returns.
    unsafe { bindings::crc32c(seed, data.as_ptr().cast(), data.len()) }
}
