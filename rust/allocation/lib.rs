// SPDX-License-Identifier: GPL-2.0

//! Allocation as values: `rust/allocation` of stablefs as a crate of its own, so that its tests run
//! on the host. The module compiles the same files as `crate::allocation`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[path = "mod.rs"]
mod allocation;

use ::ondisk;

pub use allocation::*;
