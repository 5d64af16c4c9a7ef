// SPDX-License-Identifier: GPL-2.0

//! What is known in memory of where a volume has room: from the descriptors, when it is mounted →
//! changed with every transaction that takes or frees something.
//!
//! Groups are kept in stripes, each with every so many-th of them, and locks of its own: those who
//! change groups that are not far from each other do not wait for each other, and there are not as
//! many locks as groups.
//!
//! `changing`, which is `group` in [`locks`](crate::fs::locks), is for the bitmaps and the descriptors of
//! the groups on the disk; `known`, which is `held` there, for what is said of them here. Both are held
//! where the two have to agree. What is freed is had again when a commit says so, who takes `known` only.

use super::ranges::{
    HeldTree,
    Spare, //
};
use crate::{
    allocation::{
        self,
        Bitmap,
        Geometry,
        Held,
        Kept,
        NoSpace,
        Probe,
        Run,
        Space,
        Sum,
        Summary,
        Swept,
        Trial,
        Who,
        Why,
        Window, //
    },
    kernel::errno,
    ondisk::{
        group::Usage,
        Blocks,
        GroupNumber,
        Ino,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        MutexGuard,
        SpinLock, //
    },
};
use core::num::NonZeroUsize;

/// How many stripes there are, at most.
const STRIPES: usize = 64;
/// Ranges that are looked at while a lock is held, at most.
const MAX_SWEPT: usize = 64;

/// Where a volume has room.
#[pin_data]
pub(in crate::fs) struct Allocator {
    /// Group `n` is in stripe `n % stripes.len()`.
    stripes: KVec<Pin<KBox<Stripe>>>,
    count: NonZeroUsize,
    #[pin]
    space: SpinLock<Counts>,
}

/// Some of the groups.
#[pin_data]
struct Stripe {
    #[pin]
    changing: Mutex<()>,
    #[pin]
    known: SpinLock<Known>,
}

/// What is known of them.
struct Known {
    /// Group `n` is number `n / stripes.len()`.
    summaries: KVVec<Summary>,
    held: HeldTree,
    /// Blocks in `held` that were freed.
    freed: u64,
}

/// What all groups have together.
struct Counts {
    space: Space,
    /// How often blocks that were in use, or held, have become free.
    returns: u64,
    free_inodes: u64,
    used_dirs: u64,
}

