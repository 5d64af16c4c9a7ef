// SPDX-License-Identifier: GPL-2.0

//! Directories of many names: a tree that grows out of one block, splits and deepens holds every name once, whatever is
//! added and removed meanwhile; `e2fsck` agrees, and puts it in order.
//!
//! Promise: none of the three; what a writer of the format owes. No control breaks it: that the directories are trees,
//! and how deep, is seen by debugfs.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use stablefs_selftests::command::run;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "large_directories",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("one_block_becomes_a_tree", |env| {
            grows(env, 4096, SHORT, 1_500, 0)
        }),
        Case::new("short_names_in_blocks_of_1_kib", |env| {
            grows(env, 1024, SHORT, 9_000, 1)
        }),
        Case::new("long_names_in_blocks_of_1_kib", |env| {
            grows(env, 1024, LONG, 1_500, 1)
        }),
        Case::new("without_trees", |env| {
            let options = ["-b", "1024", "-O", "^dir_index"];
            tries(env, &options, SHORT, 300, None)
        }),
        Case::new("without_checksums", |env| {
            let options = ["-b", "1024", "-O", "^metadata_csum"];
            tries(env, &options, SHORT, 4_500, Some(1))
        }),
        Case::new("a_full_tree_says_so", full_tree),
        Case::new("listed_while_it_changes", listed_while_it_changes),
        Case::new("of_directories", of_directories),
    ],
};

const LIMIT: Duration = Duration::from_secs(120);
const LEN: &str = "64M";
/// Least and most bytes of a name, behind a number of 5 digits.
const SHORT: [u64; 2] = [0, 20];
const LONG: [u64; 2] = [180, 250];
/// What a file can have of names, and some more for the tests.
const NAMES_OF_A_FILE: usize = 30_000;

fn grows(env: &Env, block: u32, lengths: [u64; 2], count: usize, levels: u32) -> Result<()> {
    let block = block.to_string();
    tries(env, &["-b", &block], lengths, count, Some(levels))
}

fn tries(
    env: &Env,
    options: &[&str],
    lengths: [u64; 2],
    count: usize,
    levels: Option<u32>,
) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, options, LEN)?;
    let mut random = Bytes::new(env.seed, 0xd1);
    let mut dir = Large::new(&mut random, lengths);
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    dir.open(mounted.dir())?;
    dir.grow(&mut random, count)?;
    dir.check(mounted.dir())?;
    mounted.unmount()?;
    volume::check(dev)?;
    has_levels(dev, levels)?;

    // A half goes, then others come: into blocks with gaps, and into such as are empty now.
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    dir.open(mounted.dir())?;
    dir.check(mounted.dir())?;
    dir.shrink(&mut random, count / 2)?;
    dir.check(mounted.dir())?;
    dir.grow(&mut random, count / 3)?;
    dir.change(&mut random, count / 10)?;
    dir.check(mounted.dir())?;
    mounted.unmount()?;
    volume::check(dev)?;
    see(env, Fstyp::Ext4, &mut dir)?;

    // e2fsck makes each directory anew, with its blocks as full as they can be.
    optimise(dev)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    dir.open(mounted.dir())?;
    dir.check(mounted.dir()).context("put in order by e2fsck")?;
    dir.grow(&mut random, count / 5)?;
    dir.check(mounted.dir())?;
    mounted.unmount()?;
    volume::check(dev)?;
    see(env, Fstyp::Ext4, &mut dir)?;

    let mounted = Mounted::new(env.fstyp, dev, "")?;
    dir.open(mounted.dir())?;
    dir.shrink(&mut random, usize::MAX)?;
    dir.check(mounted.dir())?;
    dir.remove()?;
    mounted.unmount()?;
    volume::check(dev)
}

/// A directory of many names, and the names.
struct Large {
    /// Where it is now.
    path: PathBuf,
    lengths: [u64; 2],
    names: BTreeSet<OsString>,
    /// Names that were there once.
    gone: Vec<OsString>,
    made: usize,
    stem: String,
}

impl Large {
    fn new(random: &mut Bytes, lengths: [u64; 2]) -> Self {
        Self {
            path: PathBuf::new(),
            lengths,
            names: BTreeSet::new(),
            gone: Vec::new(),
            made: 0,
            stem: format!("{:04x}", random.below(1 << 16)),
        }
    }

    fn open(&mut self, root: &Path) -> Result<()> {
        self.path = root.join("large");
        if self.made == 0 {
            fs::create_dir(&self.path).context("mkdir")?;
        }
        Ok(())
    }

