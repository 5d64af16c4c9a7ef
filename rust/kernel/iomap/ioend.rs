// SPDX-License-Identifier: GPL-2.0

//! Ioends that a device has finished, on their way to a task.
//!
//! finished by the device (any context) → queued → taken (a worker)
//!
//! Bios end in interrupts, and what is left to do then may sleep.
//!
//! C header: [include/linux/iomap.h](srctree/include/linux/iomap.h)

use crate::{
    bindings,
    kernel::super_block::OnDevice, //
};
use ::kernel::{
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
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What takes the ioends of a queue, as a workqueue calls it: with the work that [`take`] wants.
pub(in crate::kernel) type TakeAll = unsafe extern "C" fn(*mut bindings::work_struct);

/// The queues of a volume for one kind of ioends, and the workqueue that takes from them.
///
/// # Invariants
///
/// The workqueue is valid, and nobody else's. There is a queue for each number that a CPU can have;
/// they stay where they are, and their works are initialised.
pub(in crate::kernel) struct Queues<D = ()> {
    workqueue: NonNull<bindings::workqueue_struct>,
    /// Of several CPUs on which bios end, each takes care of its own.
    queues: KVec<Queue<D>>,
}

// SAFETY: A workqueue may be used, and destroyed, by any thread.
unsafe impl<D: Send> Send for Queues<D> {}
// SAFETY: The queues can be added to by any thread, and else are used by their works only.
unsafe impl<D: Sync> Sync for Queues<D> {}

/// Ioends that a device has finished.
///
/// Added to one by one, and taken from all at once, so that a list linked through `io_private` does
/// without a lock.
#[repr(C)]
struct Queue<D> {
    /// First, so that C's pointer to it is one to all.
    work: Opaque<bindings::work_struct>,
    /// The last added, or null. Each is ours alone as long as it is in here.
    ///
    /// Not null only from the time that somebody adds to an empty list, and will queue the work,
    /// until the work takes the list: so whoever queues the work still has an ioend to wait for, and
    /// with it [`Queues`].
    last: Atomic<*mut bindings::iomap_ioend>,
    /// For who takes.
    data: D,
}

impl<D: Clone> Queues<D> {
    /// Queues from which `take_all` takes, in workers that show `name` and that of the volume. It may
    /// want [`data`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::kernel) fn new(
        sb: &OnDevice,
        name: &'static CStr,
        take_all: TakeAll,
        data: D,
    ) -> Result<Self> {
        let cpus = usize::try_from(nr_cpu_ids()).map_err(|_| EINVAL)?;
        let mut queues = KVec::with_capacity(cpus, GFP_KERNEL)?;
        for _ in 0..cpus {
            let queue = Queue {
                work: Opaque::zeroed(),
                last: Atomic::new(core::ptr::null_mut()),
                data: data.clone(),
            };
            queues.push(queue, GFP_KERNEL)?;
        }
        for queue in &queues {
            // INVARIANT: The vector is not added to any more.
            // SAFETY: The memory is ours alone; `take_all` gets the work of a queue, as it wants.
            unsafe { bindings::init_work(queue.work.get(), Some(take_all)) };
        }
        // What ends here can be what memory reclaim waits for.
        let flags = bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_PERCPU;
        // SAFETY: The format takes two strings, of which `sb` keeps one valid.
        let workqueue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s/%s".as_char_ptr(),
                flags,
                0,
                name.as_char_ptr(),
                sb.id(),
            )
        };
        Ok(Self {
            workqueue: NonNull::new(workqueue).ok_or(ENOMEM)?,
            queues,
        })
    }
}

impl<D> Queues<D> {
    /// Adds an ioend, for the worker to take.
    ///
    /// # Safety
    ///
    /// `ioend` has to be valid and the caller's alone, with a bio that the device has finished.
    /// `self` has to live at least until it is ended.
    ///
    /// # Context
    ///
    /// Any, interrupts included.
    pub(in crate::kernel) unsafe fn add(&self, ioend: *mut bindings::iomap_ioend) {
        // CAST: to a type of at least as many bits.
        let cpu = CpuId::current().as_u32() as usize;
        // SAFETY: By the type invariants there is one for each number that a CPU can have.
        let queue = unsafe { self.queues.get_unchecked(cpu) };
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
            let workqueue = self.workqueue.as_ptr();
            // SAFETY: Both are valid: `self` lives until the work has run; see `Queue::last`.
            unsafe { bindings::queue_work_on(here, workqueue, queue.work.get()) };
        }
    }
}

impl<D> Drop for Queues<D> {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariants; waits for the works. None can be queued any more:
        // see `Queue::last`.
        unsafe { bindings::destroy_workqueue(self.workqueue.as_ptr()) };
    }
}

/// Takes all ioends of the queue that a work belongs to. Each is the caller's alone to end, and has
/// nothing in `io_private` any more.
///
/// # Safety
///
/// `work` has to be what a [`TakeAll`] was called with, and the call not over for `'a`.
pub(in crate::kernel) unsafe fn take<'a>(work: *mut bindings::work_struct) -> Taken<'a> {
    // SAFETY: The first part of a queue, by the contract of this function, whose next one is the same
    // whatever comes after it; the workqueue waits for the work before the queue is dropped.
    let queue = unsafe { &*work.cast::<Queue<()>>() };
    // INVARIANT: Off the queue. Acquire: see `Queues::add`.
    Taken(queue.last.xchg(core::ptr::null_mut(), Acquire), PhantomData)
}

/// What the [`Queues`] were given that a work belongs to.
///
/// # Safety
///
/// As for [`take`]; and the data have to be a `D`.
pub(in crate::kernel) unsafe fn data<'a, D>(work: *mut bindings::work_struct) -> &'a D {
    // SAFETY: As in `take`, and by the contract of this function.
    let queue = unsafe { &*work.cast::<Queue<D>>() };
    &queue.data
}

/// Ioends that were taken from a queue.
///
/// # Invariants
///
/// Null, or an ioend that is this value's alone, linked through `io_private` to others such.
pub(in crate::kernel) struct Taken<'a>(*mut bindings::iomap_ioend, PhantomData<&'a ()>);

impl Iterator for Taken<'_> {
    type Item = NonNull<bindings::iomap_ioend>;

    fn next(&mut self) -> Option<Self::Item> {
        let ioend = NonNull::new(self.0)?;
        // SAFETY: Valid and ours alone by the type invariants.
        let link = unsafe { &mut (*ioend.as_ptr()).io_private };
        self.0 = core::mem::replace(link, core::ptr::null_mut()).cast();
        Some(ioend)
    }
}
