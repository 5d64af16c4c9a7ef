// SPDX-License-Identifier: GPL-2.0

//! What cannot be given up for want of memory: tried → waited → tried again.

use ::kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How long it takes to look for memory again that was not there.
const PAUSE: Delta = Delta::from_millis(20);

/// Does something that must not fail for want of memory, and has changed nothing where it did, again until
/// there is some: what would lose data otherwise, or leave something half done.
///
/// # Context
///
/// Sleeps. With a handle started, as well: so does whoever allocates what must not fail.
pub(super) fn with_memory<T>(mut step: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match step() {
            Err(error) if error == ENOMEM => fsleep(PAUSE),
            result => return result,
        }
    }
}
