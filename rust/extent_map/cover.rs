// SPDX-License-Identifier: GPL-2.0

//! Extents in order → mappings of every block of a range.

use super::{
    Extent,
    Mapping, //
};
use crate::ondisk::LblkRange;

/// What `extents`, which are in order and do not overlap, tell of `range`: mappings without a gap
/// between them, of which no two could be one.
pub fn cover<I>(range: LblkRange, extents: I) -> Cover<I>
where
    I: Iterator<Item = Extent>,
{
    Cover {
        pieces: Pieces {
            rest: range,
            extents,
            next: None,
        },
        held: None,
    }
}

/// The mappings of [`cover`].
#[derive(Clone)]
pub struct Cover<I> {
    pieces: Pieces<I>,
    /// What was taken, and did not continue what came before it.
    held: Option<Mapping>,
}

impl<I: Iterator<Item = Extent>> Iterator for Cover<I> {
    type Item = Mapping;

    fn next(&mut self) -> Option<Mapping> {
        let mut mapping = self.held.take().or_else(|| self.pieces.next())?;
        for piece in self.pieces.by_ref() {
            match mapping.join(piece) {
                Some(joined) => mapping = joined,
                None => {
                    self.held = Some(piece);
                    break;
                }
            }
        }
        Some(mapping)
    }
}

/// The same, not joined.
#[derive(Clone)]
struct Pieces<I> {
    rest: LblkRange,
    extents: I,
    /// The extent before which there is a hole.
    next: Option<Mapping>,
}

impl<I: Iterator<Item = Extent>> Iterator for Pieces<I> {
    type Item = Mapping;

    fn next(&mut self) -> Option<Mapping> {
        let rest = self.rest;
        if rest.start >= rest.end {
            return None;
        }
        let next = self.next.take().or_else(|| {
            self.extents
                .find_map(|extent| Mapping::Extent(extent).clip(rest))
        });
        let piece = match next {
            Some(next) if next.lblks().start == rest.start => next,
            _ => {
                let end = next.map_or(rest.end, |next| next.lblks().start);
                self.next = next;
                Mapping::Hole(LblkRange { end, ..rest })
            }
        };
        self.rest.start = piece.lblks().end;
        Some(piece)
    }
}
