// SPDX-License-Identifier: GPL-2.0

//! Changes of extent trees: `rust/extent_tree` of stablefs as a crate of its own, so that its tests
//! run on the host. The module compiles the same files as `crate::extent_tree`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[path = "mod.rs"]
mod extent_tree;

use ::ondisk;

pub use extent_tree::*;
