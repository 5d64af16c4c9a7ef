// SPDX-License-Identifier: GPL-2.0

//! Blocks become a file's and become initialised in one step: nobody sees what they held before, and
//! nobody stores to them before they are zeroed.
//!
//! [`Fresh`] → zeroed, filled ([`Filled`]), or with bytes in the journal: [`Initialised`] → in the tree,
//! as [`Written`] → mapped
//!
//! [`Fresh`] → in the tree, as unwritten: for the page cache, which has the bytes itself, and whose
//! [writeback](super::writeback) records what is written by then
//!
//! All of this is in one handle of the journal, and in the lock of the file's map that everybody takes
//! who changes what the file has there.
//!
//! * What the file has there is looked up again in that lock. Of two who had found nothing, the second
//!   one finds what the first has inserted, and maybe stored to.
//! * Bytes come before the tree. Whoever finds an extent that is written takes it for data: he maps it,
//!   or reads it, and waits for nobody.
//! * So there is nothing left to be zeroed once it is found. Who zeroes then wipes out what others have
//!   stored; so a store is never answered with an unwritten extent.
//! * The device has the bytes before the journal commits: its commit begins with a flush, and the bytes
//!   have left the caches by then.
//! * What was not initialised goes back, and the handle has changed nothing else.
//!
//! `rust/protocol/orders.md` has the orders that do not compile.

use core::num::NonZeroUsize;

/// Blocks that hold what somebody else's file held: such as no file has, or an unwritten part of this one.
///
/// The map of the file is locked, in a started handle, and the file had no data there when it was
/// looked up in that lock. So says whoever makes such a value.
pub trait Blocks {
    /// What the file has there, once they are in its tree.
    type Extent;
    /// Why they are not.
    type Error;

    /// Inserts them in the tree as written, or has them be written there; and has the map say so.
    ///
    /// # Errors
    ///
    /// The file has what it had.
    fn insert(&mut self) -> Result<Self::Extent, Self::Error>;

    /// Gives them back to where they are from: an unwritten part stays that. The journal forgets what
    /// was to be in them.
    fn give_back(&mut self);
}

/// Blocks that no file has.
pub trait New: Blocks {
    /// Inserts them in the tree as unwritten, and has the map say so.
    ///
    /// # Errors
    ///
    /// The file has what it had.
    fn insert_unwritten(&mut self) -> Result<Self::Extent, Self::Error>;
}

/// Blocks of a memory that programs map.
pub trait Zero: Blocks {
    /// Has them be zeroes, past all caches.
    ///
    /// # Errors
    ///
    /// The memory is broken.
    fn zero(&mut self) -> Result<(), Self::Error>;
}

/// Blocks of a memory that data are copied to.
pub trait Fill<D>: Blocks {
    /// Copies data to where in the blocks they belong, past all caches; perhaps fewer than there are.
    /// Returns how many bytes.
    ///
    /// # Errors
    ///
    /// The memory is broken.
    fn copy(&mut self, data: D) -> Result<usize, Self::Error>;

    /// Gives back the blocks behind the first `copied` bytes of the data.
    fn shorten(&mut self, copied: NonZeroUsize);

    /// Has what is in the blocks before the data, and behind the first `copied` bytes, be zeroes, past
    /// all caches.
    ///
    /// # Errors
    ///
    /// The memory is broken.
    fn zero_rest(&mut self, copied: NonZeroUsize) -> Result<(), Self::Error>;
}

