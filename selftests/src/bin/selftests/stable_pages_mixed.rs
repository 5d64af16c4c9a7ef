// SPDX-License-Identifier: GPL-2.0

//! 64 threads at once: stores to mappings, `write`, `O_DIRECT` writes from buffers that change and from mappings,
//! `O_DIRECT` reads into mappings, and fsync, with holes, truncation, `fallocate` and rename in between. Nothing fails, the
//! disk finds each block as its protection information says, and the files hold what they can hold.
//!
//! Three files. `whole` keeps its length and its blocks, so all of it is known: each word is of one thread. `direct` has
//! direct writes only: what the source held at some time, and no sooner than the last write of it began. Of `torn`,
//! parts are punched and cut off; what is stored there before is gone, what is stored after stays, and of what is stored
//! meanwhile either.
//!
//! Promise 1, stable data.
//! Filesystems that fail it: ext4, XFS and btrfs, on disks with protection information, where fsync meets a direct read;
//! and ext4 by its direct writes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fallocate, fsync, ftruncate, rename, FallocateFlags};
use rustix::io::Errno;
use stablefs_selftests::cgroup::Limited;
use stablefs_selftests::counters::counter;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{another_disk, open_direct, Calls, Trial, SLOT};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "stable_pages_mixed",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| mixed(env, 4096, ROUNDS)),
        Case::new("blocks_of_1_kib", |env| mixed(env, 1024, ROUNDS)),
        Case::new("short_of_memory", |env| short_of_memory(env, 4096)),
        Case::new("short_of_memory_1_kib", |env| short_of_memory(env, 1024)),
    ],
};

/// Bytes of each file: few, so that the threads meet.
const LEN: usize = 256 << 10;
const PAGE: usize = 4096;
/// The beginning of each page of `whole` and `torn` is for direct reads into it.
const READ: usize = 512;
/// Of each thread that does not go on until the others have ended.
const ROUNDS: u64 = 10;
/// Memory of this process, where it is short: the threads themselves need half of it.
const LITTLE: u64 = 16 << 20;
/// Bytes that are written and read besides, there.
const STREAM: usize = 24 << 20;
/// Of the other disk.
const SOURCE: usize = 64 << 10;
/// Words of a small file that another one takes the place of.
const KEPT: usize = 1000;
/// In the high bits of each of its words.
const SOURCE_TAG: u64 = 0xd15c << 48;

/// The part of `torn` that is punched, unaligned, and filled with unwritten blocks.
const PUNCHED: (usize, usize) = (1088, 80 * 1024 - 576);
/// The part that is a hole in the beginning, and filled with unwritten blocks.
const FILLED: (usize, usize) = (84 << 10, 160 << 10);
/// All behind this is cut off. The page that it is in stays.
const CUT: usize = (192 << 10) + 1088;

/// How often something was begun, and done. One thread does it.
#[derive(Default)]
struct Turns {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Turns {
    fn take(&self, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let result = call();
        self.done.fetch_add(1, Ordering::SeqCst);
        result
    }
}

/// What happens to the parts of `torn`.
#[derive(Default)]
struct Torn {
    punched: Turns,
    cut: Turns,
}

impl Torn {
    /// What takes word `index` away.
    fn turns(&self, index: usize) -> Option<&Turns> {
        let pos = index * WORD;
        if (PUNCHED.0..PUNCHED.1).contains(&pos) {
            return Some(&self.punched);
        }
        (pos >= CUT).then_some(&self.cut)
    }
}

/// What was stored last to a word.
#[derive(Clone, Copy, Default)]
struct Last {
    value: u64,
    /// Turns of what takes it away that were done before.
    before: u64,
    /// Turns that were begun, after.
    after: u64,
}

/// What one thread stores: to words of its own, each time a greater value.
struct Share<'a> {
    tag: u64,
    slots: Vec<usize>,
    torn: Option<&'a Torn>,
    random: Bytes,
    last: BTreeMap<usize, Last>,
}

impl<'a> Share<'a> {
    /// Share `number` of `of`, of those slots of `LEN` bytes that `wanted` takes by their position.
    fn new(env: &Env, number: usize, of: usize, wanted: impl Fn(usize) -> bool) -> Self {
        let slots = (0..LEN / WORD / SLOT)
            .filter(|slot| slot % of == number)
            .map(|slot| slot * SLOT)
            .filter(|index| wanted(index * WORD));
        Self {
            tag: number as u64 + 1,
            slots: slots.collect(),
            torn: None,
            random: Bytes::new(env.seed, number as u64),
            last: BTreeMap::new(),
        }
    }

