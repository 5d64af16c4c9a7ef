// SPDX-License-Identifier: GPL-2.0

//! Journals.
//!
//! initialised → loaded (replayed): [handles](handle) are started and stopped → destroyed
//!
//! A journal that is dropped on the way is destroyed.
//!
//! C header: [include/linux/jbd2.h](srctree/include/linux/jbd2.h)

mod handle;

pub(crate) use handle::{
    Access,
    Credits,
    Handle, //
};

use super::{
    errno,
    super_block::OnDevice, //
};
use crate::bindings;
use ::kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Where the blocks of a journal are, and who waits for its commits.
pub(crate) trait Map: Send + Sync + 'static {
    /// Where block `block` of the journal is on the device; none if it has no such block.
    fn bmap(&self, block: u64) -> Option<u64>;

    /// How many blocks it has.
    fn len(&self) -> u32;

    /// Transaction `tid` is committed; or never will be, as the journal has been given up.
    ///
    /// # Context
    ///
    /// The thread that commits: sleeps, but not for what wants a commit, or a handle to be stopped.
    fn committed(&self, tid: Tid);
}

/// A journal on the device of a superblock, of which only its own superblock has been looked at.
///
/// # Invariants
///
/// The journal is valid, and this value's alone; `j_private` is a `KBox<M>`, which nobody changes.
/// The device is open for `'sb`.
#[must_use = "the journal is destroyed when this is dropped"]
pub(crate) struct Journal<'sb, M: Map>(
    NonNull<bindings::journal_t>,
    PhantomData<&'sb OnDevice>,
    PhantomData<M>,
);

impl<'sb, M: Map> Journal<'sb, M> {
    /// Reads the superblock of the journal, and makes ready for its replay. What is replayed is
    /// flushed out of the caches of the device.
    ///
    /// # Errors
    ///
    /// `EINVAL`, or what `map` and C say; C writes to the log why.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn init_dev(sb: &'sb OnDevice, map: KBox<M>) -> Result<Self> {
        let block_size = sb.block_size().ok_or(EINVAL)?.get();
        let block_size = c_int::try_from(block_size).map_err(|_| EINVAL)?;
        let len = c_int::try_from(map.len()).map_err(|_| EINVAL)?;
        let start = map.bmap(0).ok_or(EINVAL)?;
        // SAFETY: `OnDevice` guarantees an open device.
        let journal = unsafe {
            bindings::jbd2_journal_init_dev(sb.bdev(), sb.bdev(), start, len, block_size)
        };
        let journal = NonNull::new(from_err_ptr(journal)?).ok_or(ENOMEM)?;
        // Not used before: C has read the block at `start` only.
        // SAFETY: Valid, and known to nobody who looks at these fields; and so below.
        unsafe { (*journal.as_ptr()).j_private = KBox::into_raw(map).cast() };
        // SAFETY: As above.
        unsafe { (*journal.as_ptr()).j_bmap = Some(bmap::<M>) };
        // SAFETY: As above.
        unsafe { (*journal.as_ptr()).j_commit_callback = Some(committed::<M>) };
        // CAST: to a type of at least as many bits.
        // SAFETY: As above.
        unsafe { (*journal.as_ptr()).j_flags |= bindings::JBD2_BARRIER as c_ulong };
        // INVARIANT: As just made.
        Ok(Self(journal, PhantomData, PhantomData))
    }

    /// Has what is in the journal, if anything is, be forgotten. C writes to the log that it does.
    ///
    /// # Errors
    ///
    /// What C says, which writes to the log why: the journal is broken, or could not be read.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn wipe(self) -> Result<Self> {
        // SAFETY: Valid, and not loaded yet.
        to_result(unsafe { bindings::jbd2_journal_wipe(self.0.as_ptr(), 1) })?;
        Ok(self)
    }

    /// Replays what is in the journal, if anything is.
    ///
    /// # Errors
    ///
    /// What C says, which writes to the log why: the journal is broken, or could not be read, or
    /// what it says could not be written.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn load(self) -> Result<Loaded<'sb, M>> {
        // SAFETY: Valid, and not loaded yet.
        to_result(unsafe { bindings::jbd2_journal_load(self.0.as_ptr()) })?;
        Ok(Loaded(self))
    }

    /// Gives everything back. An error is that of writing for the last time.
    fn end(&mut self) -> Result {
        // SAFETY: Valid by the type invariants.
        let map = unsafe { (*self.0.as_ptr()).j_private };
        // SAFETY: Valid, and not used after this.
        let result = to_result(unsafe { bindings::jbd2_journal_destroy(self.0.as_ptr()) });
        // SAFETY: A box by the type invariants, which the journal was the only one to look at.
        drop(unsafe { KBox::<M>::from_raw(map.cast()) });
        result
    }
}

