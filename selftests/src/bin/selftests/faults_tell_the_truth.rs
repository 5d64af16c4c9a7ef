// SPDX-License-Identifier: GPL-2.0

//! A store to a page of a mapping that cannot be let in ends with a signal, one that can wait waits, and a program that
//! waits can be killed: no room, a file cut off, a disk that cannot be read, a filesystem that stopped, a frozen volume.
//! When there is no reason any more, the store succeeds, and is kept.
//!
//! Promise 3, honest failure. FS_FAULTS

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fadvise, statvfs, Advice};
use stablefs_selftests::blockdev::{Dm, Faulty};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{freeze, thaw};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Missing, Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::storer::{Ended, Storer};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "faults_tell_the_truth",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("no_room", no_room),
        Case::new("cut_off", cut_off),
        Case::new("cut_off_and_on", cut_off_and_on),
        Case::new("frozen", frozen),
        Case::new("unreadable", unreadable),
        Case::new("stopped", stopped),
        Case::new("killed_while_it_reads", |env| killed(env, Waits::ToRead)),
        Case::new("killed_while_it_is_written", |env| {
            killed(env, Waits::ForWriteback)
        }),
        Case::new("killed_behind_a_writer", |env| {
            killed(env, Waits::ForWriter)
        }),
    ],
};

/// Of the volume, or as small as they come.
const MIB: u32 = 32;
/// Of the device: no volume of XFS is smaller.
const SECTORS: u64 = 320 << 11;
const PAGE: u64 = 4096;
/// Of the file, written at once so that it is one folio, or a few.
const LEN: u64 = 256 << 10;
const FILE: &str = "file";
const OLD: u8 = b'A';
/// Time for a store that ought to wait.
const PAUSE: Duration = Duration::from_secs(1);

/// A new volume on `dev`.
fn made(env: &Env, dev: &Path) -> Result<Mounted> {
    volume::make_small(env.fstyp, dev, 4096, MIB)?;
    Mounted::new(env.fstyp, dev, "")
}

/// A file that the disk has, and nobody else.
fn written(root: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(root.join(FILE))?;
    file.write_all_at(&vec![OLD; LEN as usize], 0)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(file)
}

fn storer(root: &Path) -> Result<Storer> {
    Storer::start(&root.join(FILE), LEN)
}

/// `byte` is what the disk has at `pos` of the file.
fn kept(file: &File, pos: u64, byte: u8) -> Result<()> {
    file.sync_all().context("fsync")?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    let mut found = [0];
    file.read_exact_at(&mut found, pos)?;
    ensure!(found == [byte], "{found:?} at {pos:#x}, want {byte}");
    Ok(())
}

fn ended(found: Ended, wanted: Ended, why: &str) -> Result<()> {
    ensure!(found == wanted, "{why}: {found:?}, want {wanted:?}");
    Ok(())
}

fn no_room(env: &Env) -> Result<()> {
    let mounted = made(env, env.dev()?)?;
    let root = mounted.dir();
    let file = File::create_new(root.join(FILE))?;
    file.set_len(LEN)?;
    let filler = File::create_new(root.join("filler"))?;
    let mut pos = 0;
    for len in [1 << 20, PAGE as usize] {
        let bytes = vec![b'F'; len];
        while let Ok(count @ 1..) = filler.write_at(&bytes, pos) {
            pos += count as u64;
        }
    }
    let synced = filler.sync_all();
    let left = statvfs(root)?;
    ensure!(
        left.f_bavail * left.f_bsize < 1 << 20,
        "{} blocks are left",
        left.f_bavail
    );
    synced.context("fsync on the full disk")?;
    // What there may be for who comes first is not enough for all.
    let mut refused = false;
    for pos in (0..LEN).step_by(PAGE as usize) {
        match storer(root)?.store(pos, b'S')? {
            Ended::Stored => continue,
            other => ended(other, Ended::SigBus, "no room")?,
        }
        refused = true;
        filler.set_len(0)?;
        filler.sync_all()?;
        ended(storer(root)?.store(pos, b'S')?, Ended::Stored, "room again")?;
        let file = File::open(root.join(FILE))?;
        kept(&file, pos, b'S')?;
        break;
    }
    ensure!(refused, "there is room for all on a full disk");
    drop((file, filler));
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)
}

fn cut_off(env: &Env) -> Result<()> {
    let mounted = made(env, env.dev()?)?;
    let root = mounted.dir();
    let file = written(root)?;
    let (mut in_front, mut behind) = (storer(root)?, storer(root)?);
    let last = 7 * PAGE;
    file.set_len(last + 100)?;
    ended(in_front.store(last + 50, b'S')?, Ended::Stored, "in front")?;
    ended(
        in_front.store(last + 200, b'S')?,
        Ended::Stored,
        "same page",
    )?;
    ended(behind.store(last + PAGE, b'S')?, Ended::SigBus, "behind")?;
    file.set_len(LEN)?;
    // Nothing of what was stored behind the end shows.
    kept(&file, last + 50, b'S')?;
    kept(&file, last + 200, 0)?;
    ended(in_front.store(last + PAGE, b'S')?, Ended::Stored, "again")?;
    kept(&file, last + PAGE, b'S')?;
    drop((file, in_front));
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)
}

