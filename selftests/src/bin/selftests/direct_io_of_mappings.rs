// SPDX-License-Identifier: GPL-2.0

//! Direct writes from mappings of files of the same volume, and direct reads into them, do what they do with other memory:
//! of another file or of the same one, of the very pages that are written or read, of whole blocks and of sectors, where
//! there are data and where there is nothing, and while another thread does the reverse. None hangs, none fails, and the
//! files hold what was copied.
//!
//! Promise 1, stable data: a copy that direct I/O needs for it is made of memory that is faulted in meanwhile, from files
//! whose locks are held.
//! Filesystems that fail it: ext4, `there_and_back` and `of_one_file`: fsync returns EIO, as folios that have become dirty
//! during a direct write cannot be dropped after it.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};
use rustix::fs::fsync;
use rustix::io::Errno;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::trial::{fresh, to_words, Calls, Holds, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "direct_io_of_mappings",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("onto_itself", |env| onto_itself(env, 4096, &WHOLE)),
        Case::new("onto_itself_1_kib", |env| onto_itself(env, 1024, &WHOLE)),
        Case::new("onto_itself_by_sectors", |env| {
            onto_itself(env, 4096, &SECTORS)
        }),
        Case::new("to_another_part", |env| to_another_part(env, 4096, &WHOLE)),
        Case::new("to_another_part_by_sectors", |env| {
            to_another_part(env, 4096, &SECTORS)
        }),
        Case::new("to_nothing", to_nothing),
        Case::new("of_nothing", of_nothing),
        Case::new("of_memory_that_ends", of_memory_that_ends),
        Case::new("writes_crosswise", |env| crosswise(env, &[Way::Write; 2])),
        Case::new("reads_crosswise", |env| crosswise(env, &[Way::Read; 2])),
        Case::new("there_and_back", |env| {
            crosswise(env, &[Way::Write, Way::Read])
        }),
        Case::new("of_one_file", of_one_file),
        Case::new(
            "of_one_file_that_nobody_can_store_to",
            that_nobody_can_store_to,
        ),
    ],
};

/// Bytes that are mapped.
const LEN: usize = 256 << 10;
/// Bytes of one read or write, at most.
const CHUNK: usize = 64 << 10;
const PAGE: usize = 4096;
const SECTOR: usize = 512;
const ROUNDS: u64 = 60;
const FILE: &str = "file";
const OTHER: &str = "other";

/// Parts of [`CHUNK`] bytes, as where they begin and how many bytes they have.
type Parts = [(usize, usize)];

/// Of whole blocks.
const WHOLE: [(usize, usize); 4] = [(0, PAGE), (PAGE, PAGE), (2 * PAGE, 5 * PAGE), (0, CHUNK)];
/// Not of whole blocks.
const SECTORS: [(usize, usize); 4] = [
    (SECTOR, SECTOR),
    (PAGE - SECTOR, 2 * SECTOR),
    (3 * SECTOR, 3 * PAGE),
    (PAGE, 4 * PAGE + SECTOR),
];

/// What is copied by one call.
#[derive(Clone, Copy)]
enum Way {
    /// From the mapping to the file.
    Write,
    /// From the file to the mapping.
    Read,
}

impl Way {
    fn what(self) -> &'static str {
        match self {
            Self::Write => "direct write",
            Self::Read => "direct read",
        }
    }

    fn go(
        self,
        mapping: &Words,
        at: usize,
        len: usize,
        file: &File,
        pos: usize,
    ) -> Result<(), Errno> {
        match self {
            Self::Write => mapping.write_to(at..at + len, file, pos as u64),
            Self::Read => mapping.read_from(at..at + len, file, pos as u64),
        }
    }
}

