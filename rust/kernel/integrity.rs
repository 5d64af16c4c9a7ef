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
    super_block::OnDevice, //
};
use crate::bindings;
use ::kernel::{
    container_of,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// The verifier of all reads of a volume.
///
/// # Invariants
///
/// The workqueue is valid, and nobody else's. There is a queue for each number that a CPU can have;
/// they stay where they are, and their works are initialised.
pub(crate) struct Verifier {
    workqueue: NonNull<bindings::workqueue_struct>,
    /// Of several CPUs on which reads end, each verifies its own.
    queues: KVec<Queue>,
}

// SAFETY: A workqueue may be used, and destroyed, by any thread.
unsafe impl Send for Verifier {}
// SAFETY: The queues can be added to by any thread, and else are used by their works only.
unsafe impl Sync for Verifier {}

/// Reads that a device has finished.
///
/// Added to one by one, and taken from all at once, so that a list linked through `io_private` does
/// without a lock.
#[repr(C)]
struct Queue {
    /// First, so that C's pointer to it is one to all.
    work: Opaque<bindings::work_struct>,
    /// The last added, or null. Each is ours alone as long as it is in here.
    ///
    /// Not null only from the time that somebody adds to an empty list, and will queue the work,
    /// until the work takes the list: so whoever queues the work still has a read to wait for, and
    /// with it a [`Verifier`].
    last: Atomic<*mut bindings::iomap_ioend>,
}

impl Verifier {
    /// A verifier, if the block device has data whose guard tags can be verified.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &OnDevice) -> Result<Option<Self>> {
        // SAFETY: Open as long as `sb`.
        if !unsafe { bindings::bdev_has_integrity_csum(sb.bdev()) } {
            return Ok(None);
        }
        let cpus = usize::try_from(nr_cpu_ids()).map_err(|_| EINVAL)?;
        let mut queues = KVec::with_capacity(cpus, GFP_KERNEL)?;
        for _ in 0..cpus {
            let queue = Queue {
                work: Opaque::zeroed(),
                last: Atomic::new(core::ptr::null_mut()),
            };
            queues.push(queue, GFP_KERNEL)?;
        }
        for queue in &queues {
            // INVARIANT: The vector is not added to any more.
            // SAFETY: The memory is ours alone; `verify` fits the queue that the work is in.
            unsafe { bindings::init_work(queue.work.get(), Some(verify)) };
        }
        // Reads can be what memory reclaim waits for.
        let flags = bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_PERCPU;
        // SAFETY: The format takes one string, which `sb` keeps valid.
        let workqueue = unsafe {
            bindings::alloc_workqueue_noprof(c"stablefs-read/%s".as_char_ptr(), flags, 0, sb.id())
        };
        Ok(Some(Self {
            workqueue: NonNull::new(workqueue).ok_or(ENOMEM)?,
            queues,
        }))
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

impl Drop for Verifier {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariants; waits for the works. None can be queued any more:
        // see `Queue::last`.
        unsafe { bindings::destroy_workqueue(self.workqueue.as_ptr()) };
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
    // CAST: to a type of at least as many bits.
    let cpu = CpuId::current().as_u32() as usize;
    // SAFETY: By the type invariants there is one for each number that a CPU can have.
    let queue = unsafe { verifier.queues.get_unchecked(cpu) };
    let mut last = queue.last.load(Relaxed);
    loop {
        // SAFETY: Ours until the list has it.
        unsafe { (*ioend).io_private = last.cast() };
        // Release: whoever takes the list sees the link, and what the device wrote.
        match queue.last.cmpxchg(last, ioend, Release) {
            Ok(_) => break,
            Err(other) => last = other,
        }
    }
    if last.is_null() {
        // CAST: a small number, for the CPU that this runs on.
        let here = bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int;
        let workqueue = verifier.workqueue.as_ptr();
        // SAFETY: Both are valid: the verifier lives until the work has run; see `Queue::last`.
        unsafe { bindings::queue_work_on(here, workqueue, queue.work.get()) };
    }
}

/// Verifies and ends reads.
///
/// # Safety
///
/// Called by a workqueue only, with the work of a [`Queue`].
unsafe extern "C" fn verify(work: *mut bindings::work_struct) {
    // SAFETY: The first part of a queue, by the contract of this function; its verifier waits for
    // the work before it is dropped.
    let queue = unsafe { &*work.cast::<Queue>() };
    // Acquire: see `end_io`.
    let mut next = queue.last.xchg(core::ptr::null_mut(), Acquire);
    while let Some(ioend) = NonNull::new(next) {
        let ioend = ioend.as_ptr();
        // SAFETY: Taken off the list, so ours alone.
        next = unsafe { (*ioend).io_private }.cast();
        // SAFETY: As above.
        let status = unsafe { (*ioend).io_bio.bi_status };
        // SAFETY: The function has no preconditions.
        let error = unsafe { bindings::blk_status_to_errno(status) };
        // SAFETY: As above, and not used any more. Here is a task, as the function wants it.
        unsafe { bindings::iomap_finish_ioends(ioend, error) };
        current::cond_resched();
    }
}
