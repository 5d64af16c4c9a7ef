// SPDX-License-Identifier: GPL-2.0

//! Regular files.

use super::{
    ioctl,
    File,
    Stablefs, //
};
use crate::kernel::{
    address_space,
    file, //
};
use ::kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

/// Operations on open files.
struct Operations;

#[vtable]
impl file::Operations for Operations {
    type FileSystem = Stablefs;

    fn unlocked_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
        ioctl::ioctl(file, cmd, arg)
    }

    fn compat_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
        ioctl::compat_ioctl(file, cmd, arg)
    }
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
