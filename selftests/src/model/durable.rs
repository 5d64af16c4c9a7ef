// SPDX-License-Identifier: GPL-2.0

//! Files under random operations and fsyncs, and what of them must be there, may be there, and can never be there once
//! the power has failed.
//!
//! A task has a directory of its own. Each of its steps is numbered, and changes what a name leads to, what is in some
//! sectors of a file, or how long it is. A call that promises durability is followed by a mark in the log of the device,
//! with the number of the last step that the promise is about. After that step each thing is what it was then, or what a
//! later step made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fallocate, syncfs, FallocateFlags};

use crate::seed::Bytes;

/// Bytes in the unit in which a file is written, and that a device writes whole or not at all.
const SECTOR: usize = 512;
/// Longest file, in sectors.
const MOST: u32 = 600;
/// Names in a directory.
const NAMES: u64 = 6;
/// At the beginning of each sector that was ever written.
const MAGIC: u64 = 0x57ab_1ef5_5ec7_0123;
/// The file of what lies on the volume before it is made.
const STALE: u32 = u32::MAX;

/// What the steps of one task do to one thing: its values, each from a step on.
#[derive(Clone, Debug)]
struct Story<T>(Vec<(u32, T)>);

impl<T: Copy + PartialEq> Story<T> {
    fn new(value: T) -> Self {
        Self(vec![(0, value)])
    }

    fn add(&mut self, step: u32, value: T) {
        self.0.push((step, value));
    }

    fn last(&self) -> Option<T> {
        self.0.last().map(|&(_, value)| value)
    }

    /// The value that it has after `step`, and those that it gets later.
    fn possible(&self, step: u32) -> impl Iterator<Item = T> + '_ {
        let first = self.0.iter().rposition(|&(since, _)| since <= step);
        let rest = self.0.iter().skip(first.unwrap_or(0));
        rest.map(|&(_, value)| value)
    }

    /// The value after `step`.
    fn at(&self, step: u32) -> Option<T> {
        self.possible(step).next()
    }
}

/// A file that was made once.
#[derive(Debug)]
struct Made {
    /// Of each sector the step that wrote it; 0 for zeroes.
    sectors: Vec<Story<u32>>,
    /// Its length in sectors.
    len: Story<u32>,
}

/// One task: what it does, and what it has done.
pub struct Task {
    number: u64,
    random: Bytes,
    step: u32,
    files: BTreeMap<u32, Made>,
    /// Where each name leads.
    names: BTreeMap<String, Story<Option<u32>>>,
    /// Files that are open, some without a name.
    open: BTreeMap<u32, File>,
    next: u32,
}

/// What a mark in the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    /// The data of this file.
    Data(u32),
    /// A file, and the name that leads to it.
    File(u32),
    /// The names.
    Names,
    /// Everything.
    All,
}

/// The marks of a task that are in a log: for each thing the last step that is durable.
#[derive(Debug, Default)]
pub struct Marks {
    data: BTreeMap<u32, u32>,
    files: BTreeMap<u32, u32>,
    names: u32,
}

impl Marks {
    /// Those of task `number` among `marks`.
    ///
    /// # Errors
    /// One is none that a task makes.
    pub fn of<'a>(number: u64, marks: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut all = Self::default();
        for mark in marks {
            let words: Vec<&str> = mark.split('.').collect();
            let [task, kind, id, step] = words[..] else {
                continue;
            };
            if task.parse() != Ok(number) {
                continue;
            }
            let (id, step): (u32, u32) = (id.parse()?, step.parse()?);
            match kind {
                "data" => drop(all.data.insert(id, step)),
                "file" => {
                    all.data.insert(id, step);
                    all.files.insert(id, step);
                }
                "names" => all.names = step,
                "all" => {
                    all.names = step;
                    all.data.insert(STALE, step);
                }
                _ => bail!("mark {mark}"),
            }
        }
        Ok(all)
    }

    /// Up to which step the content of file `id` is durable.
    fn data(&self, id: u32) -> u32 {
        let step = |id| self.data.get(&id).copied().unwrap_or(0);
        step(id).max(step(STALE))
    }
}

