// SPDX-License-Identifier: GPL-2.0

//! Block devices that a case makes for itself, gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::command::{run, succeed};
use crate::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(60);

/// A loop device over a sparse file.
pub struct Loop {
    path: PathBuf,
    file: Scratch,
}

impl Loop {
    /// One of `len` bytes, rounded down to sectors of `sector` bytes.
    ///
    /// # Errors
    /// losetup(8) fails.
    pub fn new(len: u64, sector: u32) -> Result<Self> {
        Self::over(Scratch::file(len)?, sector)
    }

    /// One over `file`, which goes with it, with sectors of `sector` bytes.
    ///
    /// # Errors
    /// losetup(8) fails.
    pub fn over(file: Scratch, sector: u32) -> Result<Self> {
        modprobe("loop");
        let said = succeed(
            Command::new("losetup")
                .args(["--find", "--show", "--sector-size", &sector.to_string()])
                .arg(file.path()),
            LIMIT,
        )?;
        // It also warns of small files.
        let path = said
            .lines()
            .find(|line| line.starts_with("/dev/"))
            .with_context(|| format!("losetup: {said}"))?;
        Ok(Self {
            path: path.into(),
            file,
        })
    }

    /// The file that it is over.
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Nothing to do about a failure: the machine keeps one loop device more.
        let _ = run(
            Command::new("losetup").arg("--detach").arg(&self.path),
            LIMIT,
        );
    }
}

/// A device-mapper device.
pub struct Dm {
    name: String,
    path: PathBuf,
}

impl Dm {
    /// One with `table`, in the form that dmsetup(8) reads.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn new(table: &str) -> Result<Self> {
        modprobe("dm-mod");
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("stablefs-selftest.{}.{number}", process::id());
        let path = Path::new("/dev/mapper").join(&name);
        succeed(dmsetup().args(["create", &name, "--table", table]), LIMIT)?;
        let made = Self { name, path };
        succeed(dmsetup().args(["mknodes", &made.name]), LIMIT)?;
        Ok(made)
    }

    /// Another table, in the middle of whatever is going on: nothing is written out before.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn replace(&self, table: &str) -> Result<()> {
        let held = self.hold()?;
        let loaded = succeed(
            dmsetup().args(["load", &self.name, "--table", table]),
            LIMIT,
        );
        held.release()?;
        loaded.map(drop)
    }

    /// Has what is asked of it from now on wait, until the value goes.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn hold(&self) -> Result<Held> {
        // First, as whoever uses a suspended device waits for ever.
        let held = Held::prepare(&self.name)?;
        succeed(
            dmsetup().args(["suspend", "--noflush", "--nolockfs", &self.name]),
            LIMIT,
        )?;
        Ok(held)
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Dm {
    fn drop(&mut self) {
        // Nothing to do about a failure: the next user of the device below is told that it is busy.
        let _ = run(dmsetup().args(["remove", "--retry", &self.name]), LIMIT);
    }
}

/// A device that does nothing, for as long as there is this.
///
/// Who has it go on is a process that waits for its input to end: to start one then takes new memory, which waits for
/// threads of this process that a device holds in a page fault.
#[must_use = "it goes on when this is dropped"]
pub struct Held(Child);

impl Held {
    fn prepare(name: &str) -> Result<Self> {
        let child = without_udev("sh")
            .args(["-c", "cat && exec dmsetup resume \"$0\"", name])
            .stdin(Stdio::piped())
            .spawn();
        child.map(Self).context("sh")
    }

    /// Has it go on.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn release(mut self) -> Result<()> {
        self.resume()
    }

    fn resume(&mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait().context("wait")?;
        ensure!(status.success(), "dmsetup resume: {status}");
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Nothing to do about a failure: who waits for the device is seen to hang. The second time it does nothing.
        let _ = self.resume();
    }
}

/// A device that fails, or loses what is written, once one says so, and is well again once one says that.
pub struct Faulty {
    dm: Dm,
    dev: PathBuf,
    sectors: u64,
}

impl Faulty {
    /// One that stands for the first `sectors` sectors of `dev`.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn new(dev: &Path, sectors: u64) -> Result<Self> {
        modprobe("dm-flakey");
        Ok(Self {
            // Of the same kind as the table that replaces it: the one of a DAX device may not change to another.
            dm: Dm::new(&up(dev, sectors))?,
            dev: dev.to_owned(),
            sectors,
        })
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        self.dm.path()
    }

    /// From now on writes are lost, and said to have succeeded: what a machine that stops leaves behind.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn lose_writes(&self) -> Result<()> {
        self.down("drop_writes")
    }

    /// From now on each write fails.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn fail_writes(&self) -> Result<()> {
        self.down("error_writes")
    }

    fn down(&self, feature: &str) -> Result<()> {
        let (dev, sectors) = (self.dev.display(), self.sectors);
        // Never up for a second, then down for as long as anybody will wait.
        self.dm
            .replace(&format!("0 {sectors} flakey {dev} 0 0 86400 1 {feature}"))
    }

    /// From now on everything fails.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn fail(&self) -> Result<()> {
        self.dm.replace(&format!("0 {} error", self.sectors))
    }

    /// From now on nothing fails.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn heal(&self) -> Result<()> {
        self.dm.replace(&up(&self.dev, self.sectors))
    }
}

/// The table of a device of dm-flakey that is well.
fn up(dev: &Path, sectors: u64) -> String {
    format!("0 {sectors} flakey {} 0 86400 0", dev.display())
}

/// A device of which all that is written goes to a log as well: see `Documentation/admin-guide/device-mapper/`, page
/// `log-writes`.
pub struct Logging {
    dm: Dm,
    log: Loop,
}

impl Logging {
    /// One that stands for the first `sectors` sectors of `dev`, with a log of at most `most` bytes.
    ///
    /// # Errors
    /// dmsetup(8) or losetup(8) fails.
    pub fn new(dev: &Path, sectors: u64, most: u64) -> Result<Self> {
        modprobe("dm-log-writes");
        let log = Loop::new(most, 512)?;
        let (dev, node) = (dev.display(), log.path().display());
        let dm = Dm::new(&format!("0 {sectors} log-writes {dev} {node}"))?;
        Ok(Self { dm, log })
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        self.dm.path()
    }

    /// Puts `mark`, a word, into the log, behind all that was flushed before.
    ///
    /// # Errors
    /// dmsetup(8) fails.
    pub fn mark(&self, mark: &str) -> Result<()> {
        let mut message = dmsetup();
        message.args(["message", &self.dm.name, "0", "mark", mark]);
        succeed(&mut message, LIMIT).map(drop)
    }

    /// Removes the device, and gives the log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn end(self) -> Result<Vec<u8>> {
        drop(self.dm);
        let path = self.log.file();
        fs::read(path).with_context(|| path.display().to_string())
    }
}

/// dmsetup(8) that makes nodes by itself: the guest has no udev to wait for.
fn dmsetup() -> Command {
    without_udev("dmsetup")
}

fn without_udev(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DM_DISABLE_UDEV", "1");
    command
}

/// Inserts a driver that may as well be built in; whoever uses it next says if it is missing.
fn modprobe(name: &str) {
    let _ = run(Command::new("modprobe").args(["-q", name]), LIMIT);
}
