// SPDX-License-Identifier: GPL-2.0

//! Private copies of what somebody may write to while it is being written.
//!
//! copied ([`Copy`]) → submitted → finished by the device: the pages go back → the disk knows of it, if
//! there is anything to know: the bio goes back, and the writeback of the folio ends
//!
//! There is memory for some copies, whatever happens: who waits for it has submitted all before. Pages
//! come back when the device has them. A bio waits for what is recorded, which takes memory of others;
//! so the bios of copies of which nothing is to be recorded are kept apart: these end at once.

use super::{
    completions::Completions,
    Added,
    Ioend,
    MappedRange,
    WritebackOperations, //
};
use crate::{
    bindings,
    kernel::audit, //
};
use ::kernel::{
    container_of,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        ManuallyDrop, //
    },
    ptr::NonNull, //
};

/// Says of an ioend that it is the one in a [`Copied`]; C uses the lowest bits.
const IS_COPY: u16 = 1 << 15;
/// Pages that are there whatever happens.
const PAGES: c_int = 64;
/// Likewise, bios of each sort.
const BIOS: c_uint = 4;
/// Most pages in a bio.
const MOST: u64 = bindings::BIO_MAX_VECS as u64;

/// Whether an ioend with such flags is of a copy.
pub(super) fn is_copy(flags: u16) -> bool {
    flags & IS_COPY != 0
}

/// The memory for the copies of a volume.
///
/// # Invariants
///
/// The pool is valid, of pages, and nobody else's.
pub(super) struct Copies {
    /// Of what the disk knows where it is.
    known: Bios,
    /// Of what the disk is told of once it is written.
    recorded: Bios,
    pages: NonNull<bindings::mempool_t>,
}

// SAFETY: The pool may be used, and destroyed, by any thread.
unsafe impl Send for Copies {}
// SAFETY: The pool is made to be used by several at a time.
unsafe impl Sync for Copies {}

/// Bios, each in a [`Copied`], some of which there are whatever happens.
///
/// # Invariants
///
/// The set is initialised, and stays where it is.
struct Bios(KBox<Opaque<bindings::bio_set>>);

// SAFETY: Sets may be used, and destroyed, by any thread.
unsafe impl Send for Bios {}
// SAFETY: Sets are made to be used by several at a time.
unsafe impl Sync for Bios {}

impl Bios {
    fn new(n: c_uint) -> Result<Self> {
        let bios = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;
        let front = offset_of!(Copied, ioend) + offset_of!(bindings::iomap_ioend, io_bio);
        // CAST: a small number. SAFETY: Memory of ours, zeroed, that stays where it is.
        to_result(unsafe {
            bindings::bioset_init(
                bios.get(),
                n,
                front as c_uint,
                bindings::BIOSET_NEED_BVECS as c_int,
            )
        })?;
        Ok(Self(bios))
    }
}

impl Drop for Bios {
    fn drop(&mut self) {
        // SAFETY: Initialised by the type invariants, and all are back: who drops this has waited for it.
        unsafe { bindings::bioset_exit(self.0.get()) };
    }
}

/// What is around the bio of a copy, in memory from [`Copies`].
#[repr(C)]
struct Copied {
    /// Where the pages came from, and go.
    pool: NonNull<bindings::mempool_t>,
    /// What was copied, which stays as long as it is under writeback.
    folio: NonNull<bindings::folio>,
    /// How much of it.
    len: usize,
    /// Whether something is to be recorded once it is written.
    is_recorded: bool,
    /// Whether its pages are looked at once more.
    is_audited: bool,
    /// With the bio, which is the last of it.
    ioend: bindings::iomap_ioend,
}

impl Copies {
    /// With as little as possible, unless copies are `wanted`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(wanted: bool) -> Result<Self> {
        let (pages, bios) = if wanted { (PAGES, BIOS) } else { (1, 1) };
        let (known, recorded) = (Bios::new(bios)?, Bios::new(bios)?);
        // SAFETY: The functions make and free single pages (order 0).
        let pages = unsafe {
            bindings::mempool_create_node_noprof(
                pages,
                Some(bindings::mempool_alloc_pages),
                Some(bindings::mempool_free_pages),
                core::ptr::null_mut(),
                bindings::GFP_KERNEL,
                bindings::NUMA_NO_NODE,
            )
        };
        Ok(Self {
            known,
            recorded,
            pages: NonNull::new(pages).ok_or(ENOMEM)?,
        })
    }

    /// A page; with `wait`, there is one sooner or later.
    fn page(&self, wait: bool) -> Option<NonNull<bindings::page>> {
        let gfp = if wait {
            bindings::GFP_NOFS
        } else {
            bindings::GFP_NOWAIT
        };
        // SAFETY: Valid by the type invariants.
        NonNull::new(unsafe { bindings::mempool_alloc_noprof(self.pages.as_ptr(), gfp) }.cast())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariants, and all is back: who drops this has waited for it.
        unsafe { bindings::mempool_destroy(self.pages.as_ptr()) };
    }
}

