// SPDX-License-Identifier: GPL-2.0

//! Where to look for free blocks: request → groups to probe, one after the other → blocks, or none.
//!
//! 1. At the goal itself, if that is where the file ends: whatever is free there goes on with the
//!    last extent, so even a block less than wanted is no new one. For a huge page this comes first only if it has
//!    all of it there, and straight; else it comes after 2.
//! 2. All groups, from that of the goal through its flex group and onward, for what is wanted.
//!    Long requests first look for blocks that huge pages can map, down to one such page; short ones
//!    pass over groups whose bitmap was never written, which are the long ones' to begin with.
//! 3. The same for half of it, a quarter, ... one block.
//! 4. For one block, in the windows of other files.
//!
//! A group is probed if its [`Summary`] does not say that it would be in vain. A pass over groups
//! ends after [`PROBES`] of them were, since on a fresh mount each reads its bitmap; only one that
//! looks for single blocks goes over all. Reading is the caller's, and may sleep or fail:
//!
//! ```
//! # use allocation::{Bitmap, Geometry, Held, Look, Ranges, Request, Search, Summary};
//! # use ondisk::{GroupNumber, PblkRange};
//! # fn search<'a>(
//! #     geometry: Geometry<'_>,
//! #     request: &Request,
//! #     summaries: &mut [Summary],
//! #     read_bitmap: impl Fn(GroupNumber) -> Option<Bitmap<&'a [u8]>>,
//! #     held: &impl Ranges,
//! # ) -> Option<PblkRange> {
//! let mut search = Search::new(geometry, request);
//! while let Some(probe) = search.next(|group| summaries[group.get() as usize]) {
//!     let summary = &mut summaries[probe.group().get() as usize];
//!     let Some(bitmap) = read_bitmap(probe.group()) else {
//!         summary.set_bad();
//!         continue;
//!     };
//!     // Here the lock of the group is taken, and kept until the blocks are claimed.
//!     let Look { blocks, longest } = probe.look(geometry, &bitmap, held);
//!     if let Some(longest) = longest {
//!         summary.scanned(longest);
//!     }
//!     if blocks.is_some() {
//!         return blocks;
//!     }
//! }
//! None
//! # }
//! ```

use super::{
    huge,
    probe::{
        Probe,
        Want, //
    },
    Geometry,
    Groups,
    Place,
    Summary, //
};
use crate::ondisk::{
    Blocks,
    GroupNumber,
    Lblk,
    Pblk, //
};

/// Groups that a pass over all of them probes, at most.
pub const PROBES: u32 = 16;

/// Where blocks should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// There, as the file's last extent ends there.
    At(Pblk),
    /// Not far from there.
    Near(Pblk),
}

/// What blocks are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where.
    pub goal: Goal,
    /// Which block of the file the first is for: its place in a huge page is the block's.
    pub lblk: Lblk,
    /// How many, at least one; there may be fewer in one piece.
    pub n: Blocks,
    /// Whether huge pages are to map them.
    pub huge: bool,
}

/// One way over all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Only the goal, if at least `len` blocks are free there.
    Goal { len: u32 },
    /// At least `len` blocks with the alignment that huge pages need.
    Aligned { len: u32 },
    /// At least `len` blocks, in groups whose bitmap is written.
    Written { len: u32 },
    /// At least `len` blocks.
    Any { len: u32 },
    /// Windows, too.
    Seize,
}

/// A search for blocks, as far as it has come.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    geometry: Geometry<'a>,
    goal: Place,
    lblk: Lblk,
    n: u32,
    /// Where the file ends, if it is to go on there.
    end: Option<Pblk>,
    /// Whether a huge page begins with them.
    huge: bool,
    pass: Option<Pass>,
    /// How many groups this pass has passed.
    passed: u32,
    /// How many of them were probed.
    probed: u32,
}

impl<'a> Search<'a> {
    /// A search that begins. A goal outside of the groups is taken for the beginning of the volume.
    pub fn new(geometry: Geometry<'a>, request: &Request) -> Self {
        let (Goal::At(pblk) | Goal::Near(pblk)) = request.goal;
        let place = geometry.place(pblk);
        let per_group = geometry.volume().blocks_per_group().get();
        let n = u32::try_from(request.n.0).unwrap_or(per_group);
        let n = n.clamp(1, per_group);
        let end = match request.goal {
            Goal::At(pblk) if place.is_some() => Some(pblk),
            _ => None,
        };
        let mut search = Self {
            geometry,
            goal: place.unwrap_or(geometry.first()),
            lblk: request.lblk,
            n,
            end,
            huge: request.huge
                && n >= geometry.huge().get()
                && huge::begins_page(geometry, request.lblk),
            pass: None,
            passed: 0,
            probed: 0,
        };
        search.pass = Some(search.first_pass());
        search
    }

