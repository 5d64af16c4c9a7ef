// SPDX-License-Identifier: GPL-2.0

//! Reads from devices with protection information, verified by the filesystem.
//!
//! submitted → finished by the device (any context) → queued → verified, and ended (a worker)
//!
//! A bio that iomap makes for [`IOMAP_F_INTEGRITY`](bindings::IOMAP_F_INTEGRITY) carries the guard
//! and reference tags of what it reads, and the block layer leaves the comparison to whoever
//! submitted it. iomap compares when a bio is an ioend and ends in [`bindings::iomap_finish_ioends`],
//! which wants a task. To get there is what this file does.
//!
//! C header: [include/linux/bio-integrity.h](srctree/include/linux/bio-integrity.h)

use super::{
    current,
    errno,
    iomap::ioend,
    super_block::OnDevice, //
};
use crate::bindings;
use ::kernel::{
    container_of,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// How many bios were read into the page cache that did not match.
pub(crate) type Mismatches = Arc<Atomic<u64>>;

/// The verifier of all reads of a volume.
pub(crate) struct Verifier(ioend::Queues<Mismatches>);

impl Verifier {
    /// A verifier, if the block device has data whose guard tags can be verified. Of direct reads it
    /// counts nothing, as those that do not match may be done again.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &OnDevice, mismatches: Mismatches) -> Result<Option<Self>> {
        // SAFETY: Open as long as `sb`.
        if !unsafe { bindings::bdev_has_integrity_csum(sb.bdev()) } {
            return Ok(None);
        }
        let queues = ioend::Queues::new(sb, c"stablefs-read", verify, mismatches)?;
        Ok(Some(Self(queues)))
    }

    /// Makes an ioend of a bio, to be submitted with [`end_io`] for its end.
    ///
    /// # Safety
    ///
    /// `bio` has to be complete but for its `bi_end_io`, the caller's alone, from
    /// [`bindings::iomap_ioend_bioset`], and to be read for `inode` from position `pos` on. `self`
    /// has to outlive it.
    pub(super) unsafe fn attach(
        &self,
        inode: *mut bindings::inode,
        bio: *mut bindings::bio,
        pos: i64,
        flags: u16,
    ) {
        // SAFETY: By the contract of this function.
        let ioend = unsafe { bindings::iomap_init_ioend(inode, bio, pos, flags) };
        // SAFETY: C returned the ioend that the bio is in.
        unsafe { (*ioend).io_private = (&raw const *self).cast_mut().cast() };
    }
}

/// Has a read that the device has finished verified.
///
/// # Safety
///
/// Called by the block layer only, with a bio that [`Verifier::attach`] made an ioend of.
///
/// # Context
///
/// Any, interrupts included.
pub(super) unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
    // SAFETY: The bio is in an ioend, by the contract of this function.
    let ioend = unsafe { container_of!(bio, bindings::iomap_ioend, io_bio) };
    // SAFETY: Valid and ours, by the contract of this function.
    let verifier = unsafe { (*ioend).io_private }.cast::<Verifier>();
    // SAFETY: `attach` put it there, and it lives at least until the ioend is ended.
    let verifier = unsafe { &*verifier };
    // SAFETY: As above.
    unsafe { verifier.0.add(ioend) };
}

/// Verifies and ends reads.
///
/// # Safety
///
/// Called by the workqueue of a [`Verifier`] only.
unsafe extern "C" fn verify(work: *mut bindings::work_struct) {
    // SAFETY: By the contract of this function; the queues are those of a `Verifier`.
    let mismatches = unsafe { ioend::data::<Mismatches>(work) };
    // SAFETY: As above.
    for ioend in unsafe { ioend::take(work) } {
        let ioend = ioend.as_ptr();
        // SAFETY: Taken off the queue, so ours alone; and so below.
        let (status, flags) = unsafe { ((*ioend).io_bio.bi_status, (*ioend).io_flags) };
        // SAFETY: As above.
        let bio = unsafe { &raw mut (*ioend).io_bio };
        // SAFETY: The function has no preconditions.
        let error = unsafe { bindings::blk_status_to_errno(status) };
        let is_direct = u32::from(flags) & bindings::IOMAP_IOEND_DIRECT != 0;
        if !is_direct {
            // What has come of verifying it is found in the ioend, which goes with its bio.
            // SAFETY: Valid.
            unsafe { bindings::bio_get(bio) };
        }
        // SAFETY: Ours. Here is a task, as the function wants it.
        unsafe { bindings::iomap_finish_ioends(ioend, error) };
        if !is_direct {
            // SAFETY: Valid as long as the bio, of which the reference from above is left.
            let error = to_result(unsafe { (*ioend).io_error });
            // SAFETY: That reference; neither is used any more.
            unsafe { bindings::bio_put(bio) };
            if error == Err(errno::eilseq()) {
                mismatches.fetch_add(1, Relaxed);
            }
        }
        current::cond_resched();
    }
}
