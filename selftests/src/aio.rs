// SPDX-License-Identifier: GPL-2.0

//! A direct read into memory that others store to, which is on its way when the call returns: io_submit(2).

#![expect(
    unsafe_code,
    reason = "the kernel writes to memory after the call has returned"
)]

use std::fs::File;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;

use anyhow::{ensure, Context, Result};

use crate::words::Words;

/// `struct iocb`, as it is on a processor that stores the least byte first.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    aio_data: u64,
    aio_key: u32,
    aio_rw_flags: u32,
    aio_lio_opcode: u16,
    aio_reqprio: i16,
    aio_fildes: u32,
    aio_buf: u64,
    aio_nbytes: u64,
    aio_offset: i64,
    aio_reserved2: u64,
    aio_flags: u32,
    aio_resfd: u32,
}

/// `struct io_event`
#[repr(C)]
#[derive(Default)]
struct IoEvent {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

/// One that is on its way: the pages are held by the device.
///
/// # Invariants
/// `context` is one of io_setup(2) with the one request, which has not been waited for, unless `context` is 0.
#[must_use = "it is waited for when this is dropped"]
pub struct Reading<'a> {
    context: libc::c_ulong,
    len: usize,
    /// Stays mapped for as long as the kernel may write there.
    _words: Option<&'a Words>,
}

impl<'a> Reading<'a> {
    /// Begins to read from `file`, which is open for direct I/O, at `pos` to the bytes `part` of `words`.
    ///
    /// # Errors
    /// io_setup(2)'s or io_submit(2)'s.
    pub fn begin(words: &'a Words, part: Range<usize>, file: &File, pos: u64) -> Result<Self> {
        // INVARIANT: The one request is under way.
        Ok(Self {
            context: submit(words, &part, file, pos)?,
            len: part.len(),
            _words: Some(words),
        })
    }

    /// The same, and `words` are mapped no more then. The device does not care: it holds the pages, of which there are no
    /// more than fit into one request.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_and_unmap(
        words: Words,
        part: Range<usize>,
        file: &File,
        pos: u64,
    ) -> Result<Self> {
        // INVARIANT: The one request is under way.
        Ok(Self {
            context: submit(&words, &part, file, pos)?,
            len: part.len(),
            _words: None,
        })
    }

    /// Waits for it.
    ///
    /// # Errors
    /// The read has failed.
    pub fn end(mut self) -> Result<()> {
        let mut event = IoEvent::default();
        // INVARIANT: With 0 there is nothing that can be waited for again.
        let context = mem::take(&mut self.context);
        // SAFETY: The kernel writes one event to `event`, and is given no time after which it should not wait.
        let ended = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                context,
                1,
                1,
                &raw mut event,
                std::ptr::null_mut::<libc::timespec>(),
            )
        };
        let error = io::Error::last_os_error();
        // Waits for it, if that has failed.
        destroy(context);
        ensure!(ended == 1, "io_getevents: {error}");
        ensure!(event.res == self.len as i64, "direct read: {}", event.res);
        Ok(())
    }
}

/// Begins to read from `file` at `pos` to the bytes `part` of `words`, and gives a context of io_setup(2) with that one
/// request.
fn submit(words: &Words, part: &Range<usize>, file: &File, pos: u64) -> Result<libc::c_ulong> {
    /// `IOCB_CMD_PREAD`
    const PREAD: u16 = 0;
    ensure!(
        part.start < part.end && part.end <= words.bytes(),
        "{part:?}"
    );
    let mut context: libc::c_ulong = 0;
    // SAFETY: The kernel writes to `context`, which it finds to be 0.
    let made = unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) };
    ensure!(made == 0, "io_setup: {}", io::Error::last_os_error());
    let mut request = Iocb {
        aio_lio_opcode: PREAD,
        aio_fildes: file.as_raw_fd().try_into().context("descriptor")?,
        aio_buf: words.start() + part.start as u64,
        aio_nbytes: part.len() as u64,
        aio_offset: pos.try_into().context("position")?,
        ..Iocb::default()
    };
    let requests = [&raw mut request];
    // SAFETY: The request is read before the call returns. The memory that it names is of `words`, to which there
    // are no references but those of atomic words, and which is borrowed until the request has ended, or unmapped once
    // the device holds its pages, which is before the call returns.
    let begun = unsafe { libc::syscall(libc::SYS_io_submit, context, 1, requests.as_ptr()) };
    if begun != 1 {
        let error = io::Error::last_os_error();
        destroy(context);
        return Err(error).context("io_submit");
    }
    Ok(context)
}

/// Waits for all that is on its way.
fn destroy(context: libc::c_ulong) {
    // SAFETY: The context is this one's, and not used any more.
    unsafe { libc::syscall(libc::SYS_io_destroy, context) };
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.context != 0 {
            destroy(self.context);
        }
    }
}
