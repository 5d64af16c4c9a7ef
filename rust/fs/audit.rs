// SPDX-License-Identifier: GPL-2.0

//! Whether the first promise is kept, asked for by the mount option `audit`: data that change between
//! their checksum and the disk are reported.
//!
//! It is the promise itself that is watched, not the device: folios are waited for as on a device with
//! protection information, whatever the device is, and each block that is written from the page cache
//! is looked at again when the device has it. What is found is told and counted; the write has not
//! failed, and says so.
//!
//! Not audited are metadata, which jbd2 writes; direct writes, which are written from a copy of their
//! own where that matters; and DAX, where nothing is written.

use super::{
    blocks,
    iomap,
    Inode,
    SuperBlock, //
};
use crate::kernel::{
    audit::{
        self,
        Auditor, //
    },
    log, //
};

impl audit::Operations for iomap::Operations {
    fn auditor(sb: &SuperBlock) -> Option<&Auditor> {
        sb.volume().auditor()
    }

    fn audited(sb: &SuperBlock, blocks: u64) {
        sb.volume().counters().audited(blocks);
    }

    fn changed(inode: &Inode, pos: u64, blocks: u64) {
        inode.sb().volume().counters().audit_mismatches(blocks);
        let number = inode.ino().get();
        let len = blocks.saturating_mul(blocks::len(inode));
        let (end, sharers) = (pos.saturating_add(len), inode.sharers(pos, len));
        log::err(
            inode.sb(),
            format_args!(
                "inode {number}: data from byte {pos} to {end} changed while they were written: \
                 mapped {sharers}"
            ),
        );
    }

    fn not_audited(inode: &Inode, pos: u64, blocks: u64) {
        inode.sb().volume().counters().not_audited(blocks);
        let number = inode.ino().get();
        let end = pos.saturating_add(blocks.saturating_mul(blocks::len(inode)));
        log::warn(
            inode.sb(),
            format_args!(
                "inode {number}: data from byte {pos} to {end} are not audited: no memory"
            ),
        );
    }
}
