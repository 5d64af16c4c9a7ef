// SPDX-License-Identifier: GPL-2.0

//! A volume on which threads race with calls that have to succeed, and the judgement: no call has failed, the kernel's log
//! has no word of a guard that does not fit, and the files hold what was stored last, without the page cache and after a
//! remount.
//!
//! new → files created → raced → judged

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::devices::{self, Kind};
use crate::filesystem::Fstyp;
use crate::kmsg::Kmsg;
use crate::mounted::Mounted;
use crate::needs::Missing;
use crate::program::{say, Env};
use crate::seed::Bytes;
use crate::volume;
use crate::words::WORD;

/// Size of the volume, in MiB.
const MIB: u32 = 64;
/// Where stablefs has its counters, by the kernel's name of the device.
const COUNTERS: &str = "/sys/kernel/debug/stablefs";
/// Words that belong together: one thread has all of them, and the next thread the next ones.
pub const SLOT: usize = 8;

/// What the log says of data that has changed below its checksum: scsi_debug, NVMe, the block layer that ends such a
/// request, the kernel's own look at what was read, btrfs, and stablefs's auditor.
const GUARD: &[&str] = &[
    "GUARD check failed",
    "Guard Check Error",
    "protection error",
    "guard tag error",
    "csum failed",
    "changed while they were written",
];

/// A mounted volume under test.
pub struct Trial<'a> {
    env: &'a Env,
    dev: PathBuf,
    mounted: Mounted,
    options: &'static str,
    log: Kmsg,
    guards: u64,
    guard: Option<String>,
}

/// Calls of one sort that have to succeed, and how many did not.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    what: &'static str,
    done: u64,
    failed: u64,
    errno: Option<Errno>,
}

impl Calls {
    /// None yet, of `what`.
    pub fn of(what: &'static str) -> Self {
        Self {
            what,
            done: 0,
            failed: 0,
            errno: None,
        }
    }

    /// One more, and what it came to.
    pub fn count<T>(&mut self, result: Result<T, Errno>) {
        self.done += 1;
        if let Err(errno) = result {
            self.failed += 1;
            self.errno.get_or_insert(errno);
        }
    }

    /// What has failed, if anything has.
    pub fn error(&self) -> Option<String> {
        self.errno.map(|_| self.to_string())
    }

    /// These, and `other` of the same sort.
    pub fn and(self, other: Self) -> Self {
        Self {
            what: self.what,
            done: self.done + other.done,
            failed: self.failed + other.failed,
            errno: self.errno.or(other.errno),
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what, done, failed, ..
        } = self;
        write!(f, "{what}: {failed} of {done} failed")?;
        match self.errno {
            Some(errno) => write!(f, ", {errno}"),
            None => Ok(()),
        }
    }
}

/// A file's name, and the words that it is to hold.
pub struct Holds {
    /// In the root of the volume.
    pub name: &'static str,
    /// All of its content.
    pub words: Vec<u64>,
}

impl<'a> Trial<'a> {
    /// A new volume with blocks of `block` bytes on the device of `env`. On a disk without protection information
    /// stablefs mounts it with its auditor.
    ///
    /// # Errors
    /// It cannot be made or mounted; or the filesystem has no such blocks, which skips the case.
    pub fn new(env: &'a Env, block: u32) -> Result<Self> {
        Self::on(env, env.dev()?, block)
    }

