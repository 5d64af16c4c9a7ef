// SPDX-License-Identifier: GPL-2.0

//! Results as C functions return them, one function for each C return type, and back.

use ::kernel::prelude::*;

/// 0, or an error number below 0.
pub(super) fn int<T>(result: Result<T>) -> c_int {
    match result {
        Ok(_) => 0,
        Err(error) => error.to_errno(),
    }
}

/// A pointer, or an error number as one.
pub(super) fn pointer<T>(result: Result<*mut T>) -> *mut T {
    result.unwrap_or_else(|error| error.to_ptr())
}

/// A position, or an error number below 0.
pub(super) fn loff_t(result: Result<i64>) -> i64 {
    result.unwrap_or_else(|error| error.to_errno().into())
}

/// The position, or the error, that C returned.
pub(super) fn to_loff_t(pos: i64) -> Result<i64> {
    if pos >= 0 {
        Ok(pos)
    } else {
        // CAST: C returns no other negative numbers than `-MAX_ERRNO` and above.
        Err(Error::from_errno(pos as c_int))
    }
}

/// How many bytes, or an error number below 0.
pub(super) fn ssize_t(result: Result<usize>) -> isize {
    match result {
        Ok(bytes) => isize::try_from(bytes).unwrap_or(isize::MAX),
        // CAST: to a type of more bits.
        Err(error) => error.to_errno() as isize,
    }
}

/// How many bytes, or the error, that C returned.
pub(super) fn to_ssize_t(bytes: isize) -> Result<usize> {
    // CAST: C returns no other negative numbers than `-MAX_ERRNO` and above.
    usize::try_from(bytes).map_err(|_| Error::from_errno(bytes as c_int))
}
