// SPDX-License-Identifier: GPL-2.0

//! The ext4 format as values: `rust/ondisk` of stablefs as a crate of its own, so that its tests
//! run on the host. The module compiles the same files as `crate::ondisk`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[path = "mod.rs"]
mod ondisk;

pub use ondisk::*;
