// SPDX-License-Identifier: GPL-2.0

//! Memory that threads store to while the kernel reads it and writes to it: whole words, each loaded and stored at once,
//! and never borrowed.

#![expect(
    unsafe_code,
    reason = "mmap(2), and system calls on the memory behind it"
)]

use std::arch::x86_64::{_mm_clflush, _mm_sfence};
use std::ffi::c_void;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::mm::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags};

/// Bytes in a word.
pub const WORD: usize = size_of::<u64>();

/// A mapping of whole words.
///
/// # Invariants
/// `base` is the start of a readable mapping of `len` bytes, a multiple of [`WORD`] and not 0, that nothing
/// else unmaps.
pub struct Words {
    base: NonNull<u64>,
    len: usize,
}

// SAFETY: The mapping belongs to the process, and goes with this value.
unsafe impl Send for Words {}
// SAFETY: By reference it is only accessed as atomic words, and by the kernel.
unsafe impl Sync for Words {}

impl Words {
    /// `len` bytes of zeroes, aligned to a page.
    ///
    /// # Errors
    /// `len` is no number of words, or there is no memory.
    pub fn private(len: usize) -> Result<Self> {
        Self::check(len)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: The kernel chooses the place, so no memory of this program is replaced.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), len, prot, MapFlags::PRIVATE) };
        Self::at(base, len)
    }

    /// A `MAP_SHARED` mapping of `len` bytes of `file` from `pos` on, a multiple of the page size. Access beyond the end of
    /// the file raises SIGBUS.
    ///
    /// # Errors
    /// `len` is no number of words, or the file cannot be mapped.
    pub fn of(file: &File, pos: u64, len: usize) -> Result<Self> {
        Self::check(len)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: As in `private`.
        let base = unsafe { mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file, pos) };
        Self::at(base, len)
    }

    /// As [`of`](Self::of), and what is stored and [flushed](Self::flush) is on the medium, and found there after a crash:
    /// `MAP_SYNC`.
    ///
    /// # Errors
    /// mmap(2)'s: `EOPNOTSUPP` for a file that is not DAX.
    pub fn synced(file: &File, pos: u64, len: usize) -> Result<Self, Errno> {
        Self::check(len).map_err(|_| Errno::INVAL)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED_VALIDATE | MapFlags::SYNC;
        // SAFETY: As in `private`.
        let base = unsafe { mmap(ptr::null_mut(), len, prot, flags, file, pos) }?;
        Self::at(Ok(base), len).map_err(|_| Errno::FAULT)
    }

    /// Has word number `index` leave the processor's caches, and waits for that.
    ///
    /// # Panics
    /// There is no such word.
    pub fn flush(&self, index: usize) {
        let word: *const AtomicU64 = self.word(index);
        // SAFETY: Every x86-64 processor has both. The line is one of the mapping's, and no memory changes by it.
        unsafe {
            _mm_clflush(word.cast());
            _mm_sfence();
        }
    }

    /// As [`of`](Self::of), but to be loaded from only: a store raises SIGSEGV.
    ///
    /// # Errors
    /// As of [`of`](Self::of).
    pub fn to_load(file: &File, pos: u64, len: usize) -> Result<Self> {
        Self::check(len)?;
        let prot = ProtFlags::READ;
        // SAFETY: As in `private`.
        let base = unsafe { mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file, pos) };
        Self::at(base, len)
    }

    fn check(len: usize) -> Result<()> {
        ensure!(len > 0 && len % WORD == 0, "a mapping of {len} bytes");
        Ok(())
    }

    fn at(base: rustix::io::Result<*mut c_void>, len: usize) -> Result<Self> {
        let base = NonNull::new(base.context("mmap")?).context("mmap: null")?;
        // INVARIANT: `base` comes from mmap(2) with this `len`, which was checked, and only `drop` unmaps it.
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// Address of the first byte, by which others get at it.
    pub fn start(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// Stores `value` as word number `index`.
    ///
    /// # Panics
    /// There is no such word.
    pub fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Relaxed);
    }

    /// Word number `index`.
    ///
    /// # Panics
    /// There is no such word.
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Relaxed)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(
            index < self.len / WORD,
            "word {index} of {} bytes",
            self.len
        );
        // SAFETY: The word lies in the mapping, which lives as long as `self` and is aligned to pages; this program
        // accesses it in this way alone.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(index)) }
    }

    /// Address of the bytes `part`.
    ///
    /// # Panics
    /// They are not within the mapping.
    pub(crate) fn address(&self, part: &Range<usize>) -> *mut c_void {
        assert!(
            part.start <= part.end && part.end <= self.len,
            "bytes {part:?} of {}",
            self.len
        );
        // SAFETY: The sum lies within the mapping.
        unsafe { self.base.as_ptr().byte_add(part.start) }.cast()
    }

    /// One pwrite(2) of the bytes `part` to `file` at `pos`.
    ///
    /// # Errors
    /// pwrite(2)'s, or `EIO` for a short write.
    pub fn write_to(&self, part: Range<usize>, file: &File, pos: u64) -> Result<(), Errno> {
        let address = self.address(&part);
        // SAFETY: The kernel reads `part.len()` bytes, which are in the mapping.
        let done = unsafe { libc::pwrite64(file.as_raw_fd(), address, part.len(), pos as i64) };
        all(done, part.len())
    }

    /// One pread(2) from `file` at `pos` into the bytes `part`.
    ///
    /// # Errors
    /// pread(2)'s, or `EIO` for a short read.
    pub fn read_from(&self, part: Range<usize>, file: &File, pos: u64) -> Result<(), Errno> {
        let address = self.address(&part);
        // SAFETY: The kernel writes `part.len()` bytes, which are in the mapping, and no reference to them exists but
        // those of atomic words.
        let done = unsafe { libc::pread64(file.as_raw_fd(), address, part.len(), pos as i64) };
        all(done, part.len())
    }

    /// One process_vm_writev(2) of `bytes` to this process's own bytes from `pos` on.
    ///
    /// # Errors
    /// process_vm_writev(2)'s, or `EIO` if it does not write all.
    ///
    /// # Panics
    /// There is no room for them.
    pub fn write_as_another(&self, pos: usize, bytes: &[u8]) -> Result<(), Errno> {
        let iovec = |address, len| libc::iovec {
            iov_base: address,
            iov_len: len,
        };
        let from = iovec(bytes.as_ptr().cast_mut().cast(), bytes.len());
        let to = iovec(self.address(&(pos..pos + bytes.len())), bytes.len());
        // PID_MAX_LIMIT is 2^22.
        let pid = process::id() as i32;
        // SAFETY: The kernel reads `bytes`, and writes as many bytes to the mapping, to which no reference exists but
        // those of atomic words.
        let done = unsafe { libc::process_vm_writev(pid, &raw const from, 1, &raw const to, 1, 0) };
        all(done, bytes.len())
    }

    /// Has the bytes `part` be in `pipe` themselves, not a copy of them: vmsplice(2) with `SPLICE_F_GIFT`.
    ///
    /// # Errors
    /// vmsplice(2)'s, or `EIO` if there is no room for all.
    pub fn splice_to(&self, part: Range<usize>, pipe: &impl AsRawFd) -> Result<(), Errno> {
        self.vmsplice(part, pipe, libc::SPLICE_F_GIFT)
    }

    /// Fills the bytes `part` from `pipe`: vmsplice(2).
    ///
    /// # Errors
    /// vmsplice(2)'s, or `EIO` if there are not so many.
    pub fn splice_from(&self, part: Range<usize>, pipe: &impl AsRawFd) -> Result<(), Errno> {
        self.vmsplice(part, pipe, 0)
    }

    fn vmsplice(&self, part: Range<usize>, pipe: &impl AsRawFd, flags: u32) -> Result<(), Errno> {
        let iovec = libc::iovec {
            iov_base: self.address(&part),
            iov_len: part.len(),
        };
        // SAFETY: The kernel reads or writes the bytes of `part`, to which no reference exists but those of atomic
        // words. What stays in the pipe is the pages, which it holds for itself.
        let done = unsafe { libc::vmsplice(pipe.as_raw_fd(), &raw const iovec, 1, flags) };
        all(done, part.len())
    }
}

