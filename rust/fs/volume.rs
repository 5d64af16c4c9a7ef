// SPDX-License-Identifier: GPL-2.0

//! What is kept for a mounted volume.

use super::{
    options::Options,
    SuperBlock, //
};
use crate::ondisk;
use core::ops::Deref;

/// A mounted volume.
pub(crate) struct Volume {
    superblock: ondisk::Superblock,
    options: Options,
}

impl Volume {
    pub(super) fn new(superblock: ondisk::Superblock, options: Options) -> Self {
        Self {
            superblock,
            options,
        }
    }

    /// The mount options in force.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }
}

impl Deref for Volume {
    type Target = ondisk::Superblock;

    /// What its superblock said when it was mounted.
    fn deref(&self) -> &ondisk::Superblock {
        &self.superblock
    }
}

impl SuperBlock {
    /// The volume.
    pub(super) fn volume(&self) -> &Volume {
        self.data()
    }
}
