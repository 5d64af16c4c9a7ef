// SPDX-License-Identifier: GPL-2.0

//! The ext4 format as values: bytes → raw fields under their C names → checked values.
//!
//! Nothing here knows a kernel type, allocates or panics: any bytes give a value or an [`Error`]
//! that names the field. What passed can be divided by and sized with.
//!
//! C header: [fs/ext4/ext4.h](srctree/fs/ext4/ext4.h), format:
//! [Documentation/filesystems/ext4/](srctree/Documentation/filesystems/ext4/index.rst).

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub mod acl;
mod block;
mod bytes;
mod checksum;
pub mod dir;
mod error;
pub mod extent;
mod features;
pub mod group;
pub mod hash;
pub mod htree;
mod incident;
pub mod inode;
pub mod journal;
mod layout;
pub mod orphan;
mod settings;
mod superblock;
mod units;
mod update;
pub mod xattr;

pub use block::Block;
pub use checksum::{
    Crc32c,
    Seed, //
};
pub use error::{
    Error,
    Result,
    Structure,
    Unsupported, //
};
pub use features::{
    Compat,
    Features,
    Incompat,
    JournalIncompat,
    RoCompat, //
};
pub use incident::{
    Cause,
    Incident,
    Incidents, //
};
pub use inode::Inode;
pub use layout::GroupNumber;
pub use settings::{
    DefaultMountOptions,
    Errors,
    Settings, //
};
pub use superblock::{
    State,
    Superblock, //
};
pub use units::{
    BlockSize,
    Blocks,
    InBlock,
    Ino,
    Lblk,
    LblkRange,
    Pblk,
    PblkRange,
    Shift, //
};
pub use update::{
    ErrorRecord,
    Free,
    Update, //
};