    /// The group to look into next, if one is left.
    pub fn next(&mut self, summary: impl Fn(GroupNumber) -> Summary) -> Option<Probe> {
        loop {
            let pass = self.pass?;
            let Some(group) = self.next_group() else {
                self.pass = self.pass_after(pass);
                (self.passed, self.probed) = (0, 0);
                continue;
            };
            if self.is_hopeful(pass, group, summary(group)) {
                self.probed = self.probed.saturating_add(1);
                return Some(self.probe(pass, group));
            }
        }
    }

    /// The next group of this pass.
    fn next_group(&mut self) -> Option<GroupNumber> {
        let (groups, probes) = match self.pass? {
            Pass::Goal { .. } => (1, 1),
            Pass::Aligned { .. } | Pass::Written { .. } => (u32::MAX, PROBES),
            Pass::Any { len } if len > 1 => (u32::MAX, PROBES),
            Pass::Any { .. } | Pass::Seize => (u32::MAX, u32::MAX),
        };
        if self.passed >= groups || self.probed >= probes {
            return None;
        }
        let group = self.geometry.nth_from(self.goal.group, self.passed)?;
        self.passed = self.passed.saturating_add(1);
        Some(group)
    }

    fn is_hopeful(&self, pass: Pass, group: GroupNumber, summary: Summary) -> bool {
        match pass {
            Pass::Goal { .. } | Pass::Seize => summary.free_blocks() > 0,
            Pass::Aligned { len } | Pass::Any { len } => summary.longest() >= len,
            Pass::Written { len } => {
                let is_written = !summary.is_block_uninit() || group == self.goal.group;
                is_written && summary.longest() >= len
            }
        }
    }

    fn probe(&self, pass: Pass, group: GroupNumber) -> Probe {
        let from = if group == self.goal.group {
            self.goal.bit
        } else {
            0
        };
        let (want, seize) = match pass {
            Pass::Goal { len } => (Want::At { len }, false),
            Pass::Aligned { len } => (
                Want::Aligned {
                    len,
                    lblk: self.lblk,
                },
                false,
            ),
            Pass::Written { len } | Pass::Any { len } => (Want::Run { len }, false),
            Pass::Seize => (Want::Run { len: 1 }, true),
        };
        Probe {
            group,
            from,
            n: self.n,
            want,
            seize,
        }
    }

    fn first_pass(&self) -> Pass {
        match self.end {
            Some(_) if !self.huge => Pass::Goal { len: 1 },
            Some(end) if huge::is_straight(self.geometry, self.lblk, end) => Pass::Goal {
                len: self.geometry.huge().get(),
            },
            _ => self.pass_elsewhere(),
        }
    }

    /// The first pass over all groups.
    fn pass_elsewhere(&self) -> Pass {
        if self.n >= self.geometry.huge().get() {
            Pass::Aligned { len: self.n }
        } else {
            self.pass_for(self.n)
        }
    }

    /// The first pass for blocks without alignment.
    fn pass_for(&self, len: u32) -> Pass {
        if len >= self.geometry.huge().get() {
            Pass::Any { len }
        } else {
            Pass::Written { len }
        }
    }

    fn pass_after(&self, pass: Pass) -> Option<Pass> {
        Some(match pass {
            Pass::Goal { len: 1 } if self.huge => self.pass_for(self.n),
            Pass::Goal { .. } => self.pass_elsewhere(),
            Pass::Aligned { len } if len / 2 >= self.geometry.huge().get() => {
                Pass::Aligned { len: len / 2 }
            }
            Pass::Aligned { .. } if self.huge && self.end.is_some() => Pass::Goal { len: 1 },
            Pass::Aligned { .. } => self.pass_for(self.n),
            Pass::Written { len } => Pass::Any { len },
            Pass::Any { len } if len > 1 => self.pass_for(len / 2),
            Pass::Any { .. } => Pass::Seize,
            Pass::Seize => return None,
        })
    }
}

impl Geometry<'_> {
    /// The first block of the first group.
    fn first(self) -> Place {
        Place {
            group: self.volume().group_of(crate::ondisk::Ino::ROOT),
            bit: 0,
        }
    }

    /// All groups in the order of their distance from `group`: that itself, those behind it in its
    /// flex group and then those before, the flex groups behind, and from the first on.
    pub(super) fn nth_from(self, group: GroupNumber, n: u32) -> Option<GroupNumber> {
        let count = self.volume().groups_count();
        if n >= count.get() {
            return None;
        }
        let Groups { start, end } = self.flex(group);
        let size = core::num::NonZeroU64::new(end.saturating_sub(start).into())?;
        let (n, count) = (u64::from(n), core::num::NonZeroU64::from(count));
        // OVERFLOW: sums of two numbers of 32 bits.
        let number = if n < size.get() {
            let first = group.get().saturating_sub(start);
            u64::from(start).saturating_add(u64::from(first).saturating_add(n) % size)
        } else {
            let beyond = n.saturating_sub(size.get());
            u64::from(end).saturating_add(beyond) % count
        };
        self.volume().group(u32::try_from(number).ok()?)
    }
}
