// SPDX-License-Identifier: GPL-2.0

//! Private copies of what somebody may write to while it is being written.
//!
//! copied ([`Copy`]) → submitted → finished by the device, in a task → the memory goes back, and the
//! writeback of the folio ends
//!
//! There is memory for some copies, whatever happens: who waits for it has submitted all before, and
//! these end without anybody's memory.

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
/// The set is initialised, and stays where it is; the pool is valid, of pages, and nobody else's.
pub(super) struct Copies {
    bios: KBox<Opaque<bindings::bio_set>>,
    pages: NonNull<bindings::mempool_t>,
}

// SAFETY: Both may be used, and destroyed, by any thread.
unsafe impl Send for Copies {}
// SAFETY: Both are made to be used by several at a time.
unsafe impl Sync for Copies {}

/// What is around the bio of a copy, in memory from [`Copies`].
#[repr(C)]
struct Copied {
    /// Where the pages came from, and go.
    pool: NonNull<bindings::mempool_t>,
    /// What was copied, which stays as long as it is under writeback.
    folio: NonNull<bindings::folio>,
    /// How much of it.
    len: usize,
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
        let (pages, n) = if wanted { (PAGES, 4) } else { (1, 1) };
        let bios = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;
        let front = offset_of!(Copied, ioend) + offset_of!(bindings::iomap_ioend, io_bio);
        // CAST: a small number. SAFETY: Memory of ours, zeroed, that stays where it is.
        ::kernel::error::to_result(unsafe {
            bindings::bioset_init(
                bios.get(),
                n,
                front as c_uint,
                bindings::BIOSET_NEED_BVECS as c_int,
            )
        })?;
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
        let Some(pages) = NonNull::new(pages) else {
            // SAFETY: Initialised above, and not used.
            unsafe { bindings::bioset_exit(bios.get()) };
            return Err(ENOMEM);
        };
        Ok(Self { bios, pages })
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
        // SAFETY: As above.
        unsafe { bindings::bioset_exit(self.bios.get()) };
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
        let completions = U::completions(range.0.inode().sb());
        let len = range.len();
        let unwritten = if range.is_unwritten() {
            bindings::IOMAP_IOEND_UNWRITTEN
        } else {
            0
        };
        let super::WritebackRange {
            wpc,
            folio,
            pos,
            end_pos,
            ..
        } = range.0;
        let copies = completions.copies();
        // CAST: to fewer bits of a number that is small enough.
        let vecs = len.div_ceil(PAGE_SIZE as u64).min(MOST) as u16;
        // CAST: a position of a file, less than 2^63.
        let raw_pos = pos as i64;
        // SAFETY: The context has the mapping of the range; waits for memory, and so never fails.
        let bio = unsafe {
            bindings::bio_alloc_writeback(wpc.as_ptr(), raw_pos, vecs, copies.bios.get())
        };
        // SAFETY: Valid and locked: it is the range's.
        let start = unsafe { bindings::offset_in_folio(folio.as_ptr(), raw_pos) };
        let mut copied = 0;
        while copied < len.min(u64::from(vecs).saturating_mul(PAGE_SIZE as u64)) {
            let Some(page) = copies.page(copied == 0) else {
                break;
            };
            let n = (len - copied).min(PAGE_SIZE as u64);
            // What is behind the end of the file is 0, or was, before whoever holds it wrote to it.
            let inside = end_pos.saturating_sub(pos + copied).min(n);
            // CAST: less than the size of a folio, here as below. SAFETY: The folio has the bytes,
            // and the page is ours.
            unsafe {
                bindings::copy_from_folio(
                    page.as_ptr(),
                    folio.as_ptr(),
                    start + copied as usize,
                    inside as usize,
                    n as usize,
                )
            };
            // SAFETY: The bio has room for so many pages.
            unsafe { bindings::__bio_add_page(bio, page.as_ptr(), n as c_uint, 0) };
            copied += n;
        }
        // SAFETY: The inode is valid; the bio is from a set that has room for the ioend before it.
        let ioend = unsafe {
            bindings::iomap_init_ioend(
                (*wpc.as_ptr()).inode,
                bio,
                raw_pos,
                IS_COPY | unwritten as u16,
            )
        };
        // SAFETY: Room for a `Copied` is where the ioend is.
        let whole = unsafe { container_of!(ioend, Copied, ioend) };
        // SAFETY: As above; ours alone.
        unsafe {
            (&raw mut (*whole).pool).write(copies.pages);
            (&raw mut (*whole).folio).write(folio);
            (&raw mut (*whole).len).write(copied as usize);
            // As iomap has it: not behind the end of the file.
            (*ioend).io_size = end_pos.saturating_sub(pos).min(copied) as usize;
            Completions::<U>::attach(ioend);
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
        // SAFETY: The ioend of a copy, ours alone, by the type invariants.
        let (folio, len) = unsafe {
            let whole = container_of!(ioend, Copied, ioend);
            ((*whole).folio, (*whole).len)
        };
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
        unsafe { audit::seal::<U>(io.inode, io.pos, bio) };
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

/// Gives the memory of a copy back.
///
/// # Safety
///
/// `ioend` has to be that of a copy, the caller's alone, and not be used any more.
unsafe fn free(ioend: *mut bindings::iomap_ioend) {
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
    // SAFETY: The last reference.
    unsafe { bindings::bio_put(bio) };
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
/// A task.
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
