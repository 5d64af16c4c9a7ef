// SPDX-License-Identifier: GPL-2.0

//! On persistent memory, who has mapped a part of a file in which there are no data, and has seen zeroes there, sees what is
//! written or stored as soon as that is done; and zeroes around it, nothing of what the memory held before. That is so,
//! too, if one stores to the page while another one writes to it, and if he writes from the very page that he writes to.
//!
//! Promise 2, initialised data.
//! Broken by controls: `skip_zero_rest`, `skip_forget_zeroes`, and `late_unmap_zeroes`, which only two see who meet.
//! Filesystems that fail it: ext4, where the last pages of preallocated space are written, and XFS now and then, where a store
//! and a `write` meet: the mapping shows zeroes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::hint;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fallocate, FallocateFlags};
use stablefs_selftests::dax::{self, is_dax, ALWAYS, HUGE, PAGE};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::meeting::Meeting;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::to_words;
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "dax_zeroes",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("write", |env| seen(env, HOLE, PAGES, WRITE)),
        Case::new("write_preallocated", |env| {
            seen(env, PREALLOCATED, PAGES, WRITE)
        }),
        Case::new("write_huge", |env| seen(env, HOLE, 2 * HUGE, WRITE)),
        Case::new("write_huge_preallocated", |env| {
            seen(env, PREALLOCATED, 2 * HUGE, WRITE)
        }),
        Case::new("store", |env| seen(env, HOLE, PAGES, STORE)),
        Case::new("store_huge", |env| seen(env, HOLE, 2 * HUGE, STORE)),
        Case::new("store_and_write", |env| both(env, HOLE)),
        Case::new("store_and_write_preallocated", |env| {
            both(env, PREALLOCATED)
        }),
        Case::new("write_from_itself", from_itself),
    ],
};

const MIB: u32 = 32;
const NAME: &str = "file";
/// Of a file without huge pages.
const PAGES: usize = 64 * PAGE;
const PAGE_WORDS: usize = PAGE / WORD;
/// Pages that are written or stored to, of each file.
const CHANGED: usize = 16;
/// Files of the cases in which two meet.
const ROUNDS: u64 = 4;
/// Most that is waited, so that now one thread is first and now another: in turns of a loop, and for as long as it may take
/// to get blocks.
const TURNS: u64 = 3000;
const MICROSECONDS: u64 = 2000;

/// What is there before.
type Space = fn(&File, usize) -> Result<()>;
const HOLE: Space = |file, len| Ok(file.set_len(len as u64)?);
const PREALLOCATED: Space =
    |file, len| Ok(fallocate(file, FallocateFlags::empty(), 0, len as u64)?);

/// How words of a file become other ones.
type Change = fn(&File, Range<usize>) -> Result<()>;
const WRITE: Change = write;
const STORE: Change = |file, words| {
    // What is mapped here is not what is looked at.
    let mapping = Words::of(file, 0, words.end.next_multiple_of(PAGE_WORDS) * WORD)?;
    words.for_each(|index| mapping.store(index, value(index)));
    Ok(())
};

/// From memory that need not be mapped first, which would wait for who faults.
fn write(file: &File, words: Range<usize>) -> Result<()> {
    let pos = (words.start * WORD) as u64;
    let bytes: Vec<u8> = words.flat_map(|i| value(i).to_ne_bytes()).collect();
    file.write_all_at(&bytes, pos).context("write")
}

/// What word `index` becomes.
fn value(index: usize) -> u64 {
    (1 << 63) | index as u64
}

/// A file in which there are only zeroes, and somebody has seen them.
struct Stage<'a> {
    env: &'a Env,
    // In the order in which they can go.
    mapping: Words,
    file: File,
    mounted: Mounted,
    wanted: Vec<u64>,
}

impl<'a> Stage<'a> {
    fn new(env: &'a Env, space: Space, len: usize) -> Result<Self> {
        dax::make(env.fstyp, env.dev()?, MIB)?;
        let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path(&mounted))?;
        ensure!(is_dax(&file)?, "it is not DAX");
        space(&file, len)?;
        let mapping = Words::of(&file, 0, len)?;
        let stage = Self {
            env,
            mapping,
            file,
            mounted,
            wanted: vec![0; len / WORD],
        };
        stage.look(0..len / WORD).context("before")?;
        Ok(stage)
    }

    /// What is mapped.
    fn look(&self, words: Range<usize>) -> Result<()> {
        let found: Vec<u64> = words
            .clone()
            .map(|index| self.mapping.load(index))
            .collect();
        differ("mapped", words.start, &found, &self.wanted[words])
    }

    /// What there is in the end, and after a remount.
    fn judge(self) -> Result<()> {
        self.look(0..self.wanted.len())?;
        let Self {
            env,
            mapping,
            file,
            mounted,
            wanted,
        } = self;
        drop((file, mapping));
        read("read", &path(&mounted), &wanted)?;
        mounted.unmount()?;
        env.fstyp.check(env.dev()?)?;
        let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
        read("after a remount", &path(&mounted), &wanted)?;
        mounted.unmount()
    }
}

