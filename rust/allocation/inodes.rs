// SPDX-License-Identifier: GPL-2.0

//! Where to look for a free inode: parent and kind → groups, one after the other → an inode.
//!
//! | what | where |
//! | --- | --- |
//! | directory of the top level | spread: in the flex group with the fewest directories, of those with no fewer free inodes and blocks than the average |
//! | other directory | near its parent, unless too much is used there |
//! | anything else | in its parent's group, then its flex group; then groups at growing distances, which differ from parent to parent |
//!
//! What that does not find is looked for in every group. As with blocks, reading the bitmap is the
//! caller's, who asks again if it was in vain.

use super::{
    Bitmap,
    Geometry,
    Groups,
    Sum,
    Summary, //
};
use crate::ondisk::{
    GroupNumber,
    Ino, //
};
use core::{
    num::NonZeroU64,
    ops::Deref, //
};

/// What an inode is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory whose parent is the root, or has `EXT4_TOPDIR_FL`. Groups that are equally good
    /// are distinguished by a number, for which a hash of the name will do.
    TopDirectory(u32),
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// A search for an inode, as far as it has come.
#[derive(Clone, Debug)]
pub struct InodeSearch<'a> {
    geometry: Geometry<'a>,
    parent: Ino,
    total: Sum,
    stage: Option<Stage>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The flex group is to be chosen for a directory of the top level.
    Spread { random: u32 },
    /// The flex group is to be chosen for another directory.
    Near,
    /// Groups of the flex group of `first`, as many as have been passed.
    Flex {
        first: GroupNumber,
        passed: u32,
        kind: Kind,
    },
    /// Groups at distances that double.
    Hash { group: u32, step: u32 },
    /// All groups, as many as have been passed.
    All { passed: u32 },
}

impl<'a> InodeSearch<'a> {
    /// A search for an inode in directory `parent`, on a volume that has `total`.
    pub fn new(geometry: Geometry<'a>, parent: Ino, kind: Kind, total: Sum) -> Self {
        let stage = match kind {
            Kind::TopDirectory(random) => Stage::Spread { random },
            Kind::Directory => Stage::Near,
            Kind::Other => Stage::Flex {
                first: geometry.volume().group_of(parent),
                passed: 0,
                kind,
            },
        };
        Self {
            geometry,
            parent,
            total,
            stage: Some(stage),
        }
    }

    /// The group to look into next, if one is left.
    pub fn next(&mut self, summary: impl Fn(GroupNumber) -> Summary) -> Option<GroupNumber> {
        loop {
            let (group, needs_blocks) = match self.stage? {
                Stage::Spread { random } => {
                    let chosen = self.spread(random, &summary);
                    self.stage = Some(self.flex_stage(chosen, Stage::Near));
                    continue;
                }
                Stage::Near => {
                    let chosen = self.near(&summary);
                    self.stage = Some(self.flex_stage(chosen, Stage::All { passed: 0 }));
                    continue;
                }
                Stage::Flex {
                    first,
                    passed,
                    kind,
                } => {
                    let Groups { start, end } = self.geometry.flex(first);
                    if passed >= end.saturating_sub(start) {
                        self.stage = Some(self.stage_after_flex(kind));
                        continue;
                    }
                    // OVERFLOW: less than the size of a flex group.
                    let passed_now = passed.saturating_add(1);
                    self.stage = Some(Stage::Flex {
                        first,
                        passed: passed_now,
                        kind,
                    });
                    (self.geometry.nth_from(first, passed), kind == Kind::Other)
                }
                Stage::Hash { group, step } => {
                    let count = self.geometry.volume().groups_count();
                    if step >= count.get() {
                        self.stage = Some(Stage::All { passed: 0 });
                        continue;
                    }
                    let number = u64::from(group).saturating_add(step.into());
                    let number = number % NonZeroU64::from(count);
                    // CAST: less than the number of groups.
                    let group = u32::try_from(number).unwrap_or(0);
                    let step = step.saturating_mul(2);
                    self.stage = Some(Stage::Hash { group, step });
                    (self.geometry.volume().group(group), true)
                }
                Stage::All { passed } => {
                    let parent = self.geometry.volume().group_of(self.parent);
                    let group = self.geometry.nth_from(parent, passed);
                    self.stage = group.map(|_| Stage::All {
                        passed: passed.saturating_add(1),
                    });
                    (group, false)
                }
            };
            let group = group?;
            let summary = summary(group);
            if summary.free_inodes() > 0 && (!needs_blocks || summary.free_blocks() > 0) {
                return Some(group);
            }
        }
    }

