// SPDX-License-Identifier: GPL-2.0

//! Changes of what is known.
//!
//! wanted → memory is missing, and nothing has changed → again, with a [`Spare`] → changed, up to a
//! block from which it goes on
//!
//! A change is done in steps of one chunk, or one gap between two, so that each is short, and needs
//! one spare at most. Steps that replace whole chunks need none. So a change that nobody else comes
//! between needs one at each of its two ends, at most; [`MAX_RECORDS`] is room enough in each.

use super::{
    Chunk,
    Directory,
    Mapping,
    Records,
    MAX_RECORDS, //
};
use crate::ondisk::{
    Blocks,
    Lblk,
    LblkRange, //
};

/// Room that a chunk gets when it has none left, at least: what is changed once is changed again.
const MIN_CAPACITY: usize = 4;

/// Memory for one chunk more, or a longer one. What a step leaves of it is to be freed.
pub struct Spare<N, R> {
    /// Its place in the directory.
    pub node: N,
    /// What will hold its records; empty.
    pub records: R,
}

/// The spare of a directory.
pub type SpareOf<D> = Spare<<D as Directory>::Node, <D as Directory>::Records>;

/// Why a step was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A spare is missing, or has too little room.
    NoSpare {
        /// How many records it must have room for.
        capacity: usize,
    },
    /// The directory is not what it has to be.
    Inconsistent,
}

/// A step that has been done.
pub struct Change<N> {
    /// Whether blocks may be something else now.
    pub is_change: bool,
    /// The first block behind it.
    pub next: Lblk,
    /// How many of its blocks were reserved before.
    pub reserved: Blocks,
    /// How many records some chunks had.
    pub before: usize,
    /// How many there are instead.
    pub after: usize,
    /// Chunks that were taken in by others.
    pub removed: [Option<N>; 2],
}

impl<N> Change<N> {
    /// Nothing, up to `next`.
    fn none(next: Lblk) -> Self {
        Self {
            is_change: false,
            next,
            reserved: Blocks(0),
            before: 0,
            after: 0,
            removed: [None, None],
        }
    }
}

/// Replaces what is known of the first blocks of `new` by what that says. What is not known stays so.
///
/// # Errors
///
/// `NoSpare`.
pub fn set<D: Directory>(
    chunks: &mut D,
    new: Mapping,
    spare: &mut Option<SpareOf<D>>,
) -> Result<Change<D::Removed>, Error> {
    let LblkRange { start, end } = new.lblks();
    let told = chunks.at_or_before(start, Chunk::lblks);
    match told.filter(|told| told.contains(start)) {
        Some(told) => set_in(chunks, told, new, spare),
        None => {
            let next = chunks.at_or_behind(start, |chunk| chunk.lblks().start);
            let mut change = Change::none(next.map_or(end, |next| next.min(end)));
            change.is_change = true;
            Ok(change)
        }
    }
}

/// Reserves the first blocks of `lblks`, if they are known to be a hole; `None` if what they are is
/// not known.
///
/// # Errors
///
/// `NoSpare`.
pub fn reserve<D: Directory>(
    chunks: &mut D,
    lblks: LblkRange,
    spare: &mut Option<SpareOf<D>>,
) -> Result<Option<Change<D::Removed>>, Error> {
    let found = chunks.at_or_before(lblks.start, |chunk| chunk.find(lblks.start));
    match found.flatten().map(|mapping| mapping.clip(lblks)) {
        None => Ok(None),
        Some(Some(Mapping::Hole(hole))) => set(chunks, Mapping::Reserved(hole), spare).map(Some),
        Some(_) => Ok(Some(Change::none(lblks.start))),
    }
}

/// Makes the first blocks of `lblks` that are reserved, in the first chunk that tells of any, a hole
/// again; `None` if no chunk does.
///
/// # Errors
///
/// `NoSpare`.
pub fn release<D: Directory>(
    chunks: &mut D,
    lblks: LblkRange,
    spare: &mut Option<SpareOf<D>>,
) -> Result<Option<Change<D::Removed>>, Error> {
    let look = |chunk: &Chunk<_>| (chunk.lblks(), chunk.first_reserved(lblks));
    let found = chunks
        .at_or_before(lblks.start, look)
        .filter(|(told, _)| told.contains(lblks.start))
        .or_else(|| chunks.at_or_behind(lblks.start, look))
        .filter(|(told, _)| told.start < lblks.end);
    match found {
        None => Ok(None),
        Some((_, Some(reserved))) => set(chunks, Mapping::Hole(reserved), spare).map(Some),
        Some((told, None)) => Ok(Some(Change::none(told.end))),
    }
}