    fn within(self, torn: &'a Torn) -> Self {
        Self {
            torn: Some(torn),
            ..self
        }
    }

    /// Has `store` store new values, from the word on that it is given.
    fn store(
        &mut self,
        store: impl FnOnce(usize, [u64; SLOT]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let slot = self.random.below(self.slots.len() as u64) as usize;
        let first = self.slots[slot];
        let turns = |index, load: fn(&Turns) -> &AtomicU64| {
            let turns = self.torn.and_then(|torn| torn.turns(index));
            turns.map_or(0, |turns| load(turns).load(Ordering::SeqCst))
        };
        let mut values = [0; SLOT];
        let mut lasts = [Last::default(); SLOT];
        for (number, last) in lasts.iter_mut().enumerate() {
            let old = self.last.get(&(first + number));
            last.value = old.map_or(self.tag << 48, |old| old.value) + 1;
            last.before = turns(first + number, |turns| &turns.done);
            values[number] = last.value;
        }
        store(first, values)?;
        for (index, mut last) in (first..).zip(lasts) {
            last.after = turns(index, |turns| &turns.begun);
            self.last.insert(index, last);
        }
        Ok(())
    }

    fn store_to(&mut self, words: &Words) -> Result<(), Errno> {
        self.store(|first, values| {
            (first..)
                .zip(values)
                .for_each(|(index, value)| words.store(index, value));
            Ok(())
        })
    }

    fn write_to(&mut self, file: &File) -> Result<(), Errno> {
        self.store(|first, values| {
            let bytes: Vec<u8> = values.into_iter().flat_map(u64::to_ne_bytes).collect();
            file.write_all_at(&bytes, (first * WORD) as u64)
                .map_err(errno)
        })
    }
}

/// What all threads have stored last to the words of a file.
type Lasts = BTreeMap<usize, Last>;

/// For each page of `direct` that was written, what the source held before the last time.
type Floors = BTreeMap<usize, Vec<u64>>;

/// What a thread has done.
#[derive(Default)]
struct Done {
    calls: BTreeMap<&'static str, Calls>,
    /// The words of `whole`, of `torn`, and of the buffer that it stored.
    whole: Lasts,
    torn: Lasts,
    buffer: Lasts,
    floors: Floors,
}

impl Done {
    fn count(&mut self, what: &'static str, result: Result<(), Errno>) {
        let calls = self.calls.entry(what);
        calls.or_insert(Calls::of(what)).count(result);
    }

    fn and(mut self, other: Self) -> Self {
        for (what, calls) in other.calls {
            let mine = self.calls.entry(what).or_insert(Calls::of(what));
            *mine = mine.and(calls);
        }
        self.whole.extend(other.whole);
        self.torn.extend(other.torn);
        self.buffer.extend(other.buffer);
        self.floors.extend(other.floors);
        self
    }
}

/// Threads that are at work, of those that end by themselves.
struct Working<'a>(&'a AtomicUsize);

impl<'a> Working<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The threads.
struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    working: &'scope AtomicUsize,
    rounds: u64,
    all: Vec<ScopedJoinHandle<'scope, Done>>,
}

