// SPDX-License-Identifier: GPL-2.0

//! Programs that can store to a file through their memory.

use crate::{
    bindings,
    kernel::{
        inode::Inode,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};
use core::fmt;

/// How many are named.
const NAMED: usize = 4;
const COMM_LEN: usize = bindings::TASK_COMM_LEN as usize;

/// Who has a part of a file in a mapping that is shared: some of them, if there are many.
pub(crate) struct Sharers {
    /// The first so many.
    processes: [Process; NAMED],
    found: usize,
}

/// A process.
#[derive(Clone, Copy)]
struct Process {
    /// As the first namespace numbers it; 0 if nobody owns its memory any more.
    pid: i32,
    comm: [u8; COMM_LEN],
}

impl<T: FileSystemType> Inode<T> {
    /// Who shares any of `len` bytes from `pos` on now.
    ///
    /// # Context
    ///
    /// Sleeps, and takes `i_mmap_rwsem`: folios may be locked.
    pub(crate) fn sharers(&self, pos: u64, len: u64) -> Sharers {
        // CAST: a position of a file, in pages, fits.
        let page = |pos: u64| (pos / PAGE_SIZE as u64) as c_ulong;
        let (first, last) = (page(pos), page(pos.saturating_add(len.saturating_sub(1))));
        let mut sharers = Sharers {
            processes: [Process {
                pid: 0,
                comm: [0; COMM_LEN],
            }; NAMED],
            found: 0,
        };
        let mapping = self.i_mapping();
        let mut vma = core::ptr::null_mut();
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::i_mmap_lock_read(mapping) };
        while sharers.found < NAMED {
            // SAFETY: As above; the lock is held, and the mapping one of this file, or null.
            vma = unsafe { bindings::i_mmap_next_shared(mapping, vma, first, last) };
            if vma.is_null() {
                break;
            }
            let mut comm = [0; COMM_LEN];
            // SAFETY: The lock keeps the mapping, and that keeps its address space; the name fits.
            let pid = unsafe { bindings::vma_owner(vma, comm.as_mut_ptr().cast()) };
            sharers.add(Process { pid, comm });
        }
        // SAFETY: Taken above.
        unsafe { bindings::i_mmap_unlock_read(mapping) };
        sharers
    }
}

impl Sharers {
    fn add(&mut self, process: Process) {
        let (known, free) = self.processes.split_at_mut(self.found);
        if known.iter().any(|known| known.pid == process.pid) {
            return;
        }
        if let Some(free) = free.first_mut() {
            *free = process;
            self.found = known.len().saturating_add(1);
        }
    }
}

impl fmt::Display for Sharers {
    /// All on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found == 0 {
            return f.write_str("by nobody now");
        }
        for (n, process) in self.processes.iter().take(self.found).enumerate() {
            f.write_str(if n == 0 { "by " } else { ", " })?;
            let len = process.comm.iter().position(|byte| *byte == 0);
            let comm = process.comm.get(..len.unwrap_or(COMM_LEN));
            write!(
                f,
                "{} ({})",
                process.pid,
                comm.unwrap_or(&[]).escape_ascii()
            )?;
        }
        if self.found == NAMED {
            f.write_str(", perhaps others")?;
        }
        Ok(())
    }
}
