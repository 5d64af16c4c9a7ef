// SPDX-License-Identifier: GPL-2.0

//! Writing back what is dirty in the page cache, in the steps of
//! [`protocol::writeback`](crate::protocol::writeback): here are the values that take them, and the
//! callbacks of C that begin with such a value each.
//!
//! | file | what |
//! | --- | --- |
//! | this one | a dirty range of a folio: it is mapped, held or not, added |
//! | `pass.rs` | the dirty folios of a file, one after the other |
//! | `io.rs` | an ioend: sealed, submitted |
//! | `copy.rs` | private copies of what is held, and the memory for them |
//! | `completions.rs` | what the device has finished, on its way to a task |
//! | `unprotected.rs` | wrong orders, for controls |
//!
//! C source: [fs/iomap/buffered-io.c](srctree/fs/iomap/buffered-io.c),
//! [fs/iomap/ioend.c](srctree/fs/iomap/ioend.c)

mod completions;
mod copy;
mod io;
mod pass;
#[cfg(stablefs_controls)]
mod unprotected;

pub(crate) use self::{
    completions::{
        Completions,
        Ended, //
    },
    io::{
        Io,
        Ioends, //
    },
    pass::writepages,
};

use self::copy::Copy;
use super::{
    to_raw_for_write,
    Flags,
    Kind,
    WriteMapping, //
};
use crate::{
    bindings,
    kernel::{
        audit,
        control::Control,
        inode::Inode,
        ret,
        super_block::SuperBlock,
        vfs::FileSystemType, //
    },
    protocol::writeback::{
        Finished,
        Gathered,
        Range,
        UnderWriteback, //
    },
};
use ::kernel::prelude::*;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Operations on what is being written back, as C's `struct iomap_writeback_ops`.
pub(crate) trait WritebackOperations: audit::Operations {
    /// Where what has been written waits for [`end_io`](Self::end_io).
    fn completions(sb: &SuperBlock<Self::FileSystem>) -> &Completions<Self>;

