// SPDX-License-Identifier: GPL-2.0

//! On persistent memory, threads meet in the first accesses to the same pages and the same 2 MiB of a file, by stores to a
//! mapping and by `write`, each to words of its own: no store is lost, and nothing shows of what the memory held before,
//! also when others preallocate, punch, zero, truncate and fsync at the same time. A page of 2 MiB is one fault.
//!
//! The files are made again and again, so that their blocks have been of others. A word tells who has stored it, where
//! and in which round.
//!
//! Promise 2, initialised data.
//! Broken by control: `late_zero`.
//! Filesystems that fail it: ext4, where `write` and a mapping meet on preallocated pages, small and huge; and the kernel
//! warns (`dax_disassociate_entry()`), where its `write` takes away a page that a fault has just mapped.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::hint;
use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fallocate, fsync, ftruncate, FallocateFlags};
use rustix::io::{pwrite, Errno};
use stablefs_selftests::dax::{self, is_dax, ALWAYS, HUGE, PAGE};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::faults;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::meeting::Meeting;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{to_words, Calls};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "dax_stores",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("hole_2", |env| race(env, HOLE, PAGES, 2)),
        Case::new("hole_8", |env| race(env, HOLE, PAGES, 8)),
        Case::new("hole_64", |env| race(env, HOLE, PAGES, 64)),
        Case::new("preallocated_2", |env| race(env, PREALLOCATED, PAGES, 2)),
        Case::new("preallocated_8", |env| race(env, PREALLOCATED, PAGES, 8)),
        Case::new("preallocated_64", |env| race(env, PREALLOCATED, PAGES, 64)),
        Case::new("mapped_hole", |env| race(env, HOLE, PAGES.mapped_only(), 8)),
        Case::new("mapped_preallocated", |env| {
            race(env, PREALLOCATED, PAGES.mapped_only(), 8)
        }),
        Case::new("huge_hole_2", |env| race(env, HOLE, HUGE_PAGES, 2)),
        Case::new("huge_hole_8", |env| race(env, HOLE, HUGE_PAGES, 8)),
        Case::new("huge_hole_64", |env| race(env, HOLE, HUGE_PAGES, 64)),
        Case::new("huge_preallocated_2", |env| {
            race(env, PREALLOCATED, HUGE_PAGES, 2)
        }),
        Case::new("huge_preallocated_8", |env| {
            race(env, PREALLOCATED, HUGE_PAGES, 8)
        }),
        Case::new("huge_preallocated_64", |env| {
            race(env, PREALLOCATED, HUGE_PAGES, 64)
        }),
        Case::new("mixed_hole", |env| mixed(env, HOLE, 8)),
        Case::new("mixed_preallocated", |env| mixed(env, PREALLOCATED, 8)),
        Case::new("mixed_64", |env| mixed(env, PREALLOCATED, 64)),
        Case::new("huge_pages", huge_pages),
    ],
};

/// Size of the volume, in MiB.
const MIB: u32 = 128;
/// Words that a thread stores at a time.
const RUN: usize = 4;
const PAGE_WORDS: usize = PAGE / WORD;
/// Files that are there at once: of the last rounds.
const KEPT: u64 = 3;
/// Most that is waited, in turns of a loop, so that now one thread is first and now another.
const PAUSE: u64 = 300;

/// What is there before the first access.
type Space = fn(&File, usize) -> Result<()>;
const HOLE: Space = |file, len| Ok(file.set_len(len as u64)?);
const PREALLOCATED: Space =
    |file, len| Ok(fallocate(file, FallocateFlags::empty(), 0, len as u64)?);

/// Where the threads meet.
#[derive(Clone, Copy)]
struct Shape {
    rounds: u64,
    len: usize,
    /// Pages from one to which all go to the next one.
    step: usize,
    /// Of these, the number of pages that they may spread over.
    spread: usize,
    mapped_only: bool,
}

/// Every page of a file that is too small for a huge page.
const PAGES: Shape = Shape {
    rounds: 40,
    len: 256 * PAGE,
    step: 1,
    spread: 1,
    mapped_only: false,
};
/// A few pages of each huge page.
const HUGE_PAGES: Shape = Shape {
    rounds: 24,
    len: 8 * HUGE,
    step: 128,
    spread: 128,
    mapped_only: false,
};

impl Shape {
    /// More threads take more time for each.
    fn rounds(self, env: &Env, threads: usize) -> u64 {
        (self.rounds * env.longer / u64::from(threads.ilog2())).max(KEPT + 1)
    }