/// What a system call returned that should have done all of `len` bytes.
fn all(done: isize, len: usize) -> Result<(), Errno> {
    match usize::try_from(done) {
        Ok(done) if done == len => Ok(()),
        Ok(_) => Err(Errno::IO),
        Err(_) => Err(last_error()),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are one mapping by the type's invariant, and no reference into it exists. A failure
        // could only mean that the invariant is broken; the mapping then stays.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{memfd_create, MemfdFlags};
    use std::os::unix::fs::FileExt;

    fn file(len: u64) -> File {
        let file = File::from(memfd_create("words", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn words_reach_a_file_in_every_way() {
        let file = file(4096);
        let mapped = Words::of(&file, 0, 4096).unwrap();
        mapped.store(3, 7);
        let private = Words::private(64).unwrap();
        private.read_from(0..64, &file, 0).unwrap();
        assert_eq!((private.load(3), private.load(4)), (7, 0));
        private.store(0, 9);
        private.write_to(0..8, &file, 8).unwrap();
        assert_eq!(mapped.load(1), 9);
        // Where containers forbid it.
        if mapped.write_as_another(16, &[1; 8]).is_ok() {
            assert_eq!(mapped.load(2), 0x0101_0101_0101_0101);
        }
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 24).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 7);
    }

    #[test]
    fn what_is_short_is_an_error() {
        let private = Words::private(64).unwrap();
        assert_eq!(private.read_from(0..64, &file(32), 0), Err(Errno::IO));
        assert!(Words::private(12).is_err() && Words::private(0).is_err());
    }
}
