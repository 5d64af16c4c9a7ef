// SPDX-License-Identifier: GPL-2.0

//! Changes of what is known.
//!
//! wanted → memory is missing, and nothing has changed → again, with [`Spares`] → changed, up to a
//! block from which it goes on
//!
//! A change is done in steps of one chunk, or one gap between two, so that each is short. All but the
//! first and the last replace whole chunks, which takes no memory. So a change needs a spare at each
//! of its two ends, at most; one that is large enough will do.

use super::{
    chunk::Few,
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

/// Room that a chunk has when it is made for one record: what is changed once is changed again.
const MIN_CAPACITY: usize = 4;

/// Memory for a chunk more, or for a longer one.
pub struct Spare<N, R> {
    /// Its place in the directory.
    pub node: N,
    /// What will hold its records; empty.
    pub records: R,
}

/// What a change may take. What it has left over is to be freed.
pub struct Spares<N, R> {
    /// For the ends, those with less room first.
    pub edges: [Option<Spare<N, R>>; 4],
    /// For one chunk of what was unknown. Without it that stays unknown, unless it is to be reserved.
    pub gap: Option<Spare<N, R>>,
}

/// The spares of a directory.
pub type SparesOf<D> = Spares<<D as Directory>::Node, <D as Directory>::Records>;

impl<N, R> Default for Spares<N, R> {
    fn default() -> Self {
        Self {
            edges: [const { None }; 4],
            gap: None,
        }
    }
}

impl<N, R: Records> Spares<N, R> {
    /// One for an end, and nothing else.
    pub fn edge(spare: Spare<N, R>) -> Self {
        Self {
            edges: [Some(spare), None, None, None],
            gap: None,
        }
    }

    /// The place of the first spare with as much room.
    fn place(&mut self, capacity: usize) -> Result<&mut Option<Spare<N, R>>, NoSpare> {
        let has_room = |spare: &Spare<N, R>| spare.records.capacity() >= capacity;
        self.edges
            .iter_mut()
            .find(|edge| edge.as_ref().is_some_and(has_room))
            .ok_or(NoSpare { capacity })
    }
}

/// A spare is missing. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpare {
    /// How many records it must have room for.
    pub capacity: usize,
}

/// A step that has been done.
pub struct Change<N> {
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
            next,
            reserved: Blocks(0),
            before: 0,
            after: 0,
            removed: [const { None }; 2],
        }
    }

    /// And a chunk was taken in.
    fn merge(&mut self, merged: Option<Merged<N>>) {
        let Some(merged) = merged else {
            return;
        };
        self.before = self.before.saturating_add(merged.joined.into());
        if let Some(place) = self.removed.iter_mut().find(|place| place.is_none()) {
            *place = merged.removed;
        }
    }
}

/// Replaces what is known of the first blocks of `new` by what that says.
///
/// # Errors
///
/// [`NoSpare`]; never again with two spares for [`MAX_RECORDS`] records, until all of a mapping is
/// done, if nobody else changes what is known of its blocks.
pub fn set<D: Directory>(
    chunks: &mut D,
    new: Mapping,
    spares: &mut SparesOf<D>,
) -> Result<Change<D::Removed>, NoSpare> {
    let from = new.lblks().start;
    let chunk = chunks.at_or_before(from, Chunk::lblks);
    match chunk.filter(|lblks| lblks.contains(from)) {
        Some(chunk) => set_known(chunks, chunk, new, spares),
        None => set_unknown(chunks, chunk, new, spares),
    }
}

/// Reserves the first blocks of `lblks`, if they are known to be a hole; `None` if what they are is
/// not known.
///
/// # Errors
///
/// [`NoSpare`].
pub fn reserve<D: Directory>(
    chunks: &mut D,
    lblks: LblkRange,
    spares: &mut SparesOf<D>,
) -> Result<Option<Change<D::Removed>>, NoSpare> {
    let found = chunks.at_or_before(lblks.start, |chunk| chunk.find(lblks.start));
    match found.flatten().map(|mapping| mapping.clip(lblks)) {
        None => Ok(None),
        Some(Some(Mapping::Hole(hole))) => set(chunks, Mapping::Reserved(hole), spares).map(Some),
        Some(_) => Ok(Some(Change::none(lblks.start))),
    }
}

/// Makes the first blocks of `lblks` that are reserved, in the first chunk that tells of any, a hole
/// again; `None` if no chunk does.
///
/// # Errors
///
/// Those of [`set`].
pub fn release<D: Directory>(
    chunks: &mut D,
    lblks: LblkRange,
    spares: &mut SparesOf<D>,
) -> Result<Option<Change<D::Removed>>, NoSpare> {
    match next_reserved(chunks, lblks) {
        None => Ok(None),
        Some(Looked {
            reserved: Some(reserved),
            ..
        }) => set(chunks, Mapping::Hole(reserved), spares).map(Some),
        Some(Looked { next, .. }) => Ok(Some(Change::none(next))),
    }
}