impl Allocator {
    /// That of a volume with these groups, of whose free blocks some are kept.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(groups: &KVVec<Summary>, kept: Kept) -> Result<Arc<Self>> {
        let count = NonZeroUsize::new(groups.len().min(STRIPES)).ok_or(EINVAL)?;
        let mut stripes = KVec::with_capacity(count.get(), GFP_KERNEL)?;
        for n in 0..count.get() {
            let mut summaries =
                KVVec::with_capacity(groups.len().div_ceil(count.get()), GFP_KERNEL)?;
            for summary in groups.iter().skip(n).step_by(count.get()) {
                summaries.push(*summary, GFP_KERNEL)?;
            }
            let stripe = KBox::pin_init(Stripe::new(summaries), GFP_KERNEL)?;
            stripes.push(stripe, GFP_KERNEL)?;
        }
        let sum = groups.iter().copied().fold(Sum::default(), Sum::with);
        Arc::pin_init(
            pin_init!(Self {
                stripes,
                count,
                space <- new_spinlock!(
                    Counts {
                        space: Space::new(sum.free_blocks, kept),
                        returns: 0,
                        free_inodes: sum.free_inodes,
                        used_dirs: sum.used_dirs,
                    },
                    "stablefs::space"
                ),
            }),
            GFP_KERNEL,
        )
    }

    /// Where a group is.
    fn find(&self, group: GroupNumber) -> Option<(&Stripe, usize)> {
        let n = usize::try_from(group.get()).ok()?;
        Some((self.stripes.get(n % self.count)?, n / self.count))
    }

    /// What is known of a group.
    pub(in crate::fs) fn summary(&self, group: GroupNumber) -> Summary {
        self.find(group)
            .and_then(|(stripe, n)| stripe.known.lock().summaries.get(n).copied())
            .unwrap_or(Summary::BAD)
    }

    /// What all groups have together.
    pub(in crate::fs) fn total(&self) -> Sum {
        let counts = self.space.lock();
        Sum {
            free_blocks: counts.space.free(),
            free_inodes: counts.free_inodes,
            used_dirs: counts.used_dirs,
        }
    }

    /// Blocks whose bits are clear, reserved or not.
    pub(in crate::fs) fn unused(&self) -> u64 {
        let counts = self.space.lock();
        counts.space.free().saturating_add(counts.space.reserved())
    }

    /// Blocks that were freed, and are free with the next commit.
    pub(in crate::fs) fn freed(&self) -> Blocks {
        Blocks(self.space.lock().space.freed())
    }

    /// Another number each time that blocks have become free. As long as it is the same, who has reserved
    /// blocks finds some: a search over all groups can miss such as became free behind it, while others
    /// took those before it.
    pub(in crate::fs) fn returns(&self) -> u64 {
        self.space.lock().returns
    }

    /// Reserves blocks: all or none. See [`Space::reserve`].
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub(in crate::fs) fn reserve(&self, n: Blocks, who: Who) -> Result<(), NoSpace> {
        self.space.lock().space.reserve(n.0, who)
    }

    /// Promises that blocks can become data. See [`Space::promise`].
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub(in crate::fs) fn promise(&self, n: Blocks) -> Result<(), NoSpace> {
        self.space.lock().space.promise(n.0)
    }

    /// Whether that can be promised. See [`Space::check_nodes`].
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub(in crate::fs) fn check_nodes(&self, n: Blocks) -> Result<(), NoSpace> {
        self.space.lock().space.check_nodes(n.0)
    }

    /// Begins to find out what there is room for. See [`Space::trial`].
    pub(in crate::fs) fn trial(&self) -> Trial {
        self.space.lock().space.trial()
    }

    /// See [`Space::owe`].
    pub(in crate::fs) fn owe(&self, n: u64) {
        if n > 0 {
            self.space.lock().space.owe(n);
        }
    }

    /// See [`Space::settle`].
    pub(in crate::fs) fn settle(&self, n: u64) {
        if n > 0 {
            self.space.lock().space.settle(n);
        }
    }

    /// Blocks that are reserved, or promised to become data.
    pub(in crate::fs) fn pending(&self) -> Blocks {
        Blocks(self.space.lock().space.pending())
    }

    /// Gives back reserved blocks that were not needed; nothing if there are not so many.
    pub(in crate::fs) fn cancel(&self, n: Blocks) -> Option<()> {
        self.space.lock().space.cancel(n.0)
    }

    /// Notes that reserved blocks are taken; nothing if there are not so many.
    pub(in crate::fs) fn take(&self, n: Blocks) -> Option<()> {
        self.space.lock().space.take(n.0)
    }

    /// Gives up what remains of a window in a group.
    pub(in crate::fs) fn close_window(&self, group: GroupNumber, window: &mut Window, ino: Ino) {
        if let Some((stripe, _)) = self.find(group) {
            window.close(&mut stripe.known.lock().held, ino);
        }
    }

    /// Waits until nobody else changes a group.
    ///
    /// # Context
    ///
    /// Sleeps. No other group is locked.
    pub(in crate::fs) fn lock(&self, group: GroupNumber) -> Result<Group<'_>> {
        let (stripe, n) = self.find(group).ok_or(EINVAL)?;
        Ok(Group {
            allocator: self,
            stripe,
            n,
            _changing: stripe.changing.lock(),
        })
    }

    /// Has what was freed up to transaction `tid`, which is committed, be free.
    ///
    /// # Context
    ///
    /// Takes spinlocks only.
    pub(in crate::fs) fn commit(&self, tid: u32) {
        for stripe in &self.stripes {
            let mut next = Some(Pblk(0));
            while let Some(pblk) = next {
                let (freed, rest) = stripe.sweep(pblk, tid);
                if freed > 0 {
                    let mut counts = self.space.lock();
                    // What was freed has been noted so before it was held.
                    let _ = counts.space.commit(freed);
                    counts.returns = counts.returns.wrapping_add(1);
                }
                next = rest;
            }
        }
    }
}

impl Stripe {
    fn new(summaries: KVVec<Summary>) -> impl PinInit<Self> {
        pin_init!(Self {
            changing <- new_mutex!((), "stablefs::group"),
            known <- new_spinlock!(
                Known { summaries, held: HeldTree::new(), freed: 0 },
                "stablefs::held"
            ),
        })
    }

    /// Gives up some of the ranges that were freed up to transaction `tid`, from `pblk` on: how many
    /// blocks they have, and where to go on, unless those were all.
    fn sweep(&self, mut pblk: Pblk, tid: u32) -> (u64, Option<Pblk>) {
        let mut freed = 0_u64;
        let mut known = self.known.lock();
        for _ in 0..MAX_SWEPT {
            if known.freed == 0 {
                return (freed, None);
            }
            let Some(Swept { next, freed: n }) = allocation::sweep(&mut known.held, pblk, tid)
            else {
                return (freed, None);
            };
            if let Some(n) = n {
                // OVERFLOW: blocks of the volume.
                freed = freed.saturating_add(n.0);
                known.freed = known.freed.saturating_sub(n.0);
            }
            pblk = next;
        }
        (freed, Some(pblk))
    }
}

/// A group that nobody else changes.
pub(in crate::fs) struct Group<'a> {
    allocator: &'a Allocator,
    stripe: &'a Stripe,
    n: usize,
    _changing: MutexGuard<'a, ()>,
}

