// SPDX-License-Identifier: GPL-2.0

//! What it took to keep the promises, of one mount, as it is read in debugfs.

use crate::kernel::{
    debugfs::{
        File,
        Numbers, //
    },
    integrity::Mismatches, //
};
use ::kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Numbers of what has happened since the volume was mounted.
pub(super) struct Counters {
    waits: Atomic<u64>,
    waited_ns: Atomic<u64>,
    copied_pinned: Atomic<u64>,
    copied_referenced: Atomic<u64>,
    guard_errors_read: Mismatches,
    guard_errors_written: Atomic<u64>,
    read_again: Atomic<u64>,
    audited: Atomic<u64>,
    audit_mismatches: Atomic<u64>,
    not_audited: Atomic<u64>,
    dax_faults_4k: Atomic<u64>,
    dax_faults_2m: Atomic<u64>,
    dax_blocks_zeroed: Atomic<u64>,
    dax_bytes_placed: Atomic<u64>,
}

impl Numbers for Counters {
    const FILES: &'static [File<Self>] = &[
        File {
            name: c"page_mkwrite_waits",
            number: |counters| &counters.waits,
        },
        File {
            name: c"page_mkwrite_waited_ns",
            number: |counters| &counters.waited_ns,
        },
        File {
            name: c"folios_copied_pinned",
            number: |counters| &counters.copied_pinned,
        },
        File {
            name: c"folios_copied_referenced",
            number: |counters| &counters.copied_referenced,
        },
        File {
            name: c"guard_errors_read",
            number: |counters| &counters.guard_errors_read,
        },
        File {
            name: c"guard_errors_written",
            number: |counters| &counters.guard_errors_written,
        },
        File {
            name: c"reads_again",
            number: |counters| &counters.read_again,
        },
        File {
            name: c"blocks_audited",
            number: |counters| &counters.audited,
        },
        File {
            name: c"audit_mismatches",
            number: |counters| &counters.audit_mismatches,
        },
        File {
            name: c"blocks_not_audited",
            number: |counters| &counters.not_audited,
        },
        File {
            name: c"dax_faults_4k",
            number: |counters| &counters.dax_faults_4k,
        },
        File {
            name: c"dax_faults_2m",
            number: |counters| &counters.dax_faults_2m,
        },
        File {
            name: c"dax_blocks_zeroed",
            number: |counters| &counters.dax_blocks_zeroed,
        },
        File {
            name: c"dax_bytes_placed",
            number: |counters| &counters.dax_bytes_placed,
        },
    ];
}

impl Counters {
    /// Nothing has happened.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            waits: Atomic::new(0),
            waited_ns: Atomic::new(0),
            copied_pinned: Atomic::new(0),
            copied_referenced: Atomic::new(0),
            guard_errors_read: Arc::new(Atomic::new(0), GFP_KERNEL)?,
            guard_errors_written: Atomic::new(0),
            read_again: Atomic::new(0),
            audited: Atomic::new(0),
            audit_mismatches: Atomic::new(0),
            not_audited: Atomic::new(0),
            dax_faults_4k: Atomic::new(0),
            dax_faults_2m: Atomic::new(0),
            dax_blocks_zeroed: Atomic::new(0),
            dax_bytes_placed: Atomic::new(0),
        })
    }

    /// A store to a mapping has waited for writeback, for so many nanoseconds.
    pub(super) fn waited(&self, ns: u64) {
        add(&self.waits, 1);
        add(&self.waited_ns, ns);
    }

    /// A folio, or a part of one, was written from a copy, as it was pinned.
    pub(super) fn copied_pinned(&self) {
        add(&self.copied_pinned, 1);
    }

    /// A folio, or a part of one, was written from a copy, as it had references that nothing explains, and no pin.
    pub(super) fn copied_referenced(&self) {
        add(&self.copied_referenced, 1);
    }

    /// Where reads into the page cache are counted that do not match their protection information:
    /// also those ahead of a reader, who is not told of them.
    pub(super) fn mismatches(&self) -> Mismatches {
        self.guard_errors_read.clone()
    }

    /// A direct read does not match its protection information, and it is not the reader's memory
    /// that is to blame.
    pub(super) fn guard_error_read(&self) {
        add(&self.guard_errors_read, 1);
    }

    /// A write was rejected, as the data did not match their protection information.
    pub(super) fn guard_error_written(&self) {
        add(&self.guard_errors_written, 1);
    }

    /// A direct read was done again, as what was read first did not match.
    pub(super) fn read_again(&self) {
        add(&self.read_again, 1);
    }

    /// So many blocks were looked at again when the device had them.
    pub(super) fn audited(&self, blocks: u64) {
        add(&self.audited, blocks);
    }

    /// So many of them had changed.
    pub(super) fn audit_mismatches(&self, blocks: u64) {
        add(&self.audit_mismatches, blocks);
    }

    /// So many were to be looked at, and were not, for want of memory.
    pub(super) fn not_audited(&self, blocks: u64) {
        add(&self.not_audited, blocks);
    }

    /// A page of memory was mapped, of 2 MiB or of the smallest size.
    pub(super) fn dax_fault(&self, is_huge: bool) {
        add(
            if is_huge {
                &self.dax_faults_2m
            } else {
                &self.dax_faults_4k
            },
            1,
        );
    }

    /// So many blocks were zeroed before they were a file's.
    pub(super) fn dax_zeroed(&self, blocks: u64) {
        add(&self.dax_blocks_zeroed, blocks);
    }

    /// So many bytes were written to blocks before these were a file's.
    pub(super) fn dax_placed(&self, bytes: u64) {
        add(&self.dax_bytes_placed, bytes);
    }
}

fn add(number: &Atomic<u64>, n: u64) {
    number.fetch_add(n, Relaxed);
}
