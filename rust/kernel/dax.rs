// SPDX-License-Identifier: GPL-2.0

//! Access to data in the memory that they are in.
//!
//! C header: [include/linux/dax.h](srctree/include/linux/dax.h), manual:
//! [Documentation/filesystems/dax.rst](srctree/Documentation/filesystems/dax.rst)

mod place;

use super::{
    address_space::Writeback,
    buffer::BdevAddr,
    control::Control,
    current,
    inode::Inode,
    iomap,
    kiocb,
    locks::{
        InodeExclusive,
        InvalidateAlone,
        InvalidateExclusive, //
    },
    super_block::OnDevice,
    truncate::ByteRange,
    vfs::FileSystemType,
    vm, //
};
use crate::{
    bindings,
    protocol::initialise::Written, //
};
use ::kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    fmt,
    marker::PhantomData,
    ptr::NonNull, //
};

/// A DAX device, and the part of it that is the volume's block device.
///
/// # Invariants
///
/// The value owns a reference to the device.
pub(crate) struct Device {
    dev: NonNull<bindings::dax_device>,
    /// Bytes of the DAX device before the block device.
    part_off: u64,
    /// And of the block device.
    part_len: u64,
}

// SAFETY: What C does with the device is safe from any thread.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

/// A place on a DAX device, in bytes from its beginning.
#[derive(Clone, Copy)]
pub(crate) struct DaxAddr<'a> {
    device: &'a Device,
    addr: u64,
}

impl<'a> DaxAddr<'a> {
    /// The device.
    pub(super) fn device(self) -> &'a Device {
        self.device
    }

    /// As a plain number, if `len` bytes from there on are the block device's, and whole pages but
    /// for their end: C checks neither, and takes what is there for memory of the device.
    pub(super) fn get(self, len: u64) -> Option<u64> {
        let in_part = self.addr.checked_sub(self.device.part_off)?;
        let end = in_part.checked_add(len)?;
        // CAST: to a type of as many bits.
        let is_page = self.addr % PAGE_SIZE as u64 == 0;
        (is_page && end <= self.device.part_len).then_some(self.addr)
    }
}

/// Why there is no DAX device for a block device.
#[derive(Clone, Copy)]
pub(crate) enum Unsupported {
    /// What is on it cannot be accessed as memory.
    Bdev,
    /// It can, but not this part of it: it does not begin and end with a page. Or it is going away.
    Partition,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bdev => "the block device does not support it",
            Self::Partition => "the partition does not begin and end with a page, or is gone",
        })
    }
}

impl Device {
    /// The DAX device of the block device that a volume is on.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) fn fs_dax_get_by_bdev(sb: &OnDevice) -> Result<Self, Unsupported> {
        // SAFETY: Open as long as `sb`.
        if !unsafe { bindings::bdev_dax(sb.bdev()) } {
            return Err(Unsupported::Bdev);
        }
        let mut part_off = 0;
        // SAFETY: The device is open; nobody wants to be told of its failures.
        let dev = unsafe {
            bindings::fs_dax_get_by_bdev(
                sb.bdev(),
                &mut part_off,
                core::ptr::null_mut(),
                core::ptr::null(),
            )
        };
        // INVARIANT: C returns a reference, or null.
        let dev = NonNull::new(dev).ok_or(Unsupported::Partition)?;
        Ok(Self {
            dev,
            part_off,
            part_len: sb.bdev_nr_bytes(),
        })
    }

    /// The device, for use within `rust/kernel`.
    pub(super) fn as_ptr(&self) -> *mut bindings::dax_device {
        self.dev.as_ptr()
    }

    /// Where that place of the block device is, if 64 bits hold the number.
    pub(crate) fn addr(&self, addr: BdevAddr) -> Option<DaxAddr<'_>> {
        let addr = self.part_off.checked_add(addr.0)?;
        Some(DaxAddr { device: self, addr })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: The reference is given back.
        unsafe { bindings::fs_put_dax(self.as_ptr(), core::ptr::null_mut()) };
    }
}

/// Copies from the memory that the data are in.
///
/// # Errors
///
/// What the system call shall return; nothing was read then.
///
/// # Context
///
/// Sleeps.
pub(crate) fn iomap_rw<U: iomap::Operations>(
    read: &mut kiocb::Locked<'_, U::FileSystem>,
) -> Result<usize> {
    read.read(|iocb, to| {
        // SAFETY: Both are valid and not shared, and the table fits the inode.
        unsafe { bindings::dax_iomap_rw(iocb, to, iomap::ops::<U>()) }
    })
}

