// SPDX-License-Identifier: GPL-2.0

//! What is there after the power failed, against what has to be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{getxattr, listxattr};
use rustix::io::Errno;

use super::content::{
    attribute, attribute_name, describe, is_one_of, sector, version, Takes, SECTOR,
};
use super::past::{Past, Promise};
use super::step::{crowd_name, name, CROWD};

/// What a file that was found holds.
struct Found {
    content: Vec<u8>,
    /// By their numbers.
    attributes: Vec<Option<Vec<u8>>>,
    /// How many there are.
    count: usize,
}

/// Up to which steps things are durable.
pub(super) struct Durable<'a> {
    past: &'a Past,
    promises: Vec<(u32, Promise)>,
    takes: Takes,
}

impl<'a> Durable<'a> {
    /// After what `past` promised up to step `done`.
    pub(super) fn new(past: &'a Past, done: u32, takes: Takes) -> Self {
        let promises = past.promises.iter().copied();
        Self {
            past,
            promises: promises.take_while(|&(step, _)| step <= done).collect(),
            takes,
        }
    }

    /// The last step with a promise that `is` is true of.
    fn last(&self, is: impl Fn(Promise) -> bool) -> u32 {
        let mut promises = self.promises.iter().rev();
        let last = promises.find(|&&(_, promise)| is(promise) || matches!(promise, Promise::All));
        last.map_or(0, |&(step, _)| step)
    }

    fn data(&self, id: u32) -> u32 {
        self.last(|promise| matches!(promise, Promise::Data(of) if of == id))
    }

    fn attributes(&self, id: u32) -> u32 {
        self.last(|promise| matches!(promise, Promise::File(of) if of == id))
    }

    fn crowd(&self) -> u32 {
        self.last(|promise| matches!(promise, Promise::Crowd))
    }

    /// With a file its names are durable, and that it has lost others.
    fn name(&self, number: usize) -> u32 {
        let story = &self.past.names[number];
        let with_files = self
            .promises
            .iter()
            .filter_map(|&(step, promise)| match promise {
                Promise::File(id) => story.touched(Some(id), step),
                _ => None,
            });
        let alone = self.last(|promise| matches!(promise, Promise::Names));
        with_files.max().unwrap_or(0).max(alone)
    }

    /// Looks at everything in `dir`.
    pub(super) fn check(&self, dir: &Path) -> Result<()> {
        if self.promises.is_empty() && !dir.exists() {
            return Ok(());
        }
        let mut listed = list(dir)?;
        if listed.remove(CROWD) {
            self.check_crowd(list(&dir.join(CROWD))?).context(CROWD)?;
        } else {
            ensure!(self.promises.is_empty(), "{CROWD}: it is lost");
        }
        for (number, story) in self.past.names.iter().enumerate() {
            let name = name(number as u32);
            let step = self.name(number);
            let possible: Vec<Option<u32>> = story.possible(step).collect();
            let what = || format!("{name}, durable to step {step}");
            if !listed.remove(&name) {
                ensure!(possible.contains(&None), "{}: it is lost", what());
                continue;
            }
            let found = read(&dir.join(&name)).with_context(what)?;
            let mut wrong = vec!["no file could be there".to_owned()];
            for id in possible.into_iter().flatten() {
                match self.compare(id, &found) {
                    Ok(()) => wrong.clear(),
                    Err(e) => wrong.push(format!("as file {id}: {e:#}")),
                }
                if wrong.is_empty() {
                    break;
                }
            }
            ensure!(wrong.is_empty(), "{}: {}", what(), wrong.join("; "));
        }
        ensure!(listed.is_empty(), "never made: {listed:?}");
        Ok(())
    }

    fn check_crowd(&self, mut listed: BTreeSet<String>) -> Result<()> {
        let step = self.crowd();
        for (&number, story) in &self.past.crowd {
            let name = crowd_name(number);
            let there = listed.remove(&name);
            ensure!(
                story.possible(step).any(|possible| possible == there),
                "{name}, durable to step {step}: it is {}",
                if there { "there" } else { "lost" }
            );
        }
        ensure!(listed.is_empty(), "never made: {listed:?}");
        Ok(())
    }

    /// Whether `found` can be file `id`.
    fn compare(&self, id: u32, found: &Found) -> Result<()> {
        let made = self.past.files.get(&id).context("a file of the model")?;
        let step = self.data(id);
        let lens = |step| made.len.possible(step).map(|len| len as usize * SECTOR);
        let (mut least, most) = (lens(step).min().unwrap_or(0), lens(step).max().unwrap_or(0));
        // Sectors that are durable for themselves: what they are after which step.
        let mut parts = vec![step; made.sectors.len()];
        for &(step, promise) in &self.promises {
            let Promise::Part(of, range) = promise else {
                continue;
            };
            if of == id {
                let part = &mut parts[range.start as usize..range.end as usize];
                part.iter_mut().for_each(|last| *last = step.max(*last));
                let end = range.end as usize * SECTOR;
                least = least.max(lens(step).min().unwrap_or(0).min(end));
            }
        }
        ensure!(
            (least..=most).contains(&found.content.len()),
            "{} bytes, durable to step {step}: want {least} to {most}",
            found.content.len()
        );
        for (number, sector) in (0..).zip(found.content.chunks(SECTOR)) {
            let story = made.sectors.get(number as usize).context("too long")?;
            let step = parts[number as usize];
            self.compare_sector(id, number, sector, story.possible(step))
                .with_context(|| format!("sector {number}, durable to step {step}"))?;
        }
        let step = self.attributes(id);
        let mut count = 0;
        for (number, (story, found)) in (0..).zip(made.attributes.iter().zip(&found.attributes)) {
            let value = |version| (version != 0).then(|| attribute(id, number, version));
            let is_right = story.possible(step).any(|version| value(version) == *found);
            count += usize::from(found.is_some());
            ensure!(
                is_right,
                "attribute {number}, durable to step {step}: another value"
            );
        }
        ensure!(count == found.count, "{} attributes", found.count);
        Ok(())
    }

    fn compare_sector(
        &self,
        id: u32,
        number: u32,
        found: &[u8],
        possible: impl Iterator<Item = u32>,
    ) -> Result<()> {
        let versions: Vec<u32> = possible.collect();
        // It says itself which it is, if it is none that is torn.
        let said = version(found);
        if versions.contains(&said) && *found == sector(id, number, said)[..found.len()] {
            return Ok(());
        }
        let sectors: Vec<_> = versions
            .iter()
            .map(|&step| sector(id, number, step))
            .collect();
        let is_stored = versions.iter().any(|step| self.past.stored.contains(step));
        let takes = if is_stored { Takes::Words } else { self.takes };
        if !is_one_of(found, &sectors, takes) {
            bail!(
                "want that of a step of {versions:?}, found {}",
                describe(found)
            );
        }
        Ok(())
    }
}

fn list(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn read(path: &PathBuf) -> Result<Found> {
    let attribute = |number| -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; 1024];
        match getxattr(path, attribute_name(number), &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                Ok(Some(value))
            }
            Err(Errno::NODATA) => Ok(None),
            Err(e) => Err(e).context("getxattr"),
        }
    };
    let mut names = vec![0; 4096];
    let len = listxattr(path, &mut names[..]).context("listxattr")?;
    Ok(Found {
        content: fs::read(path)?,
        attributes: (0..super::past::ATTRIBUTES)
            .map(attribute)
            .collect::<Result<_>>()?,
        count: names[..len].iter().filter(|&&byte| byte == 0).count(),
    })
}
