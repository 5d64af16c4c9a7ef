// SPDX-License-Identifier: GPL-2.0

//! A ring of io_uring(7) with memory of its own, which nobody touches while the kernel may; and one for memory that others
//! touch.

#![expect(
    unsafe_code,
    reason = "the kernel reads and writes memory after the call has returned"
)]

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use anyhow::{ensure, Context, Result};
use io_uring::squeue::Flags;
use io_uring::{opcode, types, IoUring};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use crate::words::Words;

/// What direct I/O wants of a buffer's address, at most.
const ALIGN: usize = 4096;

/// A ring. Each request has a slot, and each slot a part of the memory.
///
/// # Invariants
/// `memory` was allocated with `layout`: `SLOT` bytes for each of `in_flight`. The kernel uses those of the slots that are
/// in flight, and no others.
pub struct Ring {
    ring: IoUring,
    memory: NonNull<u8>,
    layout: Layout,
    in_flight: Vec<bool>,
}

/// Memory of a request: `len` bytes of its slot from `start` on.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where in the slot.
    pub start: usize,
    /// How many bytes.
    pub len: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Read from a position.
    Read(Part, u64),
    /// Write to a position.
    Write(Part, u64),
    /// fsync(2)
    Fsync,
    /// fdatasync(2)
    Fdatasync,
    /// fallocate(2): a position and a length.
    Fallocate(FallocateFlags, u64, u64),
}

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// With the memory as it was registered.
    pub fixed: bool,
    /// By a worker of the kernel, without a first try that may not wait (`IOSQE_ASYNC`).
    pub by_worker: bool,
    /// Of reads and writes.
    pub flags: ReadWriteFlags,
}

impl Ring {
    /// Length of a slot's memory, in bytes.
    pub const SLOT: usize = 128 << 10;

    /// A ring of `slots` slots.
    ///
    /// # Errors
    /// The kernel has no io_uring, or no memory for it.
    pub fn new(slots: u16) -> Result<Self> {
        let ring = IoUring::new(slots.into()).context("io_uring_setup")?;
        let slots = usize::from(slots);
        let layout = Layout::from_size_align(slots * Self::SLOT, ALIGN)?;
        ensure!(layout.size() > 0, "a ring without slots");
        // SAFETY: The size is not 0.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) });
        // INVARIANT: Nothing is in flight yet.
        let this = Self {
            ring,
            memory: memory.unwrap_or_else(|| handle_alloc_error(layout)),
            layout,
            in_flight: vec![false; slots],
        };
        let buffer = |slot| libc::iovec {
            iov_base: this.address(slot, 0).cast(),
            iov_len: Self::SLOT,
        };
        let buffers: Vec<_> = (0..slots).map(buffer).collect();
        // SAFETY: The memory lives as long as the ring: `drop` closes the ring first.
        let registered = unsafe { this.ring.submitter().register_buffers(&buffers) };
        registered.context("IORING_REGISTER_BUFFERS")?;
        Ok(this)
    }

    /// Address of byte `start` of `slot`, both within bounds.
    fn address(&self, slot: usize, start: usize) -> *mut u8 {
        // SAFETY: The sum lies in the memory by the caller's word.
        unsafe { self.memory.as_ptr().add(slot * Self::SLOT + start) }
    }

    /// The same of all of `part`, while `slot` is not in flight.
    fn idle(&self, slot: usize, part: Part) -> Result<*mut u8> {
        ensure!(
            self.in_flight.get(slot) == Some(&false),
            "slot {slot} is in flight"
        );
        let end = part.start.checked_add(part.len);
        ensure!(
            end.is_some_and(|end| end <= Self::SLOT),
            "{part:?} of a slot"
        );
        Ok(self.address(slot, part.start))
    }

    /// Puts `bytes` at `start` of `slot`.
    ///
    /// # Errors
    /// There is no room, or the slot is in flight.
    pub fn put(&mut self, slot: usize, start: usize, bytes: &[u8]) -> Result<()> {
        let len = bytes.len();
        let to = self.idle(slot, Part { start, len })?;
        // SAFETY: `idle` has checked that there are as many bytes, which the kernel does not use.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, len) };
        Ok(())
    }

    /// A copy of `part` of `slot`.
    ///
    /// # Errors
    /// There is no such part, or the slot is in flight.
    pub fn get(&self, slot: usize, part: Part) -> Result<Vec<u8>> {
        let from = self.idle(slot, part)?;
        let mut bytes = vec![0; part.len];
        // SAFETY: As in `put`, the other way round.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), part.len) };
        Ok(bytes)
    }

