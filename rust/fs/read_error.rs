// SPDX-License-Identifier: GPL-2.0

//! Data that a reader did not get, or whoever stores to memory could not put there.

use super::Inode;
use crate::kernel::{
    errno,
    log, //
};
use ::kernel::prelude::*;

/// Writes to the log that a reader did not get the `len` bytes from `pos` on, if it is the device's
/// fault, and returns the error that the reader gets: whatever a device says, `EIO`.
///
/// With protection information, `error` is `EILSEQ` (84) for data that do not match it, wherever that
/// was seen.
pub(super) fn report(inode: &Inode, pos: u64, len: u64, error: Error) -> Error {
    tell(inode, pos, len, "read", error)
}

/// As [`report`], of the memory that a file is in, which did not take what was to be written.
pub(super) fn report_store(inode: &Inode, pos: u64, len: u64, error: Error) -> Error {
    tell(inode, pos, len, "write", error)
}

fn tell(inode: &Inode, pos: u64, len: u64, what: &str, error: Error) -> Error {
    if !errno::is_read_error(error) {
        return error;
    }
    log::err(
        inode.sb(),
        format_args!(
            "inode {}, pos {pos}, len {len}: {what} error {}",
            inode.ino().get(),
            error.to_errno()
        ),
    );
    EIO
}
