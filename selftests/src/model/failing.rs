// SPDX-License-Identifier: GPL-2.0

//! Operations of which some fail for want of memory.

use anyhow::Result;
use rustix::io::Errno;

use crate::injection::Nth;
use crate::seed::Bytes;

/// Whether operations fail, and how the last one did.
#[derive(Default)]
pub(super) struct Failing {
    nth: Option<Nth>,
    /// Memory was missing in the last operation.
    missed: bool,
    failed: u64,
    survived: u64,
}

impl Failing {
    /// From now on some fail, of this thread.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.nth = Some(Nth::of_this_thread()?);
        Ok(())
    }

    /// From now on none does.
    pub(super) fn end(&mut self) {
        self.nth = None;
        self.missed = false;
    }

    /// How many operations came to nothing, and how many did not although memory was missing.
    pub(super) fn failed(&self) -> (u64, u64) {
        (self.failed, self.survived)
    }

    /// Carries out an operation.
    pub(super) fn call<T, E: Reason>(
        &mut self,
        random: &mut Bytes,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>> {
        /// Allocations of one operation, or more.
        const MOST: u64 = 24;
        self.missed = false;
        let Some(nth) = self.nth.as_ref().filter(|_| random.one_in(2)) else {
            return Ok(call());
        };
        // More often one of the first.
        let most = 1 + random.below(MOST);
        let n = 1 + random.below(most);
        let (result, missed) = nth.fail(n as u32, call)?;
        self.missed = missed;
        if missed {
            match &result {
                Err(e) if e.is_no_memory() => self.failed += 1,
                _ => self.survived += 1,
            }
        }
        Ok(result)
    }

    /// Whether the last operation has failed because it was made to.
    pub(super) fn is_reason_of<E: Reason>(&self, error: &E) -> bool {
        self.missed && error.is_no_memory()
    }
}

/// An error that can be for want of memory.
pub(super) trait Reason {
    /// Whether it is.
    fn is_no_memory(&self) -> bool;
}

impl Reason for Errno {
    fn is_no_memory(&self) -> bool {
        *self == Errno::NOMEM
    }
}

impl Reason for anyhow::Error {
    fn is_no_memory(&self) -> bool {
        let io = self.downcast_ref::<std::io::Error>();
        let of_io = io.and_then(Errno::from_io_error);
        of_io.or_else(|| self.downcast_ref().copied()) == Some(Errno::NOMEM)
    }
}
