// SPDX-License-Identifier: GPL-2.0

//! The pages of regular files, and of the symbolic links that are too long for an inode.

use super::{
    iomap,
    Inode,
    Stablefs, //
};
use crate::kernel::{
    self,
    address_space::{
        self,
        Readahead, //
    },
    folio, //
};
use ::kernel::prelude::*;

/// Operations on pages.
struct Operations;

impl address_space::Operations for Operations {
    type FileSystem = Stablefs;

    fn read_folio(folio: folio::Locked<'_, Stablefs>) -> Result<folio::BeingRead<'_>> {
        Ok(kernel::iomap::read_folio::<iomap::Operations>(folio))
    }

    fn readahead(rac: Readahead<'_, Stablefs>) {
        kernel::iomap::readahead::<iomap::Operations>(rac);
    }

    fn bmap(inode: &Inode, block: u64) -> u64 {
        kernel::iomap::bmap::<iomap::Operations>(inode, block)
    }
}

/// Operations on the pages of an inode.
pub(super) fn ops() -> address_space::Ops<Stablefs> {
    address_space::Ops::new::<Operations>()
}
