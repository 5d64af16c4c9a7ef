// SPDX-License-Identifier: GPL-2.0

//! A store to a page that is mapped for reading: the end of all that was written before it, and the
//! beginning of what is written next.
//!
//! fault ([`Faulted`]) → the volume is not frozen ([`Started`]) → there may be room, times set, pages
//! cannot be invalidated ([`Invalidate`]) → [locked](super::folio), still the file's, not under
//! writeback → [`Reserved`] → [`Dirtied`] → mapped for writing, by C, and unlocked
//!
//! * A frozen volume has nothing dirty, and the fault makes something so.
//! * Room that is there only once something else is written is waited for with nothing locked.
//! * The `invalidate_lock` keeps those out who free blocks below a folio that stays: a reservation, or
//!   a block found to be there, must not go before the folio is dirty.
//! * It is taken before the folio is locked, as truncation does.
//! * Blocks are looked up or reserved after the wait for writeback. Before its end they may still be
//!   taken away, if the write fails; and who waited with a handle of the journal open would wait for
//!   ever.
//! * The folio is dirty before it is let go of, and after all of it has room; and it goes back to C
//!   locked: the next writeback begins after the page-table entry is writable, and finds it.
//!
//! C function: `page_mkwrite` in [include/linux/mm.h](srctree/include/linux/mm.h)

use super::folio::{
    Locked,
    Quiet,
    Unchecked, //
};

/// A store that has faulted. Nothing is held.
pub trait WriteFault {
    /// The store, with the volume kept from being frozen until the value is dropped.
    type Started: Started;

    /// Waits until the volume is not frozen, and keeps it so.
    fn sb_start_pagefault(self) -> Self::Started;
}

/// A store to a volume that is not frozen meanwhile.
pub trait Started {
    /// Why the store fails.
    type Error;
    /// The store, with the pages of the file kept from being invalidated as well.
    type Invalidate: Invalidate<Error = Self::Error>;

    /// Finds out whether the store may be let in, and has room be made for it if that takes writing
    /// what is dirty.
    ///
    /// # Errors
    ///
    /// It may not, or there will be no room.
    fn prepare(&mut self) -> Result<(), Self::Error>;

    /// Sets the times of the file.
    ///
    /// # Errors
    ///
    /// What they could not be set for.
    fn file_update_time(&mut self) -> Result<(), Self::Error>;

    /// Takes the `invalidate_lock` of its pages shared.
    fn filemap_invalidate_lock_shared(self) -> Self::Invalidate;
}

/// A store to a file whose pages are not invalidated meanwhile, nor blocks freed below them.
pub trait Invalidate {
    /// Why the store fails.
    type Error;
    /// The folio, locked, with what is held besides. It is given up in the reverse order.
    type Folio: Folio<Error = Self::Error>;

    /// Locks the folio.
    ///
    /// # Errors
    ///
    /// A signal came that ends the program.
    fn folio_lock(self) -> Result<Self::Folio, Self::Error>;
}

/// The locked folio of a store.
pub trait Folio: Locked + Sized {
    /// What C is told.
    type Outcome;

    /// Sees to it that the first `len` bytes have blocks, or room for them.
    ///
    /// # Errors
    ///
    /// There is no room. Nothing is reserved that was not before.
    fn reserve(&mut self, len: usize) -> Result<(), Self::Error>;

    /// Marks it as dirty.
    fn mark_dirty(&mut self);

    /// Gives up all but the lock of the folio, which C gives up later.
    fn into_locked(self) -> Self::Outcome;
}

/// The folio that a store to a file without invalidation locks.
type FolioOf<S> = <<S as Started>::Invalidate as Invalidate>::Folio;

/// A store that has faulted.
#[must_use = "C wants to know what came of it"]
pub struct Faulted<F>(F);

impl<F> Faulted<F> {
    /// Begins with a fault.
    pub fn new(fault: F) -> Self {
        Self(fault)
    }
}

impl<F: WriteFault> Faulted<F> {
    /// Lets the store in.
    ///
    /// # Errors
    ///
    /// Why it fails. Nothing is held.
    ///
    /// # Context
    ///
    /// Sleeps.
    pub fn page_mkwrite(
        self,
    ) -> Result<<FolioOf<F::Started> as Folio>::Outcome, <F::Started as Started>::Error> {
        let mut started = self.0.sb_start_pagefault();
        started.prepare()?;
        started.file_update_time()?;
        let folio = started.filemap_invalidate_lock_shared().folio_lock()?;
        let quiet = Unchecked::new(folio).check()?.wait_for_writeback()?;
        Ok(quiet.reserve()?.mark_dirty().into_locked())
    }
}

impl<F: Folio> Quiet<F> {
    /// Sees to it that all of it that is inside the file has blocks, or room for them.
    ///
    /// # Errors
    ///
    /// There is no room. The folio is unlocked.
    pub fn reserve(mut self) -> Result<Reserved<F>, F::Error> {
        self.change(F::reserve)?;
        Ok(Reserved(self.into_folio()))
    }
}

/// A folio that can be written wherever it is stored to.
#[must_use = "what is reserved is for a dirty folio"]
pub struct Reserved<F>(F);

impl<F: Folio> Reserved<F> {
    /// Marks it as dirty.
    pub fn mark_dirty(mut self) -> Dirtied<F> {
        self.0.mark_dirty();
        Dirtied(self.0)
    }
}

/// A folio that may be stored to, if it was locked all the time.
#[must_use = "C has to be told"]
pub struct Dirtied<F>(F);

impl<F: Folio> Dirtied<F> {
    /// Goes back to C, with the folio locked.
    pub fn into_locked(self) -> F::Outcome {
        self.0.into_locked()
    }
}