impl<M: Map> Drop for Journal<'_, M> {
    fn drop(&mut self) {
        // Whoever wants to know calls `Loaded::destroy`.
        let _ = self.end();
    }
}

/// The number of a transaction. They wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tid(bindings::tid_t);

impl Tid {
    /// As a plain number.
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

/// How a journal is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Whether each block has a checksum of its own (version 3).
    pub(crate) checksums: bool,
    /// Whether numbers of blocks have more than 32 bits.
    pub(crate) wide: bool,
}

/// A journal: what was in it has been replayed, and is on the device.
#[must_use = "the journal is destroyed when this is dropped"]
pub(crate) struct Loaded<'sb, M: Map>(Journal<'sb, M>);

// SAFETY: C's functions for a journal that is loaded can be called by any thread, and lock what they
// have to; `M` is `Send` and `Sync`.
unsafe impl<M: Map> Send for Loaded<'_, M> {}
// SAFETY: As above.
unsafe impl<M: Map> Sync for Loaded<'_, M> {}

impl<M: Map> Loaded<'_, M> {
    fn as_ptr(&self) -> *mut bindings::journal_t {
        self.0 .0.as_ptr()
    }

    /// The device that it is for.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: Valid by the type invariants; constant.
        unsafe { (*self.as_ptr()).j_fs_dev }
    }

    /// The same, as if its device were open for ever.
    ///
    /// # Safety
    ///
    /// The device has to be open for as long as the value is there.
    pub(super) unsafe fn into_static(self) -> Loaded<'static, M> {
        let this = ManuallyDrop::new(self.0);
        // INVARIANT: By the contract of this function.
        Loaded(Journal(this.0, PhantomData, PhantomData))
    }

    /// Has what is committed from now on be in that format.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the journal's superblock has no room to say so.
    pub(crate) fn set_format(&mut self, format: Format) -> Result {
        let mut set = 0;
        let mut clear = bindings::JBD2_FEATURE_INCOMPAT_CSUM_V2;
        if format.checksums {
            set |= bindings::JBD2_FEATURE_INCOMPAT_CSUM_V3;
        } else {
            clear |= bindings::JBD2_FEATURE_INCOMPAT_CSUM_V3;
        }
        if format.wide {
            set |= bindings::JBD2_FEATURE_INCOMPAT_64BIT;
        }
        let compat = bindings::JBD2_FEATURE_COMPAT_CHECKSUM;
        // CAST: to a type of at least as many bits; and so below.
        // SAFETY: Valid by the type invariants; no transaction has been started, as that wants a
        // shared reference from where this one can no longer be had.
        unsafe {
            bindings::jbd2_journal_clear_features(
                self.as_ptr(),
                compat as c_ulong,
                0,
                clear as c_ulong,
            )
        };
        // SAFETY: As above.
        match unsafe { bindings::jbd2_journal_set_features(self.as_ptr(), 0, 0, set as c_ulong) } {
            0 => Err(errno::eopnotsupp()),
            _ => Ok(()),
        }
    }

    /// Writes what is in the journal to where it belongs, and marks the journal as empty.
    ///
    /// # Errors
    ///
    /// `EIO` if the device did not write all of that, or the journal has been given up.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of this task may be started.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: Valid by the type invariants, and loaded.
        to_result(unsafe { bindings::jbd2_journal_flush(self.as_ptr(), 0) })
    }

    /// How many blocks a handle can change at most.
    pub(crate) fn most_credits(&self) -> u32 {
        let journal = self.as_ptr();
        // SAFETY: Valid by the type invariants; constant once it is loaded.
        let most = unsafe { (*journal).j_max_transaction_buffers };
        // SAFETY: As above.
        let overhead = unsafe { (*journal).j_transaction_overhead_buffers };
        u32::try_from(most.saturating_sub(overhead)).unwrap_or(0)
    }

    /// Gives the journal up because of `error`: nothing is committed any more, and no handle can be
    /// started. The journal remembers the error.
    ///
    /// # Context
    ///
    /// Sleeps; handles may be started.
    pub(crate) fn abort(&self, error: Error) {
        // SAFETY: Valid by the type invariants, and loaded.
        unsafe { bindings::jbd2_journal_abort(self.as_ptr(), error.to_errno()) };
    }

    /// Whether it has been given up.
    pub(crate) fn is_aborted(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::is_journal_aborted(self.as_ptr()) }
    }

    /// Has all that was done so far be committed, and waits for that if `wait`. In the end, with
    /// what it has written elsewhere before, it is on the device and not only in its caches.
    ///
    /// # Errors
    ///
    /// `EIO` if the journal has been given up; what flushing the caches says.
    ///
    /// # Context
    ///
    /// Sleeps if `wait`; then no handle of this task may be started.
    pub(crate) fn sync(&self, wait: bool) -> Result {
        let journal = self.as_ptr();
        // SAFETY: Valid by the type invariants; and so below.
        let latest = unsafe { bindings::jbd2_get_latest_transaction(journal) };
        // Data written without a transaction are in the caches as well.
        // SAFETY: As above.
        let flushes = unsafe { bindings::jbd2_trans_will_send_data_barrier(journal, latest) } != 0;
        let mut tid = latest;
        // SAFETY: As above.
        let started = unsafe { bindings::jbd2_journal_start_commit(journal, &mut tid) } != 0;
        if !wait {
            return Ok(());
        }
        if started {
            // SAFETY: As above.
            to_result(unsafe { bindings::jbd2_log_wait_commit(journal, tid) })?;
        }
        if flushes {
            return Ok(());
        }
        self.flush_device()
    }

    /// The last transaction that is committed. Whoever waited for it may be here before
    /// [`Map::committed`] is called.
    pub(crate) fn commit_sequence(&self) -> Tid {
        // SAFETY: Valid by the type invariants; C reads it as we do, without a lock.
        Tid(unsafe { (&raw const (*self.as_ptr()).j_commit_sequence).read_volatile() })
    }

    /// As [`sync`](Self::sync), waiting, but only as far as transaction `tid`.
    ///
    /// # Errors
    ///
    /// Those of [`sync`](Self::sync).
    ///
    /// # Context
    ///
    /// As [`sync`](Self::sync).
    pub(crate) fn complete_transaction(&self, tid: Tid) -> Result {
        let journal = self.as_ptr();
        // SAFETY: Valid by the type invariants; and so below.
        let flushes = unsafe { bindings::jbd2_trans_will_send_data_barrier(journal, tid.0) } != 0;
        // SAFETY: As above.
        to_result(unsafe { bindings::jbd2_complete_transaction(journal, tid.0) })?;
        if flushes {
            return Ok(());
        }
        self.flush_device()
    }

    /// Has what was written elsewhere before be on the device and not only in its caches.
    ///
    /// # Errors
    ///
    /// What flushing the caches says.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn flush_device(&self) -> Result {
        // SAFETY: Open by the type invariants.
        to_result(unsafe { bindings::blkdev_issue_flush(self.bdev()) })
    }

    /// The last transaction that was started.
    pub(crate) fn latest(&self) -> Tid {
        // SAFETY: Valid by the type invariants.
        Tid(unsafe { bindings::jbd2_get_latest_transaction(self.as_ptr()) })
    }

    /// Whether a transaction has been committed.
    pub(crate) fn is_committed(&self, tid: Tid) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::jbd2_transaction_committed(self.as_ptr(), tid.0) != 0 }
    }

    /// Keeps handles from being started until the guard is dropped, and waits for those that are.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of this task may be started, nor be before the guard is dropped.
    pub(crate) fn lock_updates(&self) -> Updates<'_> {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::jbd2_journal_lock_updates(self.as_ptr()) };
        // INVARIANT: Locked just now.
        Updates(self.0 .0, PhantomData)
    }

    /// The number of the error, if any, because of which the journal was given up when it was last
    /// used. Any number can be on a disk.
    pub(crate) fn errno(&self) -> Option<i32> {
        // SAFETY: Valid by the type invariants.
        let errno = unsafe { bindings::jbd2_journal_errno(self.as_ptr()) };
        (errno != 0).then_some(errno)
    }

    /// Has the journal forget the [error](Self::errno). Whether the device took that is seen when
    /// the journal is destroyed.
    pub(crate) fn clear_errno(&mut self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::jbd2_journal_clear_err(self.as_ptr()) };
        // SAFETY: Valid by the type invariants, and loaded.
        unsafe { bindings::jbd2_journal_update_sb_errno(self.as_ptr()) };
    }

    /// Marks the journal as empty on the device, and ends it.
    ///
    /// # Errors
    ///
    /// `EIO` if the device did not write that, or something before.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub(crate) fn destroy(self) -> Result {
        // C's destroying does not tell of a journal that could not be marked as empty.
        let flushed = self.flush();
        let ended = ManuallyDrop::new(self.0).end();
        flushed.and(ended)
    }
}

