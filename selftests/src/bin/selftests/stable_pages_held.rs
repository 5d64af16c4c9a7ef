// SPDX-License-Identifier: GPL-2.0

//! A page of a mapping is stored to, or a device that takes its time reads into it, while it is written, or when it has been
//! written. The disk finds each block as its protection information says, and what was stored last is what the file holds.
//! Both devices are held and let go one after the other, so no step depends on who is faster.
//!
//! Promise 1, stable data. Broken by controls `skip_fault_wait`, `skip_protect`, `skip_pin_check`, `early_pin_check` and
//! `skip_keep_dirty`, each in two cases or, the first two, four.
//! Filesystems that fail it: ext4, XFS and btrfs, `read_ends_after`; XFS, `read_ends_while_written`. The block layer makes
//! the protection information of ext4 and btrfs when the disk is let go, so that case says nothing of them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};
use rustix::fs::{fadvise, fsync, Advice};
use stablefs_selftests::aio::Reading;
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{another_disk, fresh, open_direct, Calls, Holds, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "stable_pages_held",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("store_while_written", |env| store(env, 4096)),
        Case::new("store_while_written_1_kib", |env| store(env, 1024)),
        Case::new("read_ends_while_written", |env| while_written(env, 4096)),
        Case::new("read_ends_while_written_1_kib", |env| {
            while_written(env, 1024)
        }),
        Case::new("read_begins_before_written", |env| before(env, 4096)),
        Case::new("read_begins_before_written_1_kib", |env| before(env, 1024)),
        Case::new("read_ends_after", |env| after(env, 4096)),
        Case::new("read_ends_after_1_kib", |env| after(env, 1024)),
    ],
};

const PAGE: usize = 4096;
const LEN: usize = 16 * PAGE;
/// What is read to, in the middle of a large folio.
const AT: usize = 5 * PAGE;
const FILE: &str = "file";
const ROUNDS: u64 = 5;
/// For who begins to write.
const PATIENCE: Duration = Duration::from_secs(5);

/// All of it that there is before the devices are held.
struct Stage<'a> {
    trial: Trial<'a>,
    disk: Dm,
    source: Dm,
    from: File,
    file: File,
    mapping: Words,
    words: Vec<u64>,
    random: Bytes,
}

impl<'a> Stage<'a> {
    fn new(env: &'a Env, block: u32) -> Result<Self> {
        let disk = whole(env.dev()?)?;
        let source = whole(&another_disk(env)?)?;
        let trial = Trial::on(env, disk.path(), block)?;
        let words = fresh(LEN);
        let file = trial.create(FILE, &words)?;
        Ok(Self {
            trial,
            from: open_direct(source.path())?,
            disk,
            source,
            mapping: Words::of(&file, 0, LEN)?,
            file,
            words,
            random: Bytes::new(env.seed, 0x4e1d),
        })
    }

    /// Puts new words where they will be read from, and makes them those that are wanted in the end.
    fn fill(&mut self) -> Result<()> {
        let page = Words::private(PAGE)?;
        for index in 0..PAGE / WORD {
            let word = self.random.word();
            page.store(index, word);
            self.words[AT / WORD + index] = word;
        }
        let written = page.write_to(0..PAGE, &self.from, 0);
        written.context("the other disk")
    }

    fn judge(self, syncs: Calls) -> Result<()> {
        let Self {
            trial,
            disk,
            words,
            file,
            mapping,
            ..
        } = self;
        drop((file, mapping));
        let judged = trial.judge(&[syncs], &[Holds { name: FILE, words }]);
        // The volume is on it.
        drop(disk);
        judged
    }
}

fn whole(dev: &Path) -> Result<Dm> {
    let len = File::open(dev)?.seek(SeekFrom::End(0))?;
    Dm::new(&format!("0 {} linear {} 0", len / 512, dev.display()))
}

/// Has what is dirty be given to the disk's driver, and waits for nothing else.
fn begin_to_write<'scope>(scope: &'scope Scope<'scope, '_>, file: &'scope File) {
    let (begun, is_begun) = mpsc::channel();
    scope.spawn(move || {
        let _ = begun.send(fadvise(file, 0, None, Advice::DontNeed));
    });
    // It may not come back, for want of something else from the disk.
    let _ = is_begun.recv_timeout(PATIENCE);
}