/// Pages are written to where they are, and read from there. Before each, something is stored to them.
fn onto_itself(env: &Env, block: u32, parts: &Parts) -> Result<()> {
    let trial = Trial::new(env, block)?;
    let mut words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    let direct = trial.direct(FILE)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let mut all = Vec::new();
    for way in [Way::Write, Way::Read] {
        let mut calls = Calls::of(way.what());
        for (number, at) in (1..).zip((0..LEN).step_by(CHUNK)) {
            for &(start, len) in parts {
                let at = at + start;
                for index in [at / WORD, (at + len) / WORD - 1] {
                    words[index] = (number << 32) | index as u64;
                    mapping.store(index, words[index]);
                }
                calls.count(way.go(&mapping, at, len, &direct, at));
                check(&file, at, &words[at / WORD..(at + len) / WORD])?;
            }
        }
        all.push(calls);
    }
    drop((mapping, direct, file));
    trial.judge(&all, &[Holds { name: FILE, words }])
}

/// The first half is mapped. It is written to the second one; and after something else has been stored to it, read from
/// there.
fn to_another_part(env: &Env, block: u32, parts: &Parts) -> Result<()> {
    let trial = Trial::new(env, block)?;
    let mut words = fresh(2 * LEN);
    let file = trial.create(FILE, &words)?;
    let direct = trial.direct(FILE)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let [mut writes, mut reads] = [Way::Write, Way::Read].map(|way| Calls::of(way.what()));
    for at in (0..LEN).step_by(CHUNK) {
        for &(start, len) in parts {
            let at = at + start;
            let (from, to) = (at / WORD, (LEN + at) / WORD);
            writes.count(Way::Write.go(&mapping, at, len, &direct, LEN + at));
            words.copy_within(from..from + len / WORD, to);
            check(&file, LEN + at, &words[to..to + len / WORD])?;
            for index in [from, from + len / WORD - 1] {
                mapping.store(index, 7);
            }
            reads.count(Way::Read.go(&mapping, at, len, &direct, LEN + at));
            check(&file, at, &words[from..from + len / WORD])?;
        }
    }
    drop((mapping, direct, file));
    trial.judge(&[writes, reads], &[Holds { name: FILE, words }])
}

/// What is mapped is written behind the end, and into a hole.
fn to_nothing(env: &Env) -> Result<()> {
    let trial = Trial::new(env, 4096)?;
    let mut words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    let direct = trial.direct(FILE)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let mut writes = Calls::of("direct write");
    let mut write = |at: usize, len: usize, pos: usize| {
        writes.count(Way::Write.go(&mapping, at, len, &direct, pos));
        let (from, to) = (at / WORD, pos / WORD);
        words.resize(words.len().max(to + len / WORD), 0);
        words.copy_within(from..from + len / WORD, to);
        check(&file, pos, &words[to..to + len / WORD])
    };
    // Right behind the end; with a hole before it; and into that.
    write(0, CHUNK, LEN)?;
    write(CHUNK, PAGE, LEN + 4 * CHUNK)?;
    write(0, CHUNK, LEN + 2 * CHUNK)?;
    write(PAGE, 3 * PAGE, LEN + CHUNK + PAGE)?;
    // The same by sectors.
    write(SECTOR, 2 * PAGE, LEN + 5 * CHUNK)?;
    write(SECTOR, SECTOR, LEN + 3 * CHUNK + SECTOR)?;
    drop((mapping, direct, file));
    trial.judge(&[writes], &[Holds { name: FILE, words }])
}

/// What is mapped is a hole: it is written to data, and to itself; and it is read to where there are data, and to itself.
fn of_nothing(env: &Env) -> Result<()> {
    let trial = Trial::new(env, 4096)?;
    let mut words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    file.set_len(4 * LEN as u64).context("truncate")?;
    let direct = trial.direct(FILE)?;
    let mapping = Words::of(&file, 0, 4 * LEN)?;
    let [mut writes, mut reads] = [Way::Write, Way::Read].map(|way| Calls::of(way.what()));
    words.resize(4 * LEN / WORD, 0);
    writes.count(Way::Write.go(&mapping, LEN, CHUNK, &direct, 0));
    words[..CHUNK / WORD].fill(0);
    writes.count(Way::Write.go(&mapping, LEN, CHUNK, &direct, LEN));
    reads.count(Way::Read.go(&mapping, CHUNK, PAGE, &direct, 2 * LEN));
    words[CHUNK / WORD..(CHUNK + PAGE) / WORD].fill(0);
    reads.count(Way::Read.go(&mapping, 3 * LEN, CHUNK, &direct, 3 * LEN));
    check(&file, 0, &words)?;
    drop((mapping, direct, file));
    trial.judge(&[writes, reads], &[Holds { name: FILE, words }])
}