    /// Puts a request on `file` into the ring; it begins with [`Self::submit`].
    ///
    /// # Errors
    /// The slot is in flight, or there is no such part of it.
    pub fn push(&mut self, slot: usize, file: &File, what: What, how: How) -> Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        let part = match what {
            What::Read(part, _) | What::Write(part, _) => part,
            _ => Part { start: 0, len: 0 },
        };
        let address = self.idle(slot, part)?;
        let (len, index) = (u32::try_from(part.len)?, u16::try_from(slot)?);
        let flags = i32::try_from(how.flags.bits())?;
        let entry = match what {
            What::Read(_, pos) if how.fixed => opcode::ReadFixed::new(fd, address, len, index)
                .offset(pos)
                .rw_flags(flags)
                .build(),
            What::Read(_, pos) => opcode::Read::new(fd, address, len)
                .offset(pos)
                .rw_flags(flags)
                .build(),
            What::Write(_, pos) if how.fixed => opcode::WriteFixed::new(fd, address, len, index)
                .offset(pos)
                .rw_flags(flags)
                .build(),
            What::Write(_, pos) => opcode::Write::new(fd, address, len)
                .offset(pos)
                .rw_flags(flags)
                .build(),
            What::Fsync => opcode::Fsync::new(fd).build(),
            What::Fdatasync => opcode::Fsync::new(fd)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            What::Fallocate(mode, pos, len) => opcode::Fallocate::new(fd, len)
                .offset(pos)
                .mode(i32::try_from(mode.bits())?)
                .build(),
        };
        let worker = if how.by_worker {
            Flags::ASYNC
        } else {
            Flags::empty()
        };
        let entry = entry.user_data(slot as u64).flags(worker);
        // SAFETY: The memory is the slot's, and is neither touched nor freed while that is in flight. `submit` is called
        // with the file open, from when on the kernel keeps it.
        unsafe { self.ring.submission().push(&entry) }.context("the ring is full")?;
        // INVARIANT: From here on.
        self.in_flight[slot] = true;
        Ok(())
    }

    /// Has the kernel begin what was pushed, whose files are open.
    ///
    /// # Errors
    /// It does not.
    pub fn submit(&self) -> Result<()> {
        self.ring.submit().context("io_uring_enter")?;
        Ok(())
    }

    /// Waits for one that ends: its slot, and what it returns.
    ///
    /// # Errors
    /// None is in flight.
    pub fn end(&mut self) -> Result<(usize, Result<usize, Errno>)> {
        ensure!(self.in_flight.contains(&true), "nothing is in flight");
        loop {
            if let Some(entry) = self.ring.completion().next() {
                let slot = usize::try_from(entry.user_data())?;
                // INVARIANT: The kernel is done with it.
                *self.in_flight.get_mut(slot).context("a strange slot")? = false;
                let result = entry.result();
                let result = usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
                return Ok((slot, result));
            }
            match self.ring.submit_and_wait(1) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => drop(other.context("io_uring_enter")?),
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.in_flight.contains(&true) {
            if self.end().is_err() {
                // The kernel may use the memory still.
                return;
            }
        }
        let _ = self.ring.submitter().unregister_buffers();
        // SAFETY: It was allocated with this layout, and by the type's invariant nobody uses it any more.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

/// A ring for reads into memory that others store to, one at a time.
pub struct Reader(IoUring);

impl Reader {
    /// A new one.
    ///
    /// # Errors
    /// The kernel has no io_uring, or no memory for it.
    pub fn new() -> Result<Self> {
        IoUring::new(1).context("io_uring_setup").map(Self)
    }

    /// Reads from `file` at `pos` into the bytes `part` of `words`, and waits for that.
    ///
    /// # Errors
    /// The read's, or `EIO` if it is short.
    pub fn read(
        &mut self,
        words: &Words,
        part: Range<usize>,
        file: &File,
        pos: u64,
    ) -> Result<(), Errno> {
        let len = u32::try_from(part.len()).map_err(|_| Errno::INVAL)?;
        let fd = types::Fd(file.as_raw_fd());
        let entry = opcode::Read::new(fd, words.address(&part).cast(), len).offset(pos);
        // SAFETY: There are no references to this memory but those of atomic words, and it stays mapped until the
        // request has ended below.
        unsafe { self.0.submission().push(&entry.build()) }.map_err(|_| Errno::BUSY)?;
        loop {
            // An error says nothing of the request, which has the memory until there is an answer.
            let _ = self.0.submit_and_wait(1);
            if let Some(entry) = self.0.completion().next() {
                return match entry.result() {
                    done if u32::try_from(done) == Ok(len) => Ok(()),
                    error if error < 0 => Err(Errno::from_raw_os_error(-error)),
                    _ => Err(Errno::IO),
                };
            }
        }
    }

    /// Registers the bytes `part` of `words`, and lets go of them at once.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn register(&self, words: &Words, part: Range<usize>) -> Result<(), Errno> {
        let buffer = libc::iovec {
            iov_base: words.address(&part),
            iov_len: part.len(),
        };
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        // SAFETY: No request is made with it.
        unsafe { self.0.submitter().register_buffers(&[buffer]) }.map_err(errno)?;
        self.0.submitter().unregister_buffers().map_err(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{memfd_create, MemfdFlags};

    #[test]
    fn what_is_written_is_read() {
        // Where containers forbid it.
        let Ok(mut ring) = Ring::new(2) else { return };
        let file = File::from(memfd_create("ring", MemfdFlags::CLOEXEC).unwrap());
        for (fixed, by_worker) in [(false, false), (true, false), (false, true), (true, true)] {
            let how = How {
                fixed,
                by_worker,
                flags: ReadWriteFlags::empty(),
            };
            let part = Part { start: 7, len: 5 };
            ring.put(0, 7, b"hello").unwrap();
            ring.push(0, &file, What::Write(part, 100), how).unwrap();
            assert!(ring.put(0, 7, b"other").is_err());
            ring.submit().unwrap();
            assert_eq!(ring.end().unwrap(), (0, Ok(5)));
            ring.push(1, &file, What::Read(part, 98), how).unwrap();
            ring.submit().unwrap();
            assert_eq!(ring.end().unwrap(), (1, Ok(5)));
            assert_eq!(ring.get(1, part).unwrap(), b"\0\0hel");
        }
        assert!(ring.end().is_err());
    }
}
