// SPDX-License-Identifier: GPL-2.0

//! A dirty folio on its way to the device: nothing changes between its checksum and the disk.
//!
//! a folio: [`Protected`] → [`Started`] → dirty again, if pinned, and unlocked
//!
//! in between, each dirty range of it: [`UnderWriteback`] → pins checked ([`Pins`]) → [`Stable`], itself
//! or as a private copy → in an I/O
//!
//! an I/O: [`Gathered`] → checksummed ([`Sealed`]) → submitted … finished by the device ([`Finished`]) →
//! recorded ([`Recorded`]) → its ranges are no longer under writeback
//!
//! * Once every mapping is write-protected and no TLB has another opinion, a store faults; and the
//!   [fault](super::fault) waits for the end of writeback.
//! * Writeback is set before the folio is unlocked: until then the lock keeps the fault out.
//! * Pins are checked after write-protection, not before. Whoever takes one looks at the page-table
//!   entry after it has counted; so a pin that may be written through either is in the count by then,
//!   or was taken through a fault, which waits. The lock lasts from one to the other.
//! * The dirty flag goes before bytes are looked at. Who stored through a pin sets it afterwards, or
//!   finds it set; so it must not be taken from him after the copy was made.
//! * A folio that is still pinned is made dirty again before it is unlocked, all of it. Who unpins it
//!   does not do that if he finds it dirty; and it may be so because of another of its blocks.
//! * Checksums come last, of what nobody can change: an I/O takes in nothing but [`Stable`] bytes.
//! * Writeback ends when the device has the bytes, and the disk knows of them: who waits for it goes
//!   on to change them, or to commit.
//!
//! C does the first steps: `writeback_iter()` gives a folio that is locked, no longer dirty, and
//! write-protected in every mapping, and `iomap_writeback_folio()` marks it as under writeback and
//! calls back for each dirty range, before it is unlocked.
//!
//! `rust/protocol/orders.md` has the orders that do not compile.

/// A dirty range of a folio, as long as the folio is locked and under writeback.
///
/// Before that was marked, the folio was write-protected in every mapping and its dirty flag taken,
/// in that lock. So says whoever makes such a value.
pub trait Range: Sized {
    /// Bytes that nobody else knows of; and what is needed to end the writeback of the range that
    /// they were taken from.
    type Copy;

    /// Whether anybody may hold the folio who can write to it without a page-table entry: by a pin,
    /// or by a reference that nothing explains. That nobody does is certain, that somebody does is not.
    fn maybe_held(&self) -> bool;

    /// Copies it, or a beginning of it that is as long as there is memory for. What is left of it is
    /// handed out again.
    ///
    /// # Context
    ///
    /// May sleep until earlier copies have been written; so they have to be on their way.
    fn copy(self) -> Self::Copy;
}

/// What takes in bytes, to write them with others.
pub trait Gather<R: Range> {
    /// How much it has taken in; or why not.
    type Added;

    /// Takes them in. What it has so far may be checksummed and submitted.
    fn add(&mut self, bytes: Stable<R>) -> Self::Added;
}

/// An I/O, of bytes that were [gathered](Gather).
pub trait Io: Sized {
    /// What came of submitting it.
    type Submitted;

    /// Computes its checksums.
    fn seal(&mut self);

    /// Has the device write it.
    fn submit(self) -> Self::Submitted;
}

/// An I/O that the device has finished.
pub trait End: Sized {
    /// What it was recorded as.
    type Result;

    /// Has the disk know of the bytes, if it did not; or decides what becomes of those that could not
    /// be written.
    fn record(&mut self) -> Self::Result;

    /// Ends the writeback of all its ranges.
    fn end_writeback(self, recorded: Self::Result);
}

/// A folio that is locked, write-protected in every mapping, and then no longer dirty.
pub trait Folio {
    /// Whether anybody may hold a pin of it.
    fn maybe_dma_pinned(&self) -> bool;

    /// Marks all of it as dirty.
    fn mark_dirty(&mut self);

    /// Unlocks it.
    fn unlock(self);
}

/// Goes through the dirty folios of a file.
pub trait Pass {
    /// Each of them.
    type Folio: Folio;
    /// Why a folio was not written.
    type Error;

    /// Takes the next folio that is dirty, after it is no longer under writeback. `last` is what
    /// became of the one before.
    fn next(&mut self, last: Result<(), Self::Error>) -> Option<Self::Folio>;

    /// Marks a folio as under writeback, and has each dirty range of it [written](UnderWriteback).
    ///
    /// # Errors
    ///
    /// What was not written, and why.
    fn start_writeback(&mut self, folio: &Protected<Self::Folio>) -> Result<(), Self::Error>;
}

/// Has all that is dirty written, and waits for none of it.
pub fn write_pages<P: Pass>(pass: &mut P) {
    let mut last = Ok(());
    while let Some(folio) = pass.next(last) {
        let (started, result) = Protected(folio).start_writeback(pass);
        started.unlock();
        last = result;
    }
}

/// A folio to which nobody can store through a mapping, without a fault that waits for its lock.
#[must_use = "it stays locked"]
pub struct Protected<F>(F);