/// Stores run into truncation: each of them succeeds or not.
fn cut_off_and_on(env: &Env) -> Result<()> {
    const ROUNDS: u64 = 60;
    let mounted = made(env, env.dev()?)?;
    let root = mounted.dir();
    let file = written(root)?;
    let mut storers = (0..2).map(|_| storer(root)).collect::<Result<Vec<_>>>()?;
    let (mut stored, mut signals) = (0, 0);
    for round in 0..ROUNDS * env.longer {
        for storer in &mut storers {
            storer.begin(PAGE, b'S')?;
        }
        file.set_len(round % 2 * 2 * PAGE + 10)?;
        for running in &mut storers {
            match running.end()? {
                Ended::Stored => stored += 1,
                Ended::SigBus => {
                    signals += 1;
                    *running = storer(root)?;
                }
                Ended::Killed => bail!("killed"),
            }
        }
    }
    ensure!(
        stored > 0,
        "nothing is stored, and there are {signals} signals"
    );
    file.set_len(LEN)?;
    ended(storers[0].store(PAGE, b'T')?, Ended::Stored, "in the end")?;
    kept(&file, PAGE, b'T')?;
    drop((file, storers));
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)
}

fn frozen(env: &Env) -> Result<()> {
    let mounted = made(env, env.dev()?)?;
    let root = mounted.dir();
    let file = written(root)?;
    let dir = File::open(root)?;
    let mut storer = storer(root)?;
    freeze(&dir).context("FIFREEZE")?;
    let begun = storer.begin(0, b'S');
    thread::sleep(PAUSE);
    let waits = storer.waits();
    thaw(&dir).context("FITHAW")?;
    begun?;
    let outcome = storer.end()?;
    ensure!(waits, "a store to a frozen volume ends: {outcome:?}");
    ended(outcome, Ended::Stored, "after the thaw")?;
    kept(&file, 0, b'S')?;
    drop((file, dir, storer));
    mounted.unmount()
}

fn unreadable(env: &Env) -> Result<()> {
    let disk = Faulty::new(env.dev()?, SECTORS)?;
    let mounted = made(env, disk.path())?;
    let root = mounted.dir();
    let file = written(root)?;
    let [mut first, mut second] = [storer(root)?, storer(root)?];
    disk.fail()?;
    let outcome = first.store(3 * PAGE, b'S');
    disk.heal()?;
    ended(outcome?, Ended::SigBus, "a page that cannot be read")?;
    ended(second.store(3 * PAGE, b'S')?, Ended::Stored, "once it can")?;
    kept(&file, 3 * PAGE, b'S')?;
    kept(&file, 3 * PAGE + 1, OLD)?;
    drop((file, second));
    mounted.unmount()?;
    env.fstyp.check(disk.path())
}

/// The journal cannot be written.
fn stopped(env: &Env) -> Result<()> {
    let disk = Faulty::new(env.dev()?, SECTORS)?;
    let mounted = made(env, disk.path())?;
    let root = mounted.dir();
    let file = written(root)?;
    let mut storer = storer(root)?;
    // From now on the page is there, and can be loaded from.
    file.read_exact_at(&mut [0], 0)?;
    storer.load(0)?;
    disk.fail_writes()?;
    let names = ["one", "two"].map(|name| root.join(name));
    let refused = names.iter().any(|name| {
        let file = File::create_new(name);
        file.and_then(|file| file.sync_all()).is_err()
    });
    let outcome = storer.store(0, b'S');
    drop((file, storer));
    mounted.unmount()?;
    disk.heal()?;
    ensure!(refused, "the filesystem goes on");
    ended(outcome?, Ended::SigBus, "a filesystem that stopped")
}

/// What a store waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Its page is read.
    ToRead,
    /// Its page is written.
    ForWriteback,
    /// Another writer has locked its page, and waits for that.
    ForWriter,
}

fn killed(env: &Env, waits: Waits) -> Result<()> {
    if waits != Waits::ToRead && env.kind()? != Kind::Dif {
        return Err(Missing("nobody waits for writeback here".to_owned()).into());
    }
    let table = format!("0 {SECTORS} linear {} 0", env.dev()?.display());
    let disk = Dm::new(&table)?;
    let mounted = made(env, disk.path())?;
    let root = mounted.dir();
    let file = written(root)?;
    let mut storer = storer(root)?;
    if waits != Waits::ToRead {
        storer.load(0)?;
        file.write_all_at(b"D", 1)?;
    }
    let outcome = thread::scope(|scope| {
        let held = disk.hold()?;
        if waits != Waits::ToRead {
            scope.spawn(|| file.sync_data());
        }
        if waits == Waits::ForWriter {
            thread::sleep(PAUSE);
            scope.spawn(|| file.write_all_at(b"E", 2));
        }
        thread::sleep(PAUSE);
        storer.begin(0, b'S')?;
        thread::sleep(PAUSE);
        ensure!(storer.waits(), "the store does not wait");
        let outcome = storer.kill();
        held.release()?;
        outcome
    })?;
    ended(outcome, Ended::Killed, "while it waits")?;
    drop((file, storer));
    mounted.unmount()?;
    env.fstyp.check(disk.path())
}
