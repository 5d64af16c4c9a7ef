// SPDX-License-Identifier: GPL-2.0

//! The extent map as values: `rust/extent_map` of stablefs as a crate of its own, so that its tests
//! run on the host. The module compiles the same files as `crate::extent_map`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[path = "mod.rs"]
mod extent_map;

use ::ondisk;

pub use extent_map::*;
