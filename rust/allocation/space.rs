// SPDX-License-Identifier: GPL-2.0

//! How many blocks can still be promised.
//!
//! free → reserved (a write, a fault: here is `ENOSPC`) → taken (by writeback, which cannot fail for
//! want of blocks) → freed in a transaction → that is committed: free
//!
//! Every block that a bitmap gives away was reserved before: data, nodes of extent trees, blocks of
//! directories. A write to a hole reserves; a write to a block that the file has, or has reserved,
//! does not.
//!
//! Data need nodes of extent trees, too, once they are written back. These come from what is free and not
//! reserved, so that is counted that has no node yet: blocks that are reserved, and blocks that are
//! [promised](Space::promise) to become data, as they are allocated, and unwritten, and the page cache has what they shall
//! hold.
//!
//! Each pending block wants a node at worst: it is written alone, or splits the extent that it is in, in a
//! leaf that is full. For a run of blocks, that is more than [is needed](cost): its entries come to the same
//! place of the tree, where a leaf that was split takes half of its entries before it is split again.
//! So what is asked for when a run is accepted is what the run needs, and what is booked is its blocks: these can be
//! given back one by one, in whatever order they are written, and those who come later find more room booked than is needed, never less.
//! When that is too much, it is written back, and nothing is booked any more.
//!
//! Half of what is [kept](Kept::essential) for nodes is never promised: the levels above the leaves, direct
//! writes, which are on their way when they are accepted, and who has accepted something and not dirtied it yet.

/// Blocks in a row that need no more nodes than one, after the first few; no leaf has fewer entries than twice as
/// many.
const RUN: u64 = 32;

/// Nodes that a run of blocks needs at most until it is data of the file, which is no more than it has blocks.
fn cost(n: u64) -> u64 {
    n.min((n / RUN).saturating_add(2))
}

/// The blocks of a volume that are not in use.
///
/// # Invariants
///
/// Not more are reserved than free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    free: u64,
    reserved: u64,
    promised: u64,
    freed: u64,
    kept: Kept,
}

/// Blocks that are not for everyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// For the superuser (`s_r_blocks_count`).
    pub root: u64,
    /// For what has to work on a full volume, as it makes room, or as the data are there already: nodes
    /// that are split.
    pub essential: u64,
}

/// On whose behalf blocks are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anyone.
    User,
    /// The superuser, and those for whom `s_def_resuid` and `s_def_resgid` are.
    Root,
    /// What has to work on a full volume.
    Essential,
    /// One who has reserved them already.
    Holder,
}

/// Why nothing was reserved: `ENOSPC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpace {
    /// Whether it would work after a commit, as enough was freed.
    pub commit_helps: bool,
    /// Whether it would work once all is written back that is pending, perhaps after a commit, too.
    pub writing_helps: bool,
}

impl Space {
    /// Of a volume on which nothing is reserved yet.
    pub fn new(free: u64, kept: Kept) -> Self {
        Self {
            free,
            reserved: 0,
            promised: 0,
            freed: 0,
            kept,
        }
    }

    /// Blocks that are free on the disk, or will be with the next commit: what `statfs` calls free.
    pub fn free(&self) -> u64 {
        self.free
            .saturating_sub(self.reserved)
            .saturating_add(self.freed)
    }

    /// Blocks that are reserved.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Blocks that were freed in transactions which are not yet committed.
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Blocks that are to become data, and may need nodes for that.
    pub fn pending(&self) -> u64 {
        self.reserved.saturating_add(self.promised)
    }

    /// How many blocks can be reserved now; of a holder, how many are.
    pub fn room(&self, who: Who) -> u64 {
        let unreserved = self.free.saturating_sub(self.reserved);
        let left = match who {
            Who::Holder => return self.reserved,
            Who::Essential => return unreserved,
            Who::User => unreserved.saturating_sub(self.kept.root),
            Who::Root => unreserved,
        };
        let nodes = left.saturating_sub(self.unpromised());
        // The blocks, and what they cost.
        let many = nodes.saturating_sub(2) / (RUN + 1);
        let with_nodes = many.saturating_mul(RUN).max(nodes / 2);
        left.saturating_sub(self.kept.essential).min(with_nodes)
    }

    /// What has to be free besides the nodes of what is promised next.
    fn unpromised(&self) -> u64 {
        (self.kept.essential / 2).saturating_add(self.pending())
    }

    fn has_nodes(&self, n: u64) -> bool {
        let wanted = self.unpromised().saturating_add(cost(n));
        self.room(Who::Essential) >= wanted
    }

    /// Promises that `n` allocated blocks of a file in a row, which are unwritten, can become data, for which
    /// extents are split. Of no blocks, says whether there is room for what is not promised.
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub fn promise(&mut self, n: u64) -> Result<(), NoSpace> {
        self.check_nodes(n)?;
        self.owe(n);
        Ok(())
    }

