// SPDX-License-Identifier: GPL-2.0

//! A volume that was not closed is brought up to date from its journal before it is read, and is sound afterwards; on a
//! device that cannot be written to it is refused, unless the caller asks for the volume as it is.
//!
//! Promise: none of the three; what `fsync` promised to whoever wrote. No control breaks it: each case sees first that
//! without the journal what it looks for is not there.
//! Filesystems: those that read ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use stablefs_selftests::blockdev::Faulty;
use stablefs_selftests::command::succeed;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{shutdown, Log};
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mount_context::MountContext;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;
use stablefs_selftests::walk::walk;

pub(crate) const PROGRAM: Program = Program {
    name: "replays_the_journal",
    needs: Needs {
        // Every write is slow under emulation; the others have nothing that these lack.
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("of_what_was_fsynced", |env| replays(env, Safe::Fsynced)),
        Case::new("of_a_filesystem_that_was_shut_down", |env| {
            replays(env, Safe::ShutDown)
        }),
        Case::new("and_leaves_orphans_to_who_writes", orphans),
        Case::new("not_with_noload", noload),
        Case::new("not_on_a_device_that_is_read_only", read_only_device),
        Case::new("closed_volume_on_a_device_that_is_read_only", closed_volume),
        Case::new("another_file_is_said_to_be_the_journal", another_file),
    ],
};

const LIMIT: Duration = Duration::from_secs(60);
const LEN: &str = "64M";
const SECTORS: u64 = (64 << 20) / 512;
const FILES: u64 = 40;

/// How it comes that all is on the device or in the journal when the machine stops. Each file is fsynced in any case; the
/// names that they were given afterwards are only safe by this.
#[derive(Clone, Copy)]
enum Safe {
    /// The directory was fsynced, too.
    Fsynced,
    /// The filesystem was shut down, with the log flushed before.
    ShutDown,
}

/// Leaves a volume behind as a machine does that stops, with files, directories and names on it; and with a file that
/// has no name any more but is open, if `orphan`.
fn unclosed(env: &Env, safe: Safe, orphan: bool) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &["-b", "4096"], LEN)?;
    let losing = Faulty::new(dev, SECTORS)?;
    let mounted = Mounted::new(Fstyp::Ext4, losing.path(), "noinit_itable")?;
    let dir = mounted.dir().join("directory");
    fs::create_dir(&dir)?;
    for number in 0..FILES {
        let mut file = File::create_new(dir.join("new"))?;
        file.write_all(&content(env, number))?;
        file.sync_all()?;
        fs::rename(dir.join("new"), dir.join(number.to_string()))?;
    }
    fs::remove_file(dir.join("0"))?;
    let mut open = Vec::new();
    if orphan {
        let path = dir.join("orphan");
        fs::write(&path, content(env, FILES))?;
        open.push(File::open(&path)?);
        fs::remove_file(&path)?;
    }
    let top = File::open(&dir)?;
    match safe {
        Safe::Fsynced => top.sync_all()?,
        Safe::ShutDown => shutdown(&top, Log::Flushed).context("EXT4_IOC_SHUTDOWN")?,
    }
    losing.lose_writes()?;
    drop((top, open));
    mounted.unmount()?;
    needs_recovery(dev, true)
}

fn content(env: &Env, number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 1777).unwrap_or_default();
    Bytes::new(env.seed, number).take(len)
}

fn needs_recovery(dev: &Path, wanted: bool) -> Result<()> {
    let features = volume::says(dev, "Filesystem features")?;
    let found = features
        .split_whitespace()
        .any(|word| word == "needs_recovery");
    ensure!(
        found == wanted,
        "want a volume that {} recovery, its features are {features}",
        if wanted { "needs" } else { "needs no" }
    );
    Ok(())
}

/// All that was fsynced is there.
fn holds_everything(env: &Env, root: &Path) -> Result<()> {
    let dir = root.join("directory");
    let entries = fs::read_dir(&dir).context("directory")?.count();
    ensure!(
        entries as u64 == FILES - 1,
        "{entries} entries, want {}",
        FILES - 1
    );
    for number in 1..FILES {
        let found =
            fs::read(dir.join(number.to_string())).with_context(|| format!("file {number}"))?;
        ensure!(
            found == content(env, number),
            "file {number} has other content"
        );
    }
    Ok(())
}