/// A copy of the beginning of a range.
///
/// # Invariants
///
/// The ioend is that in a [`Copied`], complete, and this value's alone; the context is that of the
/// pass that it is of.
pub(crate) struct Copy<'a, U: WritebackOperations> {
    ioend: NonNull<bindings::iomap_ioend>,
    wpc: NonNull<bindings::iomap_writepage_ctx>,
    _pass: PhantomData<&'a U>,
}

impl<'a, U: WritebackOperations> Copy<'a, U> {
    /// Copies as much as there is memory for.
    ///
    /// # Context
    ///
    /// Sleeps until there is memory for a page.
    pub(super) fn new(range: MappedRange<'a, U>) -> Self {
        let (inode, len) = (range.inode(), range.len());
        let unwritten = range.is_unwritten();
        let super::WritebackRange {
            wpc,
            folio,
            pos,
            end_pos,
            ..
        } = range.0;
        let inside = |pos: u64, n: u64| end_pos.saturating_sub(pos).min(n);
        let is_recorded = unwritten
            || U::needs_end_io(&Ioend {
                inode,
                pos,
                len: inside(pos, len),
                unwritten,
                is_copy: true,
            });
        let copies = U::completions(inode.sb()).copies();
        let bios = if is_recorded {
            &copies.recorded
        } else {
            &copies.known
        };
        // CAST: to fewer bits of a number that is small enough.
        let vecs = len.div_ceil(PAGE_SIZE as u64).min(MOST) as u16;
        // CAST: a position of a file, less than 2^63.
        let raw_pos = pos as i64;
        // SAFETY: The context has the mapping of the range; waits for memory, and so never fails.
        let bio =
            unsafe { bindings::bio_alloc_writeback(wpc.as_ptr(), raw_pos, vecs, bios.0.get()) };
        // SAFETY: Valid and locked: it is the range's.
        let start = unsafe { bindings::offset_in_folio(folio.as_ptr(), raw_pos) };
        let mut copied = 0;
        while copied < len.min(u64::from(vecs).saturating_mul(PAGE_SIZE as u64)) {
            let Some(page) = copies.page(copied == 0) else {
                break;
            };
            let n = (len - copied).min(PAGE_SIZE as u64);
            // What is behind the end of the file is 0, or was, before whoever holds it wrote to it.
            // CAST: less than the size of a folio, here as below. SAFETY: The folio has the bytes,
            // and the page is ours.
            unsafe {
                bindings::copy_from_folio(
                    page.as_ptr(),
                    folio.as_ptr(),
                    start + copied as usize,
                    inside(pos + copied, n) as usize,
                    n as usize,
                )
            };
            // SAFETY: The bio has room for so many pages.
            unsafe { bindings::__bio_add_page(bio, page.as_ptr(), n as c_uint, 0) };
            copied += n;
        }
        // CAST: less than 2^16.
        let unwritten = if unwritten {
            bindings::IOMAP_IOEND_UNWRITTEN as u16
        } else {
            0
        };
        // SAFETY: The inode is valid; the bio is from a set that has room for the ioend before it.
        let ioend = unsafe {
            bindings::iomap_init_ioend(inode.as_ptr(), bio, raw_pos, IS_COPY | unwritten)
        };
        // SAFETY: Room for a `Copied` is where the ioend is.
        let whole = unsafe { container_of!(ioend, Copied, ioend) };
        // SAFETY: As above; ours alone.
        unsafe {
            (&raw mut (*whole).pool).write(copies.pages);
            (&raw mut (*whole).folio).write(folio);
            (&raw mut (*whole).len).write(copied as usize);
            (&raw mut (*whole).is_recorded).write(is_recorded);
            (&raw mut (*whole).is_audited).write(false);
            // As iomap has it: not behind the end of the file.
            (*ioend).io_size = inside(pos, copied) as usize;
            Completions::<U>::attach(ioend);
            (*bio).bi_end_io = Some(end_io::<U>);
        }
        // INVARIANT: Complete now.
        Self {
            // SAFETY: C returned where the bio is.
            ioend: unsafe { NonNull::new_unchecked(ioend) },
            wpc,
            _pass: PhantomData,
        }
    }

