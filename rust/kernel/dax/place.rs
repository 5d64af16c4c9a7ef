// SPDX-License-Identifier: GPL-2.0

//! Memory that is about to be a file's: it is initialised where nobody has it mapped, past all caches,
//! so that it is there for good with the next flush of the device.

use super::Device;
use crate::{
    bindings,
    kernel::{
        buffer::BdevAddr,
        current,
        errno,
        kiocb,
        locks::InodeExclusive,
        vfs::FileSystemType, //
    },
};
use ::kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};

/// As `u64`, as which the same is used for positions.
const PAGE: u64 = PAGE_SIZE as u64;

/// Keeps C's table of the device in place.
struct ReadLock(c_int);

impl ReadLock {
    fn dax_read_lock() -> Self {
        // SAFETY: May be called wherever one may sleep.
        Self(unsafe { bindings::dax_read_lock() })
    }
}

impl Drop for ReadLock {
    fn drop(&mut self) {
        // SAFETY: Taken with this number.
        unsafe { bindings::dax_read_unlock(self.0) };
    }
}

/// A fault of this thread fails, as long as there is this.
struct NoPagefaults;

impl NoPagefaults {
    fn pagefault_disable() -> Self {
        // SAFETY: Undone when this is dropped.
        unsafe { bindings::pagefault_disable() };
        Self
    }
}

impl Drop for NoPagefaults {
    fn drop(&mut self) {
        // SAFETY: Disabled by this thread.
        unsafe { bindings::pagefault_enable() };
    }
}

impl Device {
    /// The page with the byte at `addr` of the block device, as C numbers it, and where in that the byte is; if
    /// `len` bytes from there on are the block device's.
    fn page(&self, addr: BdevAddr, len: u64) -> Option<(c_ulong, u64)> {
        // OVERFLOW: a remainder; less than the address.
        let in_page = addr.0 % PAGE;
        let start = self.addr(BdevAddr(addr.0 - in_page))?;
        let at = start.get(in_page.checked_add(len)?)?;
        // CAST: to a type of as many bits.
        Some(((at / PAGE) as c_ulong, in_page))
    }

    /// Has whole pages of the block device be zeroes. Those that were broken are not any more, if that helps.
    ///
    /// # Errors
    ///
    /// `EIO`: they cannot be written to, or are not the block device's.
    ///
    /// # Context
    ///
    /// Sleeps. Nobody else stores there.
    pub(crate) fn zero_pages(&self, addr: BdevAddr, len: u64) -> Result {
        let (first, in_page) = self.page(addr, len).ok_or(EIO)?;
        if in_page != 0 || len % PAGE != 0 {
            return Err(EIO);
        }
        // CAST: to a type of as many bits.
        for page in 0..(len / PAGE) as c_ulong {
            let _lock = ReadLock::dax_read_lock();
            // OVERFLOW: pages of the device.
            // SAFETY: The device is ours by the type invariants of `Device`, and has the page.
            let zeroed = unsafe {
                bindings::dax_zero_page_range(self.as_ptr(), first.wrapping_add(page), 1)
            };
            to_result(zeroed)?;
            current::cond_resched();
        }
        Ok(())
    }

    /// Has bytes of a page of the block device be zeroes.
    ///
    /// # Errors
    ///
    /// `EIO`: they cannot be accessed, or are not the block device's, or not of one page.
    ///
    /// # Context
    ///
    /// Sleeps. Nobody else stores there.
    pub(crate) fn zero_in_page(&self, addr: BdevAddr, len: u64) -> Result {
        let (page, in_page) = self.page(addr, len).ok_or(EIO)?;
        if in_page.saturating_add(len) > PAGE {
            return Err(EIO);
        }
        let _lock = ReadLock::dax_read_lock();
        let (kaddr, _) = self.direct_access(page, 1)?;
        // CAST: less than a page. SAFETY: C has mapped the page, and does not look at what others do with it.
        unsafe {
            let at = kaddr.cast::<u8>().add(in_page as usize);
            core::ptr::write_bytes(at, 0, len as usize);
            bindings::dax_flush(self.as_ptr(), at.cast(), len as usize);
        }
        Ok(())
    }

    /// Where C has `n` pages mapped, or fewer, and how many bytes these are. `dax_read_lock()` is held.
    fn direct_access(&self, page: c_ulong, n: u64) -> Result<(*mut c_void, u64)> {
        let mut kaddr = core::ptr::null_mut();
        // CAST: to a type of as many bits; pages of the device, less than 2^52.
        let n = n as c_long;
        // SAFETY: The device is ours by the type invariants of `Device`.
        let mapped = unsafe {
            bindings::dax_direct_access(
                self.as_ptr(),
                page,
                n,
                bindings::dax_access_mode_DAX_ACCESS,
                &mut kaddr,
                core::ptr::null_mut(),
            )
        };
        if mapped <= 0 || kaddr.is_null() {
            // CAST: an error number. C says so of broken memory.
            let error = Error::from_errno(mapped as c_int);
            return Err(if mapped >= 0 || error == errno::ehwpoison() {
                EIO
            } else {
                error
            });
        }
        // CAST: more than 0.
        Ok((kaddr, (mapped as u64).saturating_mul(PAGE)))
    }

    /// Copies what is to be written to `len` bytes of the block device from `addr` on: as far as the memory of the
    /// writer can be read without a fault, so that this may be called with locks held that a fault takes. Returns
    /// how many bytes.
    ///
    /// # Errors
    ///
    /// `EIO`: they cannot be accessed, or are not the block device's.
    ///
    /// # Context
    ///
    /// Sleeps. Nobody else stores there.
    pub(crate) fn copy_from_iter<'a, T: FileSystemType>(
        &self,
        addr: BdevAddr,
        len: u64,
        from: &mut kiocb::ReadyWrite<'a, T, InodeExclusive<'a, T>>,
    ) -> Result<usize> {
        let (page, in_page) = self.page(addr, len).ok_or(EIO)?;
        let end = in_page.saturating_add(len);
        let _lock = ReadLock::dax_read_lock();
        let (kaddr, mapped) = self.direct_access(page, end.div_ceil(PAGE))?;
        // CAST: less than can be mapped.
        let n = mapped.min(end).saturating_sub(in_page) as usize;
        from.write(|iocb, from| {
            let _no_pagefaults = NoPagefaults::pagefault_disable();
            // CAST: less than a page, and than the source has. SAFETY: C has mapped so many pages; the kiocb and the
            // source are valid and nobody else's.
            unsafe {
                let to = kaddr.cast::<u8>().add(in_page as usize);
                let copied = bindings::_copy_from_iter_flushcache(to.cast(), n, from);
                (*iocb).ki_pos = (*iocb).ki_pos.saturating_add(copied as i64);
                copied as isize
            }
        })
    }
}