    const fn mapped_only(self) -> Self {
        Self {
            mapped_only: true,
            ..self
        }
    }
}

/// What a round's threads do: all of it follows from its number, so the file's content does.
#[derive(Clone, Copy)]
struct Round {
    number: u64,
    seed: u64,
    threads: usize,
    shape: Shape,
}

/// How a thread stores.
#[derive(Clone, Copy)]
enum Way {
    Mapping,
    Write,
}

/// One access of one thread.
struct Access {
    /// Its words of the file.
    words: Range<usize>,
    way: Way,
    pause: u64,
}

impl Round {
    fn visits(self) -> usize {
        self.shape.len / PAGE / self.shape.step
    }

    /// Words of each page that are of one thread. As many in the end of each are of none of them.
    fn slot(self) -> usize {
        PAGE_WORDS / (self.threads + 1)
    }

    /// Where all meet, one after the other: every second time in an order that cuts what was preallocated into many
    /// parts.
    fn order(self) -> Vec<usize> {
        let mut visits: Vec<usize> = (0..self.visits()).collect();
        if self.number % 2 == 1 {
            let mut random = Bytes::new(self.seed ^ 0x04de, self.number);
            for index in (1..visits.len()).rev() {
                visits.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
        visits
    }

    /// What `thread` does when all have come to `visit`.
    fn access(self, thread: usize, visit: usize) -> Access {
        let stream = (self.number << 24) | ((visit as u64) << 8) | thread as u64;
        let mut random = Bytes::new(self.seed, stream);
        let page = visit * self.shape.step + random.below(self.shape.spread as u64) as usize;
        let spare = self.slot() - RUN;
        let first = page * PAGE_WORDS + thread * self.slot();
        let first = first + random.below(spare as u64 + 1) as usize;
        Access {
            words: first..first + RUN,
            // With two threads, one of each.
            way: match (thread + visit) % 2 == 0 || self.shape.mapped_only {
                true => Way::Mapping,
                false => Way::Write,
            },
            pause: random.below(PAUSE),
        }
    }

    /// What is stored as word `index`. It has a bit that is not in [`dax::OLD`].
    fn value(self, thread: usize, index: usize) -> u64 {
        (1 << 63) | (self.number << 40) | ((thread as u64) << 32) | index as u64
    }

    /// All of what the file is to hold.
    fn wanted(self) -> Vec<u64> {
        let mut words = vec![0; self.shape.len / WORD];
        for thread in 0..self.threads {
            for visit in 0..self.visits() {
                for index in self.access(thread, visit).words {
                    words[index] = self.value(thread, index);
                }
            }
        }
        words
    }
}

/// What one thread does in a round.
fn go(round: Round, thread: usize, meeting: &Meeting, file: &File, mapping: &Words) -> Calls {
    let mut writes = Calls::of("write");
    for (nth, visit) in round.order().into_iter().enumerate() {
        let Access { words, way, pause } = round.access(thread, visit);
        meeting.wait(nth);
        (0..pause).for_each(|_| hint::spin_loop());
        match way {
            Way::Mapping => {
                words.for_each(|index| mapping.store(index, round.value(thread, index)))
            }
            Way::Write => writes.count(write(file, words, |index| round.value(thread, index))),
        }
    }
    writes
}

fn write(file: &File, words: Range<usize>, value: impl Fn(usize) -> u64) -> Result<(), Errno> {
    let bytes: Vec<u8> = words.clone().flat_map(|i| value(i).to_ne_bytes()).collect();
    match pwrite(file, &bytes, (words.start * WORD) as u64)? {
        done if done == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// What was found wrong, and where first.
#[derive(Default)]
struct Wrong {
    words: u64,
    rounds: u64,
    first: Option<String>,
}

impl Wrong {
    /// Compares what `file` holds after round `number`, as it is seen by `how`.
    fn compare(&mut self, how: &str, number: u64, found: &[u64], wanted: &[u64]) {
        let others = || {
            (0..)
                .zip(found.iter().zip(wanted))
                .filter(|(_, (a, b))| a != b)
        };
        let count = others().count() + found.len().abs_diff(wanted.len());
        if count == 0 {
            return;
        }
        self.words += count as u64;
        self.rounds += 1;
        let what = match others().next() {
            Some((index, (found, wanted))) => {
                let pos: usize = index * WORD;
                format!(
                    "the first at byte {pos:#x}, in page {}: {found:#x} ({}), want {wanted:#x}",
                    pos / PAGE,
                    dax::name(*found)
                )
            }
            None => format!("{} words, want {}", found.len(), wanted.len()),
        };
        self.first
            .get_or_insert(format!("round {number}, {how}: {count} words, {what}"));
    }

    fn judge(self) -> Result<()> {
        match self.first {
            Some(first) => bail!(
                "{} words are wrong, in {} looks\n{first}",
                self.words,
                self.rounds
            ),
            None => Ok(()),
        }
    }
}

/// The volume, and what is on it.
struct Stage<'a> {
    env: &'a Env,
    mounted: Mounted,
    /// What the files of the last rounds are to hold.
    kept: Vec<(u64, Vec<u64>)>,
    wrong: Wrong,
}

impl<'a> Stage<'a> {
    fn new(env: &'a Env) -> Result<Self> {
        dax::make(env.fstyp, env.dev()?, MIB)?;
        Ok(Self {
            env,
            mounted: Mounted::new(env.fstyp, env.dev()?, ALWAYS)?,
            kept: Vec::new(),
            wrong: Wrong::default(),
        })
    }

    /// A new file for round `number`, which takes the place of an older one.
    fn create(&self, number: u64, space: Space, len: usize) -> Result<(File, Words)> {
        let path = path(self.mounted.dir(), number);
        if number >= KEPT {
            fs::remove_file(&path)?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(path).context("new file")?;
        ensure!(is_dax(&file)?, "it is not DAX");
        space(&file, len)?;
        let mapping = Words::of(&file, 0, len)?;
        Ok((file, mapping))
    }

    /// Looks at the file of round `number`, in each way, when it is to hold `wanted`.
    fn look(&mut self, number: u64, wanted: Vec<u64>, mapping: &Words) -> Result<()> {
        let shown = mapping.bytes().min(wanted.len() * WORD) / WORD;
        let mapped: Vec<u64> = (0..shown).map(|index| mapping.load(index)).collect();
        self.wrong
            .compare("mapped", number, &mapped, &wanted[..shown]);
        self.read("read", number, &wanted)?;
        self.kept.retain(|(kept, _)| kept + KEPT > number);
        self.kept.push((number, wanted));
        Ok(())
    }

    fn read(&mut self, how: &str, number: u64, wanted: &[u64]) -> Result<()> {
        let bytes = fs::read(path(self.mounted.dir(), number))?;
        self.wrong.compare(how, number, &to_words(&bytes), wanted);
        Ok(())
    }

    /// Judges, when all is over: what there is after a remount, and everything that was seen before.
    fn judge(mut self, calls: &[Calls]) -> Result<()> {
        let dev = self.env.dev()?;
        self.mounted.unmount()?;
        let checked = self.env.fstyp.check(dev);
        self.mounted = Mounted::new(self.env.fstyp, dev, ALWAYS)?;
        for (number, wanted) in mem::take(&mut self.kept) {
            self.read("after a remount", number, &wanted)?;
        }
        self.mounted.unmount()?;
        calls.iter().for_each(|calls| say(&calls.to_string()));
        let mut wrong: Vec<String> = calls.iter().filter_map(Calls::error).collect();
        wrong.extend(self.wrong.judge().err().map(|e| format!("{e:#}")));
        wrong.extend(checked.err().map(|e| format!("{e:#}")));
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("file{}", number % KEPT))
}

/// Has all threads of `round` go, and gives what became of their calls.
fn all_go(round: Round, file: &File, mapping: &Words) -> Result<Calls> {
    let meeting = Meeting::of(round.threads);
    thread::scope(|scope| {
        let meeting = &meeting;
        let started: Vec<_> = (0..round.threads)
            .map(|thread| scope.spawn(move || go(round, thread, meeting, file, mapping)))
            .collect();
        let mut calls = Calls::of("write");
        for thread in started {
            calls = calls.and(thread.join().ok().context("a thread panicked")?);
        }
        Ok(calls)
    })
}

fn race(env: &Env, space: Space, shape: Shape, threads: usize) -> Result<()> {
    let mut stage = Stage::new(env)?;
    let mut calls = Calls::of("write");
    for number in 0..shape.rounds(env, threads) {
        let round = Round {
            number,
            seed: env.seed,
            threads,
            shape,
        };
        let (file, mapping) = stage.create(number, space, shape.len)?;
        calls = calls.and(all_go(round, &file, &mapping)?);
        stage.look(number, round.wanted(), &mapping)?;
    }
    stage.judge(&[calls])
}

/// Every second page is for those who meet. The others, and the end of each page before, are for those who punch.
const MIXED: Shape = Shape {
    rounds: 24,
    len: 256 * PAGE,
    step: 2,
    spread: 1,
    mapped_only: false,
};
/// Bytes behind them, for who truncates.
const TAIL: usize = 32 * PAGE;
const PUNCHERS: usize = 2;
/// From one thing that they do to the next.
const BREATH: Duration = Duration::from_micros(100);

/// Others than those who meet: what they store is known to them alone.
struct Other<'a> {
    round: Round,
    random: Bytes,
    file: &'a File,
    mapping: &'a Words,
    /// All of what the file is to hold, of what is theirs.
    words: Vec<u64>,
    calls: Calls,
}

impl<'a> Other<'a> {
    fn new(
        round: Round,
        number: u64,
        file: &'a File,
        mapping: &'a Words,
        what: &'static str,
    ) -> Self {
        Self {
            round,
            random: Bytes::new(round.seed ^ 0x07e4, (round.number << 8) | number),
            file,
            mapping,
            words: vec![0; (MIXED.len + TAIL) / WORD],
            calls: Calls::of(what),
        }
    }

    /// Something to store as word `index`, which no other thread stores.
    fn value(&mut self, index: usize) -> u64 {
        let value = self.round.value(0x80, index) ^ (self.random.below(1 << 16) << 16);
        self.words[index] = value;
        value
    }

    fn store(&mut self, words: Range<usize>) {
        if self.random.one_in(2) {
            for index in words {
                let value = self.value(index);
                self.mapping.store(index, value);
            }
        } else {
            for index in words.clone() {
                self.value(index);
            }
            let values = &self.words;
            self.calls
                .count(write(self.file, words, |index| values[index]));
        }
    }

    fn fallocate(&mut self, mode: FallocateFlags, bytes: Range<usize>) {
        let mode = mode | FallocateFlags::KEEP_SIZE;
        let (pos, len) = (bytes.start as u64, bytes.len() as u64);
        self.calls.count(fallocate(self.file, mode, pos, len));
    }

    /// Allocates what is not there yet, which changes nothing that can be read.
    fn preallocates(&mut self) {
        let pos = self.random.below((MIXED.len - 64 * PAGE) as u64) as usize;
        let len = 1 + self.random.below(64 * PAGE as u64) as usize;
        self.fallocate(FallocateFlags::empty(), pos..pos + len);
    }

    /// Stores to a page of its own and to the end of the one before, or takes away what is there.
    fn punches(&mut self, puncher: usize) {
        let pages = (MIXED.len / PAGE / 2 / PUNCHERS) as u64;
        let page = (self.random.below(pages) as usize * PUNCHERS + puncher) * 2 + 1;
        let end = (page + 1) * PAGE_WORDS;
        let begin = page * PAGE_WORDS - self.round.slot();
        let begin = begin + self.random.below((self.round.slot() * 2) as u64) as usize;
        let mode = match self.random.below(4) {
            0 => FallocateFlags::PUNCH_HOLE,
            1 => FallocateFlags::ZERO_RANGE,
            _ => return self.store(begin..end),
        };
        self.fallocate(mode, begin * WORD..end * WORD);
        self.words[begin..end].fill(0);
    }

    /// Makes the file longer or shorter, and stores to the end of it.
    fn truncates(&mut self) {
        let first = MIXED.len / WORD;
        let len = first + self.random.below((TAIL / WORD) as u64) as usize;
        self.calls.count(ftruncate(self.file, (len * WORD) as u64));
        self.words.truncate(len);
        self.words.resize(len, 0);
        let from = first + self.random.below((len - first) as u64 + 1) as usize;
        self.store(from..len);
    }

    fn fsyncs(&mut self) {
        self.calls.count(fsync(self.file));
    }

    /// Does it until it is over, and at least once.
    fn again(mut self, over: &AtomicBool, mut turn: impl FnMut(&mut Self)) -> Self {
        loop {
            turn(&mut self);
            // Those who meet need the processors, too.
            thread::sleep(BREATH);
            if over.load(Ordering::Relaxed) {
                return self;
            }
        }
    }
}

fn mixed(env: &Env, space: Space, threads: usize) -> Result<()> {
    let mut stage = Stage::new(env)?;
    let mut calls: Vec<Calls> = Vec::new();
    for number in 0..MIXED.rounds(env, threads) {
        let round = Round {
            number,
            seed: env.seed,
            threads,
            shape: MIXED,
        };
        let (file, mapping) = stage.create(number, space, MIXED.len + TAIL)?;
        let (done, words) = mixed_round(round, &file, &mapping)?;
        let before = mem::take(&mut calls);
        let mut before = before.into_iter();
        let sum = |now: Calls| before.next().map_or(now, |before| before.and(now));
        calls = done.into_iter().map(sum).collect();
        stage.look(number, words, &mapping)?;
    }
    stage.judge(&calls)
}

/// Gives what became of all calls, in the same order each time, and what the file is to hold.
fn mixed_round(round: Round, file: &File, mapping: &Words) -> Result<(Vec<Calls>, Vec<u64>)> {
    let over = AtomicBool::new(false);
    let over = &over;
    let other = |number, what| Other::new(round, number, file, mapping, what);
    thread::scope(|scope| {
        let mut others = vec![
            scope.spawn(move || other(0, "ftruncate, write").again(over, Other::truncates)),
            scope.spawn(move || other(1, "fallocate").again(over, Other::preallocates)),
            scope.spawn(move || other(2, "fsync").again(over, Other::fsyncs)),
        ];
        for puncher in 0..PUNCHERS {
            others.push(scope.spawn(move || {
                let other = other(3 + puncher as u64, "punch, zero, write");
                other.again(over, |other| other.punches(puncher))
            }));
        }
        let gone = all_go(round, file, mapping);
        over.store(true, Ordering::Relaxed);
        let mut calls = vec![gone?];
        let mut words = Vec::new();
        for other in others {
            let other = other.join().ok().context("a thread panicked")?;
            calls.push(other.calls);
            // The first one says how long the file is.
            if words.is_empty() {
                words = other.words;
                continue;
            }
            merge(&mut words, &other.words);
        }
        merge(&mut words, &round.wanted());
        Ok((calls, words))
    })
}

/// No two have the same words.
fn merge(words: &mut [u64], theirs: &[u64]) {
    for (word, theirs) in words.iter_mut().zip(theirs) {
        *word |= theirs;
    }
}

/// Most faults for the file: a few more than it has huge pages are the process's own.
const FEW: u64 = 64;

/// Bytes that a file is written in, bit by bit.
const BIT: usize = 12 * PAGE;

/// Who stores to every page takes one fault for each 2 MiB. Of a file that is written bit by bit the first 2 MiB may lie
/// anywhere: they are there before anybody knows how large it will be.
fn huge_pages(env: &Env) -> Result<()> {
    const LEN: usize = 4 * HUGE;
    let written: Space = |file, len| {
        PREALLOCATED(file, len)?;
        file.write_all_at(&vec![0; len], 0).context("write")
    };
    let appended: Space = |file, len| {
        for pos in (0..len).step_by(BIT) {
            let bit = vec![0; BIT.min(len - pos)];
            file.write_all_at(&bit, pos as u64).context("write")?;
        }
        Ok(())
    };
    let mut stage = Stage::new(env)?;
    let first = (HUGE / PAGE) as u64;
    let spaces = [
        ("a hole", HOLE, FEW),
        ("preallocated", PREALLOCATED, FEW),
        ("written", written, FEW),
        ("appended to", appended, FEW + first),
    ];
    let mut wrong = Vec::new();
    for (number, (name, space, most)) in (0..).zip(spaces) {
        let (_file, mapping) = stage.create(number, space, LEN)?;
        // Memory that is there, or its faults are counted, too.
        let mut words = hint::black_box(vec![u64::MAX; LEN / WORD]);
        words.fill(0);
        let before = faults::taken()?;
        for index in (0..LEN / WORD).step_by(PAGE_WORDS) {
            words[index] = !(index as u64);
            mapping.store(index, words[index]);
        }
        let taken = faults::taken()? - before;
        say(&format!("{name}: {taken} faults for {LEN} bytes"));
        if taken >= most {
            wrong.push(name);
        }
        stage.look(number, words, &mapping)?;
    }
    stage.judge(&[])?;
    ensure!(wrong.is_empty(), "more faults than huge pages: {wrong:?}");
    Ok(())
}