impl<F: Folio> Protected<F> {
    /// The folio, for [`Pass::start_writeback`].
    pub fn folio(&self) -> &F {
        &self.0
    }

    /// Has its dirty ranges written. The result is that of [`Pass::start_writeback`].
    pub fn start_writeback<P: Pass<Folio = F>>(
        self,
        pass: &mut P,
    ) -> (Started<F>, Result<(), P::Error>) {
        let result = pass.start_writeback(&self);
        (Started(self.0), result)
    }
}

/// A folio whose dirty ranges are on their way.
#[must_use = "it stays locked"]
pub struct Started<F>(F);

impl<F: Folio> Started<F> {
    /// Unlocks it. It is dirty still if somebody may hold a pin of it.
    pub fn unlock(mut self) {
        if self.0.maybe_dma_pinned() {
            self.0.mark_dirty();
        }
        self.0.unlock();
    }
}

/// A dirty range of a folio under writeback.
#[must_use = "its writeback has to be ended"]
pub struct UnderWriteback<R>(R);

impl<D> UnderWriteback<D> {
    /// Begins with a range, or with what is to become one.
    pub fn new(dirty: D) -> Self {
        Self(dirty)
    }

    /// What is to be written.
    pub fn get(&self) -> &D {
        &self.0
    }

    /// Finds out more about it: where it is on the device.
    ///
    /// # Errors
    ///
    /// That of `map`.
    pub fn map<R, E>(self, map: impl FnOnce(D) -> Result<R, E>) -> Result<UnderWriteback<R>, E> {
        map(self.0).map(UnderWriteback)
    }
}

impl<R: Range> UnderWriteback<R> {
    /// Finds out whether it can be written from where it is.
    pub fn check_pins(self) -> Pins<R> {
        if self.0.maybe_held() {
            Pins::Maybe(Held(self.0))
        } else {
            Pins::None(Stable(Bytes::Own(self.0)))
        }
    }

    /// Has what does not change of it written with others: itself, or a copy.
    pub fn write_to<G: Gather<R>>(self, io: &mut G) -> G::Added {
        let stable = match self.check_pins() {
            Pins::None(stable) => stable,
            Pins::Maybe(held) => held.copy(),
        };
        io.add(stable)
    }
}

/// Whether anybody can write to a range without a fault.
#[must_use = "its writeback has to be ended"]
pub enum Pins<R: Range> {
    /// Nobody can, until its writeback ends.
    None(Stable<R>),
    /// Somebody may.
    Maybe(Held<R>),
}

/// A range to which somebody else may be writing.
#[must_use = "its writeback has to be ended"]
pub struct Held<R>(R);

impl<R: Range> Held<R> {
    /// Makes a copy to be written instead.
    ///
    /// # Context
    ///
    /// As of [`Range::copy`].
    pub fn copy(self) -> Stable<R> {
        Stable(Bytes::Copy(self.0.copy()))
    }
}

/// Bytes that nobody changes before their writeback has ended.
#[must_use = "their writeback has to be ended"]
pub struct Stable<R: Range>(Bytes<R>);

/// Where bytes are.
pub enum Bytes<R: Range> {
    /// Where programs see them.
    Own(R),
    /// In a copy.
    Copy(R::Copy),
}

impl<R: Range> Stable<R> {
    /// Where they are, for [`Gather::add`].
    pub fn into_bytes(self) -> Bytes<R> {
        self.0
    }
}

/// An I/O of nothing but [`Stable`] bytes.
#[must_use = "the writeback of what is in it has to be ended"]
pub struct Gathered<I>(I);

impl<I: Io> Gathered<I> {
    /// Begins with an I/O. All that is in it was [added](Gather::add).
    pub fn new(io: I) -> Self {
        Self(io)
    }

    /// Computes its checksums.
    pub fn seal(mut self) -> Sealed<I> {
        self.0.seal();
        Sealed(self.0)
    }
}

/// An I/O with its checksums.
#[must_use = "the writeback of what is in it has to be ended"]
pub struct Sealed<I>(I);

impl<I: Io> Sealed<I> {
    /// Has the device write it.
    pub fn submit(self) -> I::Submitted {
        self.0.submit()
    }
}

/// An I/O that the device has finished, whether well or not.
#[must_use = "the writeback of what is in it has to be ended"]
pub struct Finished<E>(E);

impl<E: End> Finished<E> {
    /// Begins with an I/O that the device does not look at any more.
    pub fn new(io: E) -> Self {
        Self(io)
    }

    /// Has the disk know of what was written.
    pub fn record(mut self) -> Recorded<E> {
        let result = self.0.record();
        Recorded { io: self.0, result }
    }
}

/// An I/O of which the disk knows.
#[must_use = "the writeback of what is in it has to be ended"]
pub struct Recorded<E: End> {
    io: E,
    result: E::Result,
}

impl<E: End> Recorded<E> {
    /// Lets those go on who wait for it.
    pub fn end_writeback(self) {
        self.io.end_writeback(self.result);
    }
}
