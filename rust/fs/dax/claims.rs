// SPDX-License-Identifier: GPL-2.0

//! For which place in which file the blocks of a volume are mapped.
//!
//! block: unclaimed → claimed, by a fault → mapped → its page gone, with the last close of the file →
//! released
//!
//! To C a page of memory belongs to one place in one file. Told of two it warns, goes on, and has the
//! page's file and counts wrong from there on, which is why [`iomap_begin`] must not tell. Extents of
//! a volume can say so all the same, with every checksum right. So a fault claims the blocks that it
//! is about to map, and what another place has claimed is broken metadata. That is kept here, and not
//! by [`crate::kernel`], as it takes to know the volume's blocks and files, and what to say of them; an
//! `unsafe` trait, which would make the promise one of types, could not be implemented here.
//!
//! What C maps is of the length that it asks [`iomap_begin`] for, a page or 2 MiB, or nothing:
//! nothing if the mapping it gets is shorter, and a smaller page then has a fault of its own. Those
//! blocks have to be claimed. Claimed with them is what the extent has of the 2 MiB around, as a
//! claim for each page would be 128 bytes for each; where another place has a part of that, just
//! what is mapped. So a claim can be for blocks that are not mapped: those around, those of a fault
//! that C gives up, as the memory is not aligned, or that copies for a private mapping. On a volume
//! that is in order they are the file's all the same. On a broken one the second file may be refused
//! a block that the first one has claimed and not mapped; and a write to a private mapping of the
//! second file gets `SIGBUS`, although C would only copy: what it asks for is the same. Reads map
//! nothing: they copy.
//!
//! [`iomap_begin`]: crate::kernel::iomap::Operations::iomap_begin

use super::super::{
    metadata::{
        self,
        At, //
    },
    Inode,
};
use crate::{
    extent_map::{
        claim,
        disclaim,
        Claim,
        Ledger,
        Outcome,
        Taken, //
    },
    kernel::{
        current,
        sched_mm::NofsScope, //
    },
    ondisk::{
        Ino,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::SpinLock, //
};

/// Claims that are released while the lock is held.
const MAX_RELEASED: usize = 32;

/// The claims on a volume.
#[pin_data]
pub(super) struct Claims {
    #[pin]
    claimed: SpinLock<Claimed>,
}

impl Claims {
    /// Those on a new volume: none.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            claimed <- new_spinlock!(
                Claimed { by_pblk: RBTree::new(), by_ino: RBTree::new() },
                "stablefs::claimed"
            ),
        })
    }

    /// Claims blocks for an inode: those `around` what a fault maps, or, if another place has one of
    /// them, just those that are `mapped`.
    ///
    /// # Errors
    ///
    /// `EFSCORRUPTED`, with a line in the log, if another place has one that is mapped; `ENOMEM`.
    ///
    /// # Context
    ///
    /// Sleeps, unless they are claimed already.
    pub(super) fn claim(&self, inode: &Inode, around: Claim, mapped: Claim) -> Result {
        if self.taken(around)?.is_none() {
            return Ok(());
        }
        match self.taken(mapped)? {
            None => Ok(()),
            Some(taken) => Err(blame(inode, &mapped, &taken)),
        }
    }

    /// Claims blocks, or says which one another place has.
    fn taken(&self, wanted: Claim) -> Result<Option<Taken>> {
        let mut spare = None;
        loop {
            let mut claimed = self.claimed.lock();
            let outcome = claim(&mut *claimed, wanted, &mut spare);
            drop(claimed);
            match outcome {
                Outcome::Claimed => return Ok(None),
                Outcome::Taken(taken) => return Ok(Some(taken)),
                Outcome::NoNode => {
                    let _nofs = NofsScope::memalloc_nofs_save();
                    spare = Some(Node::new()?);
                }
            }
        }
    }

    /// Releases what an inode has claimed of `blocks`, of whose pages none is left.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(super) fn release_blocks(&self, ino: Ino, blocks: PblkRange) {
        let _nofs = NofsScope::memalloc_nofs_save();
        loop {
            // Without it the file has less claimed than it has mapped: enough for a volume that is in order.
            let mut spare = Node::new().ok();
            let mut claimed = self.claimed.lock();
            let more = disclaim(&mut *claimed, ino, blocks, &mut spare);
            drop(claimed);
            if !more {
                break;
            }
            current::cond_resched();
        }
    }

    /// Releases all claims of an inode, of whose pages none is left.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(super) fn release(&self, ino: Ino) {
        let mut done = false;
        while !done {
            let mut claimed = self.claimed.lock();
            done = (0..MAX_RELEASED).any(|_| claimed.release_one(ino).is_none());
            drop(claimed);
            current::cond_resched();
        }
    }
}

fn blame(inode: &Inode, wanted: &Claim, taken: &Taken) -> Error {
    let (pblk, by) = (taken.pblk, taken.by);
    let number = |claim: &Claim| claim.lblk(pblk).map_or(0, |lblk| lblk.0);
    let (here, there) = (number(wanted), number(&by));
    metadata::corrupt(
        inode.sb(),
        At::block(inode.ino(), pblk),
        format_args!(
            "its block {here}, but mapped as block {there} of inode {}",
            by.ino().get()
        ),
    )
}

/// What the spinlock protects: each claim is in both.
struct Claimed {
    /// By their first blocks.
    by_pblk: RBTree<Pblk, Claim>,
    /// The first blocks of those of an inode.
    by_ino: RBTree<(Ino, Pblk), ()>,
}

impl Claimed {
    fn release_one(&mut self, ino: Ino) -> Option<()> {
        let (of, start) = *self.by_ino.cursor_lower_bound(&(ino, Pblk(0)))?.current().0;
        let claim = self.at_or_behind(start).filter(|_| of == ino)?;
        self.remove(claim).map(drop)
    }
}

/// Memory for a claim: of 64 bytes twice.
struct Node {
    by_pblk: RBTreeNodeReservation<Pblk, Claim>,
    by_ino: RBTreeNodeReservation<(Ino, Pblk), ()>,
}

impl Node {
    /// Whoever reads files makes the claims grow, so it is their memory that is taken.
    fn new() -> Result<Self> {
        Ok(Self {
            by_pblk: RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?,
            by_ino: RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?,
        })
    }
}

impl Ledger for Claimed {
    type Node = Node;

    fn at_or_before(&self, pblk: Pblk) -> Option<Claim> {
        let Some(behind) = self.by_pblk.cursor_lower_bound(&pblk) else {
            return Some(*self.by_pblk.cursor_back()?.current().1);
        };
        let (start, claim) = behind.current();
        if *start == pblk {
            return Some(*claim);
        }
        behind.peek_prev().map(|(_, claim)| *claim)
    }

    fn at_or_behind(&self, pblk: Pblk) -> Option<Claim> {
        Some(*self.by_pblk.cursor_lower_bound(&pblk)?.current().1)
    }

    fn insert(&mut self, claim: Claim, node: Node) {
        let start = claim.pblks().start;
        self.by_pblk.insert(node.by_pblk.into_node(start, claim));
        self.by_ino
            .insert(node.by_ino.into_node((claim.ino(), start), ()));
    }

    fn remove(&mut self, claim: Claim) -> Option<Node> {
        let start = claim.pblks().start;
        Some(Node {
            by_pblk: self.by_pblk.remove_node(&start)?.into_reservation(),
            by_ino: self
                .by_ino
                .remove_node(&(claim.ino(), start))?
                .into_reservation(),
        })
    }
}