impl Task {
    /// Task `number`.
    pub fn new(number: u64, seed: u64) -> Self {
        let names = (0..NAMES).map(|name| (format!("name{name}"), Story::new(None)));
        Self {
            number,
            random: Bytes::new(seed, 0xda7a + number),
            step: 0,
            files: BTreeMap::new(),
            names: names.collect(),
            open: BTreeMap::new(),
            next: 1 + (number as u32) * 1_000_000,
        }
    }

    /// Its directory.
    pub fn dir(&self, root: &Path) -> PathBuf {
        root.join(format!("task{}", self.number))
    }

    /// Does `n` steps below `root`; `mark` is called with the words of each mark.
    ///
    /// # Errors
    /// The filesystem, or `mark`, fails.
    pub fn run(&mut self, root: &Path, n: u64, mark: impl Fn(&str) -> Result<()>) -> Result<()> {
        let dir = self.dir(root);
        for _ in 0..n {
            self.step += 1;
            let step = self.step;
            let durable = self.one(&dir);
            let durable = durable.with_context(|| format!("task {}, step {step}", self.number))?;
            let (kind, id) = match durable {
                None => continue,
                Some(Durable::Data(id)) => ("data", id),
                Some(Durable::File(id)) => ("file", id),
                Some(Durable::Names) => ("names", 0),
                Some(Durable::All) => ("all", 0),
            };
            mark(&format!("{}.{kind}.{id}.{step}", self.number))?;
        }
        Ok(())
    }

    /// Closes what is open.
    pub fn close(&mut self) {
        self.open.clear();
    }

    fn one(&mut self, dir: &Path) -> Result<Option<Durable>> {
        let name = format!("name{}", self.random.below(NAMES));
        let path = dir.join(&name);
        let id = self.names.get(&name).and_then(Story::last).flatten();
        let Some(id) = id else {
            self.create(&path, &name)?;
            return Ok(None);
        };
        match self.random.below(23) {
            0..=8 => self.write(id)?,
            9..=10 => self.truncate(id)?,
            11 => self.punch(id)?,
            12 => self.allocate(id)?,
            13 => {
                fs::remove_file(&path).context("unlink")?;
                self.names_changed(&name, None);
                if self.random.one_in(2) {
                    self.open.remove(&id);
                }
            }
            14..=15 => {
                let other = format!("name{}", self.random.below(NAMES));
                if other != name {
                    fs::rename(&path, dir.join(&other)).context("rename")?;
                    self.names_changed(&other, Some(id));
                    self.names_changed(&name, None);
                }
            }
            16..=19 => {
                self.file(id)?.sync_all().context("fsync")?;
                return Ok(Some(Durable::File(id)));
            }
            20 => {
                self.file(id)?.sync_data().context("fdatasync")?;
                return Ok(Some(Durable::Data(id)));
            }
            21 => {
                File::open(dir)?
                    .sync_all()
                    .context("fsync of a directory")?;
                return Ok(Some(Durable::Names));
            }
            _ => {
                syncfs(File::open(dir)?).context("syncfs")?;
                return Ok(Some(Durable::All));
            }
        }
        Ok(None)
    }

    fn names_changed(&mut self, name: &str, id: Option<u32>) {
        if let Some(story) = self.names.get_mut(name) {
            story.add(self.step, id);
        }
    }

    fn file(&self, id: u32) -> Result<&File> {
        self.open.get(&id).context("a file that is not open")
    }

    fn made(&mut self, id: u32) -> Result<&mut Made> {
        self.files.get_mut(&id).context("a file of the model")
    }