/// The mapping goes on behind the end of its file: where there is no memory, there is nothing to write. A write that
/// fails then may have written something, write(2) says: so each block is as it was, or new. Nothing is left behind that
/// is in the way of another write.
fn of_memory_that_ends(env: &Env) -> Result<()> {
    let trial = Trial::new(env, 4096)?;
    let source = trial.create(OTHER, &fresh(LEN))?;
    let mut old = fresh(2 * LEN);
    old.iter_mut().for_each(|word| *word ^= 1 << 62);
    let file = trial.create(FILE, &old)?;
    // To data, to a hole, and behind the end.
    file.set_len(3 * LEN as u64).context("truncate")?;
    old.resize(4 * LEN / WORD, 0);
    let direct = trial.direct(FILE)?;
    let mapping = Words::of(&source, 0, 2 * LEN)?;
    for pos in [LEN / 2, 2 * LEN - CHUNK, 3 * LEN - CHUNK] {
        for at in [PAGE, LEN - PAGE, LEN - PAGE + SECTOR, LEN] {
            let written = mapping.write_to(at..at + LEN, &direct, pos as u64);
            ensure!(
                written == Err(Errno::FAULT),
                "a write of memory that ends after {} bytes: {written:?}",
                LEN - at
            );
        }
    }
    let len = file.metadata().context("stat")?.len() as usize;
    ensure!(
        (3 * LEN..=4 * LEN).contains(&len) && len % WORD == 0,
        "{len} bytes after writes that failed"
    );
    let found = read(&file, 0, len)?;
    let new = fresh(LEN);
    for (index, word) in (0..).zip(&found) {
        ensure!(
            *word == old[index] || new.contains(word),
            "word {index} is {word:#x} after writes that failed"
        );
    }
    let mut writes = Calls::of("direct write");
    for pos in (0..3 * LEN).step_by(LEN) {
        writes.count(mapping.write_to(0..LEN, &direct, pos as u64));
    }
    let mut words = new.repeat(3);
    words.extend_from_slice(&found[3 * LEN / WORD..]);
    say(&format!("{} bytes were left behind the end", len - 3 * LEN));
    drop((mapping, direct, file, source));
    let other = Holds {
        name: OTHER,
        words: new,
    };
    trial.judge(&[writes], &[Holds { name: FILE, words }, other])
}

/// One thread goes one way with a mapping of the first file and the second file, and another the other way with a mapping
/// of the second and the first. So each word is what it was in one of them.
fn crosswise(env: &Env, ways: &[Way; 2]) -> Result<()> {
    let mut trial = Trial::new(env, 4096)?;
    let first = fresh(LEN);
    let second: Vec<u64> = (0..LEN / WORD).map(|index| index as u64).collect();
    let files = [trial.create(FILE, &first)?, trial.create(OTHER, &second)?];
    let direct = [trial.direct(FILE)?, trial.direct(OTHER)?];
    let mappings = [Words::of(&files[0], 0, LEN)?, Words::of(&files[1], 0, LEN)?];
    let [here, there] = *ways;
    let go = |way: Way, mapped: usize, number: u64| {
        let at = part(number);
        way.go(&mappings[mapped], at, CHUNK, &direct[1 - mapped], at)
    };
    let mut calls = Calls::of(here.what());
    let step = |number: &mut u64| {
        *number += 3;
        go(there, 1, *number)
    };
    let others = trial.race(there.what(), &mut [0], step, ROUNDS, |number| {
        calls.count(go(here, 0, number));
        Ok(())
    })?;
    let mut syncs = Calls::of("fsync");
    files.iter().for_each(|file| syncs.count(fsync(file)));
    let mut holds = Vec::new();
    for (file, name) in files.iter().zip([FILE, OTHER]) {
        let words = read(file, 0, LEN)?;
        for (index, word) in words.iter().enumerate() {
            ensure!(
                [first[index], second[index]].contains(word),
                "{name}: word {index} is {word:#x}"
            );
        }
        holds.push(Holds { name, words });
    }
    drop((mappings, direct, files));
    trial.judge(&[calls, others, syncs], &holds)
}

