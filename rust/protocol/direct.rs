// SPDX-License-Identifier: GPL-2.0

//! Reads and writes without the page cache, from and to memory that others may be changing.
//!
//! to write: found ([`write()`]) → [`Source::Copy`], where there are checksums, else [`Source::InPlace`]
//!
//! to read: in place → as it was written; or, on a mismatch, to private memory → as it was written: so
//! somebody else had changed the buffer ([`Read::Again`]); or not: the disk is wrong
//!
//! A private copy is for the device alone from the checksum on, for writes, and up to it, for reads.

/// Whether data have checksums.
pub trait Checks {
    /// Whether a checksum is computed of what is written, by whomever, that is wrong if the bytes
    /// change before they are on the device.
    fn has_checksums(&self) -> bool;
}

/// A write, and where its bytes are taken from.
#[must_use = "nothing is written yet"]
pub struct Write<W> {
    write: W,
    source: Source,
}

/// Where the device takes the bytes of a write from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The caller's memory, which anybody may change meanwhile.
    InPlace,
    /// A copy that nobody else knows of.
    Copy,
}

/// Finds out where the device can take the bytes of a write from.
pub fn write<W>(write: W, device: &impl Checks) -> Write<W> {
    let source = if device.has_checksums() {
        Source::Copy
    } else {
        Source::InPlace
    };
    Write { write, source }
}

impl<W> Write<W> {
    /// The write and its source, for who submits it.
    pub fn into_parts(self) -> (W, Source) {
        (self.write, self.source)
    }
}

/// Memory that a read goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The caller's.
    InPlace,
    /// Private memory, from which what was verified is copied.
    Private,
}

/// A read that can be done again.
pub trait DirectRead {
    /// What was read.
    type Done;
    /// Why nothing was.
    type Error;

    /// Whether its end is waited for. If not, it cannot be done again.
    fn is_sync(&self) -> bool;

    /// Reads, and compares what was read with its checksums, if there are any.
    ///
    /// # Errors
    ///
    /// As [`Failure`] says. Nothing counts as read then.
    fn read(&mut self, target: Target) -> Result<Self::Done, Failure<Self::Error>>;
}

/// Why nothing was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// What was read does not match its checksums.
    Mismatch(E),
    /// Something else.
    Other(E),
}

/// What was read, and how.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// It was as it had been written.
    Once(T),
    /// So it was, but in the caller's memory somebody had changed it before it was verified.
    Again(T),
}

/// Reads.
///
/// # Errors
///
/// A mismatch, if the device gave it to private memory: then it is the disk's; or something else.
///
/// # Context
///
/// Sleeps.
pub fn read<R: DirectRead>(read: &mut R) -> Result<Read<R::Done>, Failure<R::Error>> {
    if !read.is_sync() {
        return read.read(Target::Private).map(Read::Once);
    }
    match read.read(Target::InPlace) {
        Err(Failure::Mismatch(_)) => read.read(Target::Private).map(Read::Again),
        result => result.map(Read::Once),
    }
}
