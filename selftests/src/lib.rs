// SPDX-License-Identifier: GPL-2.0

//! What the selftests and their runner share.
//!
//! A test is a [`program::Program`]: what it [needs](needs::Needs), and its cases, each one result line. The runner
//! (bin `run_kselftest`) asks a program for its needs, makes and mounts the volume, runs the program, checks the
//! volume and judges the kernel log. All tests are linked into one program, bin `selftests`, that is installed under
//! the name of each.

pub mod aio;
pub mod blockdev;
pub mod cgroup;
pub mod child;
pub mod command;
pub mod counters;
pub mod dax;
pub mod devices;
pub mod faults;
pub mod filesystem;
pub mod handle;
pub mod injection;
pub mod ioctl;
pub mod kmemleak;
pub mod kmsg;
pub mod ktap;
pub mod mapping;
pub mod meeting;
pub mod memory;
pub mod model;
pub mod module;
pub mod mount_context;
pub mod mounted;
pub mod needs;
pub mod pins;
pub mod poison;
pub mod populate;
pub mod program;
pub mod real_programs;
pub mod rummage;
pub mod scratch;
pub mod scsi;
pub mod scsi_debug;
pub mod seed;
pub mod splat;
pub mod storer;
pub mod superblock;
pub mod tracee;
pub mod trial;
pub mod uring;
pub mod volume;
pub mod walk;
pub mod words;
pub mod worker;
pub mod write_log;
