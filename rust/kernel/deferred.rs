// SPDX-License-Identifier: GPL-2.0

//! What is to be done for a superblock, and cannot be where that turns out: a handle is started there,
//! or locks are held.
//!
//! idle → queued (any task) → done (a worker): idle
//!
//! C header: [include/linux/workqueue.h](srctree/include/linux/workqueue.h)

use super::super_block::{
    Operations,
    SuperBlock, //
};
use crate::bindings;
use ::kernel::{
    prelude::*,
    types::Opaque, //
};

/// A work item of a superblock.
///
/// # Invariants
///
/// Once it is initialised, it stays where it is; it is queued only while the superblock has its data,
/// and nobody queues it any more when it is cancelled.
#[repr(C)]
pub(super) struct Deferred {
    /// First, so that C's pointer to it is one to all.
    work: Opaque<bindings::work_struct>,
    sb: *mut bindings::super_block,
}

impl Deferred {
    /// One that is to be [initialised](Self::init).
    pub(super) fn new(sb: *mut bindings::super_block) -> Self {
        Self {
            work: Opaque::zeroed(),
            sb,
        }
    }

    /// Makes it one that calls [`Operations::deferred`].
    ///
    /// # Safety
    ///
    /// Nobody else uses it yet, and it stays where it is from now on. Its superblock is of type `T`.
    pub(super) unsafe fn init<T: Operations>(&self) {
        // SAFETY: By the contract of this function; `run` gets the work of such a value, as it wants.
        unsafe { bindings::init_work(self.work.get(), Some(run::<T>)) };
    }

    /// Has it be done soon, unless it is queued already. One that is being done is done again.
    ///
    /// # Safety
    ///
    /// Initialised, and the superblock has its data until it is [cancelled](Self::cancel).
    pub(super) unsafe fn queue(&self) {
        // CAST: a small number, for any CPU.
        let anywhere = bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int;
        // SAFETY: Set when the kernel boots, and not changed.
        let workqueue = unsafe { bindings::system_dfl_wq };
        // SAFETY: Both are valid, the work until it is cancelled.
        unsafe { bindings::queue_work_on(anywhere, workqueue, self.work.get()) };
    }

    /// Waits for what was queued before.
    ///
    /// # Safety
    ///
    /// As [`queue`](Self::queue).
    ///
    /// # Context
    ///
    /// Sleeps. Nothing may be held that the work waits for.
    pub(super) unsafe fn flush(&self) {
        // SAFETY: Initialised, by the contract of this function.
        unsafe { bindings::flush_work(self.work.get()) };
    }

    /// Has it not be done any more, and waits for it if it is being done.
    ///
    /// # Safety
    ///
    /// Initialised; nobody queues it from now on.
    ///
    /// # Context
    ///
    /// As [`flush`](Self::flush).
    pub(super) unsafe fn cancel(&self) {
        // SAFETY: Initialised, by the contract of this function.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
    }
}

/// # Safety
///
/// Called by the workqueue only, with the work of a [`Deferred`] of a superblock of type `T`.
unsafe extern "C" fn run<T: Operations>(work: *mut bindings::work_struct) {
    // SAFETY: The first part of one, by the contract of this function, which is not dropped before it
    // is cancelled.
    let deferred = unsafe { &*work.cast::<Deferred>() };
    // SAFETY: The superblock has its data until the work is cancelled.
    T::deferred(unsafe { SuperBlock::from_raw(deferred.sb) });
}