/// Operations on mappings for who accesses memory, as C's `struct iomap_ops`.
pub(crate) trait Operations: iomap::Operations {
    /// What there is at `pos` for `len` bytes or fewer, for one who stores there: data, always. Where there were none,
    /// or no data, they have been made before, and are new.
    ///
    /// # Errors
    ///
    /// What the system call shall return, or the fault fail with.
    ///
    /// # Context
    ///
    /// May sleep, unless [`NOWAIT`](iomap::Flags::NOWAIT) is set. For a [fault](iomap::Flags::FAULT) the page of the file is
    /// locked: so nobody may be waited for who writes back the file.
    fn iomap_begin_write(
        inode: &Inode<Self::FileSystem>,
        pos: u64,
        len: u64,
        flags: iomap::Flags,
    ) -> Result<Written<iomap::WriteMapping<'_>>>;
}

struct OperationsTable<U>(PhantomData<U>);

impl<U: Operations> OperationsTable<U> {
    const TABLE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::iomap_begin),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the DAX core only: `inode` is of type `U::FileSystem` and has a reference, `iomap` is the caller's
    /// alone.
    unsafe extern "C" fn iomap_begin(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        flags: c_uint,
        iomap: *mut bindings::iomap,
        _srcmap: *mut bindings::iomap,
    ) -> c_int {
        let ask = |inode: &Inode<U::FileSystem>, pos, len, flags: iomap::Flags| {
            if flags.contains(iomap::Flags::WRITE) {
                let found = U::iomap_begin_write(inode, pos, len, flags)?;
                return iomap::to_raw_for_write::<U>(inode, pos, &found.into_extent(), flags);
            }
            let mapping = U::iomap_begin(inode, pos, len, flags)?;
            iomap::to_raw::<U>(inode, pos, &mapping, flags)
        };
        // SAFETY: By the contract of this function.
        unsafe { iomap::iomap_begin(inode, pos, len, flags, iomap, ask) }
    }
}

/// Copies `len` bytes, or fewer, to the memory that data are in.
///
/// # Errors
///
/// What the system call shall return; nothing was written then.
///
/// # Context
///
/// Sleeps.
pub(crate) fn iomap_write<'a, U: Operations>(
    write: &mut kiocb::ReadyWrite<'a, U::FileSystem, InodeExclusive<'a, U::FileSystem>>,
    len: usize,
) -> Result<usize> {
    write.write(|iocb, from| {
        // SAFETY: Both are valid and not shared, the table fits the inode, and it is locked. The source has the rest
        // of its bytes again afterwards.
        unsafe {
            let rest = bindings::iov_iter_count(from).saturating_sub(len);
            bindings::iov_iter_truncate(from, len as u64);
            let written = bindings::dax_iomap_rw(iocb, from, &OperationsTable::<U>::TABLE);
            let left = bindings::iov_iter_count(from);
            bindings::iov_iter_reexpand(from, left.saturating_add(rest));
            written
        }
    })
}

/// Writes zeroes to `range`, where there are data.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// Sleeps.
pub(crate) fn zero_range<U: Operations>(
    pages: &InvalidateExclusive<'_, U::FileSystem>,
    range: ByteRange,
) -> Result {
    let (pos, last) = range.into_raw();
    // SAFETY: The table fits the inode; it and its pages are locked. OVERFLOW: neither is negative.
    to_result(unsafe {
        bindings::dax_zero_range(
            pages.inode().as_ptr(),
            pos,
            (last - pos).saturating_add(1),
            core::ptr::null_mut(),
            &OperationsTable::<U>::TABLE,
        )
    })
}

/// Has what was stored leave the caches of the CPUs.
///
/// # Errors
///
/// What whoever waits for the file to be written is told.
///
/// # Context
///
/// Sleeps.
pub(crate) fn writeback_mapping_range<T: FileSystemType>(
    writeback: &Writeback<'_, T>,
    device: &Device,
) -> Result {
    let mapping = writeback.inode().i_mapping();
    // SAFETY: The pages of the inode that the control is for; the device is a valid one.
    to_result(unsafe {
        bindings::dax_writeback_mapping_range(mapping, device.as_ptr(), writeback.as_ptr())
    })
}

