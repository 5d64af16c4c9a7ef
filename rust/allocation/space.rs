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
//! The nodes that data need once they are written back are not reserved one by one. They come from
//! what is [kept](Kept::essential) from all others, of which a full volume has all when the last data are
//! reserved. If each of their blocks becomes an extent of its own, a hundredth as many nodes are enough
//! with blocks of 4 KiB, and a fortieth with 1 KiB. Blocks that are allocated, and not written, can be
//! written when the volume has long been full, and split their extents: so half of what is kept is
//! [not for those](Space::check_nodes) who write there from then on, but for what they have written.

/// The blocks of a volume that are not in use.
///
/// # Invariants
///
/// Not more are reserved than free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    free: u64,
    reserved: u64,
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
}

impl Space {
    /// Of a volume on which nothing is reserved yet.
    pub fn new(free: u64, kept: Kept) -> Self {
        Self {
            free,
            reserved: 0,
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

    /// How many blocks can be reserved now; of a holder, how many are.
    pub fn room(&self, who: Who) -> u64 {
        let kept = match who {
            Who::Holder => return self.reserved,
            Who::User => self.kept.root.saturating_add(self.kept.essential),
            Who::Root => self.kept.essential,
            Who::Essential => 0,
        };
        self.free.saturating_sub(self.reserved).saturating_sub(kept)
    }

    /// Whether what is written to blocks that a file has can still become its data, for which extents
    /// are split.
    ///
    /// # Errors
    ///
    /// [`NoSpace`], while what is left suffices for what has been written.
    pub fn check_nodes(&self) -> Result<(), NoSpace> {
        let least = self.kept.essential / 2;
        if self.room(Who::Essential) >= least {
            return Ok(());
        }
        let commit_helps = self.after_commit().room(Who::Essential) >= least;
        Err(NoSpace { commit_helps })
    }

    fn after_commit(&self) -> Self {
        Self {
            free: self.free.saturating_add(self.freed),
            ..*self
        }
    }

    /// Reserves blocks: all or none. Those of a holder stay as they are.
    ///
    /// # Errors
    ///
    /// [`NoSpace`].
    pub fn reserve(&mut self, n: u64, who: Who) -> Result<(), NoSpace> {
        if n > self.room(who) {
            let commit_helps = n <= self.after_commit().room(who);
            return Err(NoSpace { commit_helps });
        }
        if who == Who::Holder {
            return Ok(());
        }
        // INVARIANT: There is room for them.
        self.reserved = self.reserved.saturating_add(n);
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