    /// Whether so many blocks could be [promised](Self::promise).
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub fn check_nodes(&self, n: u64) -> Result<(), NoSpace> {
        self.check(|space| space.has_nodes(n))
    }

    /// Books blocks as promised that have been so before, in whatever way: as reserved ones.
    pub fn owe(&mut self, n: u64) {
        // OVERFLOW: blocks of page caches.
        self.promised = self.promised.saturating_add(n);
    }

    /// Notes that so many promised blocks are data now, or will not be.
    pub fn settle(&mut self, n: u64) {
        self.promised = self.promised.saturating_sub(n);
    }

    /// Begins to find out whether there is room for several things.
    pub fn trial(&self) -> Trial {
        let after_commit = self.after_commit();
        let after_writing = (self.pending() > 0).then(|| after_commit.after_writing());
        Trial {
            now: Some(*self),
            after_commit: Some(after_commit),
            after_writing,
        }
    }

    fn check(&self, fits: impl Fn(&Self) -> bool) -> Result<(), NoSpace> {
        if fits(self) {
            return Ok(());
        }
        Err(NoSpace {
            commit_helps: fits(&self.after_commit()),
            writing_helps: self.pending() > 0 && fits(&self.after_commit().after_writing()),
        })
    }

    fn after_commit(&self) -> Self {
        Self {
            free: self.free.saturating_add(self.freed),
            ..*self
        }
    }

    /// As far as is known: nodes are not always needed.
    fn after_writing(&self) -> Self {
        Self {
            free: self.free.saturating_sub(self.reserved),
            reserved: 0,
            promised: 0,
            ..*self
        }
    }

    /// Reserves blocks: all or none. Those of a holder stay as they are.
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub fn reserve(&mut self, n: u64, who: Who) -> Result<(), NoSpace> {
        self.check(|space| n <= space.room(who))?;
        if who != Who::Holder {
            // INVARIANT: There is room for them.
            self.reserved = self.reserved.saturating_add(n);
        }
        Ok(())
    }

    /// Gives back reserved blocks that were not needed; nothing if there are not so many.
    pub fn cancel(&mut self, n: u64) -> Option<()> {
        self.reserved = self.reserved.checked_sub(n)?;
        Some(())
    }

    /// Notes that reserved blocks are taken; nothing if there are not so many.
    pub fn take(&mut self, n: u64) -> Option<()> {
        let reserved = self.reserved.checked_sub(n)?;
        self.free = self.free.checked_sub(n)?;
        self.reserved = reserved;
        Some(())
    }

    /// Notes that blocks which were taken are given back before anybody saw them in use; those of a
    /// holder are reserved again.
    pub fn give_back(&mut self, n: u64, who: Who) {
        // OVERFLOW: blocks of the volume.
        self.free = self.free.saturating_add(n);
        if who == Who::Holder {
            // INVARIANT: So many more are free.
            self.reserved = self.reserved.saturating_add(n);
        }
    }

    /// Notes that blocks were freed, in a transaction that is not yet committed.
    pub fn release(&mut self, n: u64) {
        // OVERFLOW: blocks of the volume.
        self.freed = self.freed.saturating_add(n);
    }

    /// Notes that a transaction is committed which has freed blocks; nothing if so many were not.
    pub fn commit(&mut self, n: u64) -> Option<()> {
        self.freed = self.freed.checked_sub(n)?;
        // OVERFLOW: blocks of the volume.
        self.free = self.free.saturating_add(n);
        Some(())
    }
}

/// Whether there is room for several things, in the order in which they are asked for. Nothing is taken.
#[derive(Clone, Copy, Debug)]
#[must_use = "it tells what it has found out"]
pub struct Trial {
    /// What is left, as long as there was room for all.
    now: Option<Space>,
    /// The same after a commit.
    after_commit: Option<Space>,
    /// And after all is written back, and that. What is asked for here is not dirty, and stays.
    after_writing: Option<Space>,
}

impl Trial {
    /// Asks for blocks to [reserve](Space::reserve).
    pub fn reserve(&mut self, n: u64, who: Who) {
        self.ask(|space| space.reserve(n, who));
    }

    /// Asks for blocks to [promise](Space::promise).
    pub fn promise(&mut self, n: u64) {
        self.ask(|space| space.promise(n));
    }

    fn ask(&mut self, mut for_it: impl FnMut(&mut Space) -> Result<(), NoSpace>) {
        for space in [
            &mut self.now,
            &mut self.after_commit,
            &mut self.after_writing,
        ] {
            *space = space
                .take()
                .and_then(|mut left| for_it(&mut left).is_ok().then_some(left));
        }
    }

    /// Whether there is room for all.
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub fn result(&self) -> Result<(), NoSpace> {
        if self.now.is_some() {
            return Ok(());
        }
        Err(NoSpace {
            commit_helps: self.after_commit.is_some(),
            writing_helps: self.after_writing.is_some(),
        })
    }
}