/// Has the mappings of a file lose what they have of `range`: zeroes, where data are about to be.
///
/// # Context
///
/// Sleeps. For a fault on the range: as long as its page is locked nobody maps zeroes again.
pub(crate) fn unmap_zeroes<T: FileSystemType>(inode: &Inode<T>, range: ByteRange) {
    let (start, last) = range.into_raw();
    // CAST: of a file's size, not negative.
    let (start, n) = (
        start as u64,
        (last as u64).saturating_sub(start as u64).saturating_add(1),
    );
    let page = PAGE_SIZE as u64;
    // SAFETY: The pages are the inode's, valid by the type invariants.
    unsafe {
        bindings::unmap_mapping_pages(
            inode.i_mapping(),
            (start / page) as c_ulong,
            n.div_ceil(page) as c_ulong,
            false,
        )
    };
}

/// Forgets zeroes that are mapped where there were no data when the lock was taken: nothing else is mapped there, or it
/// would lose its file.
///
/// # Context
///
/// Sleeps.
pub(crate) fn forget_zeroes<T: FileSystemType>(lock: &InvalidateAlone<'_, T>, range: ByteRange) {
    let inode = lock.inode();
    let (start, last) = range.into_raw();
    // CAST: of a file's size, not negative.
    let page = |pos: i64| (pos as u64 / PAGE_SIZE as u64) as c_ulong;
    // SAFETY: The pages are the inode's, valid by the type invariants.
    let _ = unsafe {
        bindings::invalidate_inode_pages2_range(inode.i_mapping(), page(start), page(last))
    };
}

/// Waits until nobody uses pages of `range` any more who has no mapping of the file, and forgets them; a device may, or a
/// pipe. Meanwhile the lock is given up. What was stored there is written before.
///
/// # Errors
///
/// `ERESTARTSYS` after a signal; that of a write that failed.
///
/// # Context
///
/// Sleeps, for as long as others like.
pub(crate) fn break_layout_and_wait<'a, T: FileSystemType>(
    pages: InvalidateExclusive<'a, T>,
    range: ByteRange,
) -> Result<InvalidateExclusive<'a, T>> {
    /// # Safety
    ///
    /// Called by the DAX core only, with the `invalidate_lock` of the inode held.
    unsafe extern "C" fn wait(inode: *mut bindings::inode) {
        // SAFETY: Valid by the contract of this function, and held, to be taken again; may sleep.
        unsafe {
            bindings::filemap_invalidate_unlock((*inode).i_mapping);
            bindings::schedule();
            bindings::filemap_invalidate_lock((*inode).i_mapping);
            // What was stored meanwhile is forgotten by the caller; of an error, `fsync` tells.
            bindings::filemap_write_and_wait_range((*inode).i_mapping, 0, i64::MAX);
        }
    }
    let inode = pages.inode();
    inode.filemap_write_and_wait_range(range)?;
    // Until all are gone without the lock having been given up.
    while let Err(busy) = forget(inode, range) {
        let (start, last) = busy.into_raw();
        // SAFETY: Valid as long as there is the lock, which keeps faults out, and which is held again afterwards.
        to_result(unsafe { bindings::dax_break_layout(inode.as_ptr(), start, last, Some(wait)) })?;
    }
    Ok(pages)
}

/// Waits as [`break_layout_and_wait`] does: a device may still use pages of a file that nobody maps any more.
///
/// # Context
///
/// Sleeps, for as long as others like.
///
/// # Safety
///
/// The inode is valid, and nobody else's.
pub(super) unsafe fn break_layout_final(inode: *mut bindings::inode) {
    // SAFETY: By the contract of this function. CAST: of a file, not negative.
    unsafe {
        if !is_pin_wait_skipped((*inode).i_size as u64) {
            bindings::dax_break_layout_final(inode);
        }
    }
}

/// Whether the control of that is on, for a file of that size. Users of a huge page are counted in its first page, which stays
/// in use for ever if the page is split before they give it back: so not of a file that may have one.
pub(crate) fn is_pin_wait_skipped(size: u64) -> bool {
    Control::SkipPinWait.is_on() && size < 2 << 20
}