    fn name(&mut self, random: &mut Bytes) -> OsString {
        let [least, most] = self.lengths;
        let len = least + random.below(most - least + 1);
        let mut name = format!("{:05}", self.made).into_bytes();
        name.extend(random.take(len as usize).iter().map(|&byte| match byte {
            0 | b'/' => 0xff,
            byte => byte,
        }));
        self.made += 1;
        OsString::from_vec(name)
    }

    /// Adds `count` names: links to a file now and then, since a link is quicker than a file; and each tenth a file.
    fn grow(&mut self, random: &mut Bytes, count: usize) -> Result<()> {
        let root = self.path.parent().context("no parent")?;
        let target = root.join(format!("{}.{}", self.stem, self.made));
        File::create_new(&target)?;
        ensure!(count < NAMES_OF_A_FILE, "{count} links to a file");
        for _ in 0..count {
            let name = self.name(random);
            let path = self.path.join(&name);
            let made = match random.one_in(10) {
                true => File::create_new(path).map(drop),
                false => fs::hard_link(&target, path),
            };
            made.with_context(|| format!("name {} of {count}", self.made))?;
            self.names.insert(name);
        }
        Ok(())
    }

    /// Removes `count` names of those there are, any of them.
    fn shrink(&mut self, random: &mut Bytes, count: usize) -> Result<()> {
        let mut names: Vec<_> = self.names.iter().cloned().collect();
        for _ in 0..count.min(names.len()) {
            let name = names.swap_remove(random.below(names.len() as u64) as usize);
            fs::remove_file(self.path.join(&name)).context("unlink")?;
            self.names.remove(&name);
            self.gone.push(name);
        }
        Ok(())
    }

    /// Gives `count` names another name, some of them that of another file.
    fn change(&mut self, random: &mut Bytes, count: usize) -> Result<()> {
        let mut names: Vec<_> = self.names.iter().cloned().collect();
        for _ in 0..count {
            let old = names.swap_remove(random.below(names.len() as u64) as usize);
            let new = match random.one_in(3) {
                true => random.pick(&names).cloned().context("no other name")?,
                false => self.name(random),
            };
            fs::rename(self.path.join(&old), self.path.join(&new)).context("rename")?;
            // Two names of one file both stay.
            if !self.path.join(&old).exists() {
                self.names.remove(&old);
                self.gone.push(old);
            }
            self.names.insert(new);
        }
        Ok(())
    }