impl Group<'_> {
    /// Looks into the group for blocks, which are nobody's then: see [`Probe::look`].
    pub(in crate::fs) fn look(
        &self,
        geometry: Geometry<'_>,
        probe: &Probe,
        bitmap: &Bitmap<&mut [u8]>,
    ) -> Option<PblkRange> {
        let mut known = self.stripe.known.lock();
        let look = probe.look(geometry, bitmap, &known.held);
        if let (Some(longest), Some(summary)) = (look.longest, known.summaries.get_mut(self.n)) {
            summary.scanned(longest);
        }
        if let Some(blocks) = look.blocks {
            allocation::seize(&mut known.held, blocks);
        }
        look.blocks
    }

    /// Claims blocks of a window: see [`Window::claim`].
    pub(in crate::fs) fn claim(
        &self,
        window: &mut Window,
        ino: Ino,
        goal: Pblk,
        n: Blocks,
        spare: Spare,
    ) -> Option<PblkRange> {
        let mut known = self.stripe.known.lock();
        window.claim(&mut known.held, ino, goal, n, spare)
    }

    /// Gives up a claim, whether the blocks were taken or not.
    pub(in crate::fs) fn unclaim(&self, blocks: PblkRange) {
        allocation::unclaim(&mut self.stripe.known.lock().held, blocks);
    }

    /// Opens a window of blocks that the group has free, and that nobody has taken since they were found
    /// so.
    pub(in crate::fs) fn open(
        &self,
        window: &mut Window,
        ino: Ino,
        blocks: PblkRange,
        spare: Spare,
    ) {
        // Without one, the file does not grow as well as it could.
        let _ = window.open(&mut self.stripe.known.lock().held, ino, blocks, spare);
    }

    /// Notes what the descriptor says now.
    pub(in crate::fs) fn update(&self, usage: &Usage) {
        let mut known = self.stripe.known.lock();
        if let Some(summary) = known.summaries.get_mut(self.n) {
            summary.update(usage);
        }
    }

    /// Notes what the descriptor says now that blocks have been freed in transaction `tid`, and
    /// `around` is how many clear bits have come to be in a row.
    pub(in crate::fs) fn freed(
        &self,
        usage: &Usage,
        blocks: PblkRange,
        around: Run,
        tid: u32,
        spare: Spare,
    ) -> Result<(), Held> {
        let n = blocks.end.0.saturating_sub(blocks.start.0);
        self.allocator.space.lock().space.release(n);
        let mut known = self.stripe.known.lock();
        if let Some(summary) = known.summaries.get_mut(self.n) {
            summary.update(usage);
            summary.freed(around.len());
        }
        let why = Why::Freed(tid);
        allocation::hold(&mut known.held, Held { blocks, why }, spare)?;
        // OVERFLOW: blocks of the volume.
        known.freed = known.freed.saturating_add(n);
        Ok(())
    }

    /// Notes that blocks are given back by the transaction that has taken them, of which `around` is as
    /// above; for whom they were.
    pub(in crate::fs) fn given_back(
        &self,
        usage: &Usage,
        blocks: PblkRange,
        around: Run,
        who: Who,
    ) {
        let n = blocks.end.0.saturating_sub(blocks.start.0);
        let mut known = self.stripe.known.lock();
        if let Some(summary) = known.summaries.get_mut(self.n) {
            summary.update(usage);
            summary.freed(around.len());
        }
        drop(known);
        let mut counts = self.allocator.space.lock();
        counts.space.give_back(n, who);
        counts.returns = counts.returns.wrapping_add(1);
    }

    /// Notes that an inode was taken, or freed, for or from a directory.
    pub(in crate::fs) fn count_inode(&self, usage: &Usage, taken: bool, is_dir: bool) {
        self.update(usage);
        let mut counts = self.allocator.space.lock();
        let (inode, dir) = (1, u64::from(is_dir));
        if taken {
            counts.free_inodes = counts.free_inodes.saturating_sub(inode);
            counts.used_dirs = counts.used_dirs.saturating_add(dir);
        } else {
            counts.free_inodes = counts.free_inodes.saturating_add(inode);
            counts.used_dirs = counts.used_dirs.saturating_sub(dir);
        }
    }

    /// What was to be done with the group; nothing if that has shown it to be broken, of which nothing
    /// more is taken then.
    ///
    /// # Errors
    ///
    /// What does not blame the group.
    pub(in crate::fs) fn unless_bad<T>(&self, done: Result<T>) -> Result<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if [EIO, errno::efscorrupted(), errno::efsbadcrc()].contains(&error) => {
                self.set_bad();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has nothing be taken from the group any more.
    fn set_bad(&self) {
        let mut known = self.stripe.known.lock();
        let Some(summary) = known.summaries.get_mut(self.n) else {
            return;
        };
        let lost = *summary;
        summary.set_bad();
        drop(known);
        let mut counts = self.allocator.space.lock();
        // As if they were taken; those that are promised stay so.
        let n = u64::from(lost.free_blocks()).min(counts.space.room(Who::Essential));
        if counts.space.reserve(n, Who::Essential).is_ok() {
            let _ = counts.space.take(n);
        }
        counts.free_inodes = counts.free_inodes.saturating_sub(lost.free_inodes().into());
        counts.used_dirs = counts.used_dirs.saturating_sub(lost.used_dirs().into());
    }
}
