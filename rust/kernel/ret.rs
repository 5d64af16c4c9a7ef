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

/// 0, or an error number below 0, of the type that ioctls have.
pub(super) fn long(result: Result) -> c_long {
    // CAST: from 32 bits to as many or more.
    int(result) as c_long
}

/// How many bytes, or an error number below 0.
pub(super) fn len(result: Result<usize>) -> c_int {
    result
        .and_then(|len| c_int::try_from(len).map_err(|_| ERANGE))
        .unwrap_or_else(|error| error.to_errno())
}

/// As [`len`], of the type that file operations have.
pub(super) fn ssize_t(result: Result<usize>) -> isize {
    result
        .and_then(|len| isize::try_from(len).map_err(|_| ERANGE))
        // CAST: from 32 bits to 64.
        .unwrap_or_else(|error| error.to_errno() as isize)
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

/// How many bytes, or the error, that C returned.
pub(super) fn to_ssize_t(bytes: isize) -> Result<usize> {
    // CAST: C returns no other negative numbers than `-MAX_ERRNO` and above.
    usize::try_from(bytes).map_err(|_| Error::from_errno(bytes as c_int))
}