    fn flex_stage(&self, chosen: Option<GroupNumber>, otherwise: Stage) -> Stage {
        chosen.map_or(otherwise, |first| Stage::Flex {
            first,
            passed: 0,
            kind: Kind::Directory,
        })
    }

    fn stage_after_flex(&self, kind: Kind) -> Stage {
        if kind != Kind::Other {
            return Stage::All { passed: 0 };
        }
        let volume = self.geometry.volume();
        let count = NonZeroU64::from(volume.groups_count());
        // Files of one directory stay together, and apart from those of another in its group.
        let number =
            u64::from(volume.group_of(self.parent).get()).saturating_add(self.parent.get().into());
        Stage::Hash {
            // CAST: less than the number of groups.
            group: u32::try_from(number % count).unwrap_or(0),
            step: 1,
        }
    }

    /// What a flex group has on average.
    fn average(&self) -> Sum {
        let count = NonZeroU64::from(self.geometry.flex_count());
        Sum {
            free_blocks: self.total.free_blocks / count,
            free_inodes: self.total.free_inodes / count,
            used_dirs: self.total.used_dirs / count,
        }
    }

    /// The first groups of all flex groups from `start` on, and what those have.
    fn flexes<'s>(
        &'s self,
        start: GroupNumber,
        summary: &'s impl Fn(GroupNumber) -> Summary,
    ) -> impl Iterator<Item = (GroupNumber, Sum)> + 's {
        let geometry = self.geometry;
        let volume = geometry.volume();
        let size = volume.settings().groups_per_flex().get();
        let count = NonZeroU64::from(geometry.flex_count());
        let start = u64::from(start.get() / volume.settings().groups_per_flex());
        (0..count.get())
            // OVERFLOW: a number of 33 bits.
            .map(move |n| start.saturating_add(n) % count)
            .filter_map(move |flex| {
                let group = u32::try_from(flex).ok()?.checked_mul(size)?;
                let group = volume.group(group)?;
                Some((group, Sum::of_flex(geometry, group, summary)))
            })
    }

    fn spread(
        &self,
        random: u32,
        summary: &impl Fn(GroupNumber) -> Summary,
    ) -> Option<GroupNumber> {
        let average = self.average();
        let start = random % self.geometry.volume().groups_count();
        self.flexes(self.geometry.volume().group(start)?, summary)
            .filter(|(_, sum)| {
                sum.free_inodes > 0
                    && sum.free_inodes >= average.free_inodes
                    && sum.free_blocks >= average.free_blocks
            })
            // Of several the first.
            .min_by_key(|(_, sum)| sum.used_dirs)
            .map(|(group, _)| group)
    }

    fn near(&self, summary: &impl Fn(GroupNumber) -> Summary) -> Option<GroupNumber> {
        let volume = self.geometry.volume();
        let size = u64::from(volume.settings().groups_per_flex().get());
        // OVERFLOW: 2^31 groups of 2^15.
        let inodes = size.saturating_mul(volume.inodes_per_group().get().into());
        let blocks = size.saturating_mul(volume.blocks_per_group().get().into());
        let average = self.average();
        let max_dirs = average.used_dirs.saturating_add(inodes / 16);
        let min_inodes = average.free_inodes.saturating_sub(inodes / 4).max(1);
        let min_blocks = average.free_blocks.saturating_sub(blocks / 4);

        let parent = volume.group_of(self.parent);
        let (first, _) = self.flexes(parent, summary).find(|(_, sum)| {
            sum.used_dirs < max_dirs
                && sum.free_inodes >= min_inodes
                && sum.free_blocks >= min_blocks
        })?;
        let is_parents = self.geometry.flex(first) == self.geometry.flex(parent);
        Some(if is_parents { parent } else { first })
    }
}

/// The first free inode of a group that is not reserved; none, if the bitmap has none.
pub fn find_inode<B: Deref<Target = [u8]>>(
    geometry: Geometry<'_>,
    group: GroupNumber,
    bitmap: &Bitmap<B>,
) -> Option<Ino> {
    let volume = geometry.volume();
    let per_group = volume.inodes_per_group().get();
    let before = u64::from(group.get()).saturating_mul(per_group.into());
    // Inode 1 has bit 0 of group 0.
    let reserved = u64::from(volume.first_ino().saturating_sub(1)).saturating_sub(before);
    let bit = bitmap.next_clear(u32::try_from(reserved).ok()?)?;
    let number = before.checked_add(bit.into())?.checked_add(1)?;
    volume.ino(u32::try_from(number).ok()?)
}