/// What came of looking for reserved blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The first that follow each other, if there are any in the chunk. They may go on behind it.
    pub reserved: Option<LblkRange>,
    /// Where to look next.
    pub next: Lblk,
}

/// Looks for reserved blocks in the first chunk that tells of any of `lblks`; `None` if none does.
pub fn next_reserved(chunks: &impl Directory, lblks: LblkRange) -> Option<Looked> {
    let look = |chunk: &Chunk<_>| {
        let (told, reserved) = (chunk.lblks(), chunk.first_reserved(lblks));
        (told, reserved)
    };
    let (told, reserved) = chunks
        .at_or_before(lblks.start, look)
        .filter(|(told, _)| told.contains(lblks.start))
        .or_else(|| chunks.at_or_behind(lblks.start, look))
        .filter(|(told, _)| told.start < lblks.end)?;
    Some(Looked {
        reserved,
        next: reserved.map_or(told.end, |reserved| reserved.end),
    })
}

/// [`set`], in the chunk that tells of the first block.
fn set_known<D: Directory>(
    chunks: &mut D,
    chunk: LblkRange,
    new: Mapping,
    spares: &mut SparesOf<D>,
) -> Result<Change<D::Removed>, NoSpare> {
    let mut chunk = chunk;
    let mut change = Change::none(new.lblks().start);
    // It is split once at most: half of a chunk has room.
    loop {
        let start = chunk.start;
        // Never returned: the chunk is there, and has the blocks.
        let bug = NoSpare {
            capacity: MAX_RECORDS,
        };
        let part = new.clip(chunk).ok_or(bug)?;
        let look = |chunk: &Chunk<_>| Some((chunk.plan(part)?, chunk.len(), chunk.capacity()));
        let (plan, len, capacity) = chunks.at_or_before(start, look).flatten().ok_or(bug)?;
        if plan.len > MAX_RECORDS {
            let spare = spares.place(MAX_RECORDS)?.take().ok_or(bug)?;
            let split = chunks.change(start, |chunk| chunk.split_off(spare.records));
            let split = split.flatten().ok_or(bug)?;
            let middle = split.lblks().start;
            chunks.insert(split, spare.node);
            chunk = if part.lblks().start < middle {
                LblkRange {
                    end: middle,
                    ..chunk
                }
            } else {
                LblkRange {
                    start: middle,
                    ..chunk
                }
            };
            continue;
        }
        if plan.len > capacity {
            let capacity = plan.len.next_power_of_two().clamp(MIN_CAPACITY, MAX_RECORDS);
            if let Some(spare) = spares.place(capacity)? {
                chunks.change(start, |chunk| chunk.exchange(&mut spare.records));
            }
        }
        let done = chunks.change(start, |chunk| chunk.apply(&plan));
        done.flatten().ok_or(bug)?;
        change.next = part.lblks().end;
        change.reserved = plan.reserved;
        (change.before, change.after) = (len, plan.len);
        change.merge(merge(chunks, chunk.end));
        change.merge(merge(chunks, start));
        return Ok(change);
    }
}

/// [`set`], in the gap behind the chunk `before`.
fn set_unknown<D: Directory>(
    chunks: &mut D,
    before: Option<LblkRange>,
    new: Mapping,
    spares: &mut SparesOf<D>,
) -> Result<Change<D::Removed>, NoSpare> {
    let from = new.lblks().start;
    let end = chunks.at_or_behind(from, |chunk| chunk.lblks().start);
    let gap = LblkRange {
        start: from,
        end: end.unwrap_or(Lblk::END),
    };
    // Nothing is in the gap only if nothing is in the mapping.
    let Some(part) = new.clip(gap) else {
        return Ok(Change::none(new.lblks().end));
    };
    let mut change = Change::none(part.lblks().end);
    let appended = before.filter(|before| before.end == from).and_then(|before| {
        chunks.change(before.start, |chunk| chunk.append(&Few::one(part)))?
    });
    if let Some(joined) = appended {
        change.after = usize::from(!joined);
    } else if let Some(mut spare) = spares.gap.take() {
        // BOUNDS: spares have room.
        if spare.records.push(part.into()).is_none() {
            return Ok(change);
        }
        chunks.insert(Chunk::new(spare.records), spare.node);
        change.after = 1;
    } else if part.is_in_tree() {
        return Ok(change);
    } else {
        return Err(NoSpare {
            capacity: MIN_CAPACITY,
        });
    }
    change.merge(merge(chunks, part.lblks().end));
    Ok(change)
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