/// Forgets what the first chunk that tells of blocks from `from` on tells of these; `None` if none does. They are to
/// become something else, so what is reserved is forgotten as well.
///
/// # Errors
///
/// `Inconsistent`.
pub fn forget<D: Directory>(
    chunks: &mut D,
    from: Lblk,
) -> Result<Option<Change<D::Removed>>, Error> {
    let look = |chunk: &Chunk<_>| (chunk.lblks(), chunk.len(), chunk.reserved());
    let before = chunks
        .at_or_before(from, look)
        .filter(|(told, _, _)| told.start < from && told.contains(from));
    if let Some((told, before, _)) = before {
        let cut = |chunk: &mut Chunk<_>| Some((chunk.cut(from)?, chunk.len()));
        let (reserved, after) = chunks
            .change(told.start, cut)
            .flatten()
            .ok_or(Error::Inconsistent)?;
        return Ok(Some(Change {
            is_change: true,
            reserved,
            before,
            after,
            ..Change::none(told.end)
        }));
    }
    let Some((told, before, reserved)) = chunks.at_or_behind(from, look) else {
        return Ok(None);
    };
    Ok(Some(Change {
        is_change: true,
        reserved,
        before,
        removed: [chunks.remove(told.start), None],
        ..Change::none(told.end)
    }))
}

/// [`set`], in the chunk that tells of the blocks in `told`.
fn set_in<D: Directory>(
    chunks: &mut D,
    told: LblkRange,
    new: Mapping,
    spare: &mut Option<SpareOf<D>>,
) -> Result<Change<D::Removed>, Error> {
    let mut told = told;
    // It is split once at most: then there is room.
    loop {
        let start = told.start;
        let part = new.clip(told).ok_or(Error::Inconsistent)?;
        let look = |chunk: &Chunk<_>| Some((chunk.plan(part)?, chunk.len(), chunk.capacity()));
        let (plan, len, capacity) = chunks
            .at_or_before(start, look)
            .flatten()
            .ok_or(Error::Inconsistent)?;
        if plan.len > MAX_RECORDS {
            let middle = split(chunks, start, spare)?;
            if part.lblks().start < middle {
                told.end = middle;
            } else {
                told.start = middle;
            }
            continue;
        }
        if plan.len > capacity {
            let spare = with_room(spare, plan.len.next_power_of_two().max(MIN_CAPACITY))?;
            let spare = spare.as_mut().ok_or(Error::Inconsistent)?;
            chunks
                .change(start, |chunk| chunk.exchange(&mut spare.records))
                .flatten()
                .ok_or(Error::Inconsistent)?;
        }
        chunks
            .change(start, |chunk| chunk.apply(&plan))
            .flatten()
            .ok_or(Error::Inconsistent)?;
        let merged = [merge(chunks, told.end), merge(chunks, start)];
        let joined = merged.iter().flatten().filter(|merged| merged.joined);
        return Ok(Change {
            is_change: true,
            next: part.lblks().end,
            reserved: plan.reserved,
            before: len.saturating_add(joined.count()),
            after: plan.len,
            removed: merged.map(|merged| merged?.removed),
        });
    }
}

/// The place of the spare, if that has as much room.
fn with_room<N, R: Records>(
    spare: &mut Option<Spare<N, R>>,
    capacity: usize,
) -> Result<&mut Option<Spare<N, R>>, Error> {
    match spare {
        Some(has) if has.records.capacity() >= capacity => Ok(spare),
        _ => Err(Error::NoSpare { capacity }),
    }
}

/// Splits the chunk that begins at `start`, and returns where the second half does.
fn split<D: Directory>(
    chunks: &mut D,
    start: Lblk,
    spare: &mut Option<SpareOf<D>>,
) -> Result<Lblk, Error> {
    let spare = with_room(spare, MAX_RECORDS)?.take();
    let Spare { node, records } = spare.ok_or(Error::Inconsistent)?;
    let second = chunks
        .change(start, |chunk| chunk.split_off(records))
        .flatten()
        .ok_or(Error::Inconsistent)?;
    let middle = second.lblks().start;
    chunks.insert(second, node);
    Ok(middle)
}

/// A chunk that was taken in by the one before it.
struct Merged<N> {
    /// Whether that has cost a record.
    joined: bool,
    removed: Option<N>,
}

/// Has the chunk that begins at `lblk` be taken in by the one that ends there, if it is small and
/// there is room.
fn merge<D: Directory>(chunks: &mut D, lblk: Lblk) -> Option<Merged<D::Removed>> {
    let look = |chunk: &Chunk<_>| (chunk.lblks().start == lblk).then(|| chunk.few());
    let few = chunks.at_or_behind(lblk, look)???;
    let before = chunks.at_or_before(Lblk(lblk.0.checked_sub(1)?), Chunk::lblks)?;
    if before.end != lblk {
        return None;
    }
    let joined = chunks.change(before.start, |chunk| chunk.append(&few))??;
    Some(Merged {
        joined,
        removed: chunks.remove(lblk),
    })
}
