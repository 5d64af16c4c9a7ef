// SPDX-License-Identifier: GPL-2.0

//! Regular files.

use super::Stablefs;
use crate::kernel::{
    address_space,
    file, //
};
use ::kernel::prelude::*;

/// Operations on open files.
struct Operations;

#[vtable]
impl file::Operations for Operations {
    type FileSystem = Stablefs;
}

impl address_space::Operations for Operations {
    type FileSystem = Stablefs;
}

/// Operations on open files.
pub(super) fn ops() -> file::Ops<Stablefs> {
    file::Ops::new::<Operations>()
}

/// Operations on their pages.
pub(super) fn aops() -> address_space::Ops<Stablefs> {
    address_space::Ops::new::<Operations>()
}
