// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the C subsystems that the kernel's own `kernel` crate lacks: one
//! subsystem a file, C's names, no filesystem policy. With [`crate::bindings`] the only place with
//! `unsafe`.
//!
//! Two things are called `kernel`: the crate is `::kernel`, this module `crate::kernel`, and no
//! path leaves out what comes before.

pub(crate) mod address_space;
pub(crate) mod audit;
pub(crate) mod buffer;
pub(crate) mod capability;
pub(crate) mod control;
pub(crate) mod crc32c;
pub(crate) mod current;
pub(crate) mod dax;
pub(crate) mod debugfs;
mod deferred;
pub(crate) mod dentry;
pub(crate) mod dir;
pub(crate) mod errno;
pub(crate) mod exportfs;
pub(crate) mod file;
pub(crate) mod fileattr;
pub(crate) mod folio;
pub(crate) mod fs_context;
pub(crate) mod fs_parser;
pub(crate) mod fserror;
pub(crate) mod gfp;
pub(crate) mod inode;
pub(crate) mod integrity;
pub(crate) mod iomap;
pub(crate) mod jbd2;
pub(crate) mod kiocb;
mod lingering;
pub(crate) mod locks;
pub(crate) mod log;
pub(crate) mod mnt_idmapping;
pub(crate) mod posix_acl;
pub(crate) mod random;
mod ret;
pub(crate) mod sched_mm;
pub(crate) mod shrinker;
pub(crate) mod sort;
pub(crate) mod stat;
pub(crate) mod super_block;
pub(crate) mod time;
pub(crate) mod truncate;
pub(crate) mod vfs;
pub(crate) mod vm;
pub(crate) mod xattr;
