// SPDX-License-Identifier: GPL-2.0

//! Whenever the power fails, the volume is recovered by the filesystem under test and by ext4 alike: `e2fsck` finds
//! nothing to say, what was fsynced is there, and nothing shows that was never written.
//!
//! The writes to the device are logged. The device is then made as it was after each flush, and as it may have been
//! between two: with anything done, or not, of what was not flushed.
//! Promise: none of the three; what every filesystem owes. No control breaks it: that lost and stale data is seen is
//! tested with the model.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use anyhow::{anyhow, ensure, Context, Result};
use stablefs_selftests::blockdev::{Logging, Loop};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{stale, Marks, Task};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::scratch::Scratch;
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
        Case::new("blocks_of_4_kib", |env| tries(env, &["-b", "4096"], 0)),
        Case::new("blocks_of_1_kib", |env| tries(env, &["-b", "1024"], 1)),
        Case::new("with_an_orphan_file", |env| {
            tries(env, &["-b", "1024", "-O", "orphan_file"], 2)
        }),
    ],
};

const LEN: &str = "16M";
const SECTORS: u32 = (16 << 20) / 512;
/// Longest log of the writes, in bytes.
const MOST: u64 = 512 << 20;
const TASKS: u64 = 3;
/// Steps of each task.
const STEPS: u64 = 120;
/// States that are tried, behind a flush and between two.
const STATES: u64 = 8;

fn tries(env: &Env, options: &[&str], stream: u64) -> Result<()> {
    let dev = env.dev()?;
    let mut file = OpenOptions::new().write(true).open(dev)?;
    file.write_all(&stale(SECTORS)).context("stale data")?;
    file.sync_all()?;
    volume::make(dev, options, LEN)?;
    let mut image = vec![0; SECTORS as usize * 512];
    File::open(dev)?.read_exact(&mut image)?;
    let seed = env.seed ^ (stream << 40);
    let mut tasks: Vec<Task> = (1..=TASKS).map(|number| Task::new(number, seed)).collect();
    let log = work(env, &mut tasks)?;
    cut(env, &log, image, &tasks, &mut Bytes::new(seed, 0xc07))
}

/// Has all tasks work at once, and gives the log.
fn work(env: &Env, tasks: &mut [Task]) -> Result<WriteLog> {
    let logging = Logging::new(env.dev()?, SECTORS.into(), MOST)?;
    let mounted = Mounted::new(env.fstyp, logging.path(), "")?;
    for task in &*tasks {
        fs::create_dir(task.dir(mounted.dir()))?;
    }
    rustix::fs::syncfs(File::open(mounted.dir())?)?;
    let done = thread::scope(|scope| -> Result<()> {
        let (mounted, logging) = (&mounted, &logging);
        let started: Vec<_> = tasks
            .iter_mut()
            .map(|task| {
                scope.spawn(move || {
                    let done = task.run(mounted.dir(), STEPS, |mark| logging.mark(mark));
                    task.close();
                    done
                })
            })
            .collect();
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
    let mut flushed: Vec<usize> = Vec::new();
    let mut between: Vec<usize> = Vec::new();
    for _ in 0..STATES * env.longer {
        flushed.extend(random.pick(&points));
        between.push(1 + random.below(log.len() as u64) as usize);
    }
    flushed.sort_unstable();
    flushed.dedup();
    let mut states: Vec<(usize, bool)> = Vec::new();
    states.extend(flushed.iter().map(|&point| (point, true)));
    states.extend(between.iter().map(|&point| (point, false)));
    states.sort_unstable();
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
        recover(env, &state, log, point, tasks).with_context(|| {
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
fn recover(env: &Env, state: &[u8], log: &WriteLog, point: usize, tasks: &[Task]) -> Result<()> {
    let by: &[Fstyp] = match env.fstyp {
        Fstyp::Ext4 => &[Fstyp::Ext4],
        _ => &[env.fstyp, Fstyp::Ext4],
    };
    for &fstyp in by {
        let dev = Loop::over(Scratch::holding(state)?, 512)?;
        recover_one(fstyp, dev.path(), log, point, tasks)
            .with_context(|| format!("recovered by {fstyp}"))?;
    }
    Ok(())
}

fn recover_one(
    fstyp: Fstyp,
    dev: &Path,
    log: &WriteLog,
    point: usize,
    tasks: &[Task],
) -> Result<()> {
    let mounted = Mounted::new(fstyp, dev, "")?;
    for (number, task) in (1..).zip(tasks) {
        task.check(mounted.dir(), &Marks::of(number, log.marks(point))?)?;
    }
    mounted.unmount()?;
    volume::check(dev)
}
