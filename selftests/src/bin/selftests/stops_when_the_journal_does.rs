// SPDX-License-Identifier: GPL-2.0

//! Once the journal cannot be written any more, nothing is written, and everyone who tries is told; what is there can be
//! read, the volume can be unmounted, and whatever fsync confirmed is there when the device is well again.
//!
//! Promise 3, honest failure. No control breaks it: each case sees that operations did succeed before.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure, Context, Result};
use rustix::fs::{
    chmod, fadvise, fsync, ftruncate, link, lsetxattr, mkdir, rename, rmdir, symlink, unlink,
    Advice, Mode, XattrFlags,
};
use rustix::io::{pwrite, Errno};
use stablefs_selftests::blockdev::Faulty;
use stablefs_selftests::child;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "stops_when_the_journal_does",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("as_no_write_succeeds", |env| {
            failing(env, Faulty::fail_writes, true)
        }),
        Case::new("as_the_device_is_gone", |env| {
            failing(env, Faulty::fail, false)
        }),
    ],
};

const LEN: &str = "64M";
const SECTORS: u64 = 64 << 11;
const CONTENT: usize = 300_000;
const TASKS: u64 = 2;

/// What is in file number `number` of task `task`.
fn content(env: &Env, task: u64, number: u64) -> Vec<u8> {
    Bytes::new(env.seed, (task << 32) | number).take(20_000)
}

fn failing(env: &Env, fail: fn(&Faulty) -> Result<()>, readable: bool) -> Result<()> {
    let disk = Faulty::new(env.dev()?, SECTORS)?;
    volume::make(disk.path(), &["-b", "4096"], LEN)?;
    let mounted = Mounted::new(env.fstyp, disk.path(), "")?;
    let root = mounted.dir();
    let kept = Bytes::new(env.seed, u64::MAX).take(CONTENT);
    for name in ["cached", "cold", "victim"] {
        fs::write(root.join(name), &kept)?;
        File::open(root.join(name))?.sync_all()?;
    }
    fs::create_dir(root.join("dir"))?;
    File::open(root)?.sync_all()?;
    fadvise(File::open(root.join("cold"))?, 0, None, Advice::DontNeed)?;
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .open(root.join("cached"))?;

    let mut log = Kmsg::mark()?;
    let confirmed = write_until_it_fails(env, root, || fail(&disk))?;
    // What failed there may have been data.
    if chmod(root.join("dir"), Mode::RWXU).is_ok() {
        let synced = File::open(root.join("dir")).and_then(|dir| dir.sync_all());
        ensure!(synced.is_err(), "fsync of a directory succeeds");
    }
    refused(env, root, &open)?;
    ensure!(
        fs::read(root.join("cached"))? == kept,
        "what is cached has changed"
    );
    let found = fs::read(root.join("cold"));
    if readable {
        ensure!(found? == kept, "what is on the device has changed");
    }
    ensure!(fs::read_dir(root)?.count() > 3, "names are gone");
    // A read-only mount does not let it be opened for that.
    let path = root.join("cached");
    if OpenOptions::new().write(true).open(&path).is_ok() {
        let stored = child::store(&path, 4096, 1)?;
        ensure!(stored.sigbus, "a store to a mapping: {stored:?}");
    }
    drop(open);
    mounted.unmount()?;
    let lines = log.lines_since()?;
    ensure!(
        lines.iter().any(|line| line.contains("Aborting journal")),
        "the log does not say that the journal was given up: {lines:#?}"
    );

    disk.heal()?;
    volume::replay(disk.path())?;
    volume::check(disk.path())?;
    for fstyp in [env.fstyp, Fstyp::Ext4] {
        let mounted = Mounted::new(fstyp, disk.path(), "")?;
        for name in ["cached", "cold", "victim"] {
            ensure!(fs::read(mounted.dir().join(name))? == kept, "{name}");
        }
        for (task, count) in (0..).zip(&confirmed) {
            for number in 0..*count {
                let name = format!("{task} {number}");
                let found = fs::read(mounted.dir().join(&name)).with_context(|| name.clone())?;
                ensure!(
                    found == content(env, task, number),
                    "{name} is something else"
                );
            }
        }
        mounted.unmount()?;
    }
    volume::check(disk.path())
}

