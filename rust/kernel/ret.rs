// SPDX-License-Identifier: GPL-2.0

//! Results as C functions return them, one function for each C return type.

use ::kernel::prelude::*;

/// 0, or an error number below 0.
pub(super) fn int<T>(result: Result<T>) -> c_int {
    match result {
        Ok(_) => 0,
        Err(error) => error.to_errno(),
    }
}
