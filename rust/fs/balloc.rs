// SPDX-License-Identifier: GPL-2.0

use super::{
    transaction::Transaction,
    Inode,
    SuperBlock, //
};
use crate::{
    allocation::Who,
    kernel::jbd2::Credits,
    ondisk::{
        Blocks,
        Ino,
        Lblk,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::prelude::*;

pub(super) struct Want {
    pub(super) goal: Option<Pblk>,
    pub(super) lblk: Lblk,
    pub(super) wanted: Blocks,
    pub(super) who: Who,
}

pub(super) const NEW: Credits = Credits::blocks(2);

pub(super) fn free_credits(_sb: &SuperBlock, _n: Blocks) -> Credits {
    Credits::blocks(10)
}

pub(super) fn new_blocks(_: &Transaction<'_>, _: &Inode, _: &Want) -> Result<PblkRange> {
    Err(ENOSPC)
}

pub(super) fn free_blocks(_: &Transaction<'_>, _: Ino, _: PblkRange) -> Result {
    Err(ENOSPC)
}
