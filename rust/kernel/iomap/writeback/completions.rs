// SPDX-License-Identifier: GPL-2.0

//! What the device has finished, on its way to a task.

use super::{
    copy::{
        self,
        Copies, //
    },
    Ioend,
    WritebackOperations, //
};
use crate::{
    bindings,
    kernel::{
        audit,
        iomap::ioend::{
            self,
            Queues, //
        },
        ret,
        sched_mm::NofsScope,
        super_block::OnDevice, //
    },
    protocol::writeback::{
        End,
        Finished, //
    },
};
use ::kernel::{
    container_of,
    error::to_result,
    prelude::*, //
};
use core::{
    cmp::Ordering,
    marker::PhantomData,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::NonNull, //
};

/// What of a volume was written back, and now has something done about it in a task.
pub(crate) struct Completions<U> {
    /// Dropped first: no copy is left then.
    queues: Queues,
    copies: Copies,
    _operations: PhantomData<fn() -> U>,
}

impl<U: WritebackOperations> Completions<U> {
    /// Those of a volume, with a workqueue of their own, and with memory for copies if what is
    /// written to it must not change meanwhile.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &OnDevice) -> Result<Self> {
        Ok(Self {
            queues: Queues::new(sb, c"stablefs-write", Self::complete, ())?,
            copies: Copies::new(sb.has_stable_writes())?,
            _operations: PhantomData,
        })
    }

    /// The memory for copies.
    pub(super) fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Has an ioend end in a task.
    ///
    /// # Safety
    ///
    /// `ioend` has to be valid, and the caller's alone to submit, of an inode of type
    /// `U::FileSystem`, which has folios under writeback until it is ended.
    pub(super) unsafe fn attach(ioend: *mut bindings::iomap_ioend) {
        // SAFETY: By the contract of this function.
        let inode = unsafe { Ioend::<U::FileSystem>::from_raw(ioend) }.inode;
        let completions = &raw const *U::completions(inode.sb());
        // SAFETY: As above. It is for `end_io`, and lives as long as the volume has inodes.
        unsafe { (*ioend).io_private = completions.cast_mut().cast() };
        // SAFETY: As above; the ioend is what the function wants.
        unsafe { (*ioend).io_bio.bi_end_io = Some(Self::end_io) };
    }

    /// # Safety
    ///
    /// Called by the block layer only, or for it, with a bio of an ioend that [`attach`](Self::attach) prepared
    /// for it.
    pub(super) unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
        // SAFETY: The bio is in an ioend, by the contract of this function.
        let ioend = unsafe { container_of!(bio, bindings::iomap_ioend, io_bio) };
        // SAFETY: Valid and ours, by the contract of this function.
        let completions = unsafe { (*ioend).io_private }.cast::<Self>();
        // SAFETY: Put there when the ioend was submitted. Its inode cannot go before it is ended,
        // nor the volume before the inode.
        let completions = unsafe { &*completions };
        // SAFETY: As above.
        unsafe { completions.queues.add(ioend) };
    }

    /// # Safety
    ///
    /// Called by the workqueue of such a value only.
    unsafe extern "C" fn complete(work: *mut bindings::work_struct) {
        // What is written is what memory reclaim may be waiting for.
        let _nofs = NofsScope::memalloc_nofs_save();
        let mut list = MaybeUninit::<bindings::list_head>::uninit();
        let list = list.as_mut_ptr();
        // SAFETY: Memory of this function, which stays where it is until it returns.
        unsafe { bindings::INIT_LIST_HEAD(list) };
        // SAFETY: By the contract of this function.
        for ioend in unsafe { ioend::take(work) } {
            let ioend = ioend.as_ptr();
            // SAFETY: Ours alone; its folios are under writeback, which keeps the inode.
            unsafe { Self::audit(ioend) };
            // SAFETY: Ours alone.
            let inode = unsafe { (*ioend).io_inode };
            // C joins those only for which these are equal: of one file, and no copies.
            // SAFETY: As above.
            unsafe {
                (*ioend).io_private = match copy::is_copy((*ioend).io_flags) {
                    true => ioend.cast(),
                    false => inode.cast(),
                }
            };
            // SAFETY: As above; it is in no list.
            unsafe { bindings::list_add_tail(&raw mut (*ioend).io_list, list) };
        }
        // SAFETY: A list of ioends, which are ours alone.
        unsafe { bindings::list_sort(core::ptr::null_mut(), list, Some(compare)) };
        loop {
            // SAFETY: A list of ioends, which are ours alone.
            let ioend = unsafe { bindings::ioend_list_pop(list) };
            if ioend.is_null() {
                break;
            }
            // SAFETY: As above; this one is not in the list any more.
            unsafe { bindings::iomap_ioend_try_merge(ioend, list) };
            // SAFETY: Ours alone, with all that have been joined to it; not used any more. The inode
            // stays as long as it has folios under writeback.
            let ended = unsafe { Ended::<U>::from_raw(ioend) };
            U::ended(Finished::new(ended));
            // SAFETY: No lock is held here.
            unsafe { bindings::cond_resched() };
        }
    }

    /// # Safety
    ///
    /// `raw` has to be an ioend that was taken from the queue, and not ended.
    unsafe fn audit(raw: *mut bindings::iomap_ioend) {
        // SAFETY: By the contract of this function, as long as its folios are under writeback.
        let ioend = unsafe { Ioend::<U::FileSystem>::from_raw(raw) };
        // SAFETY: As above.
        unsafe { audit::compare::<U>(ioend.inode, ioend.pos, &raw const (*raw).io_bio) };
    }
}