    /// Finds out where to write a part of a folio, or allocates it, and has what does not change of
    /// it written.
    ///
    /// If this fails, the folio is not under writeback any more, nor dirty: what is reserved for it
    /// is to be given back, or the folio made dirty again.
    ///
    /// # Errors
    ///
    /// What whoever waits for the file to be written is told.
    ///
    /// # Context
    ///
    /// Sleeps. The folio is locked and under writeback, and allocations do not call into
    /// filesystems. Whoever starts a handle has to have ended it on return.
    fn writeback_range<'a>(
        range: UnderWriteback<WritebackRange<'a, Self>>,
        ioends: &mut Ioends<'a, Self>,
    ) -> Result<Added>;

    /// A part of a folio is about to be written from a copy, as somebody else may have pinned the folio,
    /// or only holds it.
    ///
    /// # Context
    ///
    /// As of [`writeback_range`](Self::writeback_range).
    fn copies(inode: &Inode<Self::FileSystem>, is_pinned: bool);

    /// Computes the checksums of an ioend, and has the device write it.
    ///
    /// # Errors
    ///
    /// What became of it.
    ///
    /// # Context
    ///
    /// As of [`writeback_range`](Self::writeback_range); the folio that is locked may be in it.
    fn writeback_submit(io: Gathered<Io<'_, Self>>) -> Result;

    /// Whether [`end_io`](Self::end_io) is to be called once an ioend is written. It is always, if
    /// it is [`unwritten`](Ioend::unwritten).
    ///
    /// # Context
    ///
    /// A folio may be locked: no memory is allocated, and no handle started.
    fn needs_end_io(ioend: &Ioend<'_, Self::FileSystem>) -> bool;

    /// Records that the device has the data, or says what becomes of it if `result` is the error
    /// why it does not. Those before whom the data were to be written wait for that.
    ///
    /// Several ioends, if they belong together, are one here. May be called, too, for such as did
    /// not need it.
    ///
    /// # Errors
    ///
    /// What whoever waits for the file to be written is told, unless `result` is an error already.
    ///
    /// # Context
    ///
    /// A worker. Sleeps; no lock is held, and allocations do not call into filesystems. Others of
    /// the volume wait behind it: so nothing may be waited for that waits for writeback.
    fn end_io(ioend: &Ioend<'_, Self::FileSystem>, result: Result) -> Result;

    /// [Records](Self::end_io) what the device has, and ends its writeback.
    ///
    /// # Context
    ///
    /// As of [`end_io`](Self::end_io).
    fn ended(io: Finished<Ended<'_, Self>>);
}

/// A part of a file that is being written, in one piece on the device.
pub(crate) struct Ioend<'a, T> {
    /// The file.
    pub(crate) inode: &'a Inode<T>,
    /// Where it begins.
    pub(crate) pos: u64,
    /// How many bytes of the file: not behind the end that it had when this was submitted, so that
    /// it may end within a block.
    pub(crate) len: u64,
    /// Whether it goes to an unwritten extent.
    pub(crate) unwritten: bool,
    /// Whether it is written from a private copy.
    pub(crate) is_copy: bool,
}

impl<T: FileSystemType> Ioend<'_, T> {
    /// # Safety
    ///
    /// `ioend` has to be valid and of an inode of type `T`, and both have to stay, for the lifetime
    /// of the value.
    unsafe fn from_raw(ioend: *const bindings::iomap_ioend) -> Self {
        // SAFETY: Valid by the contract of this function.
        let (inode, pos, len, flags) = unsafe {
            (
                (*ioend).io_inode,
                (*ioend).io_offset,
                (*ioend).io_size,
                (*ioend).io_flags,
            )
        };
        Self {
            // SAFETY: By the contract of this function.
            inode: unsafe { Inode::from_raw(inode) },
            pos: u64::try_from(pos).unwrap_or(0),
            // CAST: to a type of at least as many bits.
            len: len as u64,
            unwritten: u32::from(flags) & bindings::IOMAP_IOEND_UNWRITTEN != 0,
            is_copy: copy::is_copy(flags),
        }
    }
}

/// A dirty part of a folio that is being written back.
///
/// # Invariants
///
/// The context is the caller's alone for `'a`, of an inode of type `U::FileSystem` and with the
/// table of `U`. The folio is its inode's, locked and under writeback, and has the part.
pub(crate) struct WritebackRange<'a, U: WritebackOperations> {
    wpc: NonNull<bindings::iomap_writepage_ctx>,
    folio: NonNull<bindings::folio>,
    pos: u64,
    len: u32,
    end_pos: u64,
    _inode: PhantomData<(&'a Inode<U::FileSystem>, U)>,
}

/// A part of a folio, of which is known where its beginning is on the device.
///
/// # Invariants
///
/// The context has a mapping with the beginning of the part, not a reservation.
#[must_use = "nothing is written yet"]
pub(crate) struct MappedRange<'a, U: WritebackOperations>(WritebackRange<'a, U>);

/// How much was added to an ioend, or is a hole that wants no writing.
#[must_use = "writeback_range() has to return it"]
pub(crate) struct Added(usize);