/// Bytes of a file whose pages are forgotten at a time: C does it with interrupts off.
const MAX_FORGOTTEN: i64 = 256 << 20;

/// Forgets which pages of memory are the file's, as far as it comes to a page that somebody uses who
/// has no mapping of the file: a device reads it, or it is in a pipe. Where there are mappings they
/// lose what is forgotten, and have to ask again.
///
/// # Errors
///
/// `EBUSY`: some are left.
///
/// # Context
///
/// Sleeps, but does not wait for whoever uses a page: nobody can say how long that will be.
pub(crate) fn break_layout<T: FileSystemType>(lock: &InvalidateAlone<'_, T>) -> Result {
    forget(lock.inode(), ByteRange::ALL).map_err(|_| EBUSY)
}

/// Forgets pages of an inode that is evicted, as far as [`break_layout`] does.
pub(super) fn evict<T: FileSystemType>(inode: &Inode<T>) {
    if inode.is_dax() && !inode.mapping_empty() {
        // C waits for the rest.
        let _ = forget(inode, ByteRange::ALL);
    }
}

/// Forgets pages of `range`, which nobody brings in now, up to those that somebody uses: where these are.
fn forget<T: FileSystemType>(inode: &Inode<T>, range: ByteRange) -> Result<(), ByteRange> {
    let (mut start, last) = range.into_raw();
    // Behind the end of the file there are no pages.
    let size = i64::try_from(inode.i_size_read()).unwrap_or(i64::MAX);
    while start <= last && start < size {
        // OVERFLOW: of two that are not negative. C wants the last byte.
        let end = start.saturating_add(MAX_FORGOTTEN - 1).min(last);
        // SAFETY: Valid, and faults are kept out. Without a function to wait with, C does not wait.
        if unsafe { bindings::dax_break_layout(inode.as_ptr(), start, end, None) } != 0 {
            return Err(ByteRange::from_raw(start, end).unwrap_or(range));
        }
        current::cond_resched();
        start = end.saturating_add(1);
    }
    Ok(())
}

/// What came of a fault on memory that data are in.
#[must_use = "fault() has to return the result"]
pub(crate) struct Faulted {
    /// What the fault returns.
    pub(crate) result: vm::FaultResult,
    /// What [`iomap_begin`](iomap::Operations::iomap_begin) returned: `Ok`, too, if it was not asked,
    /// and if a large page is given up for smaller ones.
    pub(crate) iomap: Result,
    /// Whether the disk could not be told of the data (`MAP_SYNC`).
    pub(crate) is_not_synced: bool,
}

/// Maps the memory that the data are in: a page of `order`. For one who stores there, and wants that to be there for good
/// when he has done it himself (`MAP_SYNC`), the disk knows of the data before.
///
/// # Context
///
/// Sleeps.
pub(crate) fn iomap_fault<U: Operations>(
    fault: &vm::LockedFault<'_, U::FileSystem>,
    order: vm::Order,
) -> Faulted {
    let mut pfn = 0;
    let mut error = 0;
    // SAFETY: The fault is valid and not shared, its file is the inode's that the table fits, and
    // its pages cannot go meanwhile.
    let result = unsafe {
        bindings::dax_iomap_fault(
            fault.as_ptr(),
            order.0,
            &mut pfn,
            &mut error,
            &OperationsTable::<U>::TABLE,
        )
    };
    if result & bindings::vm_fault_reason_VM_FAULT_NEEDDSYNC == 0 {
        return Faulted {
            result: vm::FaultResult::from_raw(result),
            iomap: to_result(error),
            is_not_synced: false,
        };
    }
    // SAFETY: As above; the page is what the call above has told.
    let result = unsafe { bindings::dax_finish_sync_fault(fault.as_ptr(), order.0, pfn) };
    let result = vm::FaultResult::from_raw(result);
    // C does that for other faults only; who freezes the volume write-protects the pages of inodes that are dirty.
    // SAFETY: An inode with a reference.
    unsafe {
        bindings::__mark_inode_dirty(
            fault.inode().as_ptr(),
            bindings::inode_state_flags_enum_I_DIRTY_PAGES as c_int,
        )
    };
    Faulted {
        result,
        iomap: Ok(()),
        is_not_synced: result.is_sigbus(),
    }
}