    fn create(&mut self, path: &Path, name: &str) -> Result<()> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(path).context("create")?;
        let id = self.next;
        self.next += 1;
        self.open.insert(id, file);
        let made = Made {
            sectors: (0..MOST).map(|_| Story::new(0)).collect(),
            len: Story::new(0),
        };
        self.files.insert(id, made);
        self.names_changed(name, Some(id));
        self.write(id)
    }

    /// A part of a file, in sectors.
    fn range(&mut self) -> (u32, u32) {
        let start = match self.random.below(2) {
            0 => self.random.below(MOST.into()),
            _ => self.random.below(40),
        };
        let len = 1 + self.random.below(60);
        let start = start as u32;
        (start, (start + len as u32).min(MOST))
    }

    fn write(&mut self, id: u32) -> Result<()> {
        let (start, end) = self.range();
        let step = self.step;
        let bytes: Vec<u8> = (start..end).flat_map(|n| sector(id, n, step)).collect();
        let file = self.file(id)?;
        file.write_all_at(&bytes, u64::from(start) * SECTOR as u64)
            .context("write")?;
        let made = self.made(id)?;
        for story in &mut made.sectors[start as usize..end as usize] {
            story.add(step, step);
        }
        let len = made.len.last().unwrap_or(0).max(end);
        made.len.add(step, len);
        Ok(())
    }

    fn zero(&mut self, id: u32, start: u32, end: u32) -> Result<()> {
        let step = self.step;
        for story in &mut self.made(id)?.sectors[start as usize..end as usize] {
            story.add(step, 0);
        }
        Ok(())
    }

    fn truncate(&mut self, id: u32) -> Result<()> {
        let len = self.random.below(MOST.into()) as u32;
        let size = u64::from(len) * SECTOR as u64;
        self.file(id)?.set_len(size).context("ftruncate")?;
        self.zero(id, len, MOST)?;
        let step = self.step;
        self.made(id)?.len.add(step, len);
        Ok(())
    }

    fn punch(&mut self, id: u32) -> Result<()> {
        let (start, end) = self.range();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.fallocate(id, flags, start, end)?;
        self.zero(id, start, end)
    }

    fn allocate(&mut self, id: u32) -> Result<()> {
        let (start, end) = self.range();
        self.fallocate(id, FallocateFlags::empty(), start, end)?;
        let step = self.step;
        let made = self.made(id)?;
        let len = made.len.last().unwrap_or(0).max(end);
        made.len.add(step, len);
        Ok(())
    }

    fn fallocate(&self, id: u32, flags: FallocateFlags, start: u32, end: u32) -> Result<()> {
        let at = |n: u32| u64::from(n) * SECTOR as u64;
        fallocate(self.file(id)?, flags, at(start), at(end - start)).context("fallocate")
    }

    /// Looks at what is below `root` after the power failed, when the log held `marks`.
    ///
    /// # Errors
    /// Something is lost, or shows that cannot.
    pub fn check(&self, root: &Path, marks: &Marks) -> Result<()> {
        let dir = self.dir(root);
        if marks.names == 0 && !dir.exists() {
            return Ok(());
        }
        let mut listed = BTreeSet::new();
        for entry in fs::read_dir(&dir).context("readdir")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(self.names.contains_key(&name), "{name} was never made");
            listed.insert(name);
        }
        for (name, story) in &self.names {
            // What was fsynced has the name that it had then, or whatever was made of it later.
            let named = |(&id, &step): (&u32, &u32)| {
                Some(step).filter(|&step| story.at(step) == Some(Some(id)))
            };
            let step = marks.files.iter().filter_map(named).max();
            let step = step.unwrap_or(0).max(marks.names);
            let possible: Vec<Option<u32>> = story.possible(step).collect();
            let where_from = || format!("task {} {name}, durable to step {step}", self.number);
            if !listed.contains(name) {
                let may = possible.contains(&None);
                ensure!(may, "{}: it is lost", where_from());
                continue;
            }
            let content = fs::read(dir.join(name)).with_context(where_from)?;
            let mut wrong = vec!["no file could be there".to_owned()];
            for id in possible.into_iter().flatten() {
                match self.compare(id, &content, marks.data(id)) {
                    Ok(()) => wrong.clear(),
                    Err(e) => wrong.push(format!("as file {id}: {e:#}")),
                }
                if wrong.is_empty() {
                    break;
                }
            }
            ensure!(wrong.is_empty(), "{}: {}", where_from(), wrong.join("; "));
        }
        Ok(())
    }

    /// Whether `content` can be that of file `id`, durable up to `step`.
    fn compare(&self, id: u32, content: &[u8], step: u32) -> Result<()> {
        let made = self.files.get(&id).context("a file of the model")?;
        let lens = || made.len.possible(step).map(|len| len as usize * SECTOR);
        let (least, most) = (lens().min().unwrap_or(0), lens().max().unwrap_or(0));
        ensure!(
            (least..=most).contains(&content.len()),
            "{} bytes, durable to step {step}: want {least} to {most}",
            content.len()
        );
        for (number, found) in (0..).zip(content.chunks(SECTOR)) {
            let story = made.sectors.get(number as usize).context("too long")?;
            let mut possible = story.possible(step);
            let is = |version: u32| match version {
                0 => found.iter().all(|&byte| byte == 0),
                version => found == &sector(id, number, version)[..found.len()],
            };
            if !possible.any(is) {
                let possible: Vec<u32> = story.possible(step).collect();
                bail!(
                    "sector {number}, durable to step {step}: want that of a step of {possible:?}, found {}",
                    describe(found)
                );
            }
        }
        Ok(())
    }
}