    /// The same on `dev`, which stands for the device of `env`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(env: &'a Env, dev: &Path, block: u32) -> Result<Self> {
        match (env.fstyp, block) {
            (Fstyp::Btrfs, 4096) => env.fstyp.make(dev)?,
            (Fstyp::Btrfs, _) => {
                return Err(Missing(format!("{} has no small blocks", env.fstyp)).into())
            }
            _ => volume::make_small(env.fstyp, dev, block, MIB)?,
        }
        let options = match (env.fstyp, env.kind()?) {
            (Fstyp::Stablefs, Kind::Plain) => "audit",
            _ => "",
        };
        Ok(Self {
            env,
            dev: dev.to_owned(),
            mounted: Mounted::new(env.fstyp, dev, options)?,
            options,
            log: Kmsg::mark()?,
            guards: 0,
            guard: None,
        })
    }

    /// Where file `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.mounted.dir().join(name)
    }

    /// A new file of `words`, written at once, so that its folios are large, and on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(&self, name: &str, words: &[u64]) -> Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path(name))
            .with_context(|| name.to_owned())?;
        file.write_all_at(&to_bytes(words), 0).context("write")?;
        file.sync_all().context("fsync")?;
        Ok(file)
    }

    /// Opens a file for direct I/O.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn direct(&self, name: &str) -> Result<File> {
        open_direct(&self.path(name))
    }

    /// Has a thread for each of `racers` take step after step, which are calls of this sort (`what`), while this one
    /// makes so many `rounds`, and as many times more as the run is longer.
    ///
    /// # Errors
    /// A round's own; a failed step is only counted.
    pub fn race<R: Send>(
        &mut self,
        what: &'static str,
        racers: &mut [R],
        step: impl Fn(&mut R) -> Result<(), Errno> + Sync,
        rounds: u64,
        mut round: impl FnMut(u64) -> Result<()>,
    ) -> Result<Calls> {
        let over = AtomicBool::new(false);
        let steps = |racer: &mut R| {
            let mut calls = Calls::of(what);
            while !over.load(Ordering::Relaxed) {
                calls.count(step(racer));
            }
            calls
        };
        thread::scope(|scope| {
            let threads: Vec<_> = racers
                .iter_mut()
                .map(|racer| scope.spawn(|| steps(racer)))
                .collect();
            let ended = Ended(&over);
            for number in 0..rounds * self.env.longer {
                round(number)?;
                self.look()?;
            }
            drop(ended);
            let mut calls = Calls::of(what);
            for thread in threads {
                calls = calls.and(thread.join().ok().context("a thread panicked")?);
            }
            Ok(calls)
        })
    }

    /// Takes what the log says meanwhile, before the kernel overwrites it.
    ///
    /// # Errors
    /// It has done so already.
    pub fn look(&mut self) -> Result<()> {
        let lines = self.log.lines_since()?;
        let guards = lines
            .iter()
            .filter(|line| GUARD.iter().any(|guard| line.contains(guard)));
        for line in guards {
            self.guards += 1;
            self.guard.get_or_insert_with(|| line.clone());
        }
        Ok(())
    }

    /// Judges, once all threads have ended: `calls` are those that were made, and `files` what there is to be.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn judge(self, calls: &[Calls], files: &[Holds]) -> Result<()> {
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        self.judge_by(calls, &names, |name, found| {
            let wanted = files.iter().find(|file| file.name == name);
            equal(found, &wanted.context("no such file")?.words)
        })
    }

    /// The like where `judge` says what is wrong with the words of each of the files `names`.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn judge_by(
        mut self,
        calls: &[Calls],
        names: &[&str],
        judge: impl Fn(&str, &[u64]) -> Result<()>,
    ) -> Result<()> {
        let mut wrong = Vec::new();
        for calls in calls {
            match calls.error() {
                Some(error) => wrong.push(error),
                None => say(&calls.to_string()),
            }
        }
        wrong.extend(self.settle(names, &judge).err().map(|e| format!("{e:#}")));
        self.look()?;
        self.say_counts()?;
        let (dev, fstyp) = (self.dev.as_path(), self.env.fstyp);
        self.mounted.unmount()?;
        wrong.extend(fstyp.check(dev).err().map(|e| format!("{e:#}")));
        self.mounted = Mounted::new(fstyp, dev, self.options)?;
        let left = self.compare(names, &judge).context("after a remount");
        wrong.extend(left.err().map(|e| format!("{e:#}")));
        self.look()?;
        if let Some(line) = &self.guard {
            wrong.push(format!(
                "{} lines of the log like this: {line}",
                self.guards
            ));
        }
        self.mounted.unmount()?;
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// Prints what stablefs has counted.
    fn say_counts(&self) -> Result<()> {
        let name = devices::kernel_name(&self.dev)?;
        let Ok(entries) = fs::read_dir(Path::new(COUNTERS).join(name)) else {
            return Ok(());
        };
        let mut counts = Vec::new();
        for entry in entries {
            let entry = entry?;
            let count = fs::read_to_string(entry.path())?;
            if count.trim() != "0" {
                counts.push(format!(
                    "{} {}",
                    entry.file_name().to_string_lossy(),
                    count.trim()
                ));
            }
        }
        counts.sort();
        say(&counts.join(", "));
        Ok(())
    }

    /// Has the files written, and reads them from the disk.
    fn settle(&self, names: &[&str], judge: &impl Fn(&str, &[u64]) -> Result<()>) -> Result<()> {
        for name in names {
            let file = File::open(self.path(name))?;
            file.sync_all().context("the last fsync")?;
        }
        fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
        self.compare(names, judge).context("without the page cache")
    }

    fn compare(&self, names: &[&str], judge: &impl Fn(&str, &[u64]) -> Result<()>) -> Result<()> {
        for &name in names {
            let bytes = fs::read(self.path(name)).with_context(|| name.to_owned())?;
            judge(name, &to_words(&bytes)).with_context(|| name.to_owned())?;
        }
        Ok(())
    }
}

