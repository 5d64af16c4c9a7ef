// SPDX-License-Identifier: GPL-2.0

//! Error numbers that [`::kernel::error::code`] lacks. Functions, for want of a way to make a
//! constant [`Error`] outside of the kernel crate.
//!
//! C header: [include/uapi/asm-generic/errno.h](srctree/include/uapi/asm-generic/errno.h)

use crate::bindings;
use ::kernel::prelude::*;

/// A structure on the disk is broken (`EFSCORRUPTED`, which is `EUCLEAN`).
pub(crate) fn efscorrupted() -> Error {
    new(bindings::EFSCORRUPTED)
}

/// A structure on the disk does not match its checksum (`EFSBADCRC`, which is `EBADMSG`).
pub(crate) fn efsbadcrc() -> Error {
    new(bindings::EFSBADCRC)
}

/// What was asked for is not supported (`EOPNOTSUPP`).
pub(crate) fn eopnotsupp() -> Error {
    new(bindings::EOPNOTSUPP)
}

/// There is no such attribute (`ENODATA`).
pub(crate) fn enodata() -> Error {
    new(bindings::ENODATA)
}

/// The inode is not, or no longer, the one that was meant (`ESTALE`).
pub(crate) fn estale() -> Error {
    new(bindings::ESTALE)
}

/// A name is longer than names can be (`ENAMETOOLONG`).
pub(crate) fn enametoolong() -> Error {
    new(bindings::ENAMETOOLONG)
}

/// A directory is not empty (`ENOTEMPTY`).
pub(crate) fn enotempty() -> Error {
    new(bindings::ENOTEMPTY)
}

/// There are as many names as can be counted (`EMLINK`).
pub(crate) fn emlink() -> Error {
    new(bindings::EMLINK)
}

/// This has to go through the page cache (`ENOTBLK`, as iomap has it).
pub(crate) fn enotblk() -> Error {
    new(bindings::ENOTBLK)
}

/// A file is in use so that it must not change (`ETXTBSY`).
pub(crate) fn etxtbsy() -> Error {
    new(bindings::ETXTBSY)
}

/// Memory has lost what was in it.
pub(crate) fn ehwpoison() -> Error {
    new(bindings::EHWPOISON)
}

/// Data do not match their protection information (`EILSEQ`, as the block layer has it).
pub(crate) fn eilseq() -> Error {
    new(bindings::EILSEQ)
}

/// Whether the block layer says so of data that a device did not read, or not rightly.
pub(crate) fn is_read_error(error: Error) -> bool {
    [
        bindings::EIO,
        bindings::EILSEQ,
        bindings::ENODATA,
        bindings::ENODEV,
        bindings::ENOLINK,
        bindings::EREMOTEIO,
        bindings::ETIMEDOUT,
    ]
    .into_iter()
    .any(|errno| new(errno) == error)
}

fn new(errno: u32) -> Error {
    // CAST: the numbers above are at most `MAX_ERRNO`, 4095.
    Error::from_errno(-(errno as c_int))
}
