// SPDX-License-Identifier: GPL-2.0

//! A locked folio whose bytes are about to change.
//!
//! locked ([`Unchecked`]) → still its file's, inside it, up to date ([`Checked`]) → not under
//! writeback ([`Quiet`]) → changed, or allowed to be
//!
//! While a folio is locked, its writeback can end, but none can begin. So the wait comes after the
//! lock, and is worth something until it is given up.
//!
//! Three change folios, each in its own place: a store through a mapping, which is let in by the
//! [fault](super::fault); `write()`, and whoever writes zeroes, when they have taken the folio
//! (`FGP_STABLE`); and truncation before it removes a folio or a part of it, as its blocks belong to
//! somebody else soon. C does the latter two.

/// A folio that this thread has locked. It is unlocked when the value is dropped.
pub trait Locked {
    /// Why nothing can be stored to it.
    type Error;

    /// Whether it still belongs to its file, up to date; and how many bytes of it do.
    ///
    /// # Errors
    ///
    /// Nothing can be stored to it: it was removed, is behind the end of the file, or not up to date.
    fn check(&self) -> Result<usize, Self::Error>;

    /// Waits until it is not under writeback.
    ///
    /// # Errors
    ///
    /// A signal came that ends the program.
    fn wait_for_writeback(&mut self) -> Result<(), Self::Error>;
}

/// A locked folio. What became of it before it was locked is not known.
#[must_use = "it is unlocked when this is dropped"]
pub struct Unchecked<F>(F);

impl<F: Locked> Unchecked<F> {
    /// Begins with a folio.
    pub fn new(folio: F) -> Self {
        Self(folio)
    }

    /// Finds out whether it is still what it was.
    ///
    /// # Errors
    ///
    /// As of [`Locked::check`]. The folio is unlocked.
    pub fn check(self) -> Result<Checked<F>, F::Error> {
        let len = self.0.check()?;
        Ok(Checked { folio: self.0, len })
    }
}

/// A locked folio of its file, with bytes of it.
#[must_use = "it is unlocked when this is dropped"]
pub struct Checked<F> {
    folio: F,
    len: usize,
}

impl<F: Locked> Checked<F> {
    /// Waits until nobody relies on its bytes.
    ///
    /// # Errors
    ///
    /// As of [`Locked::wait_for_writeback`]. The folio is unlocked.
    ///
    /// # Context
    ///
    /// Sleeps. No handle of the journal may be open, as the end of writeback needs one.
    pub fn wait_for_writeback(mut self) -> Result<Quiet<F>, F::Error> {
        self.folio.wait_for_writeback()?;
        Ok(Quiet {
            folio: self.folio,
            len: self.len,
        })
    }
}

/// A locked folio that is not under writeback, and will not be before it is unlocked.
#[must_use = "it is unlocked when this is dropped"]
pub struct Quiet<F> {
    folio: F,
    len: usize,
}

impl<F> Quiet<F> {
    /// Changes it, and is told how many bytes of it are its file's.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut F, usize) -> T) -> T {
        change(&mut self.folio, self.len)
    }

    pub(super) fn into_folio(self) -> F {
        self.folio
    }
}
