// SPDX-License-Identifier: GPL-2.0

//! Whenever the machine is killed, the volume on its persistent memory is recovered by the filesystem under test and, as
//! a copy, by ext4: `e2fsck` finds nothing to say, what was fsynced is there, and nothing shows that was never written.
//!
//! The host kills the machine and boots it again (`qemu/parts/kills.py`); this is what runs in between. In each round
//! tasks work until they are killed; where files are DAX, one of them stores to a `MAP_SYNC` mapping, and that is all it
//! does for what it has stored to be there. Beside them a real program commits. A second device, the slate, knows how far
//! they were; what they had done is found again from the seed. Every second round makes a new volume, the others work on
//! with what was recovered.
//!
//! recovered and checked (but in the first round) → the slate is wiped → work → killed
//! killed in the middle of recovery → the same once more
//!
//! Promise: the second, initialised data, where files are DAX; else what every filesystem owes. Control: `skip_fsync_commit`.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{anyhow, bail, ensure, Context, Result};
use rustix::fs::OFlags;
use stablefs_selftests::blockdev::Loop;
use stablefs_selftests::dax;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{stale, unruly, Progress, Takes, Task};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::program::say;
use stablefs_selftests::real_programs::{
    check, work, LIBPMEM, LIBPMEM_SPARSE, LMDB, LMDB_WRITEMAP, SQLITE, WRITERS,
};
use stablefs_selftests::scratch::Scratch;
use stablefs_selftests::seed::{self, Bytes};
use stablefs_selftests::trial::to_words;
use stablefs_selftests::volume;
use stablefs_selftests::words::{Words, WORD};

/// Checks what the last round left on a device, with another one as slate, and begins the next.
pub(crate) const WORK: &str = "--until-killed";
/// Checks only.
pub(crate) const CHECK: &str = "--after-kill";
/// What is said when the machine may be killed, for the host.
const WORKING: &str = "working until killed";
const RECOVERING: &str = "recovering until killed";

const LEN: &str = "48M";
const SECTORS: u32 = (48 << 20) / 512;
/// What the volumes are made and mounted with, in turn.
const VOLUMES: &[(&[&str], &str)] = &[
    (&["-b", "4096"], dax::ALWAYS),
    (&["-b", "1024", "-O", "^orphan_file"], ""),
    (&["-b", "4096", "-O", "^orphan_file"], ""),
    (&["-b", "1024"], ""),
];
/// Rounds with one volume.
const ROUNDS: u32 = 2;
const TASKS: u32 = 3;
/// The lane of who stores to a `MAP_SYNC` mapping, after those of the tasks.
const SYNCED: u32 = TASKS;
/// Of its file.
const SYNCED_LEN: usize = 8 << 20;
/// The first lane of a real program's writers, one of which is at work in each round.
const WRITER: u32 = SYNCED + 1;
const LANES: u32 = WRITER + WRITERS as u32;
const PROGRAMS: &[&str] = &[SQLITE, LMDB, LMDB_WRITEMAP];
const DAX_PROGRAMS: &[&str] = &[LIBPMEM, SQLITE, LIBPMEM_SPARSE, LMDB, LMDB_WRITEMAP];
/// More steps than a task comes to.
const STEPS: u32 = 1_000_000;

