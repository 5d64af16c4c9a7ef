// SPDX-License-Identifier: GPL-2.0

//! A shared mapping of a file: copied into and out of, never borrowed, since others may store to it at any time.

#![expect(unsafe_code, reason = "mmap(2) and the memory behind it")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use anyhow::{ensure, Context, Result};
use rustix::mm::{mmap, msync, munmap, MapFlags, MsyncFlags, ProtFlags};

/// A readable and writable `MAP_SHARED` mapping of the first bytes of a file. Access beyond the end of the file raises
/// SIGBUS.
///
/// # Invariants
/// `base` is the start of a mapping of `len` bytes, `len` not 0, that nothing else unmaps.
pub struct SharedMapping {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: What others store at the same time is copied as it happens to be; nothing of it is borrowed.
unsafe impl Send for SharedMapping {}
// SAFETY: As above: whether the others are threads or processes makes no difference.
unsafe impl Sync for SharedMapping {}

impl SharedMapping {
    /// Maps the first `len` bytes of `file`.
    ///
    /// # Errors
    /// `len` is 0, or the file cannot be mapped.
    pub fn new(file: &File, len: usize) -> Result<Self> {
        Self::from(file, 0, len)
    }

    /// Maps `len` bytes of `file` from `pos` on, a multiple of the page size.
    ///
    /// # Errors
    /// `len` is 0, or the file cannot be mapped.
    pub fn from(file: &File, pos: u64, len: usize) -> Result<Self> {
        Self::map(file, pos, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map(file: &File, pos: u64, len: usize, prot: ProtFlags) -> Result<Self> {
        ensure!(len > 0, "a mapping of nothing");
        // SAFETY: The kernel chooses the place, so no memory of this program is replaced.
        let base = unsafe { mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file, pos) };
        let base = NonNull::new(base.context("mmap")?).context("mmap: null")?;
        // INVARIANT: `base` comes from mmap(2) with this `len`, and only `drop` unmaps it.
        Ok(Self { base, len })
    }

    /// Stores `bytes` at `pos`.
    ///
    /// # Errors
    /// They reach beyond the mapping.
    pub fn store(&self, pos: usize, bytes: &[u8]) -> Result<()> {
        let target = self.at(pos, bytes.len())?;
        // SAFETY: `at` has checked that `bytes.len()` bytes at `target` lie in the mapping, which lives as long as
        // `self`. `bytes` is memory of this program, and no reference to the mapping is ever made.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    /// A copy of `len` bytes at `pos`.
    ///
    /// # Errors
    /// They reach beyond the mapping.
    pub fn load(&self, pos: usize, len: usize) -> Result<Vec<u8>> {
        let source = self.at(pos, len)?;
        let mut bytes = vec![0; len];
        // SAFETY: As in `store`, the other way round: `bytes` has `len` bytes and is not shared.
        unsafe { ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), len) };
        Ok(bytes)
    }

    /// Has `len` bytes of `source`, from `from` on, be read to `pos`. The kernel does it, and if it is opened for direct
    /// I/O, the device.
    ///
    /// # Errors
    /// They reach beyond the mapping; `source` has less, or cannot be read.
    pub fn read_from(&self, pos: usize, len: usize, source: &File, from: u64) -> Result<()> {
        let target = self.at(pos, len)?;
        let from = from.try_into().context("position")?;
        // SAFETY: `at` has checked that the kernel may store `len` bytes at `target`, as in `store`; it does so only
        // until the call returns.
        let read = unsafe { libc::pread(source.as_raw_fd(), target.cast(), len, from) };
        if read < 0 {
            return Err(io::Error::last_os_error()).context("pread");
        }
        ensure!(read.unsigned_abs() == len, "pread: {read} of {len} bytes");
        Ok(())
    }

    /// Has all that was stored reach the device.
    ///
    /// # Errors
    /// msync(2) fails.
    pub fn sync(&self) -> Result<()> {
        // SAFETY: `base` and `len` are one mapping by the type's invariant. No memory changes by it.
        unsafe { msync(self.base.as_ptr(), self.len, MsyncFlags::SYNC) }.context("msync")
    }

    /// Address of `pos`, where `len` bytes lie in the mapping.
    fn at(&self, pos: usize, len: usize) -> Result<*mut u8> {
        let end = pos.checked_add(len).filter(|&end| end <= self.len);
        ensure!(
            end.is_some(),
            "{len} bytes at {pos} of a mapping of {}",
            self.len
        );
        // SAFETY: `pos` is within the mapping by the line above, so it is of the same allocation as `base`.
        Ok(unsafe { self.base.as_ptr().cast::<u8>().add(pos) })
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are one mapping by the type's invariant, and no reference into it exists.
        // A failure could only mean that the invariant is broken; the mapping then stays.
        let _ = unsafe { munmap(self.base.as_ptr(), self.len) };
    }
}

/// A `MAP_SHARED` mapping of a part of a file that can only be read. Access to a page beyond the end of the file raises
/// SIGBUS.
pub struct ReadMapping(SharedMapping);

impl ReadMapping {
    /// Maps `len` bytes of `file` from `pos` on, a multiple of the page size.
    ///
    /// # Errors
    /// `len` is 0, or the file cannot be mapped.
    pub fn new(file: &File, pos: u64, len: usize) -> Result<Self> {
        SharedMapping::map(file, pos, len, ProtFlags::READ).map(Self)
    }

    /// A copy of `len` bytes at `pos` of the mapping.
    ///
    /// # Errors
    /// They reach beyond the mapping.
    pub fn load(&self, pos: usize, len: usize) -> Result<Vec<u8>> {
        self.0.load(pos, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{memfd_create, MemfdFlags};
    use std::os::unix::fs::FileExt;

    #[test]
    fn stores_reach_the_file_and_loads_see_it() {
        let file = File::from(memfd_create("mapping", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(10).unwrap();
        let mapping = SharedMapping::new(&file, 10).unwrap();
        mapping.store(7, b"end").unwrap();
        file.write_all_at(b"start", 0).unwrap();
        assert_eq!(mapping.load(0, 10).unwrap(), b"start\0\0end");
    }

    #[test]
    fn a_part_is_read_from_where_it_begins() {
        let file = File::from(memfd_create("mapping", MemfdFlags::CLOEXEC).unwrap());
        let page = rustix::param::page_size();
        file.write_all_at(b"second page", page as u64).unwrap();
        let mapping = ReadMapping::new(&file, page as u64, 11).unwrap();
        assert_eq!(mapping.load(7, 4).unwrap(), b"page");
        assert!(mapping.load(7, 5).is_err());
    }

    #[test]
    fn access_beyond_the_mapping_is_refused() {
        let file = File::from(memfd_create("mapping", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(10).unwrap();
        let mapping = SharedMapping::new(&file, 10).unwrap();
        assert!(mapping.store(8, b"end").is_err());
        assert!(mapping.load(usize::MAX, 2).is_err());
        assert!(SharedMapping::new(&file, 0).is_err());
    }
}
