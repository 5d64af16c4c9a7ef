// SPDX-License-Identifier: GPL-2.0

//! The chunks of a file, and what is done with them.

use super::{
    Chunk,
    Mapping,
    Records, //
};
use crate::ondisk::{
    Lblk,
    LblkRange, //
};

/// Chunks further on that a lookup takes in, at most, to tell of more blocks.
const MAX_JOINED: usize = 4;

/// The chunks of one file, by the first block that each tells of. No two tell of one block.
pub trait Directory {
    /// What holds the records of a chunk.
    type Records: Records;
    /// Memory for one chunk in the directory.
    type Node;
    /// A chunk that was taken out.
    type Removed;

    /// Looks into the last chunk that begins at or before `lblk`, if there is one.
    fn at_or_before<T>(
        &self,
        lblk: Lblk,
        look: impl FnOnce(&Chunk<Self::Records>) -> T,
    ) -> Option<T>;

    /// Looks into the first chunk that begins at or behind `lblk`, if there is one.
    fn at_or_behind<T>(
        &self,
        lblk: Lblk,
        look: impl FnOnce(&Chunk<Self::Records>) -> T,
    ) -> Option<T>;

    /// Changes the chunk that begins at `lblk`, which it does afterwards, too.
    fn change<T>(
        &mut self,
        lblk: Lblk,
        change: impl FnOnce(&mut Chunk<Self::Records>) -> T,
    ) -> Option<T>;

    /// Puts a chunk in, of whose blocks no other tells.
    fn insert(&mut self, chunk: Chunk<Self::Records>, node: Self::Node);

    /// Takes out the chunk that begins at `lblk`.
    fn remove(&mut self, lblk: Lblk) -> Option<Self::Removed>;
}

/// What is known of block `lblk`, and of those around it that it goes on with; `None` if nothing is.
pub fn lookup(chunks: &impl Directory, lblk: Lblk) -> Option<Mapping> {
    let (mut mapping, mut end) =
        chunks.at_or_before(lblk, |chunk| Some((chunk.find(lblk)?, chunk.lblks().end)))??;
    for _ in 0..MAX_JOINED {
        // Only the last of a chunk can go on in the next.
        if mapping.lblks().end != end {
            break;
        }
        let next = chunks.at_or_behind(end, |chunk| {
            Some((mapping.join(chunk.first()?)?, chunk.lblks().end))
        });
        let Some(joined) = next.flatten() else {
            break;
        };
        (mapping, end) = joined;
    }
    Some(mapping)
}

/// The blocks around `lblk` of which nothing is known, as it itself, as far as they lie in `within`.
pub fn gap(chunks: &impl Directory, lblk: Lblk, within: LblkRange) -> LblkRange {
    let start = chunks.at_or_before(lblk, |chunk| chunk.lblks().end);
    let end = chunks.at_or_behind(lblk, |chunk| chunk.lblks().start);
    LblkRange {
        start: start.map_or(within.start, |start| start.max(within.start)),
        end: end.map_or(within.end, |end| end.min(within.end)),
    }
}

/// A chunk that was looked at.
pub struct Swept<N> {
    /// Where the next one begins, at the earliest.
    pub next: Lblk,
    /// How many records it has, or had.
    pub records: usize,
    /// The chunk, if it was taken out.
    pub removed: Option<N>,
}

/// Looks at the first chunk that begins at or behind `lblk`, if there is one, and takes it out if it
/// was not used since it was last swept over, and the disk has all that it tells.
pub fn sweep<D: Directory>(chunks: &mut D, lblk: Lblk) -> Option<Swept<D::Removed>> {
    let (lblks, records, is_idle) =
        chunks.at_or_behind(lblk, |chunk| (chunk.lblks(), chunk.len(), chunk.is_idle()))?;
    let removed = is_idle.then(|| chunks.remove(lblks.start)).flatten();
    Some(Swept {
        next: lblks.end,
        records,
        removed,
    })
}
