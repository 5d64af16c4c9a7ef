// SPDX-License-Identifier: GPL-2.0

use super::transaction::Transaction;
use crate::{
    kernel::jbd2::Credits,
    ondisk::Ino, //
};
use ::kernel::prelude::*;

pub(super) const CREDITS: Credits = Credits::blocks(2);

pub(super) fn free_inode(_: &Transaction<'_>, _: Ino, _: bool) -> Result {
    Err(ENOSPC)
}

pub(super) fn new_inode(
    _: &Transaction<'_>,
    _: &super::Inode,
    _: crate::allocation::Kind,
) -> Result<Ino> {
    Err(ENOSPC)
}
