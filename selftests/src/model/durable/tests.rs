// SPDX-License-Identifier: GPL-2.0

//! The model sees what is lost, and what was never written.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process;

use rustix::fs::{removexattr, setxattr, XattrFlags};

use super::content::{attribute, attribute_name, sector, SECTOR};
use super::past::{ATTRIBUTES, NAMES};
use super::step::{crowd_name, name, By, Step, Sync, CROWD};
use super::*;

/// A directory with what a task has made, and nothing lost.
struct Done {
    root: PathBuf,
    task: Task,
}

impl Done {
    /// After [`STEPS`] steps, the last of which promises everything.
    fn new(of: &str) -> Self {
        let root = std::env::temp_dir().join(format!("stablefs-{of}.{}", process::id()));
        let mut task = Task::new(1, 5, 512);
        task.remember(STEPS - 1);
        task.past.record(&Step::Sync(Sync::All));
        let done = Self { root, task };
        let (dir, past) = (done.dir(), &done.task.past);
        fs::create_dir_all(dir.join(CROWD)).unwrap();
        for (&number, story) in &past.crowd {
            if story.last() == Some(true) {
                fs::write(dir.join(CROWD).join(crowd_name(number)), "").unwrap();
            }
        }
        for number in 0..NAMES {
            if let Some(id) = past.named(number) {
                done.write(id, &dir.join(name(number)));
            }
        }
        done
    }

    fn dir(&self) -> PathBuf {
        self.task.dir(&self.root)
    }

    fn write(&self, id: u32, path: &Path) {
        let made = &self.task.past.files[&id];
        let sectors = (0..)
            .zip(&made.sectors)
            .take(self.task.past.len(id) as usize);
        let content = sectors.flat_map(|(n, story)| sector(id, n, story.last().unwrap()));
        fs::write(path, content.collect::<Vec<u8>>()).unwrap();
        for (number, story) in (0..).zip(&made.attributes) {
            let version = story.last().unwrap();
            if version != 0 {
                let value = attribute(id, number, version);
                setxattr(path, attribute_name(number), &value, XattrFlags::empty()).unwrap();
            }
        }
    }

    /// A file that is not empty and has an attribute and a name, and its path.
    fn file(&self) -> (u32, PathBuf) {
        let past = &self.task.past;
        let has_attribute = |id: &u32| {
            let mut stories = past.files[id].attributes.iter();
            stories.any(|story| story.last() != Some(0))
        };
        let (number, id) = (0..NAMES)
            .filter_map(|name| Some((name, past.named(name)?)))
            .find(|(_, id)| past.len(*id) > 0 && has_attribute(id))
            .unwrap();
        (id, self.dir().join(name(number)))
    }

    fn sees(&self, done: u32) -> String {
        let found = self.task.check(&self.root, done, Takes::Words);
        found.map_or_else(|e| format!("{e:#}"), |()| String::new())
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

const STEPS: u32 = 400;

#[test]
fn what_a_task_made_is_right_with_any_promise() {
    let done = Done::new("right");
    assert_eq!(
        (done.sees(STEPS), done.sees(0)),
        (String::new(), String::new())
    );
}

#[test]
fn what_is_remembered_is_what_was_done() {
    let [mut at_once, mut step_by_step] = [Task::new(2, 7, 512), Task::new(2, 7, 512)];
    at_once.remember(STEPS);
    (0..STEPS).for_each(|_| step_by_step.remember(1));
    let [one, other] = [at_once, step_by_step].map(|task| format!("{:?}", task.past));
    assert_eq!(one, other);
}

#[test]
fn every_kind_of_step_comes() {
    let mut task = Task::new(3, 9, 512);
    let mut kinds = BTreeSet::new();
    for _ in 0..3000 {
        let step = plan::plan(&task.past, &mut task.random);
        kinds.insert(match &step {
            Step::Write { by, .. } => format!("{by:?}"),
            Step::Allocate { how, .. } => format!("{how:?}"),
            Step::Sync(Sync::File(_)) => "fsync".to_owned(),
            Step::Sync(Sync::Data(_)) => "fdatasync".to_owned(),
            Step::Sync(sync) => format!("sync of {sync:?}"),
            Step::Rename { to, .. } => format!("rename over {}", task.past.named(*to).is_some()),
            Step::Unlink { close, .. } => format!("unlink, open {}", close.is_none()),
            step => format!("{step:?}").split(' ').next().unwrap().to_owned(),
        });
        task.past.record(&step);
    }
    let by: BTreeSet<String> = By::ALL.iter().map(|by| format!("{by:?}")).collect();
    assert!(by.is_subset(&kinds));
    // Ways to allocate, to sync, to rename and to unlink, and the other kinds of step.
    assert_eq!(kinds.len(), by.len() + 4 + 5 + 2 + 2 + 9, "{kinds:?}");
}

#[test]
fn what_is_lost_is_seen_only_if_it_was_promised() {
    let done = Done::new("lost");
    let (_, path) = done.file();
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..content.len() - SECTOR]).unwrap();
    assert!(done.sees(STEPS).contains("bytes, durable"));
    fs::remove_file(&path).unwrap();
    assert!(done.sees(STEPS).contains("lost"));
    assert_eq!(done.sees(0), "");
}

#[test]
fn what_was_never_written_is_seen() {
    let done = Done::new("stale");
    let (id, path) = done.file();
    let content = fs::read(&path).unwrap();
    let with = |sector: &[u8]| {
        let mut content = content.clone();
        content[..SECTOR].copy_from_slice(sector);
        fs::write(&path, content).unwrap();
        done.sees(0)
    };
    assert!(with(&stale(1)).contains("before the volume"));
    assert!(with(&sector(id + 1, 0, 3)).contains("of file"));
    assert!(with(&sector(id, 0, STEPS + 1)).contains("as of step"));
    assert_eq!(with(&content[..SECTOR]), "");
    fs::write(done.dir().join("other"), "").unwrap();
    assert!(done.sees(0).contains("never made"));
}

#[test]
fn attributes_and_the_many_names_are_looked_at() {
    let done = Done::new("others");
    let (_, path) = done.file();
    let is_set = |number: &u32| removexattr(&path, attribute_name(*number)).is_ok();
    let number = (0..ATTRIBUTES).find(is_set).unwrap();
    assert!(done.sees(STEPS).contains("attribute"));
    setxattr(&path, attribute_name(number), b"other", XattrFlags::empty()).unwrap();
    assert!(done.sees(0).contains("another value"));

    let done = Done::new("many");
    let crowd = done.dir().join(CROWD);
    let one = fs::read_dir(&crowd)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_file(&one).unwrap();
    assert!(done.sees(STEPS).contains("lost"));
    assert_eq!(done.sees(0), "");
    fs::write(crowd.join("other"), "").unwrap();
    assert!(done.sees(0).contains("never made"));
}
