// SPDX-License-Identifier: GPL-2.0

//! What is stored to a `MAP_SYNC` mapping, and has left the processor's caches, is there after the filesystem stops in the
//! middle of everything, without fsync: the file's length, its blocks, and the data. A file that is not DAX cannot be
//! mapped so.
//!
//! `survives_kills` has the same with a machine that is killed.
//! Promise 2, initialised data.
//! Broken by control: `skip_sync_fault`.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::thread;

use anyhow::{ensure, Context, Result};
use rustix::fs::{fallocate, FallocateFlags};
use rustix::io::Errno;
use stablefs_selftests::dax::{self, is_dax, ALWAYS, HUGE, PAGE};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::trial::to_words;
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "dax_map_sync",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("refused_without_dax", refused),
        Case::new("hole", |env| stays(env, HOLE, PAGES)),
        Case::new("preallocated", |env| stays(env, PREALLOCATED, PAGES)),
        Case::new("written", |env| stays(env, WRITTEN, PAGES)),
        Case::new("huge_hole", |env| stays(env, HOLE, 2 * HUGE)),
        Case::new("huge_preallocated", |env| {
            stays(env, PREALLOCATED, 2 * HUGE)
        }),
    ],
};

const MIB: u32 = 32;
const NAME: &str = "file";
/// Of a file without huge pages.
const PAGES: usize = 24 * PAGE;
const THREADS: usize = 4;
/// Pages from one that is stored to, to the next.
const STEP: usize = 3;
const ROUNDS: u64 = 3;
const PAGE_WORDS: usize = PAGE / WORD;

/// What is there before, none of which is waited for.
type Space = fn(&File, usize) -> Result<()>;
const HOLE: Space = |file, len| Ok(file.set_len(len as u64)?);
const PREALLOCATED: Space =
    |file, len| Ok(fallocate(file, FallocateFlags::empty(), 0, len as u64)?);
const WRITTEN: Space = |file, len| Ok(file.write_all_at(&vec![0; len], 0)?);

fn refused(env: &Env) -> Result<()> {
    dax::make(env.fstyp, env.dev()?, MIB)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, "dax=never")?;
    let path = mounted.dir().join(NAME);
    fs::write(&path, [1; PAGE])?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let errno = Words::synced(&file, 0, PAGE).map(drop);
    ensure!(errno == Err(Errno::OPNOTSUPP), "MAP_SYNC: {errno:?}");
    drop(file);
    mounted.unmount()
}

/// Word of page `page` that `thread` stores.
fn word(page: usize, thread: usize) -> usize {
    page * PAGE_WORDS + thread * (PAGE_WORDS / THREADS) + page % 5
}

fn value(round: u64, index: usize) -> u64 {
    (1 << 63) | (round << 32) | index as u64
}

fn stays(env: &Env, space: Space, len: usize) -> Result<()> {
    for round in 0..ROUNDS * env.longer {
        let lost = stops(env, space, len, round, &|file| {
            Words::synced(file, 0, len).context("MAP_SYNC")
        })?;
        ensure!(lost.is_none(), "{}", lost.unwrap_or_default());
    }
    // The same without it says whether there was anything to lose.
    let lost = stops(env, space, len, 0, &|file| Words::of(file, 0, len))?;
    let lost = lost.unwrap_or_else(|| "nothing was lost".to_owned());
    say(&format!("without MAP_SYNC: {lost}"));
    Ok(())
}

/// Threads store to a mapping, and the filesystem stops. Gives what is not there afterwards.
fn stops(
    env: &Env,
    space: Space,
    len: usize,
    round: u64,
    map: &dyn Fn(&File) -> Result<Words>,
) -> Result<Option<String>> {
    dax::make(env.fstyp, env.dev()?, MIB)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, ALWAYS)?;
    let path = mounted.dir().join(NAME);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.open(&path)?;
    ensure!(is_dax(&file)?, "it is not DAX");
    // So that there is a file.
    file.sync_all()?;
    space(&file, len)?;
    let mapping = map(&file)?;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mapping = &mapping;
            scope.spawn(move || {
                for page in (0..len / PAGE).step_by(STEP) {
                    let index = word(page, thread);
                    mapping.store(index, value(round, index));
                    mapping.flush(index);
                }
            });
        }
    });
    let after = dax::stop(&file, env.dev()?, MIB)?;
    drop((mapping, file));
    mounted.unmount()?;

    let (dev, options) = match &after {
        Some(copy) => (copy.path(), ""),
        None => (env.dev()?, ALWAYS),
    };
    let mounted = Mounted::new(env.fstyp, dev, options).context("after it has stopped")?;
    let words = to_words(&fs::read(mounted.dir().join(NAME))?);
    let mut wanted = vec![0; len / WORD];
    for page in (0..len / PAGE).step_by(STEP) {
        for index in (0..THREADS).map(|thread| word(page, thread)) {
            wanted[index] = value(round, index);
        }
    }
    mounted.unmount()?;
    env.fstyp.check(dev)?;
    if words.len() != wanted.len() {
        return Ok(Some(format!(
            "the file has {} words, want {}",
            words.len(),
            wanted.len()
        )));
    }
    let mut wrong = (0..words.len()).filter(|&index| words[index] != wanted[index]);
    Ok(wrong.next().map(|index| {
        format!(
            "{} words are wrong, the first at byte {:#x}: {:#x} ({}), want {:#x}",
            1 + wrong.count(),
            index * WORD,
            words[index],
            dax::name(words[index]),
            wanted[index]
        )
    }))
}