/// `option` is [`WORK`] or [`CHECK`].
pub(crate) fn main(option: &str, dev: &str, slate: &str) -> ExitCode {
    let done = Run::new(Path::new(dev), Path::new(slate)).and_then(|run| {
        let round = run.slate.round()?;
        round.map_or(Ok(()), |round| run.check(round))?;
        match option == WORK {
            true => run.work(round.map_or(0, |round| round + 1)),
            false => Ok(()),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

struct Run<'a> {
    fstyp: Fstyp,
    seed: u64,
    dev: &'a Path,
    slate: Slate,
}

impl<'a> Run<'a> {
    fn new(dev: &'a Path, slate: &Path) -> Result<Self> {
        Ok(Self {
            fstyp: env::var("FSTYP").context("FSTYP")?.parse()?,
            seed: seed::from_env()?,
            dev,
            slate: Slate::open(slate)?,
        })
    }

    /// The tasks of `round`: no two in any rounds have the same number.
    fn tasks(&self, round: u32) -> impl Iterator<Item = Task> + '_ {
        (0..TASKS).map(move |lane| Task::new(1 + round * TASKS + lane, self.seed, 512))
    }

    /// The real program of `round`.
    fn real(&self, round: u32) -> Real {
        let programs = match volume_of(round).1 == dax::ALWAYS {
            true => DAX_PROGRAMS,
            false => PROGRAMS,
        };
        let seed = self.seed.wrapping_add(round.into());
        let program = programs[seed as usize % programs.len()];
        Real {
            program,
            round,
            seed,
        }
    }

    /// Works until somebody kills the machine.
    fn work(&self, round: u32) -> Result<()> {
        if round % ROUNDS == 0 {
            let file = OpenOptions::new().write(true).open(self.dev);
            let mut file = file.context("device")?;
            file.write_all(&stale(SECTORS)).context("stale data")?;
            file.sync_all()?;
            volume::make(self.dev, volume_of(round).0, LEN)?;
        }
        let options = volume_of(round).1;
        let mounted = Mounted::new(self.fstyp, self.dev, options)?;
        let root = mounted.dir();
        let old: Vec<_> = fs::read_dir(root)?.collect::<Result<_, _>>()?;
        self.slate.begin(round)?;
        thread::scope(|scope| {
            let (begun, has_begun) = channel();
            scope.spawn(move || {
                let real = self.real(round);
                let committed = |writer, step| {
                    self.slate.begins(WRITER + writer as u32, round, step)?;
                    let _ = begun.send(());
                    Ok(ControlFlow::Continue(()))
                };
                let ended = work(real.program, &real.dir(root), real.seed, STEPS, committed);
                // The others do not end, and nobody would hear what it has to say.
                say(&ended.map_or_else(|e| format!("{e:#}"), |done| format!("{done:?}")));
                process::exit(1)
            });
            // It takes longer than the others.
            has_begun.recv()?;
            let mut started = vec![scope.spawn(|| -> Result<()> {
                for entry in old {
                    if entry.file_name() != "lost+found" {
                        fs::remove_dir_all(entry.path()).context("what the last round left")?;
                    }
                }
                Ok(())
            })];
            started.push(scope.spawn(move || {
                let top = root.join(format!("unruly{round}"));
                fs::create_dir(&top)?;
                let stream = 0x0dd + u64::from(round);
                unruly(&top, &mut Bytes::new(self.seed, stream), STEPS.into())
            }));
            if options == dax::ALWAYS {
                started.push(scope.spawn(move || {
                    synced(root, round, |step| self.slate.begins(SYNCED, round, step))
                }));
            }
            for (lane, mut task) in (0..).zip(self.tasks(round)) {
                started.push(scope.spawn(move || {
                    task.run(root, STEPS, |progress| match progress {
                        Progress::Begins(step) => self.slate.begins(lane, round, step),
                        Progress::Promised(_) => Ok(()),
                    })
                }));
            }
            say(WORKING);
            let ended: Vec<_> = started.into_iter().map(|task| task.join()).collect();
            ended
                .into_iter()
                .try_for_each(|ended| ended.map_err(|_| anyhow!("panicked"))?)
        })?;
        bail!("nobody has killed the machine")
    }

    /// Looks at what is left of `round`.
    fn check(&self, round: u32) -> Result<()> {
        let mut tasks: Vec<Task> = self.tasks(round).collect();
        let mut begun = Vec::new();
        for (lane, task) in (0..).zip(&mut tasks) {
            let step = self.slate.begun(lane, round)?;
            task.remember(step);
            begun.push(step);
        }
        for lane in SYNCED..LANES {
            begun.push(self.slate.begun(lane, round)?);
        }
        let real = self.real(round);
        let mut image = vec![0; SECTORS as usize * 512];
        File::open(self.dev)?.read_exact(&mut image)?;
        if self.fstyp != Fstyp::Ext4 {
            let copy = Loop::over(Scratch::holding(&image)?, 512)?;
            recover(Fstyp::Ext4, copy.path(), "", &real, &tasks, &begun)
                .context("as a copy, recovered by ext4")?;
        }
        say(RECOVERING);
        let options = volume_of(round).1;
        recover(self.fstyp, self.dev, options, &real, &tasks, &begun)
            .with_context(|| format!("recovered by {}", self.fstyp))?;
        say(&format!(
            "round {round}: sound after the kill in steps {begun:?}, with {}",
            real.program
        ));
        Ok(())
    }
}

/// What the volume of `round` is made and mounted with.
fn volume_of(round: u32) -> (&'static [&'static str], &'static str) {
    VOLUMES[(round / ROUNDS) as usize % VOLUMES.len()]
}

fn synced_path(root: &Path, round: u32) -> PathBuf {
    root.join(format!("synced{round}"))
}

/// Stores word after word to a `MAP_SYNC` mapping of a file with holes, and says how many there are.
fn synced(root: &Path, round: u32, stored: impl Fn(u32) -> Result<()>) -> Result<()> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.open(synced_path(root, round))?;
    file.sync_all()?;
    // Neither the length nor the blocks are waited for.
    file.set_len(SYNCED_LEN as u64)?;
    let mapping = Words::synced(&file, 0, SYNCED_LEN).context("MAP_SYNC")?;
    for step in 0..STEPS {
        let index = synced_word(step);
        mapping.store(index, synced_value(round, step));
        mapping.flush(index);
        stored(step + 1)?;
    }
    Ok(())
}

/// Where step `step` stores: to each page, in no order, then to each page once more.
fn synced_word(step: u32) -> usize {
    const PAGES: usize = SYNCED_LEN / dax::PAGE;
    let (turn, page) = (step as usize / PAGES, step as usize * 769 % PAGES);
    (page * dax::PAGE) / WORD + turn % (dax::PAGE / WORD)
}

