// SPDX-License-Identifier: GPL-2.0

//! The filesystem: what to do with a volume. How, [`crate::kernel`] knows; what is on it,
//! [`crate::ondisk`].

#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod mount;

use crate::{
    kernel::{
        crc32c::crc32c,
        vfs, //
    },
    ondisk,
};
use ::kernel::prelude::*;

static STABLEFS: vfs::FileSystem<mount::Stablefs> = vfs::FileSystem::new(&crate::THIS_MODULE);

/// Makes volumes mountable, for as long as the value is kept.
pub(crate) fn register() -> Result<vfs::Registration> {
    STABLEFS.register()
}

/// The kernel's CRC-32C.
struct KernelCrc32c;

impl ondisk::Crc32c for KernelCrc32c {
    fn crc32c(seed: u32, data: &[u8]) -> u32 {
        crc32c(seed, data)
    }
}