/// Whether it is an errno for what is not written any more.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::IO | Errno::ROFS)
}

/// Has some tasks write files, each with an fsync, and calls `fail` in the middle. Returns how many each was told were
/// on the device.
fn write_until_it_fails(
    env: &Env,
    root: &Path,
    fail: impl FnOnce() -> Result<()>,
) -> Result<Vec<u64>> {
    const BEFORE: u64 = 10;
    const MOST: u64 = 1000;
    let all = AtomicU64::new(0);
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let all = &all;
                scope.spawn(move || -> Result<u64> {
                    for number in 0..MOST {
                        let bytes = content(env, task, number);
                        let write = || {
                            let path = root.join(format!("{task} {number}"));
                            let file = File::create_new(path)?;
                            file.write_all_at(&bytes, 0)?;
                            file.sync_all()
                        };
                        match write() {
                            Ok(()) => drop(all.fetch_add(1, Ordering::Relaxed)),
                            Err(e) if Errno::from_io_error(&e).is_some_and(is_refusal) => {
                                // So that nobody waits for more.
                                all.fetch_add(BEFORE, Ordering::Relaxed);
                                return Ok(number);
                            }
                            Err(e) => return Err(e).context("after the device failed"),
                        }
                    }
                    bail!("nothing fails")
                })
            })
            .collect();
        while all.load(Ordering::Relaxed) < BEFORE {
            thread::sleep(Duration::from_millis(10));
        }
        let failed = fail();
        let ended: Vec<_> = tasks.into_iter().map(|task| task.join()).collect();
        failed?;
        ended
            .into_iter()
            .map(|ended| ended.map_err(|_| anyhow!("panicked")).and_then(|done| done))
            .collect()
    })
}

/// Every way to write is refused, and fsync says so.
fn refused(env: &Env, root: &Path, open: &File) -> Result<()> {
    let [cached, dir, new] = ["cached", "dir", "new"].map(|name| root.join(name));
    let create = || {
        let file = File::create_new(&new);
        file.map(drop)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))
    };
    let outcomes = [
        ("create", create()),
        ("mkdir", mkdir(&new, Mode::RWXU)),
        ("symlink", symlink("target", &new)),
        ("link", link(&cached, &new)),
        ("rename", rename(&cached, &new)),
        ("unlink", unlink(root.join("victim"))),
        ("rmdir", rmdir(&dir)),
        ("chmod", chmod(&cached, Mode::RUSR)),
        (
            "setxattr",
            lsetxattr(&cached, "user.x", b"x", XattrFlags::empty()),
        ),
        ("write", pwrite(open, b"other", 0).map(drop)),
        ("append", pwrite(open, b"other", CONTENT as u64).map(drop)),
        ("truncate", ftruncate(open, 1)),
        ("fsync", fsync(open)),
    ];
    let shown: Vec<String> = outcomes
        .iter()
        .map(|(name, outcome)| match outcome {
            Ok(()) => format!("{name} ok"),
            Err(errno) => format!("{name} {}", errno.raw_os_error()),
        })
        .collect();
    say(&format!("errnos of {}: {}", env.fstyp, shown.join(", ")));
    for (name, outcome) in outcomes {
        ensure!(
            outcome.is_err_and(is_refusal),
            "{name} comes to {outcome:?} though nothing can be written"
        );
    }
    let fsync = outcomes.last().map(|(_, outcome)| *outcome);
    ensure!(
        env.fstyp != Fstyp::Stablefs || fsync == Some(Err(Errno::IO)),
        "fsync says {fsync:?}"
    );
    Ok(())
}