/// Blocks of metadata.
pub trait Metadata: Blocks {
    /// Has the journal write these bytes to them, with what the handle changes.
    ///
    /// # Errors
    ///
    /// The journal has been given up, or there is no memory.
    fn create(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Blocks that go back unless they get into the tree.
struct Owned<B: Blocks> {
    blocks: B,
    is_inserted: bool,
}

impl<B: Blocks> Owned<B> {
    fn insert<E>(
        mut self,
        insert: impl FnOnce(&mut B) -> Result<E, B::Error>,
    ) -> Result<E, B::Error> {
        let extent = insert(&mut self.blocks)?;
        self.is_inserted = true;
        Ok(extent)
    }
}

impl<B: Blocks> Drop for Owned<B> {
    fn drop(&mut self) {
        if !self.is_inserted {
            self.blocks.give_back();
        }
    }
}

/// Blocks with what they held before. Dropped, they are given back.
#[must_use = "they are given back when this is dropped"]
pub struct Fresh<B: Blocks>(Owned<B>);

impl<B: Blocks> Fresh<B> {
    /// Begins with blocks.
    pub fn new(blocks: B) -> Self {
        Self(Owned {
            blocks,
            is_inserted: false,
        })
    }

    /// Where they are.
    pub fn get(&self) -> &B {
        &self.0.blocks
    }

    /// Has them be zeroes.
    ///
    /// # Errors
    ///
    /// As of [`Zero::zero`]. They are given back.
    pub fn zero(mut self) -> Result<Initialised<B>, B::Error>
    where
        B: Zero,
    {
        self.0.blocks.zero()?;
        Ok(Initialised(self.0))
    }

    /// Has them be data, and zeroes around those. Where fewer are copied than there are, the blocks behind them
    /// are given back; if none is, all.
    ///
    /// # Errors
    ///
    /// As of [`Fill`]. They are given back.
    pub fn fill<D>(mut self, data: D) -> Result<Option<Filled<B>>, B::Error>
    where
        B: Fill<D>,
    {
        let blocks = &mut self.0.blocks;
        let Some(copied) = NonZeroUsize::new(blocks.copy(data)?) else {
            return Ok(None);
        };
        blocks.shorten(copied);
        blocks.zero_rest(copied)?;
        Ok(Some(Filled {
            blocks: Initialised(self.0),
            copied,
        }))
    }

    /// Has the journal write bytes to them.
    ///
    /// # Errors
    ///
    /// As of [`Metadata::create`]. They are given back.
    pub fn journal(mut self, bytes: &[u8]) -> Result<Initialised<B>, B::Error>
    where
        B: Metadata,
    {
        self.0.blocks.create(bytes)?;
        Ok(Initialised(self.0))
    }

    /// Inserts them in the tree as unwritten: they are read as zeroes.
    ///
    /// # Errors
    ///
    /// As of [`New::insert_unwritten`]. They are given back.
    pub fn insert_unwritten(self) -> Result<B::Extent, B::Error>
    where
        B: New,
    {
        self.0.insert(B::insert_unwritten)
    }
}

/// Blocks that anybody may see. Dropped, they are given back.
#[must_use = "they are given back when this is dropped"]
pub struct Initialised<B: Blocks>(Owned<B>);

impl<B: Blocks> Initialised<B> {
    /// Where they are.
    pub fn get(&self) -> &B {
        &self.0.blocks
    }

    /// Inserts them in the tree as written.
    ///
    /// # Errors
    ///
    /// As of [`Blocks::insert`]. They are given back.
    pub fn insert(self) -> Result<Written<B::Extent>, B::Error> {
        self.0.insert(B::insert).map(Written)
    }
}

/// Blocks with data that were copied to them. Dropped, they are given back.
#[must_use = "they are given back when this is dropped"]
pub struct Filled<B: Blocks> {
    blocks: Initialised<B>,
    copied: NonZeroUsize,
}

impl<B: Blocks> Filled<B> {
    /// Inserts them in the tree as written. Returns also how many bytes of the data are in them.
    ///
    /// # Errors
    ///
    /// As of [`Blocks::insert`]. They are given back.
    pub fn insert(self) -> Result<(Written<B::Extent>, NonZeroUsize), B::Error> {
        Ok((self.blocks.insert()?, self.copied))
    }
}

/// What a file was found to have somewhere.
pub trait Extent {
    /// Whether it is data.
    fn is_written(&self) -> bool;
}

/// Data of a file: the only answer to a store.
#[must_use = "the store is not answered yet"]
pub struct Written<E>(E);

impl<E> Written<E> {
    /// Takes what was found for data, if it is. It will be as long as what locks it.
    ///
    /// # Errors
    ///
    /// It is not: what was found.
    pub fn found(extent: E) -> Result<Self, E>
    where
        E: Extent,
    {
        if extent.is_written() {
            Ok(Self(extent))
        } else {
            Err(extent)
        }
    }

    /// Finds out more about it: where it is in memory.
    ///
    /// # Errors
    ///
    /// That of `map`.
    pub fn map<T, Error>(
        self,
        map: impl FnOnce(E) -> Result<T, Error>,
    ) -> Result<Written<T>, Error> {
        map(self.0).map(Written)
    }

    /// What it is, for who answers.
    pub fn into_extent(self) -> E {
        self.0
    }
}
