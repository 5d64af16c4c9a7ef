// SPDX-License-Identifier: GPL-2.0

// What the examples in `orders.md` are about: the least that the traits ask for.

use core::num::NonZeroUsize;
use protocol::{
    direct,
    fault::{
        self,
        Folio as _,
        Invalidate as _,
        Started as _,
        WriteFault as _, //
    },
    folio::{
        self,
        Unchecked, //
    },
    initialise::{
        self,
        Filled,
        Fresh,
        Initialised,
        Written, //
    },
    writeback::{
        self,
        Bytes,
        Finished,
        Gather,
        Gathered,
        Pass,
        Pins,
        Protected,
        Stable,
        UnderWriteback, //
    },
};

/// A dirty range under writeback.
struct Dirty;
/// A copy of one.
struct Copied;

impl writeback::Range for Dirty {
    type Copy = Copied;

    fn maybe_held(&self) -> bool {
        true
    }

    fn copy(self) -> Copied {
        Copied
    }
}

/// An I/O.
struct Bio;

impl Gather<Dirty> for Bio {
    type Added = ();

    fn add(&mut self, _: Stable<Dirty>) {}
}

impl writeback::Io for Bio {
    type Submitted = ();

    fn seal(&mut self) {}

    fn submit(self) {}
}

/// An I/O that the device has finished.
struct Done;

impl writeback::End for Done {
    type Result = ();

    fn record(&mut self) {}

    fn end_writeback(self, (): ()) {}
}

/// A folio that is locked, write-protected and no longer dirty.
struct Page;

impl writeback::Folio for Page {
    fn maybe_dma_pinned(&self) -> bool {
        false
    }

    fn mark_dirty(&mut self) {}

    fn unlock(self) {}
}

/// One such folio.
struct Pages(Option<Page>);

impl Pass for Pages {
    type Folio = Page;
    type Error = ();

    fn next(&mut self, _: Result<(), ()>) -> Option<Page> {
        self.0.take()
    }

    fn start_writeback(&mut self, _: &Protected<Page>) -> Result<(), ()> {
        Ok(())
    }
}

/// A fault; while the volume is not frozen; and its pages are not invalidated; and the folio is locked.
struct Fault;
struct NotFrozen;
struct NotInvalidated;
struct Locked;

impl fault::WriteFault for Fault {
    type Started = NotFrozen;

    fn sb_start_pagefault(self) -> NotFrozen {
        NotFrozen
    }
}

impl fault::Started for NotFrozen {
    type Error = ();
    type Invalidate = NotInvalidated;

    fn prepare(&mut self) -> Result<(), ()> {
        Ok(())
    }

    fn file_update_time(&mut self) -> Result<(), ()> {
        Ok(())
    }

    fn filemap_invalidate_lock_shared(self) -> NotInvalidated {
        NotInvalidated
    }
}

impl fault::Invalidate for NotInvalidated {
    type Error = ();
    type Folio = Locked;

    fn folio_lock(self) -> Result<Locked, ()> {
        Ok(Locked)
    }
}

impl folio::Locked for Locked {
    type Error = ();

    fn check(&self) -> Result<usize, ()> {
        Ok(4096)
    }

    fn wait_for_writeback(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

impl fault::Folio for Locked {
    type Outcome = ();

    fn reserve(&mut self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn mark_dirty(&mut self) {}

    fn into_locked(self) {}
}

/// A device with checksums.
struct Disk;

impl direct::Checks for Disk {
    fn has_checksums(&self) -> bool {
        true
    }
}

/// Blocks that no file has.
struct Blocks;
/// What a file has.
struct Extent;

impl initialise::Blocks for Blocks {
    type Extent = Extent;
    type Error = ();

    fn insert(&mut self) -> Result<Extent, ()> {
        Ok(Extent)
    }

    fn give_back(&mut self) {}
}

impl initialise::New for Blocks {
    fn insert_unwritten(&mut self) -> Result<Extent, ()> {
        Ok(Extent)
    }
}

impl initialise::Zero for Blocks {
    fn zero(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

impl initialise::Fill<&str> for Blocks {
    fn copy(&mut self, data: &str) -> Result<usize, ()> {
        Ok(data.len())
    }

    fn shorten(&mut self, _: NonZeroUsize) {}

    fn zero_rest(&mut self, _: NonZeroUsize) -> Result<(), ()> {
        Ok(())
    }
}

impl initialise::Metadata for Blocks {
    fn create(&mut self, _: &[u8]) -> Result<(), ()> {
        Ok(())
    }
}

impl initialise::Extent for Extent {
    fn is_written(&self) -> bool {
        true
    }
}

/// An unwritten part of a file.
struct Unwritten;

impl initialise::Blocks for Unwritten {
    type Extent = Extent;
    type Error = ();

    fn insert(&mut self) -> Result<Extent, ()> {
        Ok(Extent)
    }

    fn give_back(&mut self) {}
}

/// Answers a store to memory.
fn answer(_: Written<Extent>) {}