impl<'a, U: WritebackOperations> WritebackRange<'a, U> {
    /// The file.
    pub(crate) fn inode(&self) -> &'a Inode<U::FileSystem> {
        // SAFETY: Valid by the type invariants.
        let inode = unsafe { (*self.wpc.as_ptr()).inode };
        // SAFETY: By the type invariants.
        unsafe { Inode::from_raw(inode) }
    }

    /// Where it begins.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.pos.saturating_add(self.len.into())
    }

    /// Where its folio ends. If the part fails, what comes after it is no longer dirty, either.
    pub(crate) fn folio_end(&self) -> u64 {
        let folio = self.folio.as_ptr();
        // SAFETY: Valid by the type invariants; locked, so that it stays where it is, here as below.
        let pos = unsafe { bindings::folio_pos(folio) };
        // SAFETY: As above.
        let len = unsafe { bindings::folio_size(folio) };
        // CAST: to a type of at least as many bits.
        u64::try_from(pos).unwrap_or(0).saturating_add(len as u64)
    }

    /// The [`WriteMapping::validity_cookie`] of the mapping of the range before, if this one begins
    /// within it, and it is not a hole.
    pub(crate) fn cached(&self) -> Option<u64> {
        // SAFETY: Valid by the type invariants.
        let iomap = unsafe { &(*self.wpc.as_ptr()).iomap };
        let skipped = self.pos.checked_sub(u64::try_from(iomap.offset).ok()?)?;
        let is_hole = u32::from(iomap.type_) == bindings::IOMAP_HOLE;
        (!is_hole && skipped < iomap.length).then_some(iomap.validity_cookie)
    }

    /// Whether all bytes of it before position `end` are 0.
    pub(crate) fn is_zero(&self, end: u64) -> bool {
        let folio = self.folio.as_ptr();
        let len = end.saturating_sub(self.pos).min(self.len.into());
        // SAFETY: Valid by the type invariants, and locked.
        let start = unsafe { bindings::offset_in_folio(folio, self.pos as i64) };
        // CAST: to a type of as many bits. SAFETY: As above; the folio has the bytes.
        unsafe { bindings::folio_is_zero(folio, start, len as usize) }
    }

    /// Goes on with the mapping of the range before.
    ///
    /// # Errors
    ///
    /// `EIO` if this one does not begin within it.
    pub(crate) fn map_as_before(self) -> Result<MappedRange<'a, U>> {
        self.cached().ok_or(EIO)?;
        // INVARIANT: Just seen, and put there by `map`.
        Ok(MappedRange(self))
    }

    /// Says where it is. What is in a hole is not written.
    ///
    /// # Errors
    ///
    /// `EIO` if the mapping does not have the beginning, or is a reservation.
    pub(crate) fn map(self, mapping: &WriteMapping<'_>) -> Result<MappedRange<'a, U>> {
        if matches!(mapping.mapping.kind, Kind::Delalloc) {
            return Err(EIO);
        }
        let iomap = to_raw_for_write::<U>(self.inode(), self.pos, mapping, Flags(0))?;
        // SAFETY: Valid and not shared by the type invariants.
        unsafe { (*self.wpc.as_ptr()).iomap = iomap };
        // INVARIANT: `to_raw_for_write` has checked that the mapping has the position.
        Ok(MappedRange(self))
    }
}

impl Added {
    /// How many bytes.
    pub(crate) fn len(&self) -> u64 {
        // CAST: to a type of at least as many bits.
        self.0 as u64
    }
}

impl<'a, U: WritebackOperations> MappedRange<'a, U> {
    /// What C goes by. The reference is to be used for as long as nothing else is called.
    fn iomap(&self) -> &bindings::iomap {
        // SAFETY: Valid by the type invariants.
        unsafe { &(*self.0.wpc.as_ptr()).iomap }
    }

