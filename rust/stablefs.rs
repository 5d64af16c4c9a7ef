// SPDX-License-Identifier: GPL-2.0

//! stablefs: mounts ext4 volumes, and keeps three promises about their data. What is written is
//! stable while its checksum is computed and until the device has it; a block is never seen before
//! it is initialised; after a failed write nothing goes back in time.
//!
//! | module | what it is | knows |
//! | --- | --- | --- |
//! | [`fs`] | the filesystem: policy | `kernel`, `protocol`, `allocation`, `extent_map`, `extent_tree`, `ondisk` |
//! | [`kernel`] | safe abstractions over C subsystems | `bindings`, `protocol` |
//! | [`protocol`] | in which order the promises want steps to be taken, as types | nobody |
//! | [`allocation`] | which blocks and inodes to take, as values | `ondisk` |
//! | [`extent_map`] | what is known of where a file's blocks are, as values | `ondisk` |
//! | [`extent_tree`] | changes of the trees that tell it on the disk | `ondisk` |
//! | [`ondisk`] | the ext4 format as values | nobody |
//! | [`bindings`] | C declarations and shims | C |
//!
//! [`kernel`] and [`bindings`] hold all `unsafe` code. What knows no kernel, [`ondisk`],
//! [`allocation`], [`extent_map`], [`extent_tree`] and [`protocol`], are Cargo crates, too, whose
//! tests run on the host.
//!
//! The kernel's own Rust crate has the name of one of these modules. A path says which is meant:
//! `::kernel` is the crate, `crate::kernel` the module.

#![deny(unexpected_cfgs, unsafe_code)]

pub mod allocation;
#[allow(unsafe_code)]
mod bindings;
pub mod extent_map;
pub mod extent_tree;
mod fs;
#[allow(unsafe_code)]
mod kernel;
pub mod ondisk;
pub mod protocol;

#[cfg(stablefs_controls)]
use self::kernel::control::Control;
use ::kernel::prelude::*;

module! {
    type: Stablefs,
    name: "stablefs",
    authors: ["stablefs developers"],
    description: "ext4 volumes with stable data, initialised data and honest failure",
    license: "GPL",
    alias: ["fs-stablefs"],
}

/// The module, as long as it is loaded.
struct Stablefs {
    _registration: fs::Registration,
    #[cfg(stablefs_controls)]
    _leak: LeakOnExit,
}

impl ::kernel::Module for Stablefs {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        #[cfg(stablefs_controls)]
        Control::check()?;
        Ok(Self {
            #[cfg(stablefs_controls)]
            _leak: LeakOnExit,
            _registration: fs::register()?,
        })
    }
}

/// Loses memory each time the module is unloaded, with the controls of the load and unload test.
#[cfg(stablefs_controls)]
struct LeakOnExit;

#[cfg(stablefs_controls)]
impl Drop for LeakOnExit {
    fn drop(&mut self) {
        let len = if Control::LeakOnExit.is_on() {
            64 << 10
        } else if Control::LeakObjectOnExit.is_on() {
            200
        } else {
            return;
        };
        match KVec::<u8>::with_capacity(len, GFP_KERNEL) {
            Ok(lost) => core::mem::forget(lost),
            Err(_) => pr_err!("no memory to lose\n"),
        }
    }
}
