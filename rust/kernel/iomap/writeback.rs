// SPDX-License-Identifier: GPL-2.0

//! Writing back what is dirty in the page cache.
//!
//! dirty → locked and under writeback → mapped → in an ioend → submitted → finished by the device →
//! completed in a task, where there is something to do ([`Completions`]) → no longer under writeback
//!
//! C source: [fs/iomap/buffered-io.c](srctree/fs/iomap/buffered-io.c),
//! [fs/iomap/ioend.c](srctree/fs/iomap/ioend.c)

use super::{
    ioend::{
        self,
        Queues, //
    },
    to_raw_for_write,
    Flags,
    Kind,
    WriteMapping, //
};
use crate::{
    bindings,
    kernel::{
        address_space::Writeback,
        audit,
        inode::Inode,
        ret,
        sched_mm::NofsScope,
        super_block::{
            OnDevice,
            SuperBlock, //
        },
        vfs::FileSystemType, //
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
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// Operations on what is being written back, as C's `struct iomap_writeback_ops`.
pub(crate) trait WritebackOperations: audit::Operations {
    /// Where what has been written waits for [`end_io`](Self::end_io).
    fn completions(sb: &SuperBlock<Self::FileSystem>) -> &Completions<Self>;

    /// Finds out where to write a part of a folio, or allocates it, and adds it to an ioend.
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
    fn writeback_range(range: WritebackRange<'_, Self>) -> Result<Added>;

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
    /// within it.
    pub(crate) fn cached(&self) -> Option<u64> {
        // SAFETY: Valid by the type invariants.
        let iomap = unsafe { &(*self.wpc.as_ptr()).iomap };
        let skipped = self.pos.checked_sub(u64::try_from(iomap.offset).ok()?)?;
        (skipped < iomap.length).then_some(iomap.validity_cookie)
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

    /// Says where it is. A hole is where a truncate was faster: what is in the folio is not wanted.
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

impl<U: WritebackOperations> MappedRange<'_, U> {
    /// Whether it goes to an unwritten extent.
    pub(crate) fn is_unwritten(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        let kind = unsafe { (*self.0.wpc.as_ptr()).iomap.type_ };
        u32::from(kind) == bindings::IOMAP_UNWRITTEN
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
    pub(crate) fn add_to_ioend(self) -> Result<Added> {
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
        // Memory reclaim must not wait for this folio.
        let _nofs = NofsScope::memalloc_nofs_save();
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
        ret::ssize_t(U::writeback_range(range).map(|added| added.0))
    }

    /// # Safety
    ///
    /// Called by iomap only: `wpc` is that of [`writepages::<U>`], the caller's alone, and has an
    /// ioend that has not been submitted.
    unsafe extern "C" fn writeback_submit(
        wpc: *mut bindings::iomap_writepage_ctx,
        error: c_int,
    ) -> c_int {
        // SAFETY: Valid by the contract of this function.
        let raw = unsafe { (*wpc).wb_ctx }.cast::<bindings::iomap_ioend>();
        // SAFETY: As above; the inode stays, as it has folios under writeback.
        let ioend = unsafe { Ioend::<U::FileSystem>::from_raw(raw) };
        // SAFETY: As above.
        let flags = u32::from(unsafe { (*raw).io_flags });
        // To drop folios after writing them (DONTCACHE) wants a task, too.
        let wants_task = bindings::IOMAP_IOEND_UNWRITTEN | bindings::IOMAP_IOEND_DONTCACHE;
        // SAFETY: As above; the bio is complete, and its folios are under writeback.
        let is_sealed =
            unsafe { audit::seal::<U>(ioend.inode, ioend.pos, &raw const (*raw).io_bio) };
        if is_sealed || flags & wants_task != 0 || U::needs_end_io(&ioend) {
            let completions = &raw const *U::completions(ioend.inode.sb());
            // SAFETY: As above. It is for `Completions::end_io`, and lives as long as the volume has
            // inodes.
            unsafe { (*raw).io_private = completions.cast_mut().cast() };
            // SAFETY: As above; the ioend is what the function wants.
            unsafe { (*raw).io_bio.bi_end_io = Some(Completions::<U>::end_io) };
        }
        // SAFETY: As C wants it, by the contract of this function.
        unsafe { bindings::iomap_ioend_writeback_submit(wpc, error) }
    }
}

/// Writes what is dirty of a file to the device.
///
/// # Errors
///
/// What was not written, and why.
///
/// # Context
///
/// Sleeps, and locks folios. No handle of the journal may be open.
pub(crate) fn writepages<U: WritebackOperations>(
    writeback: Writeback<'_, U::FileSystem>,
) -> Result {
    let mut wpc = bindings::iomap_writepage_ctx {
        inode: writeback.inode().as_ptr(),
        wbc: writeback.as_ptr(),
        ops: &WritebackTable::<U>::OPS,
        ..pin_init::zeroed()
    };
    // SAFETY: Both are valid and the control not shared; the table fits the inode. C has submitted
    // or ended all that it began when it returns.
    to_result(unsafe { bindings::iomap_writepages(&mut wpc) })
}

/// What of a volume was written back, and now has something done about it in a task.
pub(crate) struct Completions<U>(Queues, PhantomData<fn() -> U>);

impl<U: WritebackOperations> Completions<U> {
    /// Those of a volume, with a workqueue of their own.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(sb: &OnDevice) -> Result<Self> {
        let queues = Queues::new(sb, c"stablefs-write", Self::complete)?;
        Ok(Self(queues, PhantomData))
    }

    /// # Safety
    ///
    /// Called by the block layer only, with a bio of an ioend that
    /// [`WritebackTable::writeback_submit`] prepared for it.
    unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
        // SAFETY: The bio is in an ioend, by the contract of this function.
        let ioend = unsafe { container_of!(bio, bindings::iomap_ioend, io_bio) };
        // SAFETY: Valid and ours, by the contract of this function.
        let completions = unsafe { (*ioend).io_private }.cast::<Self>();
        // SAFETY: Put there when the ioend was submitted. Its inode cannot go before it is ended,
        // nor the volume before the inode.
        let completions = unsafe { &*completions };
        // SAFETY: As above.
        unsafe { completions.0.add(ioend) };
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
            // C joins those of one file only if these are equal. SAFETY: Ours alone.
            unsafe { (*ioend).io_private = (*ioend).io_inode.cast() };
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
            // SAFETY: Ours alone, with all that have been joined to it; not used any more.
            unsafe { Self::finish(ioend) };
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

    /// # Safety
    ///
    /// `raw` has to be an ioend that was taken from the queue, with those joined to it, and not be
    /// used any more.
    unsafe fn finish(raw: *mut bindings::iomap_ioend) {
        // SAFETY: By the contract of this function. The inode stays as long as it has folios under
        // writeback, which it has until the ioend is finished below.
        let ioend = unsafe { Ioend::<U::FileSystem>::from_raw(raw) };
        // SAFETY: By the contract of this function.
        let status = unsafe { (*raw).io_bio.bi_status };
        // SAFETY: The function has no preconditions.
        let written = to_result(unsafe { bindings::blk_status_to_errno(status) });
        let recorded = <U as WritebackOperations>::end_io(&ioend, written);
        let error = ret::int(written.and(recorded));
        // SAFETY: By the contract of this function. Here is a task, as C wants it.
        unsafe { bindings::iomap_finish_ioends(raw, error) };
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
