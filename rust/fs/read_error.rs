// SPDX-License-Identifier: GPL-2.0

//! Data that a reader did not get.

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
    if !errno::is_read_error(error) {
        return error;
    }
    log::err(
        inode.sb(),
        format_args!(
            "inode {}, pos {pos}, len {len}: read error {}",
            inode.ino().get(),
            error.to_errno()
        ),
    );
    EIO
}
