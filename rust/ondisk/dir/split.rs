// SPDX-License-Identifier: GPL-2.0

//! A block of names made into two: names → sorted by their hashes → cut at half of their bytes →
//! lower and upper half.
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst).

use super::{
    DirBlock,
    Entry,
    LeafMut,
    NewEntry, //
};
use crate::ondisk::{
    hash::Hasher,
    BlockSize,
    Crc32c, //
};

/// The bit of a hash that says: names of this hash are before, too.
const CONTINUES: u32 = 1;

/// One name of a block, while the names are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    hash: u32,
    /// Where its entry begins, in bytes.
    pos: u16,
    /// Bytes of the shortest entry with it.
    len: u16,
}

impl Slot {
    /// Names in the largest block, at most.
    pub const MAX: usize = BlockSize::MAX_LEN / super::MIN_REC_LEN;
}

/// How the names of a block become those of two.
///
/// # Invariants
///
/// None is empty; no hash in `lower` is above one in `upper`.
#[derive(Debug)]
pub(in crate::ondisk) struct Cut<'s> {
    lower: &'s [Slot],
    upper: &'s [Slot],
    /// Whether the name to be added goes to the upper half.
    is_above: bool,
}

impl<'s> Cut<'s> {
    /// Cuts the names of a block, so that there is room for another one. Takes as much of `scratch`
    /// as there are names. Gives nothing if that is not enough, if the name cannot be one, or if
    /// so much of the block is free that one name fits without a cut.
    pub(in crate::ondisk) fn new(
        leaf: &LeafMut<'_>,
        hasher: &Hasher,
        entry: &NewEntry<'_>,
        scratch: &'s mut [Slot],
    ) -> Option<Self> {
        let slots = gather(leaf, hasher, scratch)?;
        sort(slots);
        let at = half(slots);
        let (lower, upper) = slots.split_at_checked(at)?;
        let (_, least) = (lower.first()?, upper.first()?);
        // INVARIANT: Both have a first name, and were sorted.
        let cut = Self {
            is_above: hasher.hash(entry.name).major >= least.hash,
            lower,
            upper,
        };
        let used = bytes(if cut.is_above { cut.upper } else { cut.lower });
        (used.checked_add(leaf.len_of(entry)?)? <= leaf.names_len()).then_some(cut)
    }

    /// What the entry for the upper half has as its hash.
    pub(in crate::ondisk) fn hash(&self) -> u32 {
        let hash = |slot: Option<&Slot>| slot.map(|slot| slot.hash);
        let least = self.upper.first().map_or(0, |slot| slot.hash);
        if hash(self.lower.last()) == hash(self.upper.first()) {
            least | CONTINUES
        } else {
            least
        }
    }

    /// Moves the upper half to a new block, and adds the name; or nothing, if there cannot be such
    /// a block.
    pub(in crate::ondisk) fn split<C: Crc32c>(
        &self,
        leaf: &mut LeafMut<'_>,
        entry: &NewEntry<'_>,
        new: DirBlock<'_>,
    ) -> Option<()> {
        let mut upper = leaf.another(new.lblk, new.bytes)?;
        upper.fill(self.upper.iter().filter_map(|slot| slot.part(leaf)))?;
        for slot in self.upper {
            leaf.forget(slot.pos.into())?;
        }
        leaf.drop_unused()?;
        if self.is_above {
            upper.put(entry)?;
        } else {
            leaf.put(entry)?;
        }
        upper.seal::<C>()?;
        leaf.seal::<C>()
    }

    /// Copies both halves to new blocks, and adds the name; or nothing, if there cannot be such
    /// blocks.
    pub(in crate::ondisk) fn copy<C: Crc32c>(
        &self,
        leaf: &LeafMut<'_>,
        entry: &NewEntry<'_>,
        [lower, upper]: [DirBlock<'_>; 2],
    ) -> Option<()> {
        let mut lower = leaf.another(lower.lblk, lower.bytes)?;
        let mut upper = leaf.another(upper.lblk, upper.bytes)?;
        lower.fill(self.lower.iter().filter_map(|slot| slot.part(leaf)))?;
        upper.fill(self.upper.iter().filter_map(|slot| slot.part(leaf)))?;
        let to = if self.is_above {
            &mut upper
        } else {
            &mut lower
        };
        to.put(entry)?;
        lower.seal::<C>()?;
        upper.seal::<C>()
    }
}

impl Slot {
    fn new(entry: &Entry<'_>, hasher: &Hasher) -> Option<Self> {
        Some(Self {
            hash: hasher.hash(entry.name()).major,
            pos: u16::try_from(entry.pos()).ok()?,
            len: u16::try_from(entry.min_len()?).ok()?,
        })
    }