/// An ioend that the device has finished, and those that were joined to it.
///
/// # Invariants
///
/// The ioend is valid, this value's alone, and not in any list but of those joined to it.
pub(crate) struct Ended<'a, U: WritebackOperations> {
    raw: NonNull<bindings::iomap_ioend>,
    ioend: Ioend<'a, U::FileSystem>,
}

impl<U: WritebackOperations> Ended<'_, U> {
    /// # Safety
    ///
    /// `raw` has to be as the type wants it, and its inode to stay until it is ended.
    unsafe fn from_raw(raw: *mut bindings::iomap_ioend) -> Self {
        Self {
            // SAFETY: Valid by the contract of this function.
            raw: unsafe { NonNull::new_unchecked(raw) },
            // SAFETY: By the contract of this function.
            ioend: unsafe { Ioend::from_raw(raw) },
        }
    }

    fn finish(&mut self, error: c_int) {
        let raw = self.raw.as_ptr();
        if self.ioend.is_copy {
            // SAFETY: Ours alone, and not used any more. Here is a task.
            unsafe { copy::end(raw, error) };
        } else {
            // SAFETY: As above.
            unsafe { bindings::iomap_finish_ioends(raw, error) };
        }
    }
}

impl<U: WritebackOperations> End for Ended<'_, U> {
    type Result = Result;

    fn record(&mut self) -> Result {
        // SAFETY: Valid by the type invariants.
        let status = unsafe { (*self.raw.as_ptr()).io_bio.bi_status };
        // SAFETY: The function has no preconditions.
        let written = to_result(unsafe { bindings::blk_status_to_errno(status) });
        let recorded = <U as WritebackOperations>::end_io(&self.ioend, written);
        written.and(recorded)
    }

    fn end_writeback(self, recorded: Result) {
        ManuallyDrop::new(self).finish(ret::int(recorded));
    }
}

impl<U: WritebackOperations> Drop for Ended<'_, U> {
    fn drop(&mut self) {
        // The disk does not know of it.
        self.finish(EIO.to_errno());
    }
}

/// By file, and in it by position: what belongs together comes together.
///
/// # Safety
///
/// `a` and `b` are in the `io_list` of ioends that are the caller's alone.
unsafe extern "C" fn compare(
    _priv: *mut c_void,
    a: *const bindings::list_head,
    b: *const bindings::list_head,
) -> c_int {
    let key = |list: *const bindings::list_head| {
        // SAFETY: By the contract of this function.
        let ioend = unsafe { container_of!(list, bindings::iomap_ioend, io_list) };
        // SAFETY: As above.
        unsafe { ((*ioend).io_inode, (*ioend).io_offset) }
    };
    match key(a).cmp(&key(b)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
