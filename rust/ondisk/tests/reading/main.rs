// SPDX-License-Identifier: GPL-2.0

//! What reading a volume needs, structure by structure: made from nothing with its checksums,
//! changed field by field, and damaged at random.

mod support;

mod acl;
mod dir;
mod extent;
mod group;
mod hash;
mod htree;
mod inode;
mod journal;
mod layout;
mod orphan;
mod settings;
mod xattr;
