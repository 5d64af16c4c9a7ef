// SPDX-License-Identifier: GPL-2.0

//! What is kept in memory of each group: ten bytes, from its descriptor, and from its bitmap
//! whenever that is looked at.

use super::{
    Geometry,
    Groups, //
};
use crate::ondisk::{
    group::{
        Flags,
        Usage, //
    },
    GroupNumber, //
};

/// What a group has.
///
/// Counts fit into 16 bits, as a bitmap of 4 KiB has 2^15 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    free_blocks: u16,
    /// No run of free blocks is longer; what is held counts as free, as it may soon be.
    longest: u16,
    free_inodes: u16,
    used_dirs: u16,
    state: State,
}

const _: () = assert!(size_of::<Summary>() == 10);

/// Whether a group's bitmaps can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Written,
    /// The block bitmap is to be computed first.
    BlockUninit,
    /// One of them cannot be read, or its checksum is wrong, or so is the descriptor: nothing is
    /// taken from the group.
    Bad,
}

impl Summary {
    /// Of a group whose descriptor cannot be used.
    pub const BAD: Self = Self {
        free_blocks: 0,
        longest: 0,
        free_inodes: 0,
        used_dirs: 0,
        state: State::Bad,
    };

    /// Of a group whose descriptor says that, and whose bitmap nobody has looked at.
    pub fn new(usage: &Usage) -> Self {
        let mut summary = Self {
            longest: u16::MAX,
            state: State::Written,
            ..Self::BAD
        };
        summary.update(usage);
        summary
    }

    /// Takes in what the descriptor says now.
    pub fn update(&mut self, usage: &Usage) {
        if self.state == State::Bad {
            return;
        }
        self.free_blocks = narrow(usage.free_clusters);
        self.longest = self.longest.min(self.free_blocks);
        self.free_inodes = narrow(usage.free_inodes);
        self.used_dirs = narrow(usage.used_dirs);
        self.state = if usage.flags.contains(Flags::BLOCK_UNINIT) {
            State::BlockUninit
        } else {
            State::Written
        };
    }

    /// Takes in how long the longest run of clear bits is, as the whole bitmap was looked at.
    pub fn scanned(&mut self, longest: u32) {
        self.longest = narrow(longest);
    }

    /// Takes in the length of a run that has come to be, after [`update`](Self::update).
    pub fn freed(&mut self, len: u32) {
        self.longest = self.longest.max(narrow(len)).min(self.free_blocks);
    }

    /// Has nothing taken from the group any more.
    pub fn set_bad(&mut self) {
        *self = Self::BAD;
    }

    /// Blocks that are free.
    pub fn free_blocks(&self) -> u32 {
        self.free_blocks.into()
    }

    /// A length that no run of free blocks exceeds.
    pub fn longest(&self) -> u32 {
        self.longest.into()
    }

    /// Inodes that are free.
    pub fn free_inodes(&self) -> u32 {
        self.free_inodes.into()
    }

    /// Inodes that are directories.
    pub fn used_dirs(&self) -> u32 {
        self.used_dirs.into()
    }

    /// Whether the block bitmap is to be computed first.
    pub fn is_block_uninit(&self) -> bool {
        self.state == State::BlockUninit
    }
}

fn narrow(count: u32) -> u16 {
    // CAST: at most the bits of a block, see above.
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// What several groups have together, or a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
    /// Inodes that are directories.
    pub used_dirs: u64,
}

impl Sum {
    /// Of the flex group that has `group`; of the group alone, without `flex_bg`.
    pub fn of_flex(
        geometry: Geometry<'_>,
        group: GroupNumber,
        summary: impl Fn(GroupNumber) -> Summary,
    ) -> Self {
        let Groups { start, end } = geometry.flex(group);
        (start..end)
            .filter_map(|number| geometry.volume().group(number))
            .map(summary)
            .fold(Self::default(), Self::with)
    }

    /// And of one more group.
    #[must_use]
    pub fn with(self, group: Summary) -> Self {
        // OVERFLOW: 2^32 groups of 2^15.
        Self {
            free_blocks: self.free_blocks.saturating_add(group.free_blocks.into()),
            free_inodes: self.free_inodes.saturating_add(group.free_inodes.into()),
            used_dirs: self.used_dirs.saturating_add(group.used_dirs.into()),
        }
    }
}