    /// The file.
    pub(crate) fn inode(&self) -> &'a Inode<U::FileSystem> {
        self.0.inode()
    }

    /// Where it begins.
    pub(crate) fn pos(&self) -> u64 {
        self.0.pos
    }

    fn kind(&self) -> u32 {
        self.iomap().type_.into()
    }

    /// How many bytes of it the mapping has.
    pub(crate) fn len(&self) -> u64 {
        let iomap = self.iomap();
        let end = u64::try_from(iomap.offset)
            .unwrap_or(0)
            .saturating_add(iomap.length);
        end.saturating_sub(self.0.pos).min(self.0.len.into())
    }

    /// Whether it goes to an unwritten extent.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.kind() == bindings::IOMAP_UNWRITTEN
    }

    /// Whether anybody may hold a pin of its folio.
    fn is_pinned(&self) -> bool {
        if Control::SkipPinCheck.is_on() {
            return false;
        }
        // SAFETY: Valid by the type invariants.
        unsafe { pass::is_pinned(self.0.folio) }
    }

    /// Whether anybody else holds its folio, for whatever reason.
    fn has_odd_references(&self) -> bool {
        if Control::SkipReferenceCheck.is_on() || Control::SkipPinCheck.is_on() {
            return false;
        }
        // SAFETY: Valid and locked by the type invariants. One reference is that of the pass.
        unsafe { bindings::folio_has_odd_references(self.0.folio.as_ptr(), 1) }
    }

    /// Adds what the mapping has of it to an ioend; that before is submitted, unless it goes on.
    ///
    /// # Errors
    ///
    /// What became of submitting the one before.
    ///
    /// # Context
    ///
    /// Sleeps.
    fn add_to_ioend(self) -> Result<Added> {
        let WritebackRange {
            wpc,
            folio,
            pos,
            len,
            end_pos,
            ..
        } = self.0;
        let (wpc, folio) = (wpc.as_ptr(), folio.as_ptr());
        // CAST: positions of a file, less than 2^63.
        let (pos, end_pos) = (pos as i64, end_pos as i64);
        // SAFETY: All is valid, and as C wants it, by the type invariants.
        let added = unsafe { bindings::iomap_add_to_ioend(wpc, folio, pos, end_pos, len) };
        ret::to_ssize_t(added).map(Added)
    }
}

impl<'a, U: WritebackOperations> Range for MappedRange<'a, U> {
    type Copy = Copy<'a, U>;

    fn maybe_held(&self) -> bool {
        // A hole is not written, and so nobody can change what is.
        if self.kind() == bindings::IOMAP_HOLE || !self.0.inode().mapping_stable_writes() {
            return false;
        }
        #[cfg(stablefs_controls)]
        if Control::EarlyPinCheck.is_on() {
            // SAFETY: The context is a pass's, by the type invariants.
            return unsafe { unprotected::was_held::<U>(self.0.wpc) };
        }
        self.is_pinned() || self.has_odd_references()
    }

    fn copy(self) -> Copy<'a, U> {
        U::copies(self.inode(), self.is_pinned());
        Copy::new(self)
    }
}

struct WritebackTable<U>(PhantomData<U>);

impl<U: WritebackOperations> WritebackTable<U> {
    const OPS: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(Self::writeback_range),
        writeback_submit: Some(Self::writeback_submit),
    };

    /// # Safety
    ///
    /// Called by iomap only: `wpc` is that of [`writepages::<U>`], the caller's alone, and `folio`
    /// locked and under writeback, with `len` bytes from `pos` on.
    unsafe extern "C" fn writeback_range(
        wpc: *mut bindings::iomap_writepage_ctx,
        folio: *mut bindings::folio,
        pos: u64,
        len: c_uint,
        end_pos: u64,
    ) -> isize {
        // INVARIANT: By the contract of this function.
        let range = WritebackRange {
            // SAFETY: Valid by the contract of this function.
            wpc: unsafe { NonNull::new_unchecked(wpc) },
            // SAFETY: As above.
            folio: unsafe { NonNull::new_unchecked(folio) },
            pos,
            len,
            end_pos,
            _inode: PhantomData,
        };
        // C has cleaned the folio, and so write-protected it, and marked it as under writeback.
        let range = UnderWriteback::new(range);
        ret::ssize_t(U::writeback_range(range, &mut Ioends::new()).map(|added| added.0))
    }

    /// # Safety
    ///
    /// Called by iomap, or by a pass at its end: `wpc` is that of [`writepages::<U>`], the caller's
    /// alone, and has an ioend that has not been submitted.
    unsafe extern "C" fn writeback_submit(
        wpc: *mut bindings::iomap_writepage_ctx,
        error: c_int,
    ) -> c_int {
        // SAFETY: By the contract of this function.
        let io = unsafe { Io::<U>::from_raw(wpc) };
        if error != 0 {
            return ret::int(io.fail(Error::from_errno(error)));
        }
        ret::int(U::writeback_submit(Gathered::new(io)))
    }
}