/// Two threads write and read parts of one file, from and to mappings of it.
fn of_one_file(env: &Env) -> Result<()> {
    let mut trial = Trial::new(env, 4096)?;
    let words = fresh(CHUNK).repeat(LEN / CHUNK);
    let file = trial.create(FILE, &words)?;
    let direct = trial.direct(FILE)?;
    let mapping = Words::of(&file, 0, LEN)?;
    // All parts hold the same.
    let go = |way: Way, number: u64| {
        let (at, pos) = (part(number), part(number / 7));
        way.go(&mapping, at, CHUNK, &direct, pos)
    };
    let mut writes = Calls::of("direct write");
    let step = |number: &mut u64| {
        *number += 3;
        go(Way::Read, *number)
    };
    let reads = trial.race("direct read", &mut [0], step, ROUNDS, |number| {
        writes.count(go(Way::Write, number));
        Ok(())
    })?;
    drop((mapping, direct, file));
    trial.judge(&[writes, reads], &[Holds { name: FILE, words }])
}

/// Two threads write parts of a file from a mapping that is to be loaded from only, of a descriptor that is for reading
/// only: so a filesystem can tell that nobody stores to one.
fn that_nobody_can_store_to(env: &Env) -> Result<()> {
    let mut trial = Trial::new(env, 4096)?;
    let words = fresh(CHUNK).repeat(LEN / CHUNK);
    let file = trial.create(FILE, &words)?;
    let direct = trial.direct(FILE)?;
    let reading = File::open(trial.path(FILE)).context(FILE)?;
    let mapping = Words::to_load(&reading, 0, LEN)?;
    let mut alone = Calls::of("direct write by one");
    for (at, pos) in [(0, 0), (0, CHUNK), (2 * CHUNK, CHUNK), (0, LEN)] {
        for &(start, len) in WHOLE.iter().chain(&SECTORS) {
            let (at, pos) = (at + start, pos + start);
            alone.count(Way::Write.go(&mapping, at, len, &direct, pos));
            check(&file, pos, &words[at / WORD..(at + len) / WORD])?;
        }
    }
    let go = |number: u64| {
        let (at, pos) = (part(number), part(number / 7));
        Way::Write.go(&mapping, at, CHUNK, &direct, pos)
    };
    let mut writes = Calls::of("direct write");
    let step = |number: &mut u64| {
        *number += 3;
        go(*number)
    };
    let others = trial.race("direct write", &mut [0], step, ROUNDS, |number| {
        writes.count(go(number));
        Ok(())
    })?;
    drop((mapping, direct, reading, file));
    let words = fresh(CHUNK).repeat(LEN / CHUNK + 1);
    trial.judge(&[alone, writes, others], &[Holds { name: FILE, words }])
}

/// Where a part of [`CHUNK`] bytes begins: one after the other.
fn part(number: u64) -> usize {
    number as usize * CHUNK % LEN
}

/// Whether the file has `words` at `pos`.
fn check(file: &File, pos: usize, words: &[u64]) -> Result<()> {
    let found = read(file, pos, words.len() * WORD)?;
    let other = (0..words.len()).find(|&index| found[index] != words[index]);
    if let Some(index) = other {
        let (at, len) = (pos + index * WORD, words.len() * WORD);
        ensure!(
            false,
            "of {len} bytes at {pos:#x}: the word at {at:#x} is {:#x}, want {:#x}",
            found[index],
            words[index]
        );
    }
    Ok(())
}

fn read(file: &File, pos: usize, len: usize) -> Result<Vec<u64>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, pos as u64).context("read")?;
    Ok(to_words(&bytes))
}
