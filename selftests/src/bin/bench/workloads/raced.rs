// SPDX-License-Identifier: GPL-2.0

//! One thread changes a file, another calls fsync: here pages are under writeback when they are wanted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::fsync;
use rustix::io::Errno;
use stablefs_selftests::words::{Words, WORD};

use super::average;
use crate::place::{Place, Source, PAGE};
use crate::results::Measured;

const TIME: Duration = Duration::from_millis(500);
/// Of the file.
const LEN: usize = 1 << 20;

/// Stores to a mapping, to one page after the other.
pub(super) fn stores(place: &Place<'_>) -> Result<Vec<Measured>> {
    let file = file(place)?;
    let mapping = Words::of(&file, 0, LEN)?;
    race(
        &file,
        ["store while another fsyncs", "fsync while another stores"],
        |step| {
            mapping.store(step * PAGE % LEN / WORD, step as u64);
            Ok(())
        },
    )
}

/// `write`, to one page after the other.
pub(super) fn writes(place: &Place<'_>) -> Result<Vec<Measured>> {
    let file = file(place)?;
    let what = [
        "overwrite 4 KiB while another fsyncs",
        "fsync while another overwrites",
    ];
    race(&file, what, |step| {
        let written = file.write_all_at(&[2; PAGE], (step * PAGE % LEN) as u64);
        written.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    })
}

/// A device stores to a mapping, by direct reads of 16 KiB: it pins the pages meanwhile.
pub(super) fn direct_reads(place: &Place<'_>) -> Result<Vec<Measured>> {
    const CHUNK: usize = 16 << 10;
    let file = file(place)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let source = place.source;
    let what = [
        "O_DIRECT read to a mapping while another fsyncs",
        "fsync while another reads to a mapping",
    ];
    race(&file, what, |step| {
        let to = step * CHUNK % LEN;
        // Another part each time that it comes to the same place.
        let from = (step + step * CHUNK / LEN) * CHUNK % Source::LEN;
        mapping.read_from(to..to + CHUNK, source.file(), from as u64)
    })
}

/// Written at once, so that its folios are large.
fn file(place: &Place<'_>) -> Result<File> {
    let file = place.file()?;
    file.write_all_at(&vec![1; LEN], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// A thread takes step after step, each with its number, while this one calls fsync; what the one and the other is called
/// in the table is `what`. Calls that fail are counted: some filesystems do not keep their pages stable.
fn race(
    file: &File,
    what: [&'static str; 2],
    step: impl FnMut(usize) -> Result<(), Errno> + Send,
) -> Result<Vec<Measured>> {
    let over = AtomicBool::new(false);
    let over = &over;
    let [steps, syncs] = what;
    thread::scope(|scope| {
        let stepping = scope.spawn(move || repeat(steps, step, |_| over.load(Ordering::Relaxed)));
        let synced = repeat(syncs, |_| fsync(file), |time| time.elapsed() > TIME);
        over.store(true, Ordering::Relaxed);
        let stepped = stepping.join().ok().context("a thread panicked")?;
        Ok(vec![stepped, synced])
    })
}

/// Makes a call at least once, until it is `over`.
fn repeat(
    what: &'static str,
    mut call: impl FnMut(usize) -> Result<(), Errno>,
    over: impl Fn(&Instant) -> bool,
) -> Measured {
    let (start, mut times, mut failed) = (Instant::now(), 0, 0);
    loop {
        failed += u64::from(call(times).is_err());
        times += 1;
        if over(&start) {
            break;
        }
    }
    Measured {
        failed,
        ..average(what, start.elapsed(), times as u64)
    }
}
