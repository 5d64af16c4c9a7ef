// SPDX-License-Identifier: GPL-2.0

//! What the steps of a task have made of its files and names, and what was promised of them.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Allocate, By, Range, Step, Sync};
use super::story::Story;

/// Longest file, in sectors.
pub(super) const MOST: u32 = 600;
/// Names in the directory.
pub(super) const NAMES: u32 = 6;
/// Attributes of a file.
pub(super) const ATTRIBUTES: u32 = 3;

/// A file that was made once.
#[derive(Debug)]
pub(super) struct Made {
    /// Of each sector the step that wrote it; 0 for zeroes.
    pub(super) sectors: Vec<Story<u32>>,
    /// Its length in sectors.
    pub(super) len: Story<u32>,
    /// Of each attribute the step that set it; 0 for none.
    pub(super) attributes: Vec<Story<u32>>,
    /// It has no name, and can be given one.
    pub(super) linkable: bool,
}

/// What a step promises once it has succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Promise {
    /// All data of a file, and its length.
    Data(u32),
    /// Data in a part of it.
    Part(u32, Range),
    /// Its attributes, the names that it has, and that it has no others.
    File(u32),
    /// The few names.
    Names,
    /// The many.
    Crowd,
    /// Everything.
    All,
}

/// All that a task has done.
#[derive(Debug)]
pub(super) struct Past {
    /// Bytes in a sector of the device.
    pub(super) sector: u32,
    /// The last step.
    pub(super) step: u32,
    pub(super) files: BTreeMap<u32, Made>,
    /// Where each name leads.
    pub(super) names: Vec<Story<Option<u32>>>,
    /// Whether each of the many names is there.
    pub(super) crowd: BTreeMap<u32, Story<bool>>,
    /// Open files without a name.
    pub(super) nameless: Vec<u32>,
    /// Steps that stored to a mapping: such data may go to the device when a store is not finished.
    pub(super) stored: BTreeSet<u32>,
    /// What each step promised.
    pub(super) promises: Vec<(u32, Promise)>,
    /// The number of the next file.
    pub(super) next: u32,
}

impl Past {
    /// None so far; files have numbers from `first` on, and the device sectors of `sector` bytes.
    pub(super) fn new(first: u32, sector: u32) -> Self {
        Self {
            sector,
            step: 0,
            files: BTreeMap::new(),
            names: (0..NAMES).map(|_| Story::new(None)).collect(),
            crowd: BTreeMap::new(),
            nameless: Vec::new(),
            stored: BTreeSet::new(),
            promises: Vec::new(),
            next: first,
        }
    }

    /// Where a name leads now.
    pub(super) fn named(&self, name: u32) -> Option<u32> {
        self.names[name as usize].last().flatten()
    }

    /// How many names lead to file `id`.
    pub(super) fn links(&self, id: u32) -> usize {
        (0..NAMES)
            .filter(|&name| self.named(name) == Some(id))
            .count()
    }

    /// The length of file `id`, in sectors.
    pub(super) fn len(&self, id: u32) -> u32 {
        self.files
            .get(&id)
            .and_then(|made| made.len.last())
            .unwrap_or(0)
    }