/// Each word is as it was stored last.
fn equal(found: &[u64], wanted: &[u64]) -> Result<()> {
    ensure!(found.len() == wanted.len(), "{} words", found.len());
    let mut others = (0..wanted.len()).filter(|&index| found[index] != wanted[index]);
    if let Some(first) = others.next() {
        bail!(
            "{} words are not as stored last, the first at {:#x}: {:#x}, want {:#x}",
            1 + others.count(),
            first * WORD,
            found[first],
            wanted[first]
        );
    }
    Ok(())
}

/// Ends a race when dropped, also by an error or a panic.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one of several threads stores: words of its own, each time to another value.
pub struct Share {
    number: usize,
    of: usize,
    random: Bytes,
    count: u64,
    words: Vec<u64>,
}

impl Share {
    /// The shares of `of` threads, of a file that holds `words`.
    pub fn of(of: usize, words: &[u64], seed: u64) -> Vec<Self> {
        let share = |number| Self {
            number,
            of,
            random: Bytes::new(seed, number as u64),
            count: 0,
            words: words.to_vec(),
        };
        (0..of).map(share).collect()
    }

    /// One of its slots, by the index of its first word.
    pub fn slot(&mut self) -> usize {
        let slots = (self.words.len() / SLOT / self.of) as u64;
        (self.random.below(slots) as usize * self.of + self.number) * SLOT
    }

    /// A new value for word `index`, which is one of its own.
    pub fn value(&mut self, index: usize) -> u64 {
        self.count += 1;
        let value = ((self.number as u64 + 1) << 48) | self.count;
        self.words[index] = value;
        value
    }

    /// New values for a slot, as bytes.
    pub fn values(&mut self, slot: usize) -> Vec<u8> {
        let values: Vec<u64> = (slot..slot + SLOT).map(|index| self.value(index)).collect();
        to_bytes(&values)
    }

    /// What all of them have stored last.
    pub fn merge(shares: &[Self]) -> Vec<u64> {
        let words = shares.first().map_or(0, |share| share.words.len());
        (0..words)
            .map(|index| shares[index / SLOT % shares.len()].words[index])
            .collect()
    }
}

/// The words that a new file of `len` bytes holds.
pub fn fresh(len: usize) -> Vec<u64> {
    (0..len / WORD).map(|index| !(index as u64)).collect()
}

/// A disk without protection information, but the one under test: data can come from there.
///
/// # Errors
/// There is none, which skips the case.
pub fn another_disk(env: &Env) -> Result<PathBuf> {
    let used = devices::kernel_name(env.dev()?)?;
    let disks = devices::listed()?;
    let other = disks.into_iter().rev().find(|disk| {
        disk.kind == Kind::Plain && devices::kernel_name(&disk.path).is_ok_and(|name| name != used)
    });
    let other = other.ok_or_else(|| Missing("no other plain device".to_owned()))?;
    Ok(other.path)
}

/// Opens `path` for direct I/O.
///
/// # Errors
/// open(2)'s.
pub fn open_direct(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(path)
        .with_context(|| path.display().to_string())
}

fn to_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Bytes of a file as words.
pub fn to_words(bytes: &[u8]) -> Vec<u64> {
    let chunks = bytes.chunks_exact(WORD);
    chunks
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()))
        .collect()
}
