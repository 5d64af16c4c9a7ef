// SPDX-License-Identifier: GPL-2.0

//! Which step comes next: any that can succeed.

use super::content::SECTOR;
use super::past::{Past, ATTRIBUTES, MOST, NAMES};
use super::step::{Allocate, By, Range, Step, Sync};
use crate::seed::Bytes;

/// Files without a name that a task keeps open.
const NAMELESS: usize = 3;
/// The many names are so many at most.
const CROWD: u32 = 1500;
/// How many of them come, or go, in a step.
const AT_ONCE: u64 = 60;

pub(super) fn plan(past: &Past, random: &mut Bytes) -> Step {
    if past.step == 0 {
        return Step::Begin;
    }
    if let Some(&id) = random.pick(&past.nameless) {
        if random.one_in(5) {
            return without_a_name(past, random, id);
        }
    }
    let name = any_name(random);
    match past.named(name) {
        None => for_a_free_name(past, random, name),
        Some(id) => with_a_name(past, random, name, id),
    }
}

fn any_name(random: &mut Bytes) -> u32 {
    random.below(NAMES.into()) as u32
}

fn for_a_free_name(past: &Past, random: &mut Bytes, name: u32) -> Step {
    let id = past.next;
    let linkable = past.nameless.iter().find(|id| past.files[id].linkable);
    match (random.below(4), linkable) {
        (0..=1, Some(&id)) => Step::Link { id, name },
        (2, _) if past.nameless.len() < NAMELESS => Step::Nameless { id },
        _ => Step::Create { id, name },
    }
}

fn without_a_name(past: &Past, random: &mut Bytes, id: u32) -> Step {
    match random.below(8) {
        0 => Step::Close { id },
        1 => Step::Sync(Sync::File(id)),
        _ => content(past, random, id),
    }
}

fn with_a_name(past: &Past, random: &mut Bytes, name: u32, id: u32) -> Step {
    match random.below(32) {
        0..=13 => content(past, random, id),
        14..=15 => Step::Unlink {
            name,
            close: closed(past, random, name),
        },
        16..=17 => {
            let to = any_name(random);
            // To another name of the same file it would do nothing.
            match past.named(to) {
                Some(other) if other == id => content(past, random, id),
                _ => Step::Rename {
                    from: name,
                    to,
                    close: closed(past, random, to),
                },
            }
        }
        18 => {
            let other = any_name(random);
            match past.named(other) {
                None => Step::Link { id, name: other },
                Some(_) => content(past, random, id),
            }
        }
        19..=20 => attribute(past, random, id),
        21..=24 => Step::Sync(Sync::File(id)),
        25 => Step::Sync(Sync::Data(id)),
        26 => Step::Sync(Sync::Names),
        27 => Step::Sync(Sync::All),
        28..=29 => crowd(past, random),
        30 => thin(past, random),
        _ => Step::Sync(Sync::Crowd),
    }
}

/// The file that is closed when `name` goes, if it is the last one and the file does not stay open.
fn closed(past: &Past, random: &mut Bytes, name: u32) -> Option<u32> {
    let id = past.named(name)?;
    let stays = past.nameless.len() < NAMELESS && random.one_in(2);
    (past.links(id) == 1 && !stays).then_some(id)
}

fn content(past: &Past, random: &mut Bytes, id: u32) -> Step {
    match random.below(14) {
        0..=1 => Step::Truncate {
            id,
            len: random.below(MOST.into()) as u32,
        },
        2..=4 => Step::Allocate {
            id,
            range: any_range(random),
            how: *random.pick(Allocate::ALL).unwrap_or(&Allocate::Reach),
        },
        _ => write(past, random, id),
    }
}

fn write(past: &Past, random: &mut Bytes, id: u32) -> Step {
    let mut by = *random.pick(By::ALL).unwrap_or(&By::Write);
    let mut range = any_range(random);
    if by.is_direct() {
        /// Bytes in a block of any volume.
        const BLOCK: u32 = 4096;
        let align = if random.one_in(2) { BLOCK } else { past.sector };
        let align = align / SECTOR as u32;
        range.start -= range.start % align;
        range.end = range.end.next_multiple_of(align).min(MOST);
    }
    if by.is_mapped() {
        range.end = range.end.min(past.len(id));
        if range.start >= range.end {
            range.end = range.start + 1;
            by = By::Write;
        }
    }
    Step::Write { id, range, by }
}

fn any_range(random: &mut Bytes) -> Range {
    let start = match random.below(2) {
        0 => random.below(MOST.into()),
        _ => random.below(40),
    };
    let len = 1 + random.below(60);
    Range {
        start: start as u32,
        end: ((start + len) as u32).min(MOST),
    }
}

fn attribute(past: &Past, random: &mut Bytes, id: u32) -> Step {
    let attribute = random.below(ATTRIBUTES.into()) as u32;
    let is_set = past.files[&id].attributes[attribute as usize].last() != Some(0);
    Step::Attribute {
        id,
        attribute,
        set: !is_set || random.one_in(2),
    }
}

fn crowd(past: &Past, random: &mut Bytes) -> Step {
    let from = past.crowd.keys().last().map_or(1, |last| last + 1);
    let to = from + 1 + random.below(AT_ONCE) as u32;
    match to <= CROWD {
        true => Step::Crowd { from, to },
        false => thin(past, random),
    }
}

/// Not the first, of which the others are links.
fn thin(past: &Past, random: &mut Bytes) -> Step {
    let there = past.crowd.iter().skip(1);
    let there = there.filter(|(_, story)| story.last() == Some(true));
    let numbers: Vec<u32> = there.map(|(&number, _)| number).collect();
    let start = random.below(numbers.len() as u64) as usize;
    let step = 1 + random.below(3) as usize;
    let n = random.below(AT_ONCE) as usize;
    Step::Thin {
        numbers: numbers
            .into_iter()
            .skip(start)
            .step_by(step)
            .take(n)
            .collect(),
    }
}