impl<'scope> Threads<'scope, '_> {
    fn start(&mut self, work: impl FnOnce() -> Done + Send + 'scope) -> Result<()> {
        const STACK: usize = 64 << 10;
        let thread = Builder::new().stack_size(STACK);
        self.all.push(thread.spawn_scoped(self.scope, work)?);
        Ok(())
    }

    /// One that does `step` for some rounds.
    fn counted(
        &mut self,
        what: &'static str,
        mut step: impl FnMut(&mut Done) -> Result<(), Errno> + Send + 'scope,
    ) -> Result<()> {
        let (working, rounds) = (Working::new(self.working), self.rounds);
        self.start(move || {
            let _working = working;
            let mut done = Done::default();
            for _ in 0..rounds {
                let result = step(&mut done);
                done.count(what, result);
            }
            done
        })
    }

    /// One that does `step` as long as others are at work.
    fn endless(
        &mut self,
        what: &'static str,
        mut step: impl FnMut(&mut Done) -> Result<(), Errno> + Send + 'scope,
    ) -> Result<()> {
        let working = self.working;
        self.start(move || {
            let mut done = Done::default();
            while working.load(Ordering::Relaxed) > 0 {
                let result = step(&mut done);
                done.count(what, result);
            }
            done
        })
    }

    /// One that has `share` stored by `step` for some rounds.
    fn sharing(
        &mut self,
        share: Share<'scope>,
        of: fn(&mut Done) -> &mut Lasts,
        step: impl Fn(&mut Share<'_>) -> Result<(), Errno> + Send + 'scope,
    ) -> Result<()> {
        let (working, rounds) = (Working::new(self.working), self.rounds);
        self.start(move || {
            let _working = working;
            let mut share = share;
            let mut done = Done::default();
            for _ in 0..rounds {
                done.count("write", step(&mut share));
            }
            *of(&mut done) = share.last;
            done
        })
    }

    /// One that stores to `words` as long as others are at work.
    fn storing(
        &mut self,
        mut share: Share<'scope>,
        of: fn(&mut Done) -> &mut Lasts,
        words: &'scope Words,
    ) -> Result<()> {
        /// So that the others are at work, too.
        const PAUSE: Duration = Duration::from_millis(1);
        const AT_ONCE: u64 = 20;
        let working = self.working;
        self.start(move || {
            let mut done = Done::default();
            while working.load(Ordering::Relaxed) > 0 {
                for _ in 0..AT_ONCE {
                    done.count("store", share.store_to(words));
                }
                thread::sleep(PAUSE);
            }
            *of(&mut done) = share.last;
            done
        })
    }
}

/// Threads of each sort, but for those that call fsync and those that make trouble.
const STORING: usize = 10;
const WRITING: usize = 10;
const READING: usize = 8;
const CHANGING: usize = 4;
const FROM_BUFFER: usize = 8;
const FROM_MAPPING: usize = 6;
const TORN_STORING: usize = 4;
const TORN_WRITING: usize = 4;
const TORN_READING: usize = 2;
/// All of them.
const THREADS: usize = 64;

/// Those that store to `whole`.
const SHARES: usize = STORING + WRITING;
const TORN_SHARES: usize = TORN_STORING + TORN_WRITING;

/// Whether the words at `pos` are not for direct reads.
fn shared(pos: usize) -> bool {
    pos % PAGE >= READ
}

/// What the threads share.
struct Shared<'a> {
    env: &'a Env,
    root: PathBuf,
    whole: File,
    torn: File,
    direct: File,
    /// The same, opened to be read and written otherwise.
    cached: File,
    whole_words: Words,
    torn_words: Words,
    /// What the first half of `direct` is written from. Of the other half that is `whole`.
    buffer: Words,
    source: File,
    tearing: Torn,
    working: AtomicUsize,
}

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

impl<'a> Shared<'a> {
    fn new(env: &'a Env, trial: &Trial<'_>) -> Result<Self> {
        let source = open_direct(&another_disk(env)?)?;
        let data = Words::private(SOURCE)?;
        (0..SOURCE / WORD).for_each(|index| data.store(index, SOURCE_TAG | index as u64));
        data.write_to(0..SOURCE, &source, 0)
            .context("the other disk")?;

        let fresh: Vec<u64> = (0..(LEN / WORD) as u64).collect();
        let whole = trial.create("whole", &fresh)?;
        let torn = trial.create("torn", &fresh)?;
        let len = FILLED.1 - FILLED.0;
        fallocate(&torn, PUNCH, FILLED.0 as u64, len as u64)?;
        let cached = trial.create("direct", &vec![0; LEN / WORD])?;
        Ok(Self {
            env,
            root: trial.path(""),
            direct: trial.direct("direct")?,
            whole_words: Words::of(&whole, 0, LEN)?,
            torn_words: Words::of(&torn, 0, LEN)?,
            buffer: Words::private(LEN / 2)?,
            whole,
            torn,
            cached,
            source,
            tearing: Torn::default(),
            working: AtomicUsize::new(0),
        })
    }

    fn random(&self, sort: u64, number: usize) -> Bytes {
        Bytes::new(self.env.seed, (sort << 16) | number as u64)
    }