/// Sector `number` of file `id`, as step `version` writes it.
fn sector(id: u32, number: u32, version: u32) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let words = [
        MAGIC,
        (u64::from(id) << 32) | u64::from(number),
        u64::from(version),
        !MAGIC,
    ];
    for (place, word) in bytes.chunks_mut(8).zip(words.iter().cycle()) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// What is in a sector, for people.
fn describe(found: &[u8]) -> String {
    let word = |n: usize| {
        let word = found.get(n * 8..n * 8 + 8)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    match (word(0), word(1), word(2)) {
        _ if found.iter().all(|&byte| byte == 0) => "zeroes".to_owned(),
        (Some(MAGIC), Some(place), Some(version)) => {
            let (id, number) = ((place >> 32) as u32, place as u32);
            let whole = sector(id, number, version as u32)[..found.len()] == *found;
            let torn = if whole { "" } else { ", in part" };
            match id {
                STALE => "what was on the device before the volume".to_owned(),
                id => format!("sector {number} of file {id} as of step {version}{torn}"),
            }
        }
        _ => format!("{:02x?}...", &found[..found.len().min(16)]),
    }
}

/// `sectors` sectors that were never written to any file, to be on the device before the volume is.
pub fn stale(sectors: u32) -> Vec<u8> {
    (0..sectors).flat_map(|n| sector(STALE, n, 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_durable_is_the_last_value_and_later_ones() {
        let mut story = Story::new(0);
        story.add(3, 30);
        story.add(7, 70);
        let possible = |step| story.possible(step).collect::<Vec<_>>();
        assert_eq!(possible(0), [0, 30, 70]);
        assert_eq!(possible(3), [30, 70]);
        assert_eq!(possible(6), [30, 70]);
        assert_eq!(possible(7), [70]);
    }

    #[test]
    fn marks_are_those_of_the_task() {
        let marks = [
            "1.file.5.9",
            "2.names.0.4",
            "1.data.6.10",
            "1.all.0.3",
            "other",
        ];
        let marks = Marks::of(1, marks.into_iter()).unwrap();
        assert_eq!((marks.names, marks.data(5), marks.data(6)), (3, 9, 10));
        assert_eq!((marks.data(7), marks.files.len()), (3, 1));
    }

    #[test]
    fn what_is_lost_or_was_never_written_is_seen() {
        let root = std::env::temp_dir().join(format!("stablefs-durable.{}", std::process::id()));
        let mut task = Task::new(1, 5);
        let dir = task.dir(&root);
        fs::create_dir_all(&dir).unwrap();
        task.run(&root, 300, |_| Ok(())).unwrap();
        let all = Marks::of(1, ["1.all.0.300"].into_iter()).unwrap();
        let none = Marks::default();
        task.check(&root, &all).unwrap();
        task.check(&root, &none).unwrap();
        let id = |name: &String| task.names[name].last().flatten();
        let (name, id) = task
            .names
            .keys()
            .find_map(|name| Some((name, id(name)?)))
            .unwrap();
        let path = dir.join(name);
        let content = fs::read(&path).unwrap();
        assert!(!content.is_empty());

        fs::write(&path, stale(1)).unwrap();
        let why = format!("{:#}", task.check(&root, &none).unwrap_err());
        assert!(why.contains("before the volume"), "{why}");
        let mut other = content.clone();
        other[..SECTOR].copy_from_slice(&sector(id, 0, 299));
        fs::write(&path, other).unwrap();
        assert!(task.check(&root, &all).is_err());
        fs::write(&path, &content[..content.len() - SECTOR]).unwrap();
        assert!(task.check(&root, &all).is_err());
        fs::remove_file(&path).unwrap();
        assert!(task.check(&root, &all).is_err());
        task.check(&root, &none).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }
}