    /// Has the device write it.
    pub(super) fn submit(self) -> Added {
        let this = ManuallyDrop::new(self);
        let ioend = this.ioend.as_ptr();
        // SAFETY: The ioend of a copy, by the type invariants.
        let whole = unsafe { container_of!(ioend, Copied, ioend) };
        // SAFETY: As above; ours alone.
        let (folio, len) = unsafe { ((*whole).folio, (*whole).len) };
        // SAFETY: The control is valid as long as the pass; the folio is locked.
        unsafe {
            bindings::wbc_account_cgroup_owner((*this.wpc.as_ptr()).wbc, folio.as_ptr(), len)
        };
        // SAFETY: As above; the inode stays, as its folio is under writeback.
        let io = unsafe { Ioend::<U::FileSystem>::from_raw(ioend) };
        // SAFETY: As above.
        let bio = unsafe { &raw mut (*ioend).io_bio };
        // Of the tags takes care who submits it: nobody can change these bytes any more.
        // SAFETY: Complete; its pages are ours.
        unsafe { (*whole).is_audited = audit::seal::<U>(io.inode, io.pos, bio) };
        // SAFETY: Complete, and not used any more.
        unsafe { bindings::submit_bio(bio) };
        Added(len)
    }
}

impl<U: WritebackOperations> Drop for Copy<'_, U> {
    fn drop(&mut self) {
        // SAFETY: Never submitted; ours alone by the type invariants.
        unsafe { free(self.ioend.as_ptr()) };
    }
}

/// Gives the pages of a copy back.
///
/// # Safety
///
/// `ioend` has to be that of a copy, the caller's alone, and nobody may want its pages any more.
unsafe fn free_pages(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: By the contract of this function.
    let pool = unsafe { (*container_of!(ioend, Copied, ioend)).pool };
    // SAFETY: As above.
    let bio = unsafe { &raw mut (*ioend).io_bio };
    // SAFETY: As above; the device has changed but `bi_iter`.
    let (vecs, n) = unsafe { ((*bio).bi_io_vec, (*bio).bi_vcnt) };
    for i in 0..usize::from(n) {
        // SAFETY: The bio has so many, each with a page of the pool.
        unsafe { bindings::mempool_free((*vecs.add(i)).bv_page.cast(), pool.as_ptr()) };
    }
    // SAFETY: As above.
    unsafe { (*bio).bi_vcnt = 0 };
}

/// Gives the memory of a copy back.
///
/// # Safety
///
/// `ioend` has to be that of a copy, the caller's alone, and not be used any more.
unsafe fn free(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: By the contract of this function.
    unsafe { free_pages(ioend) };
    // SAFETY: The last reference.
    unsafe { bindings::bio_put(&raw mut (*ioend).io_bio) };
}

/// # Safety
///
/// Called by the block layer only, with the bio of a copy that was [submitted](Copy::submit).
unsafe extern "C" fn end_io<U: WritebackOperations>(bio: *mut bindings::bio) {
    // SAFETY: The bio is in an ioend, by the contract of this function.
    let ioend = unsafe { container_of!(bio, bindings::iomap_ioend, io_bio) };
    // SAFETY: As above: that of a copy, ours alone.
    let (is_recorded, is_audited) = unsafe {
        let whole = container_of!(ioend, Copied, ioend);
        ((*whole).is_recorded, (*whole).is_audited)
    };
    if !is_audited {
        // SAFETY: As above. The device has finished, and nobody else looks at them.
        unsafe { free_pages(ioend) };
    }
    // SAFETY: As above.
    let has_failed = unsafe { (*bio).bi_status } != 0;
    if is_recorded || is_audited || has_failed {
        // SAFETY: As above, with completions attached.
        unsafe { Completions::<U>::end_io(bio) };
    } else {
        // SAFETY: As above; not used any more.
        unsafe { end(ioend, 0) };
    }
}

/// Ends the writeback of what was copied.
///
/// # Safety
///
/// `ioend` has to be that of a copy that the device has finished, the caller's alone, and not be used
/// any more.
///
/// # Context
///
/// A task, or any if there is no error.
pub(super) unsafe fn end(ioend: *mut bindings::iomap_ioend, error: c_int) {
    // SAFETY: By the contract of this function.
    let (inode, pos) = unsafe { ((*ioend).io_inode, (*ioend).io_offset) };
    // SAFETY: As above.
    let (folio, len) = unsafe {
        let whole = container_of!(ioend, Copied, ioend);
        ((*whole).folio, (*whole).len)
    };
    // The volume may go once the folio is not under writeback any more.
    // SAFETY: As above.
    unsafe { free(ioend) };
    if error != 0 {
        // CAST: to a type of at least as many bits. SAFETY: The inode stays as long as it has folios
        // under writeback.
        unsafe { bindings::inode_write_failed(inode, pos, len as u64, error) };
    }
    // SAFETY: Under writeback, with so many bytes that nobody else ends.
    unsafe { bindings::iomap_finish_folio_write(inode, folio.as_ptr(), len) };
}