fn synced_value(round: u32, step: u32) -> u64 {
    (1 << 63) | (u64::from(round) << 32) | u64::from(step)
}

/// All of the first `count` words are there.
fn check_synced(root: &Path, round: u32, count: u32) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let bytes = fs::read(synced_path(root, round)).context("the file of MAP_SYNC")?;
    ensure!(bytes.len() == SYNCED_LEN, "it is of {} bytes", bytes.len());
    let words = to_words(&bytes);
    for step in 0..count {
        let (index, wanted) = (synced_word(step), synced_value(round, step));
        ensure!(
            words[index] == wanted,
            "MAP_SYNC, store {step} of {count}, at {:#x}: {:#x}, want {wanted:#x}",
            index * WORD,
            words[index]
        );
    }
    Ok(())
}

/// What a real program is given to do in a round.
struct Real {
    program: &'static str,
    round: u32,
    seed: u64,
}

impl Real {
    fn dir(&self, root: &Path) -> PathBuf {
        root.join(format!("{}{}", self.program, self.round))
    }

    fn check(&self, root: &Path, committed: &[u32]) -> Result<()> {
        // Before that it may not even have files.
        if committed.iter().all(|&step| step == 0) {
            return Ok(());
        }
        check(
            self.program,
            &self.dir(root),
            self.seed,
            committed.try_into()?,
        )
    }
}

/// Recovers the volume on `dev`, with what `real` and `tasks` did up to the steps that have `begun`.
fn recover(
    fstyp: Fstyp,
    dev: &Path,
    options: &str,
    real: &Real,
    tasks: &[Task],
    begun: &[u32],
) -> Result<()> {
    let mounted = Mounted::new(fstyp, dev, options)?;
    check_synced(mounted.dir(), real.round, begun[SYNCED as usize])?;
    real.check(mounted.dir(), &begun[WRITER as usize..])?;
    for (task, &step) in tasks.iter().zip(begun) {
        // What began may not have come to its end, and has promised nothing.
        task.check(mounted.dir(), step.saturating_sub(1), Takes::Words)?;
    }
    mounted.unmount()?;
    volume::check(dev)
}

/// A device on which a page says which round it is, and one for each task which step of it has begun. Each is a word that
/// is there whole as soon as it is written.
struct Slate(File);

/// On a slate that is in use, with the number of the round.
const MAGIC: u64 = 0x57ab_1ef5 << 32;
/// Bytes from one word to the next.
const PAGE: u64 = 4096;

impl Slate {
    fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        let options = options.custom_flags(OFlags::DSYNC.bits() as i32);
        Ok(Self(options.open(path).context("slate")?))
    }

    fn read(&self, page: u64) -> Result<u64> {
        let mut word = [0; 8];
        let read = self.0.read_exact_at(&mut word, page * PAGE);
        read.context("slate")?;
        Ok(u64::from_le_bytes(word))
    }

    fn write(&self, page: u64, high: u64, low: u32) -> Result<()> {
        let word = high | u64::from(low);
        let written = self.0.write_all_at(&word.to_le_bytes(), page * PAGE);
        written.context("slate")
    }

    /// The last round that has begun.
    fn round(&self) -> Result<Option<u32>> {
        let word = self.read(0)?;
        // CAST: the low half.
        Ok((word & MAGIC == MAGIC).then_some(word as u32))
    }

    fn begin(&self, round: u32) -> Result<()> {
        for lane in 0..LANES {
            self.begins(lane, round, 0)?;
        }
        self.write(0, MAGIC, round)
    }

    fn begins(&self, lane: u32, round: u32, step: u32) -> Result<()> {
        self.write(1 + u64::from(lane), u64::from(round) << 32, step)
    }

    /// The last step of a task of `round` that has begun.
    fn begun(&self, lane: u32, round: u32) -> Result<u32> {
        let word = self.read(1 + u64::from(lane))?;
        let of = word >> 32;
        ensure!(of == u64::from(round), "the slate is of round {of}");
        // CAST: the low half.
        Ok(word as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slate_tells_rounds_apart() {
        let file = Scratch::file(8 * PAGE).unwrap();
        let slate = Slate::open(file.path()).unwrap();
        assert_eq!(slate.round().unwrap(), None);
        slate.begin(0).unwrap();
        assert_eq!(slate.round().unwrap(), Some(0));
        slate.begin(u32::MAX).unwrap();
        slate.begins(1, u32::MAX, 7).unwrap();
        let slate = Slate::open(file.path()).unwrap();
        assert_eq!(slate.round().unwrap(), Some(u32::MAX));
        assert_eq!(
            [0, 1].map(|lane| slate.begun(lane, u32::MAX).unwrap()),
            [0, 7]
        );
        assert!(slate.begun(0, 3).is_err());
    }
}