    /// Stores to `whole`, and to the buffer.
    fn stored<'scope>(&'scope self, threads: &mut Threads<'scope, '_>) -> Result<()> {
        for number in 0..SHARES {
            let share = Share::new(self.env, number, SHARES, shared);
            let whole: fn(&mut Done) -> &mut Lasts = |done| &mut done.whole;
            match number {
                0..STORING => threads.storing(share, whole, &self.whole_words)?,
                _ => threads.sharing(share, whole, |share| share.write_to(&self.whole))?,
            }
        }
        for number in 0..CHANGING {
            let share = Share::new(self.env, number, CHANGING, |pos| pos < LEN / 2);
            threads.storing(share, |done| &mut done.buffer, &self.buffer)?;
        }
        Ok(())
    }

    /// Stores to `torn`.
    fn torn<'scope>(&'scope self, threads: &mut Threads<'scope, '_>) -> Result<()> {
        for number in 0..TORN_SHARES {
            let share = |wanted: fn(usize) -> bool| {
                Share::new(self.env, number, TORN_SHARES, wanted).within(&self.tearing)
            };
            let torn: fn(&mut Done) -> &mut Lasts = |done| &mut done.torn;
            if number < TORN_STORING {
                // Behind what is cut off there is nothing but a signal to be had.
                let share = share(|pos| shared(pos) && pos < CUT.next_multiple_of(PAGE));
                threads.storing(share, torn, &self.torn_words)?;
            } else {
                threads.sharing(share(shared), torn, |share| share.write_to(&self.torn))?;
            }
        }
        for number in 0..TORN_READING {
            let mut random = self.random(1, number);
            threads.endless("direct read, torn", move |_| {
                let page = random.below((LEN / PAGE) as u64) as usize;
                match self.read(&self.torn_words, page, &mut random) {
                    Err(Errno::FAULT) if page * PAGE > CUT => Ok(()),
                    other => other.map(drop),
                }
            })?;
        }
        Ok(())
    }

    /// Reads something from the other disk into `page` of `words`. Returns the first word's number there.
    fn read(&self, words: &Words, page: usize, random: &mut Bytes) -> Result<usize, Errno> {
        let from = random.below((SOURCE / READ) as u64) as usize * READ;
        let to = page * PAGE;
        words.read_from(to..to + READ, &self.source, from as u64)?;
        Ok(from / WORD)
    }

    /// Direct reads and writes.
    fn direct<'scope>(&'scope self, threads: &mut Threads<'scope, '_>) -> Result<()> {
        for number in 0..READING {
            let mut random = self.random(2, number);
            threads.endless("direct read", move |done| {
                let page = random.below((LEN / PAGE / READING) as u64) as usize * READING + number;
                let from = self.read(&self.whole_words, page, &mut random)?;
                for index in 0..READ / WORD {
                    let last = Last {
                        value: SOURCE_TAG | (from + index) as u64,
                        ..Last::default()
                    };
                    done.whole.insert(page * PAGE / WORD + index, last);
                }
                Ok(())
            })?;
        }
        for number in 0..FROM_BUFFER {
            let pages = (number..LEN / 2 / PAGE).step_by(FROM_BUFFER).collect();
            self.written_directly(threads, &self.buffer, pages)?;
        }
        for number in 0..FROM_MAPPING {
            let first = LEN / 2 / PAGE + number;
            let pages = (first..LEN / PAGE).step_by(FROM_MAPPING).collect();
            self.written_directly(threads, &self.whole_words, pages)?;
        }
        Ok(())
    }

    /// Has a thread write `pages` of `direct` from those of `words`.
    fn written_directly<'scope>(
        &'scope self,
        threads: &mut Threads<'scope, '_>,
        words: &'scope Words,
        pages: Vec<usize>,
    ) -> Result<()> {
        let mut random = self.random(3, pages[0]);
        threads.counted("direct write", move |done| {
            let page = pages[random.below(pages.len() as u64) as usize];
            let pos = page * PAGE;
            let floor = (pos / WORD..(pos + PAGE) / WORD).map(|index| words.load(index));
            let floor = floor.collect();
            let written = words.write_to(pos..pos + PAGE, &self.direct, pos as u64);
            match written {
                Ok(()) => drop(done.floors.insert(page, floor)),
                // Some of it may be there.
                Err(_) => drop(done.floors.entry(page).or_insert(vec![0; PAGE / WORD])),
            }
            written
        })
    }

    /// fsync, and what runs into everything else.
    fn troubled<'scope>(&'scope self, threads: &mut Threads<'scope, '_>) -> Result<()> {
        for file in [&self.whole, &self.whole, &self.torn, &self.cached] {
            threads.counted("fsync", move |_| fsync(file))?;
        }
        let mut filled = true;
        threads.counted("punch, fallocate", move |_| {
            let (pos, len) = (PUNCHED.0 as u64, (PUNCHED.1 - PUNCHED.0) as u64);
            filled = !filled;
            match filled {
                true => fallocate(&self.torn, FallocateFlags::KEEP_SIZE, pos, len),
                false => {
                    let punch = || fallocate(&self.torn, PUNCH, pos, len);
                    self.tearing.punched.take(punch)
                }
            }
        })?;
        let mut random = self.random(4, 0);
        threads.counted("fallocate", move |_| {
            const AT_ONCE: usize = 10_000;
            let pos = random.below((FILLED.1 - FILLED.0 - AT_ONCE) as u64);
            let (pos, none) = (FILLED.0 as u64 + pos, FallocateFlags::empty());
            fallocate(&self.torn, none, pos, AT_ONCE as u64)
        })?;
        threads.counted("truncate", move |_| {
            self.tearing.cut.take(|| {
                ftruncate(&self.torn, CUT as u64)?;
                ftruncate(&self.torn, LEN as u64)
            })
        })?;
        let mut generation = 0;
        threads.counted("rename", move |_| {
            let [whole, torn, other, new, kept] =
                ["whole", "torn", "other", "new", "kept"].map(|name| self.root.join(name));
            for name in [whole, torn] {
                rename(&name, &other)?;
                rename(&other, &name)?;
            }
            generation += 1;
            let words = [generation; KEPT];
            fs::write(&new, words.map(u64::to_ne_bytes).as_flattened()).map_err(errno)?;
            rename(&new, &kept)
        })
    }

    /// Takes memory from all others.
    fn stream<'scope>(&'scope self, threads: &mut Threads<'scope, '_>) -> Result<()> {
        const AT_ONCE: usize = 64 << 10;
        let working = Working::new(&self.working);
        let path = self.root.join("stream");
        threads.start(move || {
            let _working = working;
            let mut done = Done::default();
            let stream = || -> Result<(), Errno> {
                let file = File::create_new(path).map_err(errno)?;
                for pos in (0..STREAM).step_by(AT_ONCE) {
                    let words = (pos..pos + AT_ONCE).step_by(WORD);
                    let bytes: Vec<u8> = words.flat_map(|pos| (pos as u64).to_ne_bytes()).collect();
                    file.write_all_at(&bytes, pos as u64).map_err(errno)?;
                }
                fsync(&file)
            };
            done.count("write a large file", stream());
            done
        })
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// All of it, with so many rounds of each thread that counts them.
pub(crate) fn mixed(env: &Env, block: u32, rounds: u64) -> Result<()> {
    tried(env, block, rounds * env.longer, None)
}

fn short_of_memory(env: &Env, block: u32) -> Result<()> {
    tried(env, block, ROUNDS * env.longer, Some(LITTLE))
}

fn tried(env: &Env, block: u32, rounds: u64, memory: Option<u64>) -> Result<()> {
    let mut trial = Trial::new(env, block)?;
    let mut shared = Shared::new(env, &trial)?;
    let limit = memory.map(Limited::new).transpose()?;
    let done = thread::scope(|scope| -> Result<Done> {
        // The others end with this.
        let starting = Working::new(&shared.working);
        let mut threads = Threads {
            scope,
            working: &shared.working,
            rounds,
            all: Vec::new(),
        };
        shared.stored(&mut threads)?;
        shared.torn(&mut threads)?;
        shared.direct(&mut threads)?;
        shared.troubled(&mut threads)?;
        ensure!(threads.all.len() == THREADS, "other threads");
        if limit.is_some() {
            shared.stream(&mut threads)?;
        }
        drop(starting);
        while shared.working.load(Ordering::Relaxed) > 0 {
            trial.look()?;
            thread::sleep(Duration::from_millis(100));
        }
        threads
            .all
            .into_iter()
            .try_fold(Done::default(), |done, thread| {
                let other = thread.join().ok().context("a thread panicked")?;
                Ok(done.and(other))
            })
    })?;
    if let Some(limit) = limit {
        let times = limit.times_short()?;
        say(&format!("{}: memory was short {times} times", env.fstyp));
        ensure!(times > 0, "memory was never short");
    }
    if env.fstyp == Fstyp::Stablefs {
        let copies = counter(env.dev()?, "folios_copied_pinned")?;
        say(&format!("{copies} folios were copied, as they were pinned"));
        ensure!(copies > 0 || rounds < ROUNDS, "no folio was ever pinned");
    }
    let tearing = mem::take(&mut shared.tearing);
    drop(shared);
    let judged = Judged { done, tearing };
    let names = ["whole", "torn", "direct", "kept", "stream"];
    let names = &names[..names.len() - usize::from(memory.is_none())];
    let calls: Vec<Calls> = judged.done.calls.values().copied().collect();
    trial.judge_by(&calls, names, |name, found| match name {
        "whole" => all(found, LEN, |index, value| value == judged.whole(index)),
        "torn" => all(found, LEN, |index, value| judged.may_be_torn(index, value)),
        "direct" => all(found, LEN, |index, value| {
            judged.may_be_direct(index, value)
        }),
        "kept" => all(found, KEPT * WORD, |_, value| value == rounds),
        _ => all(found, STREAM, |index, value| value == (index * WORD) as u64),
    })
}

/// Whether all words of a file that has `len` bytes can be what they are.
fn all(found: &[u64], len: usize, can_be: impl Fn(usize, u64) -> bool) -> Result<()> {
    ensure!(found.len() * WORD == len, "{} bytes", found.len() * WORD);
    let mut wrong = (0..)
        .zip(found)
        .filter(|(index, value)| !can_be(*index, **value));
    if let Some((index, value)) = wrong.next() {
        let (pos, more) = (index * WORD, wrong.count());
        bail!("the word at {pos:#x} cannot be {value:#x}, and {more} more");
    }
    Ok(())
}

/// What the threads have done, by which what is there is judged.
struct Judged {
    done: Done,
    tearing: Torn,
}

impl Judged {
    /// What word `index` of `whole` holds.
    fn whole(&self, index: usize) -> u64 {
        let last = self.done.whole.get(&index);
        last.map_or(index as u64, |last| last.value)
    }

    /// Whether `value` is what was stored last to word `index` of `torn`, or 0 if it was taken away.
    fn may_be_torn(&self, index: usize, value: u64) -> bool {
        let first = match (FILLED.0..FILLED.1).contains(&(index * WORD)) {
            true => 0,
            false => index as u64,
        };
        if !shared(index * WORD) {
            // Who reads there next knows nothing of the others.
            return value == 0 || value == first || may_be_read(index, value);
        }
        let last = self.done.torn.get(&index).copied().unwrap_or(Last {
            value: first,
            ..Last::default()
        });
        let turns = self.tearing.turns(index);
        let turns = turns.map_or(0, |turns| turns.done.load(Ordering::SeqCst));
        let may_stay = last.after >= turns;
        let may_go = last.before < turns;
        (may_stay && value == last.value) || (may_go && value == 0)
    }

    /// Whether word `index` of the source of `direct` was `value` after the last write of it began.
    fn may_be_direct(&self, index: usize, value: u64) -> bool {
        let within = index % (PAGE / WORD);
        let Some(floor) = self.done.floors.get(&(index * WORD / PAGE)) else {
            return value == 0;
        };
        let floor = floor[within];
        let pos = index * WORD;
        if pos < LEN / 2 {
            let last = self.done.buffer.get(&index).map_or(0, |last| last.value);
            return (floor..=last).contains(&value);
        }
        match shared(pos) {
            true => (floor..=self.whole(index)).contains(&value),
            false => value == index as u64 || may_be_read(index, value),
        }
    }
}

/// Whether `value` can have been read from the other disk into word `index` of a file.
fn may_be_read(index: usize, value: u64) -> bool {
    let from = (value & !SOURCE_TAG) as usize;
    value & SOURCE_TAG == SOURCE_TAG
        && from < SOURCE / WORD
        && from % (READ / WORD) == index % (READ / WORD)
}