    /// The entry in the block that it is of.
    fn part<'l>(&self, leaf: &'l LeafMut<'_>) -> Option<&'l [u8]> {
        // OVERFLOW: less than a block.
        let end = usize::from(self.pos).saturating_add(self.len.into());
        leaf.names().get(self.pos.into()..end)
    }
}

/// The names of a block, but for those of the directory itself and of the one above.
fn gather<'s>(
    leaf: &LeafMut<'_>,
    hasher: &Hasher,
    scratch: &'s mut [Slot],
) -> Option<&'s mut [Slot]> {
    let mut len = 0_usize;
    for entry in leaf.leaf().entries().flatten() {
        if super::is_name(entry.name()) {
            *scratch.get_mut(len)? = Slot::new(&entry, hasher)?;
            len = len.checked_add(1)?;
        }
    }
    scratch.get_mut(..len)
}

/// Sorts by comparing what is far apart first, and then ever closer. The sort of `core` may panic,
/// which the kernel's tools do not like; and a block has few names.
fn sort(slots: &mut [Slot]) {
    let mut gap = slots.len();
    let mut is_sorted = false;
    while gap > 1 || !is_sorted {
        // OVERFLOW: at most `Slot::MAX`.
        gap = (gap.saturating_mul(10) / 13).max(1);
        is_sorted = true;
        for start in 0..slots.len().saturating_sub(gap) {
            let end = start.saturating_add(gap);
            if slots.get(start) > slots.get(end) {
                slots.swap(start, end);
                is_sorted = false;
            }
        }
    }
}

fn bytes(slots: &[Slot]) -> usize {
    slots.iter().map(|slot| usize::from(slot.len)).sum()
}

/// How many names come before the middle of all their bytes, an entry being where most of it is: of
/// two or more not none, and not all.
fn half(slots: &[Slot]) -> usize {
    let total = bytes(slots);
    let mut before = 0_usize;
    let is_below = |slot: &&Slot| {
        let len = usize::from(slot.len);
        // OVERFLOW: twice a block.
        let twice_middle = before.saturating_mul(2).saturating_add(len);
        before = before.saturating_add(len);
        twice_middle < total
    };
    slots.iter().take_while(is_below).count()
}

#[cfg(test)]
mod tests {
    use super::{
        half,
        sort,
        Slot, //
    };

    fn slot(n: usize, len: u16) -> Slot {
        Slot {
            hash: (n as u32).wrapping_mul(0x9e37_79b9) & !1,
            pos: n as u16,
            len,
        }
    }

    #[test]
    fn names_are_sorted_by_hash_and_then_by_place() {
        for len in 0..=Slot::MAX {
            let mut slots: [Slot; Slot::MAX] = core::array::from_fn(|n| slot(n, 12));
            for slot in slots.iter_mut().skip(len / 2) {
                slot.hash &= 0x30;
            }
            let mut expected = slots;
            let (sorted, expected) = (&mut slots[..len], &mut expected[..len]);
            expected.sort_unstable();
            sort(sorted);
            assert_eq!(sorted, expected);
            sorted.reverse();
            sort(sorted);
            assert_eq!(sorted, expected);
        }
    }

    #[test]
    fn halves_are_of_bytes_and_never_empty() {
        let cases: [(&[u16], usize); 9] = [
            (&[], 0),
            (&[12], 0),
            (&[12, 12], 1),
            (&[12, 264], 1),
            (&[264, 12], 1),
            (&[12, 12, 12, 264], 3),
            (&[264, 12, 12, 12], 1),
            (&[12, 12, 264, 12], 2),
            (&[264, 264, 264, 220], 2),
        ];
        for (lens, expected) in cases {
            let mut slots = [Slot::default(); 4];
            for (to, len) in slots.iter_mut().zip(lens) {
                *to = slot(0, *len);
            }
            assert_eq!(half(&slots[..lens.len()]), expected, "{lens:?}");
        }
    }
}