    /// Each name is listed once and found, and no other; names that are gone are not found.
    fn check(&self, root: &Path) -> Result<()> {
        let dir = root.join("large");
        listed(&dir, &self.names, &BTreeSet::new())?;
        fs::write("/proc/sys/vm/drop_caches", "2").context("drop_caches")?;
        for name in &self.names {
            let found = fs::symlink_metadata(dir.join(name));
            found.with_context(|| format!("{} is listed, but", shown(name)))?;
        }
        for name in self.gone.iter().filter(|name| !self.names.contains(*name)) {
            let there = dir.join(name).try_exists()?;
            ensure!(!there, "{} is found, though it is gone", shown(name));
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        fs::remove_dir(&self.path).context("rmdir")
    }
}

/// Directory `dir` lists each of `wanted` once, and may list others that are `allowed`, once.
fn listed(dir: &Path, wanted: &BTreeSet<OsString>, allowed: &BTreeSet<OsString>) -> Result<()> {
    let mut missing = wanted.clone();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(dir).context("readdir")? {
        let name = entry.context("readdir")?.file_name();
        missing.remove(&name);
        let known = wanted.contains(&name) || allowed.contains(&name);
        ensure!(known, "{} is listed", shown(&name));
        let once = seen.insert(name.clone());
        ensure!(once, "{} is listed twice", shown(&name));
    }
    match missing.first() {
        Some(name) => bail!(
            "{} of {} names are not listed, such as {}",
            missing.len(),
            wanted.len(),
            shown(name)
        ),
        None => Ok(()),
    }
}

fn shown(name: &OsStr) -> String {
    name.as_bytes().escape_ascii().to_string()
}

/// Has another filesystem look.
fn see(env: &Env, fstyp: Fstyp, dir: &mut Large) -> Result<()> {
    let mounted = Mounted::new(fstyp, env.dev()?, "ro")?;
    dir.open(mounted.dir())?;
    dir.check(mounted.dir())
        .with_context(|| format!("as {fstyp} sees it"))?;
    mounted.unmount()
}

/// How many levels of index blocks are below the root of the tree; `None` if it is to be no tree.
fn has_levels(dev: &Path, wanted: Option<u32>) -> Result<()> {
    let dump = volume::debugfs(dev, "htree_dump large")?;
    let Some(wanted) = wanted else {
        let linear = dump.contains("Not a hash-indexed directory");
        ensure!(linear, "a tree, where none is to be");
        return Ok(());
    };
    let line = dump.lines().find(|line| line.contains("Indirect levels"));
    let line = line.with_context(|| format!("no tree: {dump}"))?;
    let levels = line.trim().rsplit(' ').next().unwrap_or_default();
    ensure!(levels == wanted.to_string(), "want {wanted}, {line}");
    Ok(())
}

/// Has e2fsck put directories in order. It says by its exit status that it changed the volume.
fn optimise(dev: &Path) -> Result<()> {
    let mut e2fsck = Command::new("e2fsck");
    let ended = run(e2fsck.args(["-f", "-y", "-D"]).arg(dev), LIMIT)?;
    ensure!(
        matches!(ended.status.code(), Some(0 | 1)) && !ended.text.contains("Fix"),
        "e2fsck: {}\n{}",
        ended.status,
        ended.text
    );
    volume::check(dev)
}

/// A name that is there all the time is listed once, though blocks split under the reader.
fn listed_while_it_changes(env: &Env) -> Result<()> {
    const STAY: usize = 1_000;
    const COME: usize = 3_000;
    let dev = env.dev()?;
    volume::make(dev, &["-b", "1024"], LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let dir = mounted.dir().join("large");
    fs::create_dir(&dir)?;
    let target = mounted.dir().join("target");
    File::create_new(&target)?;
    let name = |number: usize| OsString::from(format!("{number} of many"));
    let (mut stay, mut come) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..STAY {
        fs::hard_link(&target, dir.join(name(number)))?;
        stay.insert(name(number));
    }
    come.extend((STAY..STAY + COME).map(name));
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| -> Result<()> {
            for number in STAY..STAY + COME {
                fs::hard_link(&target, dir.join(name(number)))?;
                if number % 3 == 0 && number - 5 >= STAY {
                    fs::remove_file(dir.join(name(number - 5)))?;
                }
            }
            Ok(())
        });
        let mut times = 0;
        while times < 3 || !changes.is_finished() {
            listed(&dir, &stay, &come)?;
            times += 1;
        }
        say(&format!("listed {times} times"));
        match changes.join() {
            Ok(done) => done,
            Err(_) => bail!("panicked"),
        }
    })?;
    mounted.unmount()?;
    volume::check(dev)
}

/// The format ends at a tree of so many levels; nothing is lost by trying to go beyond.
fn full_tree(env: &Env) -> Result<()> {
    const MANY: usize = 60_000;
    let dev = env.dev()?;
    volume::make(dev, &["-b", "1024"], LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let mut random = Bytes::new(env.seed, 0xd2);
    let mut dir = Large::new(&mut random, LONG);
    dir.open(mounted.dir())?;
    let refused = (0..).step_by(500).take_while(|&made| made < MANY);
    let refused = refused
        .map(|_| dir.grow(&mut random, 500))
        .find_map(Result::err);
    let refused = refused.context("all names found room")?;
    let errno = refused
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    ensure!(errno == Some(Errno::NOSPC.raw_os_error()), "{refused:#}");
    say(&format!("{refused:#}"));
    dir.check(mounted.dir())?;
    dir.shrink(&mut random, usize::MAX)?;
    dir.grow(&mut random, 200)?;
    mounted.unmount()?;
    volume::check(dev)?;
    has_levels(dev, Some(1))?;
    see(env, Fstyp::Ext4, &mut dir)
}

/// Directories in a directory: its links are counted.
fn of_directories(env: &Env) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    const COUNT: u64 = 600;
    let dev = env.dev()?;
    volume::make(dev, &["-b", "1024"], LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let dir = mounted.dir().join("large");
    fs::create_dir(&dir)?;
    let links = || -> Result<u64> { Ok(fs::metadata(&dir)?.nlink()) };
    for number in 0..COUNT {
        fs::create_dir(dir.join(format!("directory {number}")))?;
    }
    ensure!(links()? == COUNT + 2, "{} links", links()?);
    for number in (0..COUNT).step_by(2) {
        fs::remove_dir(dir.join(format!("directory {number}")))?;
    }
    ensure!(links()? == COUNT / 2 + 2, "{} links", links()?);
    let mv = fs::rename(dir.join("directory 1"), mounted.dir().join("elsewhere"));
    mv.context("rename")?;
    ensure!(links()? == COUNT / 2 + 1, "{} links", links()?);
    mounted.unmount()?;
    volume::check(dev)
}
