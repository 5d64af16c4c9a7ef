// SPDX-License-Identifier: GPL-2.0

//! A process whose memory this one stores to as a debugger does: ptrace(2).
//!
//! held by a worker → traced, by one thread → stored to → dropped, which lets it go on

#![expect(unsafe_code, reason = "ptrace(2) has no safe form")]

use std::ptr;

use rustix::io::Errno;

/// A process that is stopped, and traced by the thread that has made this.
pub struct Tracee {
    pid: i32,
}

impl Tracee {
    /// Stops process `pid`, a child of this one, which this thread traces from now on.
    ///
    /// # Errors
    /// ptrace(2)'s or waitpid(2)'s.
    pub fn attach(pid: i32) -> Result<Self, Errno> {
        let nothing = ptr::null_mut::<libc::c_void>();
        // SAFETY: Neither request has the kernel write to memory of this process.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing) };
        result(seized)?;
        let this = Self { pid };
        // SAFETY: As above.
        result(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, nothing, nothing) })?;
        let mut status = 0;
        // SAFETY: The kernel writes to `status`.
        result(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) }.into())?;
        Ok(this)
    }

    /// Stores `word` at `address` of its memory.
    ///
    /// # Errors
    /// ptrace(2)'s.
    pub fn store(&self, address: u64, word: u64) -> Result<(), Errno> {
        // SAFETY: The kernel writes to memory of the other process.
        result(unsafe { libc::ptrace(libc::PTRACE_POKEDATA, self.pid, address, word) })
    }
}

fn result(returned: i64) -> Result<(), Errno> {
    match returned {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        let nothing = ptr::null_mut::<libc::c_void>();
        // Fails in another thread than the one that traces, whose end has the same effect.
        // SAFETY: As in `attach`.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, nothing, nothing) };
    }
}
