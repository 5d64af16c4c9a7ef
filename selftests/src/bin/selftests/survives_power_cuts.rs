// SPDX-License-Identifier: GPL-2.0

//! Whenever the power fails, the volume is recovered by the filesystem under test and by ext4 alike: `e2fsck` finds
//! nothing to say, what was fsynced is there, and nothing shows that was never written.
//!
//! The writes to the device are logged. The device is then made as it was after each flush, and as it may have been
//! between two: with anything done, or not, of what was not flushed.
//! On a disk with protection information it would be the same: the kernel's target that logs does not pass that on.
//! Promise: none of the three; what every filesystem owes. Controls: `skip_fsync_commit` loses what was fsynced, with
//! `skip_unwritten` stale data shows.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use anyhow::{anyhow, ensure, Context, Result};
use stablefs_selftests::blockdev::{Logging, Loop};
use stablefs_selftests::devices::{self, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{stale, unruly, Progress, Takes, Task};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;
use stablefs_selftests::write_log::WriteLog;

pub(crate) const PROGRAM: Program = Program {
    name: "survives_power_cuts",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| {
            tries(env, env.dev()?, &["-b", "4096"], 0)
        }),
        Case::new("blocks_of_1_kib", |env| {
            tries(env, env.dev()?, &["-b", "1024"], 1)
        }),
        Case::new("with_a_list_of_orphans", |env| {
            tries(env, env.dev()?, &["-b", "1024", "-O", "^orphan_file"], 2)
        }),
        Case::new("sectors_of_4_kib", |env| {
            let dev = Loop::new(u64::from(SECTORS) * 512, 4096)?;
            tries(env, dev.path(), &["-b", "4096"], 3)
        }),
    ],
};

const LEN: &str = "16M";
const SECTORS: u32 = (16 << 20) / 512;
/// Longest log of the writes, in bytes.
const MOST: u64 = 512 << 20;
const TASKS: u32 = 3;
/// Steps of each task.
const STEPS: u32 = 120;
/// States that are tried, behind a flush and between two.
const STATES: u64 = 8;

fn tries(env: &Env, dev: &Path, options: &[&str], stream: u64) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(dev)?;
    file.write_all(&stale(SECTORS)).context("stale data")?;
    file.sync_all()?;
    volume::make(dev, options, LEN)?;
    let mut image = vec![0; SECTORS as usize * 512];
    File::open(dev)?.read_exact(&mut image)?;
    let seed = env.seed ^ (stream << 40);
    let sector = devices::sector(dev)?;
    let tasks = (1..=TASKS).map(|number| Task::new(number, seed, sector));
    let mut tasks: Vec<Task> = tasks.collect();
    let log = work(env.fstyp, dev, &mut tasks, seed)?;
    cut(env, &log, image, &tasks, &mut Bytes::new(seed, 0xc07))
}

/// Has all tasks work at once, and others in their way; gives the log.
fn work(fstyp: Fstyp, dev: &Path, tasks: &mut [Task], seed: u64) -> Result<WriteLog> {
    let logging = Logging::new(dev, SECTORS.into(), MOST)?;
    let mounted = Mounted::new(fstyp, logging.path(), "")?;
    let done = thread::scope(|scope| -> Result<()> {
        let (mounted, logging) = (&mounted, &logging);
        let disorder = scope.spawn(move || {
            let top = mounted.dir().join("unruly");
            fs::create_dir(&top)?;
            unruly(&top, &mut Bytes::new(seed, 0x0dd), STEPS.into())
        });
        let started = tasks.iter_mut().map(|task| {
            let number = task.number();
            let tell = move |progress| match progress {
                Progress::Begins(_) => Ok(()),
                Progress::Promised(step) => logging.mark(&format!("{number}.{step}")),
            };
            scope.spawn(move || task.run(mounted.dir(), STEPS, tell))
        });
        let started: Vec<_> = started.chain([disorder]).collect();
        let ended: Vec<_> = started.into_iter().map(|task| task.join()).collect();
        ended
            .into_iter()
            .try_for_each(|ended| ended.map_err(|_| anyhow!("panicked"))?)
    });
    done?;
    mounted.unmount()?;
    WriteLog::parse(logging.end()?)
}

/// Tries states of the volume, which was `image` when `log` began.
fn cut(
    env: &Env,
    log: &WriteLog,
    mut image: Vec<u8>,
    tasks: &[Task],
    random: &mut Bytes,
) -> Result<()> {
    let points = log.points();
    ensure!(points.len() > 20, "only {} flushes", points.len());
    let mut flushed = points.clone();
    while flushed.len() as u64 > STATES * env.longer {
        let index = random.below(flushed.len() as u64);
        flushed.swap_remove(index as usize);
    }
    let between = flushed
        .iter()
        .map(|_| 1 + random.below(log.len() as u64) as usize);
    let between: Vec<usize> = between.collect();
    let mut states: Vec<(usize, bool)> = Vec::new();
    states.extend(flushed.iter().map(|&point| (point, true)));
    states.extend(between.iter().map(|&point| (point, false)));
    states.sort_unstable();
    let dev = Loop::new(image.len() as u64, log.sector())?;
    let mut done = 0;
    for &(point, whole) in &states {
        let sure = log.flushed(point).max(done);
        log.apply(&mut image, done, sure);
        done = sure;
        let mut state = image.clone();
        match whole {
            true => log.apply(&mut state, sure, point),
            false => log.apply_some(&mut state, sure, point, random),
        }
        recover(env.fstyp, &dev, &state, log, point, tasks).with_context(|| {
            let how = if whole { "all" } else { "some" };
            format!("at entry {point} of {}, with {how} written", log.len())
        })?;
    }
    say(&format!(
        "{} states behind a flush and {} between, of {} flushes and {} writes",
        flushed.len(),
        between.len(),
        points.len(),
        log.len()
    ));
    Ok(())
}

/// Recovers a volume, by all who must be able to.
fn recover(
    fstyp: Fstyp,
    dev: &Loop,
    state: &[u8],
    log: &WriteLog,
    point: usize,
    tasks: &[Task],
) -> Result<()> {
    let by: &[Fstyp] = match fstyp {
        Fstyp::Ext4 => &[Fstyp::Ext4],
        _ => &[fstyp, Fstyp::Ext4],
    };
    by.iter().try_for_each(|&fstyp| {
        let mut file = OpenOptions::new().write(true).open(dev.file())?;
        file.write_all(state)?;
        recover_one(fstyp, dev, log, point, tasks).with_context(|| format!("recovered by {fstyp}"))
    })
}

fn recover_one(
    fstyp: Fstyp,
    dev: &Loop,
    log: &WriteLog,
    point: usize,
    tasks: &[Task],
) -> Result<()> {
    let mounted = Mounted::new(fstyp, dev.path(), "")?;
    for task in tasks {
        let done = promised(task, log.marks(point))?;
        task.check(mounted.dir(), done, Takes::Sectors)?;
    }
    mounted.unmount()?;
    // Without the detour over the device.
    volume::check(dev.file())
}

/// The last step of `task` that has promised anything, by its marks in a log.
fn promised<'a>(task: &Task, marks: impl Iterator<Item = &'a str>) -> Result<u32> {
    let mut last = 0;
    for mark in marks {
        let (number, step) = mark.split_once('.').context("a mark of a task")?;
        if number.parse() == Ok(task.number()) {
            last = last.max(step.parse()?);
        }
    }
    Ok(last)
}