/// Handles are kept from being started.
///
/// # Invariants
///
/// The journal is valid, and locked by this value, for `'a`.
#[must_use = "handles can be started again when this is dropped"]
pub(crate) struct Updates<'a>(NonNull<bindings::journal_t>, PhantomData<&'a ()>);

impl Drop for Updates<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by the type invariants, by this task: the value is not `Send`.
        unsafe { bindings::jbd2_journal_unlock_updates(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// Called by jbd2 only, with the journal of a [`Journal<M>`].
unsafe extern "C" fn bmap<M: Map>(
    journal: *mut bindings::journal_s,
    block: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: By the contract of this function.
    let map = unsafe { (*journal).j_private };
    // SAFETY: A box by the type invariants of `Journal`, which nobody changes.
    let map = unsafe { &*map.cast::<M>() };
    // SAFETY: jbd2 passes the address of a variable of its own.
    let block = unsafe { &mut *block };
    match map.bmap(*block) {
        Some(place) => {
            *block = place;
            0
        }
        None => errno::efscorrupted().to_errno(),
    }
}

/// # Safety
///
/// Called by jbd2 only, with the journal of a [`Journal<M>`], and a transaction of it that is there until
/// the function returns.
unsafe extern "C" fn committed<M: Map>(
    journal: *mut bindings::journal_t,
    transaction: *mut bindings::transaction_t,
) {
    // SAFETY: By the contract of this function.
    let map = unsafe { (*journal).j_private };
    // SAFETY: A box by the type invariants of `Journal`, which nobody changes.
    let map = unsafe { &*map.cast::<M>() };
    // SAFETY: By the contract of this function; constant once the transaction has begun.
    map.committed(Tid(unsafe { (*transaction).t_tid }));
}
