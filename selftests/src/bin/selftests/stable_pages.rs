// SPDX-License-Identifier: GPL-2.0

//! Whatever is stored to pages and buffers while they are written, the disk finds each block as its protection
//! information says; and what was stored last is what the files hold.
//!
//! Promise 1, stable data. Broken by control `skip_dio_copy`.
//! Filesystems that fail it, on a disk with protection information: ext4, `O_DIRECT` writes from memory that is stored to.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{ensure, Result};
use rustix::fs::fsync;
use rustix::io::Errno;
use rustix::pipe::{pipe, SpliceFlags};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::trial::{fresh, to_words, Calls, Holds, Share, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "stable_pages",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("stores_to_a_mapping", |env| stores(env, 4096)),
        Case::new("stores_to_a_mapping_1_kib", |env| stores(env, 1024)),
        Case::new("writes", |env| writes(env, 4096)),
        Case::new("writes_1_kib", |env| writes(env, 1024)),
        Case::new("direct_writes_of_changing_memory", of_changing_memory),
        Case::new("direct_writes_of_a_mapping", |env| of_a_mapping(env, write)),
        Case::new("direct_writes_of_a_mapping_in_a_pipe", |env| {
            of_a_mapping(env, splice)
        }),
        Case::new(
            "direct_writes_of_a_mapping_of_the_same_file",
            of_the_same_file,
        ),
        Case::new("direct_writes_of_a_mapping_onto_itself", onto_itself),
    ],
};

/// Bytes of a file: few, so that each page is stored to again and again while it is written.
const LEN: usize = 256 << 10;
/// Bytes of a direct write.
const CHUNK: usize = 64 << 10;
const THREADS: usize = 3;
const SYNCS: u64 = 60;
const DIRECT_WRITES: u64 = 120;
/// This one of so many direct writes goes together with something that takes longer.
const NOW_AND_THEN: u64 = 8;
const FILE: &str = "file";
const SOURCE: &str = "source";

fn stores(env: &Env, block: u32) -> Result<()> {
    against_fsync(env, block, "store", |share, _, mapping| {
        store(share, mapping);
        Ok(())
    })
}

fn writes(env: &Env, block: u32) -> Result<()> {
    against_fsync(env, block, "write", |share, file, _| {
        let slot = share.slot();
        let pos = (slot * WORD) as u64;
        let written = file.write_all_at(&share.values(slot), pos);
        written.map_err(errno)
    })
}

fn errno(e: io::Error) -> Errno {
    Errno::from_io_error(&e).unwrap_or(Errno::IO)
}

/// One step of a thread that changes a file, or a mapping of it.
type Change = fn(&mut Share, &File, &Words) -> Result<(), Errno>;

/// Threads make `change`s, while this one calls fsync.
fn against_fsync(env: &Env, block: u32, what: &'static str, change: Change) -> Result<()> {
    let mut trial = Trial::new(env, block)?;
    let words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let mut shares = Share::of(THREADS, &words, env.seed);
    let mut syncs = Calls::of("fsync");
    let step = |share: &mut Share| change(share, &file, &mapping);
    let changes = trial.race(what, &mut shares, step, SYNCS, |_| {
        syncs.count(fsync(&file));
        Ok(())
    })?;
    drop((mapping, file));
    let words = Share::merge(&shares);
    trial.judge(&[syncs, changes], &[Holds { name: FILE, words }])
}

fn store(share: &mut Share, mapping: &Words) {
    let slot = share.slot();
    mapping.store(slot, share.value(slot));
}

/// A thread counts, and stores each number to the next word of the buffer. So the numbers in each write are those that
/// were the latest ones at some time during it.
fn of_changing_memory(env: &Env) -> Result<()> {
    const WORDS: u64 = (CHUNK / WORD) as u64;
    let mut trial = Trial::new(env, 4096)?;
    let file = trial.create(FILE, &fresh(LEN))?;
    let direct = trial.direct(FILE)?;
    let buffer = Words::private(CHUNK)?;
    let latest = AtomicU64::new(0);
    let count = |number: &mut u64| {
        *number += 1;
        buffer.store((*number % WORDS) as usize, *number);
        latest.store(*number, Ordering::Release);
        Ok(())
    };
    let (mut writes, mut reads) = (Calls::of("direct write"), Calls::of("read"));
    let stores = trial.race("store", &mut [0], count, DIRECT_WRITES, |number| {
        let pos = number as usize * CHUNK % LEN;
        let before = latest.load(Ordering::Acquire);
        let written = buffer.write_to(0..CHUNK, &direct, pos as u64);
        // One store may have been made already.
        let after = latest.load(Ordering::Acquire) + 1;
        writes.count(written);
        if written.is_err() || number % NOW_AND_THEN != 0 {
            return Ok(());
        }
        let mut bytes = vec![0; CHUNK];
        let read = file.read_exact_at(&mut bytes, pos as u64).map_err(errno);
        reads.count(read);
        if read.is_err() {
            return Ok(());
        }
        for (index, word) in (0..).zip(to_words(&bytes)) {
            ensure!(
                (word == 0 || word % WORDS == index) && word + WORDS > before && word <= after,
                "word {index} is {word} after a write from {before} to {after}"
            );
        }
        Ok(())
    })?;
    for pos in (0..LEN).step_by(CHUNK) {
        writes.count(buffer.write_to(0..CHUNK, &direct, pos as u64));
    }
    drop((file, direct));
    let words = |index| buffer.load(index % WORDS as usize);
    let words = (0..LEN / WORD).map(words).collect();
    trial.judge(&[writes, reads, stores], &[Holds { name: FILE, words }])
}