    /// `step` is the next one.
    pub(super) fn record(&mut self, step: &Step) {
        self.step += 1;
        match *step {
            Step::Begin => {
                self.crowd_is(0, true);
                self.promise(Promise::All);
            }
            Step::Create { id, name } => {
                self.make(id, false);
                self.name_is(name, Some(id));
            }
            Step::Nameless { id } => {
                self.make(id, true);
                self.nameless.push(id);
            }
            Step::Link { id, name } => {
                self.nameless.retain(|&other| other != id);
                self.name_is(name, Some(id));
                self.made(id, |made, _| made.linkable = false);
            }
            Step::Unlink { name, close } => self.unlink(name, close),
            Step::Rename { from, to, close } => {
                let id = self.named(from);
                self.unlink(to, close);
                self.name_is(to, id);
                self.name_is(from, None);
            }
            Step::Close { id } => self.nameless.retain(|&other| other != id),
            Step::Write { id, range, by } => self.write(id, range, by),
            Step::Truncate { id, len } => {
                self.zero(
                    id,
                    Range {
                        start: len,
                        end: MOST,
                    },
                );
                self.made(id, |made, step| made.len.add(step, len));
            }
            Step::Allocate { id, range, how } => {
                if how.makes_zeroes() {
                    self.zero(id, range);
                }
                if how == Allocate::Reach {
                    self.reach(id, range.end);
                }
            }
            Step::Attribute { id, attribute, set } => self.made(id, |made, step| {
                made.attributes[attribute as usize].add(step, if set { step } else { 0 });
            }),
            Step::Crowd { from, to } => (from..to).for_each(|number| self.crowd_is(number, true)),
            Step::Thin { ref numbers } => {
                numbers
                    .iter()
                    .for_each(|&number| self.crowd_is(number, false));
            }
            Step::Sync(sync) => match sync {
                Sync::File(id) => {
                    self.promise(Promise::Data(id));
                    self.promise(Promise::File(id));
                }
                Sync::Data(id) => self.promise(Promise::Data(id)),
                Sync::Names => self.promise(Promise::Names),
                Sync::Crowd => self.promise(Promise::Crowd),
                Sync::All => self.promise(Promise::All),
            },
        }
    }

    /// Whether the last step promised anything.
    pub(super) fn has_promised(&self) -> bool {
        self.promises
            .last()
            .is_some_and(|&(step, _)| step == self.step)
    }

    fn promise(&mut self, promise: Promise) {
        self.promises.push((self.step, promise));
    }

    fn make(&mut self, id: u32, linkable: bool) {
        let made = Made {
            sectors: (0..MOST).map(|_| Story::new(0)).collect(),
            len: Story::new(0),
            attributes: (0..ATTRIBUTES).map(|_| Story::new(0)).collect(),
            linkable,
        };
        self.files.insert(id, made);
        self.next = self.next.max(id + 1);
    }

    fn made(&mut self, id: u32, change: impl FnOnce(&mut Made, u32)) {
        if let Some(made) = self.files.get_mut(&id) {
            change(made, self.step);
        }
    }

    fn name_is(&mut self, name: u32, id: Option<u32>) {
        self.names[name as usize].add(self.step, id);
    }

    fn unlink(&mut self, name: u32, close: Option<u32>) {
        let Some(id) = self.named(name) else {
            return;
        };
        self.name_is(name, None);
        if self.links(id) == 0 && close.is_none() {
            self.nameless.push(id);
        }
    }

    fn crowd_is(&mut self, number: u32, there: bool) {
        let story = self.crowd.entry(number);
        story
            .or_insert_with(|| Story::new(false))
            .add(self.step, there);
    }

    fn write(&mut self, id: u32, range: Range, by: By) {
        self.made(id, |made, step| {
            for story in &mut made.sectors[range.start as usize..range.end as usize] {
                story.add(step, step);
            }
        });
        self.reach(id, range.end);
        if by.is_mapped() {
            self.stored.insert(self.step);
        }
        match by {
            By::Dsync | By::DirectDsync | By::Msync => self.promise(Promise::Part(id, range)),
            By::Sync => {
                self.promise(Promise::Part(id, range));
                self.promise(Promise::File(id));
            }
            By::Write | By::Direct | By::Map => (),
        }
    }

    fn zero(&mut self, id: u32, range: Range) {
        self.made(id, |made, step| {
            for story in &mut made.sectors[range.start as usize..range.end as usize] {
                story.add(step, 0);
            }
        });
    }

    fn reach(&mut self, id: u32, end: u32) {
        let len = self.len(id);
        if len < end {
            self.made(id, |made, step| made.len.add(step, end));
        }
    }
}
