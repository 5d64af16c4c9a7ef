// SPDX-License-Identifier: GPL-2.0

//! Access to data in the memory that they are in.
//!
//! C header: [include/linux/dax.h](srctree/include/linux/dax.h), manual:
//! [Documentation/filesystems/dax.rst](srctree/Documentation/filesystems/dax.rst)

use super::{
    buffer::BdevAddr,
    current,
    iomap,
    kiocb,
    locks::InvalidateAlone,
    super_block::OnDevice,
    vfs::FileSystemType,
    vm, //
};
use crate::bindings;
use ::kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    fmt,
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
    let inode = lock.inode();
    let size = i64::try_from(inode.i_size_read()).unwrap_or(i64::MAX);
    let mut start: i64 = 0;
    // Behind the end of the file there are no pages.
    while start < size {
        let end = start.saturating_add(MAX_FORGOTTEN);
        // OVERFLOW: `end` is more than 0. C wants the last byte.
        let last = end - 1;
        // SAFETY: Valid as long as there is the lock, which keeps faults out. Without a function to
        // wait with, C does not wait.
        if unsafe { bindings::dax_break_layout(inode.as_ptr(), start, last, None) } != 0 {
            return Err(EBUSY);
        }
        current::cond_resched();
        start = end;
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
}

/// Maps the memory that the data are in, for reading: a page of `order`.
///
/// # Context
///
/// Sleeps.
pub(crate) fn iomap_fault<U: iomap::Operations>(
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
            iomap::ops::<U>(),
        )
    };
    Faulted {
        result: vm::FaultResult::from_raw(result),
        iomap: to_result(error),
    }
}