fn path(mounted: &Mounted) -> PathBuf {
    mounted.dir().join(NAME)
}

fn read(how: &str, path: &Path, wanted: &[u64]) -> Result<()> {
    let found = to_words(&fs::read(path)?);
    ensure!(found.len() == wanted.len(), "{how}: {} words", found.len());
    differ(how, 0, &found, wanted)
}

fn differ(how: &str, start: usize, found: &[u64], wanted: &[u64]) -> Result<()> {
    let Some(at) = (0..found.len()).find(|&at| found[at] != wanted[at]) else {
        return Ok(());
    };
    bail!(
        "{how}, byte {:#x}: {:#x} ({}), want {:#x}",
        (start + at) * WORD,
        found[at],
        dax::name(found[at]),
        wanted[at]
    )
}

/// Where a page is changed: in the middle, up to its end, or from its beginning.
fn part(page: usize) -> Range<usize> {
    let (from, to) = match page % 3 {
        0 => (PAGE_WORDS / 3, PAGE_WORDS / 2),
        1 => (PAGE_WORDS / 2, PAGE_WORDS),
        _ => (0, PAGE_WORDS / 5),
    };
    page * PAGE_WORDS + from..page * PAGE_WORDS + to
}

fn seen(env: &Env, space: Space, len: usize, change: Change) -> Result<()> {
    let mut stage = Stage::new(env, space, len)?;
    for nth in 0..CHANGED {
        let page = nth * (len / PAGE / CHANGED) + nth % 2;
        let words = part(page);
        change(&stage.file, words.clone())?;
        for index in words {
            stage.wanted[index] = value(index);
        }
        stage.look(page * PAGE_WORDS..(page + 1) * PAGE_WORDS)?;
    }
    stage.judge()
}

/// Of each page that two change, the part of who stores, and of who writes and then looks.
fn parts(page: usize) -> [Range<usize>; 2] {
    let start = page * PAGE_WORDS;
    [start + 40..start + 44, start + 80..start + 84]
}

/// One thread stores to a page when another one writes to it, who then looks at it.
fn both(env: &Env, space: Space) -> Result<()> {
    let mut unseen = Vec::new();
    for round in 0..ROUNDS * env.longer {
        let mut stage = Stage::new(env, space, PAGES)?;
        let meeting = Meeting::of(2);
        let pause = |thread: u64| {
            let mut random = Bytes::new(env.seed, (round << 1) | thread);
            move || match random.one_in(2) {
                true => (0..random.below(TURNS)).for_each(|_| hint::spin_loop()),
                false => thread::sleep(Duration::from_micros(random.below(MICROSECONDS))),
            }
        };
        let Stage { file, mapping, .. } = &stage;
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                let mut pause = pause(0);
                for page in 0..PAGES / PAGE {
                    let [words, _] = parts(page);
                    meeting.wait(page);
                    pause();
                    words.for_each(|index| mapping.store(index, value(index)));
                }
            });
            let mut pause = pause(1);
            let mut unseen = Vec::new();
            let mut result = Ok(());
            for page in 0..PAGES / PAGE {
                let [_, words] = parts(page);
                meeting.wait(page);
                pause();
                let written = write(file, words.clone());
                result = result.and(written);
                unseen.extend(words.filter(|&index| mapping.load(index) != value(index)));
            }
            result.map(|()| unseen)
        });
        unseen.extend(found?);
        for index in (0..PAGES / PAGE).flat_map(parts).flatten() {
            stage.wanted[index] = value(index);
        }
        stage.judge()?;
    }
    say(&format!("{} words were not seen at once", unseen.len()));
    match unseen.first() {
        Some(index) => bail!("byte {:#x} is not seen when it is written", index * WORD),
        None => Ok(()),
    }
}

/// Pages are written from themselves, and from others of the file that nobody has loaded yet, with data or without.
fn from_itself(env: &Env) -> Result<()> {
    let mut stage = Stage::new(env, HOLE, PAGES)?;
    for page in (0..PAGES / PAGE).step_by(4) {
        let source = page + 1;
        let words = part(source);
        write(&stage.file, words.clone())?;
        for index in words {
            stage.wanted[index] = value(index);
        }
        // From a hole, from data, and from what has become data just now.
        for (from, to) in [(page, page), (source, page + 2), (page + 2, page + 2)] {
            let unseen = Words::of(&stage.file, 0, PAGES)?;
            let bytes = from * PAGE..(from + 1) * PAGE;
            unseen
                .write_to(bytes, &stage.file, (to * PAGE) as u64)
                .with_context(|| format!("write of page {from} to page {to}"))?;
            let copied = from * PAGE_WORDS..(from + 1) * PAGE_WORDS;
            stage.wanted.copy_within(copied, to * PAGE_WORDS);
            stage.look(to * PAGE_WORDS..(to + 1) * PAGE_WORDS)?;
        }
    }
    stage.judge()
}