/// The page has been given to the disk's driver, which has to wait, when a thread stores to it: through a mapping that it
/// has stored to before.
fn store(env: &Env, block: u32) -> Result<()> {
    let mut stage = Stage::new(env, block)?;
    let mut syncs = Calls::of("fsync");
    for round in 0..ROUNDS * env.longer {
        let Stage {
            disk,
            file,
            mapping,
            words,
            ..
        } = &mut stage;
        mapping.store(AT / WORD, round);
        let written_later = disk.hold()?;
        thread::scope(|scope| {
            begin_to_write(scope, file);
            let (stored, is_stored) = mpsc::channel();
            scope.spawn(move || {
                mapping.store(AT / WORD + 1, round);
                let _ = stored.send(());
            });
            // It is to wait; if it does not, there is no need to.
            let _ = is_stored.recv_timeout(Duration::from_secs(1));
            // Before the thread is waited for.
            written_later.release()
        })?;
        words[AT / WORD..][..2].fill(round);
        syncs.count(fsync(&*file));
    }
    stage.judge(syncs)
}

/// The page has been given to the disk's driver, which has to wait, when the other device stores to it.
fn while_written(env: &Env, block: u32) -> Result<()> {
    let mut stage = Stage::new(env, block)?;
    let mut syncs = Calls::of("fsync");
    for _ in 0..ROUNDS * env.longer {
        stage.fill()?;
        let Stage {
            disk,
            source,
            from,
            file,
            mapping,
            ..
        } = &stage;
        let read_later = source.hold()?;
        let reading = Reading::begin(mapping, AT..AT + PAGE, from, 0)?;
        let written_later = disk.hold()?;
        thread::scope(|scope| {
            begin_to_write(scope, file);
            let read = read_later.release().and_then(|()| reading.end());
            // Before the thread is waited for.
            written_later.release().and(read)
        })?;
        syncs.count(fsync(file));
    }
    stage.judge(syncs)
}

/// The page, to which a thread has just stored, is about to be given to the disk's driver, when the other device is to store
/// to it. It begins before the disk has the page if pins are looked for too early, or if who pins the page does not wait.
fn before(env: &Env, block: u32) -> Result<()> {
    let mut stage = Stage::new(env, block)?;
    let mut syncs = Calls::of("fsync");
    for round in 0..ROUNDS * env.longer {
        stage.fill()?;
        let Stage {
            disk,
            source,
            from,
            file,
            mapping,
            ..
        } = &stage;
        // So that a pin can be taken without a fault.
        mapping.store(AT / WORD, round);
        let read_later = source.hold()?;
        let written_later = disk.hold()?;
        let read = thread::scope(|scope| {
            scope.spawn(|| fadvise(file, 0, None, Advice::DontNeed));
            thread::sleep(Duration::from_millis(100));
            let (begun, is_begun) = mpsc::channel();
            let reading = scope.spawn(move || {
                let reading = Reading::begin(mapping, AT..AT + PAGE, from, 0)?;
                let _ = begun.send(());
                reading.end()
            });
            // It is to wait for the disk; if it does not, both have begun.
            let has_begun = is_begun.recv_timeout(Duration::from_secs(1)).is_ok();
            let released = read_later.release();
            if has_begun {
                let limit = Instant::now() + PATIENCE;
                while !reading.is_finished() && Instant::now() < limit {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            // Before the threads are waited for.
            released.and(written_later.release())?;
            reading.join().map_err(|_| anyhow!("panic"))?
        });
        syncs.count(fsync(file));
        read?;
    }
    stage.judge(syncs)
}

/// The page is written while the device has it, then another page of the same folio is made dirty. When the device is
/// done, whoever says that its page is dirty finds that the folio is.
fn after(env: &Env, block: u32) -> Result<()> {
    let mut stage = Stage::new(env, block)?;
    let mut syncs = Calls::of("fsync");
    stage.fill()?;
    let Stage {
        source,
        from,
        file,
        mapping,
        words,
        ..
    } = &mut stage;
    let read_later = source.hold()?;
    let reading = Reading::begin(mapping, AT..AT + PAGE, from, 0)?;
    syncs.count(fsync(&*file));
    words[0] = 1;
    file.write_all_at(&words[0].to_ne_bytes(), 0)
        .context("write")?;
    read_later.release()?;
    reading.end()?;
    syncs.count(fsync(&*file));
    stage.judge(syncs)
}
