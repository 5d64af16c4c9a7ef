// SPDX-License-Identifier: GPL-2.0

//! Inodes that are to go, and have pages that somebody uses who has not mapped them: a device, or a pipe.
//!
//! kept (who gives the file up) → asked for, again and again (a worker) → nobody uses them: given up there
//!
//! Whoever evicted such an inode would wait for that, where nothing interrupts him, and it may be he himself who uses the
//! page: C closes the files of a task that exits one after the other.
//!
//! C header: [include/linux/workqueue.h](srctree/include/linux/workqueue.h)

use super::{
    current,
    inode::Inode,
    super_block::Operations,
    vfs::FileSystemType, //
};
use crate::bindings;
use ::kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    types::Opaque, //
};

/// How long until they are asked for again, in milliseconds.
const PAUSE: u32 = 500;

/// Inodes of a superblock that are kept.
///
/// # Invariants
///
/// Initialised, as long as there is a value, which is not dropped before it is stopped.
#[pin_data]
#[repr(C)]
pub(super) struct Lingering<T: FileSystemType> {
    /// First, so that C's pointer to it is one to all.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    /// `None` once nobody can be added.
    #[pin]
    inodes: Mutex<Option<KVVec<ARef<Inode<T>>>>>,
}

impl<T: Operations> Lingering<T> {
    /// None yet, of a superblock of type `T`.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: Ours alone; `run` gets the work of such a value, which stays where it is.
            work <- Opaque::ffi_init(|work| unsafe {
                bindings::init_delayed_work(work, Some(run::<T>))
            }),
            inodes <- new_mutex!(Some(KVVec::new()), "stablefs::lingering"),
        })
    }

    /// Keeps an inode until [`Operations::is_unused`] says so.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` once this is [stopped](Self::stop).
    pub(super) fn keep(&self, inode: ARef<Inode<T>>) -> Result {
        let mut inodes = self.inodes.lock();
        let kept = (*inodes).as_mut().ok_or(EBUSY)?;
        kept.push(inode, GFP_KERNEL)?;
        // SAFETY: Not stopped yet, which takes the mutex.
        unsafe { self.queue(0) };
        Ok(())
    }

    /// # Safety
    ///
    /// It is not being stopped, or C refuses.
    unsafe fn queue(&self, delay: Jiffies) {
        // CAST: a small number, for any CPU.
        let anywhere = bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int;
        // SAFETY: Set when the kernel boots, and not changed.
        let workqueue = unsafe { bindings::system_dfl_wq };
        // SAFETY: Both are valid, the work until it is stopped.
        unsafe { bindings::queue_delayed_work_on(anywhere, workqueue, self.work.get(), delay) };
    }

    /// Gives up those that nobody uses any more; whether some are left.
    fn give_up(&self) -> bool {
        let mut at: usize = 0;
        loop {
            // Nobody else takes any away.
            let inode = match &*self.inodes.lock() {
                Some(inodes) => inodes.get(at).cloned(),
                None => return false,
            };
            let Some(inode) = inode else {
                return at > 0;
            };
            if T::is_unused(&inode) {
                let mut inodes = self.inodes.lock();
                let given_up = (*inodes).as_mut().map(|inodes| inodes.remove(at));
                drop(inodes);
                // Not with the mutex held, as it may be evicted now.
                drop((given_up, inode));
            } else {
                at = at.saturating_add(1);
            }
            current::cond_resched();
        }
    }
}

impl<T: FileSystemType> Lingering<T> {
    /// Gives all up.
    ///
    /// # Context
    ///
    /// Sleeps, for as long as others use their pages. Nobody can keep any from now on.
    pub(super) fn stop(&self) {
        let inodes = self.inodes.lock().take();
        // SAFETY: Initialised by the type invariants.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
        drop(inodes);
    }
}

/// # Safety
///
/// Called by the workqueue only, with the work of a [`Lingering<T>`].
unsafe extern "C" fn run<T: Operations>(work: *mut bindings::work_struct) {
    // SAFETY: The first part of the first part of one, by the contract of this function, which is not dropped before it is
    // stopped.
    let lingering = unsafe { &*work.cast::<Lingering<T>>() };
    if lingering.give_up() {
        // SAFETY: It is being done, so not stopped yet, and C does not queue what is being cancelled.
        unsafe { lingering.queue(msecs_to_jiffies(PAUSE)) };
    }
}