fn of_a_mapping(env: &Env, how: Write) -> Result<()> {
    let mut trial = Trial::new(env, 4096)?;
    let source = trial.create(SOURCE, &fresh(LEN))?;
    drop(trial.create(FILE, &fresh(LEN))?);
    let (calls, words) = direct_writes(env, &mut trial, &source, (FILE, 0), how)?;
    drop(source);
    let files = [SOURCE, FILE].map(|name| Holds {
        name,
        words: words.clone(),
    });
    trial.judge(&calls, &files)
}

/// The first half is mapped, the second half is written.
fn of_the_same_file(env: &Env) -> Result<()> {
    let mut trial = Trial::new(env, 4096)?;
    let file = trial.create(FILE, &fresh(2 * LEN))?;
    let (calls, words) = direct_writes(env, &mut trial, &file, (FILE, LEN), write)?;
    drop(file);
    let words = words.repeat(2);
    trial.judge(&calls, &[Holds { name: FILE, words }])
}

/// How part of a mapping is written to a position.
type Write = fn(&Words, Range<usize>, &File, u64) -> Result<(), Errno>;

fn write(mapping: &Words, part: Range<usize>, file: &File, pos: u64) -> Result<(), Errno> {
    mapping.write_to(part, file, pos)
}

/// The pages are referred to by a pipe, not pinned.
fn splice(mapping: &Words, part: Range<usize>, file: &File, mut pos: u64) -> Result<(), Errno> {
    let (end, pages) = pipe()?;
    let mut left = part.len();
    mapping.splice_to(part, &pages)?;
    while left > 0 {
        let to = Some(&mut pos);
        left -= match rustix::pipe::splice(&end, None, file, to, left, SpliceFlags::MOVE)? {
            0 => return Err(Errno::IO),
            done => done,
        };
    }
    Ok(())
}

/// Threads store to a mapping of the first [`LEN`] bytes of `source`, while this one writes them to `target` at `pos`, and
/// once more in the end. Returns the calls, and what is mapped.
fn direct_writes(
    env: &Env,
    trial: &mut Trial<'_>,
    source: &File,
    (target, pos): (&str, usize),
    how: Write,
) -> Result<([Calls; 3], Vec<u64>)> {
    let direct = trial.direct(target)?;
    let mapping = Words::of(source, 0, LEN)?;
    let mut shares = Share::of(THREADS, &fresh(LEN), env.seed);
    let [mut writes, mut syncs] = ["direct write", "fsync"].map(Calls::of);
    let mut write_at = |at: usize| {
        writes.count(how(&mapping, at..at + CHUNK, &direct, (pos + at) as u64));
    };
    let step = |share: &mut Share| {
        store(share, &mapping);
        Ok(())
    };
    let stores = trial.race("store", &mut shares, step, DIRECT_WRITES, |number| {
        write_at(number as usize * CHUNK % LEN);
        if number % NOW_AND_THEN == 0 {
            syncs.count(fsync(source));
        }
        Ok(())
    })?;
    (0..LEN).step_by(CHUNK).for_each(write_at);
    Ok(([writes, syncs, stores], Share::merge(&shares)))
}

/// What is stored during such a write may be overwritten by what was there before: a page that is stored to again at once
/// cannot be removed from the page cache after the write, and fsync tells that once. So neither counts, and in the end
/// everything is stored once more.
fn onto_itself(env: &Env) -> Result<()> {
    let mut trial = Trial::new(env, 4096)?;
    let file = trial.create(FILE, &fresh(LEN))?;
    let ([writes, _, stores], words) = direct_writes(env, &mut trial, &file, (FILE, 0), write)?;
    let _ = fsync(&file);
    let mapping = Words::of(&file, 0, LEN)?;
    let numbered = (0..).zip(&words);
    numbered.for_each(|(index, &word)| mapping.store(index, word));
    drop((mapping, file));
    trial.judge(&[writes, stores], &[Holds { name: FILE, words }])
}