fn replays(env: &Env, safe: Safe) -> Result<()> {
    let dev = env.dev()?;
    unclosed(env, safe, false)?;
    lacks_it_without_the_journal(env, Fstyp::Ext4)?;
    let mounted = Mounted::new(env.fstyp, dev, "ro")?;
    holds_everything(env, mounted.dir())?;
    let found = walk(mounted.dir(), env.seed)?;
    mounted.unmount()?;
    needs_recovery(dev, false)?;
    volume::check(dev).context("after the replay")?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "ro")?;
    let wanted = walk(mounted.dir(), env.seed)?;
    mounted.unmount()?;
    let differences = wanted.differences(&found);
    ensure!(
        differences.is_empty(),
        "ext4 says otherwise:\n{differences}"
    );
    Ok(())
}

/// Deleting orphans is writing. A filesystem that only reads replays the journal, and the next one finds them.
fn orphans(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    unclosed(env, Safe::Fsynced, true)?;
    let mounted = Mounted::new(env.fstyp, dev, "ro")?;
    holds_everything(env, mounted.dir())?;
    mounted.unmount()?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "")?;
    holds_everything(env, mounted.dir())?;
    mounted.unmount()?;
    volume::check(dev).context("once ext4 has had it for writing")
}

/// Sees that the journal is needed: the case would say nothing otherwise.
fn lacks_it_without_the_journal(env: &Env, fstyp: Fstyp) -> Result<()> {
    let mounted = Mounted::new(fstyp, env.dev()?, "ro,noload")?;
    let there = mounted.dir().join("directory").exists();
    mounted.unmount()?;
    ensure!(!there, "all is on the volume without its journal");
    Ok(())
}

fn noload(env: &Env) -> Result<()> {
    unclosed(env, Safe::Fsynced, false)?;
    lacks_it_without_the_journal(env, env.fstyp)?;
    needs_recovery(env.dev()?, true)
}

fn read_only_device(env: &Env) -> Result<()> {
    unclosed(env, Safe::Fsynced, false)?;
    {
        let _set = ReadOnly::set(env.dev()?)?;
        let context = MountContext::open(env.fstyp, env.dev()?)?;
        let created = context.set("ro").and_then(|()| context.create());
        let said = context.messages();
        match created {
            Err(Errno::ROFS) => {}
            other => bail!("want EROFS, got {other:?}; it says: {said}"),
        }
        lacks_it_without_the_journal(env, env.fstyp).context("noload")?;
        needs_recovery(env.dev()?, true)?;
    }
    let mounted = Mounted::new(env.fstyp, env.dev()?, "ro")?;
    holds_everything(env, mounted.dir()).context("once it can be written to")?;
    mounted.unmount()
}

fn closed_volume(env: &Env) -> Result<()> {
    volume::make(env.dev()?, &["-b", "4096"], LEN)?;
    let mounted = Mounted::new(Fstyp::Ext4, env.dev()?, "noinit_itable")?;
    fs::write(mounted.dir().join("file"), "content")?;
    mounted.unmount()?;
    let _set = ReadOnly::set(env.dev()?)?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, "ro")?;
    let found = fs::read(mounted.dir().join("file"))?;
    ensure!(found == b"content", "{found:?}");
    mounted.unmount()
}

/// There is nothing to replay, so that the volume can be read; and the log says what is wrong. ext4 does not mount it.
fn another_file(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &["-b", "4096"], LEN)?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "noinit_itable")?;
    let file = mounted.dir().join("file");
    fs::write(&file, content(env, 10))?;
    let ino = fs::metadata(&file)?.ino();
    mounted.unmount()?;
    volume::debugfs(dev, &format!("set_super_value journal_inum {ino}"))?;
    if env.fstyp == Fstyp::Ext4 {
        let refused = Mounted::new(env.fstyp, dev, "ro").is_err();
        ensure!(refused, "ext4 mounts it");
        return Ok(());
    }
    let mut log = Kmsg::mark()?;
    let mounted = Mounted::new(env.fstyp, dev, "ro")?;
    let lines = log.lines_since()?;
    let wanted = format!("the journal, inode {ino}: superblock of the journal is corrupt: h_magic");
    ensure!(
        lines
            .iter()
            .any(|line| line.starts_with("stablefs (") && line.contains(&wanted)),
        "want a line of the log with {wanted:?}, found {lines:?}"
    );
    mounted.unmount()
}

/// A device that refuses to be written to, until this is dropped.
struct ReadOnly<'a> {
    dev: &'a Path,
}

impl<'a> ReadOnly<'a> {
    fn set(dev: &'a Path) -> Result<Self> {
        succeed(Command::new("blockdev").arg("--setro").arg(dev), LIMIT)?;
        Ok(Self { dev })
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        // If this fails, whoever makes the next volume on the device is told so.
        let _ = succeed(Command::new("blockdev").arg("--setrw").arg(self.dev), LIMIT);
    }
}
