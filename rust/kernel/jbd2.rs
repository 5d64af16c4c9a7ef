// SPDX-License-Identifier: GPL-2.0

//! Journals.
//!
//! initialised → loaded (replayed) → destroyed, with or without an error
//!
//! A journal that is dropped on the way is destroyed.
//!
//! C header: [include/linux/jbd2.h](srctree/include/linux/jbd2.h)

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

/// Where the blocks of a journal are.
pub(crate) trait Map: Send + Sync + 'static {
    /// Where block `block` of the journal is on the device; none if it has no such block.
    fn bmap(&self, block: u64) -> Option<u64>;

    /// How many blocks it has.
    fn len(&self) -> u32;
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
        // CAST: to a type of at least as many bits.
        // SAFETY: As above.
        unsafe { (*journal.as_ptr()).j_flags |= bindings::JBD2_BARRIER as c_ulong };
        // INVARIANT: As just made.
        Ok(Self(journal, PhantomData, PhantomData))
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

/// A journal that is empty: what was in it has been replayed, and is on the device.
#[must_use = "the journal is destroyed when this is dropped"]
pub(crate) struct Loaded<'sb, M: Map>(Journal<'sb, M>);

impl<M: Map> Loaded<'_, M> {
    /// The number of the error, if any, because of which the journal was given up when it was last
    /// used. Any number can be on a disk.
    pub(crate) fn errno(&self) -> Option<i32> {
        // SAFETY: Valid by the type invariants.
        let errno = unsafe { bindings::jbd2_journal_errno(self.0 .0.as_ptr()) };
        (errno != 0).then_some(errno)
    }

    /// Has the journal forget the [error](Self::errno). Whether the device took that is seen when
    /// the journal is destroyed.
    pub(crate) fn clear_errno(&mut self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::jbd2_journal_clear_err(self.0 .0.as_ptr()) };
        // SAFETY: Valid by the type invariants, and loaded.
        unsafe { bindings::jbd2_journal_update_sb_errno(self.0 .0.as_ptr()) };
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
        // SAFETY: Valid by the type invariants, and loaded.
        let flushed = to_result(unsafe { bindings::jbd2_journal_flush(self.0 .0.as_ptr(), 0) });
        let ended = ManuallyDrop::new(self.0).end();
        flushed.and(ended)
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
