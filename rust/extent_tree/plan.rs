// SPDX-License-Identifier: GPL-2.0

//! What the change of a leaf means for the whole tree.
//!
//! From the leaf upwards, each node becomes one of these, which decides what becomes of its entry in
//! the node above: changed in place; split, with a new node to its right; freed, as it is empty. At
//! the root: changed; grown, which is its entries moved to a new block below; or replaced by the only
//! node below, when that fits.

use super::{
    list::List,
    path::{
        Level,
        Path, //
    },
    shift::Moved,
    splice::{
        append,
        Splice, //
    },
    Error,
    Nodes,
    Result,
    Tree, //
};
use crate::ondisk::{
    extent::{
        Child,
        Few,
        Node,
        NodeMut,
        Run,
        MAX_DEPTH,
        ROOT_LEN,
        ROOT_MAX, //
    },
    Crc32c,
    Lblk,
    LblkRange,
    Pblk,
    Seed, //
};

/// All that is to be done, with the right to do it.
struct Plan<N: Nodes> {
    changes: List<Change<N>>,
    root: Option<[u8; ROOT_LEN]>,
    freed: List<N::Block>,
}

impl<N: Nodes> Plan<N> {
    const NOTHING: Self = Self {
        changes: List::NEW,
        root: None,
        freed: List::NEW,
    };
}

/// What happens to one block, or to two.
enum Change<N: Nodes> {
    /// A node changes.
    Splice { block: N::Access, splice: Splice },
    /// Extents of a leaf move.
    Shift { block: N::Access, moved: Moved },
    /// A node keeps the first `at` of its entries, and a new one gets the others. One of both is
    /// where `splice`, whose places are in the old one, happens.
    Split {
        block: N::Access,
        new: N::New,
        depth: u16,
        at: usize,
        splice: Splice,
    },
    /// A new node at the right end of the tree gets nothing but new entries.
    Append { new: N::New, depth: u16, with: Few },
    /// A new node gets what becomes of the root.
    Grow {
        new: N::New,
        depth: u16,
        root: [u8; ROOT_LEN],
        splice: Splice,
    },
}

impl<N: Nodes> Tree<'_, N> {
    /// Changes the leaf at the end of a path, and what depends on it.
    // The kernel's stack is short, and allocating and freeing go deep: so what one of the steps has on
    // the stack is not to be there in the others, and what they share is there once.
    pub(super) fn change(&mut self, mut path: Path<N::Block>, splice: Splice) -> Result<(), N> {
        self.execute(|this, plan| this.plan(&mut path, splice, plan))
    }

    /// Moves extents of the leaf at the end of a path, and changes what depends on it.
    pub(super) fn move_extents(&mut self, mut path: Path<N::Block>, moved: Moved) -> Result<(), N> {
        self.execute(|this, plan| this.plan_shift(&mut path, moved, plan))
    }

    fn execute(
        &mut self,
        make: impl FnOnce(&mut Self, &mut Plan<N>) -> Result<(), N>,
    ) -> Result<(), N> {
        let mut plan = Plan::NOTHING;
        let planned = make(self, &mut plan);
        if planned.is_err() {
            self.cancel(&mut plan);
            return planned;
        }
        for change in plan.changes.drain() {
            self.apply(change)?;
        }
        if let Some(root) = &plan.root {
            self.nodes.set_root(root)?;
        }
        for block in plan.freed.drain() {
            self.nodes.free(block)?;
        }
        Ok(())
    }

    /// Gives back the blocks that a plan took.
    #[inline(never)]
    fn cancel(&mut self, plan: &mut Plan<N>) {
        for change in plan.changes.drain() {
            if let Some(new) = change.into_new() {
                self.nodes.cancel(new);
            }
        }
    }

    /// Finds out what to do, from the leaf upwards as far as anything changes.
    #[inline(never)]
    fn plan(
        &mut self,
        path: &mut Path<N::Block>,
        mut splice: Splice,
        plan: &mut Plan<N>,
    ) -> Result<(), N> {
        while let Some(level) = path.levels.pop() {
            let run = Run::of_block(level.block.as_ref()).ok_or(Error::Inconsistent)?;
            let len = splice.len_after(run).ok_or(Error::Inconsistent)?;
            let only = path.levels.is_empty()
                && Run::of_root(&path.root).is_some_and(|root| root.len() == 1);
            let above = if let Some(start) = splice.start_after(run) {
                if len > level.max {
                    self.plan_split(level, splice, plan)?
                } else if only && len <= ROOT_MAX.into() {
                    let root = new_root(level.child.depth(), run, &splice);
                    plan.root = Some(root.ok_or(Error::Inconsistent)?);
                    plan.freed.push(level.block).ok_or(Error::Inconsistent)?;
                    return Ok(());
                } else {
                    let block = self.nodes.access(level.block)?;
                    let change = Change::Splice { block, splice };
                    plan.changes.push(change).ok_or(Error::Inconsistent)?;
                    if start == level.child.lblks().start {
                        return Ok(());
                    }
                    let child = self.child(
                        level.child.pblk(),
                        level.child.depth(),
                        start,
                        level.child.lblks().end,
                    )?;
                    replace(level.at, &[child]).ok_or(Error::Inconsistent)?
                }
            } else {
                plan.freed.push(level.block).ok_or(Error::Inconsistent)?;
                replace(level.at, &[]).ok_or(Error::Inconsistent)?
            };
            splice = above;
        }
        self.plan_root(path, splice, plan)
    }

    /// Finds out what to do about a leaf whose extents move.
    #[inline(never)]
    fn plan_shift(
        &mut self,
        path: &mut Path<N::Block>,
        moved: Moved,
        plan: &mut Plan<N>,
    ) -> Result<(), N> {
        let Some(level) = path.levels.pop() else {
            let mut root = path.root;
            NodeMut::root(&mut root)
                .and_then(|mut node| moved.apply(&mut node))
                .ok_or(Error::Inconsistent)?;
            plan.root = Some(root);
            return Ok(());
        };
        let Level { at, child, .. } = level;
        let start = moved.start_after(child).ok_or(Error::Inconsistent)?;
        let block = self.nodes.access(level.block)?;
        let change = Change::Shift { block, moved };
        plan.changes.push(change).ok_or(Error::Inconsistent)?;
        if start == child.lblks().start {
            return Ok(());
        }
        let child = self.child(child.pblk(), child.depth(), start, child.lblks().end)?;
        let above = replace(at, &[child]).ok_or(Error::Inconsistent)?;
        self.plan(path, above, plan)
    }

    /// Has a node split that has no room for what it is to hold.
    #[inline(never)]
    fn plan_split(
        &mut self,
        level: Level<N::Block>,
        splice: Splice,
        plan: &mut Plan<N>,
    ) -> Result<Splice, N> {
        let run = Run::of_block(level.block.as_ref()).ok_or(Error::Inconsistent)?;
        let Level { at, child, .. } = level;
        let (depth, lblks) = (child.depth(), child.lblks());
        let end = run.len();
        if splice.at == (end..end) && lblks.end == Lblk::END {
            // The file grows: what is full stays so, and is not even written again.
            let with = splice.with;
            let start = with.run().start(0).ok_or(Error::Inconsistent)?;
            let new = self.nodes.create()?;
            let pblk = N::pblk(&new);
            let change = Change::Append { new, depth, with };
            plan.changes.push(change).ok_or(Error::Inconsistent)?;
            let right = self.child(pblk, depth, start, lblks.end)?;
            return insert(at, right).ok_or(Error::Inconsistent);
        }

        let halves = Halves::new(run, &splice, level.max).ok_or(Error::Inconsistent)?;
        let block = self.nodes.access(level.block)?;
        let new = self.nodes.create()?;
        let pblk = N::pblk(&new);
        let change = Change::Split {
            block,
            new,
            depth,
            at: halves.at,
            splice,
        };
        plan.changes.push(change).ok_or(Error::Inconsistent)?;
        let right = self.child(pblk, depth, halves.right, lblks.end)?;
        if halves.left == lblks.start {
            return insert(at, right).ok_or(Error::Inconsistent);
        }
        let left = self.child(child.pblk(), depth, halves.left, halves.right)?;
        replace(at, &[left, right]).ok_or(Error::Inconsistent)
    }

    /// Finds out what becomes of the root.
    #[inline(never)]
    fn plan_root(
        &mut self,
        path: &Path<N::Block>,
        splice: Splice,
        plan: &mut Plan<N>,
    ) -> Result<(), N> {
        let run = Run::of_root(&path.root).ok_or(Error::Inconsistent)?;
        let len = splice.len_after(run).ok_or(Error::Inconsistent)?;
        let Some(start) = splice.start_after(run) else {
            plan.root = Some(new_root(0, run, &splice).ok_or(Error::Inconsistent)?);
            return Ok(());
        };
        if len > path.root_max {
            return self.plan_growth(path, start, splice, plan);
        }
        let mut root = path.root;
        NodeMut::root(&mut root)
            .and_then(|mut node| splice.apply(&mut node))
            .ok_or(Error::Inconsistent)?;
        if path.depth > 0 && len == 1 && splice.with.run().is_empty() {
            if let Some(block) = self.take_only_child(&mut root)? {
                plan.freed.push(block).ok_or(Error::Inconsistent)?;
            }
        }
        plan.root = Some(root);
        Ok(())
    }

    /// Has the tree grow by a level: what becomes of the root begins with block `start`, and has no
    /// room there.
    #[inline(never)]
    fn plan_growth(
        &mut self,
        path: &Path<N::Block>,
        start: Lblk,
        splice: Splice,
        plan: &mut Plan<N>,
    ) -> Result<(), N> {
        let depth = path.depth;
        if depth >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let new = self.nodes.create()?;
        let pblk = N::pblk(&new);
        let change = Change::Grow {
            new,
            depth,
            root: path.root,
            splice,
        };
        plan.changes.push(change).ok_or(Error::Inconsistent)?;
        let child = self.child(pblk, depth, start, Lblk::END)?;
        plan.root = root_over(child);
        plan.root.map(|_| ()).ok_or(Error::Inconsistent)
    }

    /// Moves the entries of the only node below a root into it, if there is room, and returns the block
    /// of that node. As it was not on the path, it has to be read first.
    #[inline(never)]
    fn take_only_child(&mut self, root: &mut [u8; ROOT_LEN]) -> Result<Option<N::Block>, N> {
        let child = match Node::root(self.volume, root) {
            Ok(Node::Inner(inner)) => inner.get(0).ok_or(Error::Inconsistent)?,
            _ => return Err(Error::Inconsistent),
        };
        let block = self.nodes.read(child.pblk())?;
        let run = self.check(child, &block)?.run();
        if run.len() > ROOT_MAX.into() {
            return Ok(None);
        }
        NodeMut::new_root(root, child.depth())
            .and_then(|mut node| append(&mut node, run))
            .ok_or(Error::Inconsistent)?;
        Ok(Some(block))
    }

    fn child(&self, pblk: Pblk, depth: u16, start: Lblk, end: Lblk) -> Result<Child, N> {
        Child::new(self.volume, pblk, depth, LblkRange { start, end }).ok_or(Error::Inconsistent)
    }

    /// Does what was planned for one block, or for two.
    #[inline(never)]
    fn apply(&mut self, change: Change<N>) -> Result<(), N> {
        let seed = self.seed;
        let done = match change {
            Change::Splice { block, splice } => self.nodes.change(block, |bytes| {
                sealed::<N::Crc>(NodeMut::block(bytes), seed, |node| splice.apply(node))
            })?,
            Change::Shift { block, moved } => self.nodes.change(block, |bytes| {
                sealed::<N::Crc>(NodeMut::block(bytes), seed, |node| moved.apply(node))
            })?,
            Change::Append { new, depth, with } => self.nodes.fill(new, |bytes| {
                sealed::<N::Crc>(NodeMut::new_block(bytes, depth), seed, |node| {
                    append(node, with.run())
                })
            })?,
            Change::Grow {
                new,
                depth,
                root,
                splice,
            } => self.nodes.fill(new, |bytes| {
                sealed::<N::Crc>(NodeMut::new_block(bytes, depth), seed, |node| {
                    splice.copy(Run::of_root(&root)?, node)
                })
            })?,
            Change::Split {
                block,
                new,
                depth,
                at,
                splice,
            } => {
                // None of the entries that go is behind `at`, or all are.
                let behind = splice.behind(at);
                let right = self.nodes.fill(new, |bytes| {
                    sealed::<N::Crc>(NodeMut::new_block(bytes, depth), seed, |node| {
                        let run = Run::of_block(block.as_ref())?;
                        let run = run.slice(at..run.len())?;
                        match &behind {
                            Some(splice) => splice.copy(run, node),
                            None => append(node, run),
                        }
                    })
                })?;
                let left = self.nodes.change(block, |bytes| {
                    sealed::<N::Crc>(NodeMut::block(bytes), seed, |node| {
                        node.splice(at..node.len(), Few::NONE.run())?;
                        match behind {
                            Some(_) => Some(()),
                            None => splice.apply(node),
                        }
                    })
                })?;
                left.and(right)
            }
        };
        done.ok_or(Error::Inconsistent)
    }
}

impl<N: Nodes> Change<N> {
    /// The new block for it, if it takes one.
    fn into_new(self) -> Option<N::New> {
        match self {
            Self::Splice { .. } | Self::Shift { .. } => None,
            Self::Split { new, .. } | Self::Append { new, .. } | Self::Grow { new, .. } => {
                Some(new)
            }
        }
    }
}

/// Where a node is split.
struct Halves {
    /// How many of its entries stay.
    at: usize,
    /// What the first half begins with.
    left: Lblk,
    /// What the second half begins with.
    right: Lblk,
}

impl Halves {
    /// In the middle of `run`. What changes is in the second half if it is behind the middle, else in
    /// the first; both have entries then, and `max` at most.
    fn new(run: Run<'_>, splice: &Splice, max: usize) -> Option<Self> {
        let at = run.len() / 2;
        let first = run.slice(0..at)?;
        let second = run.slice(at..run.len())?;
        let (lens, left, right) = match splice.behind(at) {
            Some(splice) => (
                [first.len(), splice.len_after(second)?],
                first.start(0),
                splice.start_after(second),
            ),
            None if splice.at.end > at => return None,
            None => (
                [splice.len_after(first)?, second.len()],
                splice.start_after(first),
                second.start(0),
            ),
        };
        lens.iter().all(|len| *len <= max).then_some(Self {
            at,
            left: left?,
            right: right?,
        })
    }
}

/// A node's entry is replaced.
fn replace(at: usize, with: &[Child]) -> Option<Splice> {
    Some(Splice {
        at: at..at.checked_add(1)?,
        with: Few::children(with)?,
    })
}

/// A node gets a neighbour to its right.
fn insert(at: usize, right: Child) -> Option<Splice> {
    let behind = at.checked_add(1)?;
    Some(Splice {
        at: behind..behind,
        with: Few::children(&[right])?,
    })
}

/// A root with what becomes of the entries of another node.
fn new_root(depth: u16, run: Run<'_>, splice: &Splice) -> Option<[u8; ROOT_LEN]> {
    let mut root = [0; ROOT_LEN];
    splice.copy(run, &mut NodeMut::new_root(&mut root, depth)?)?;
    Some(root)
}

/// A root with one node below.
fn root_over(child: Child) -> Option<[u8; ROOT_LEN]> {
    let mut root = [0; ROOT_LEN];
    let depth = child.depth().checked_add(1)?;
    let entry = Few::children(&[child])?;
    append(&mut NodeMut::new_root(&mut root, depth)?, entry.run())?;
    Some(root)
}

/// Makes or changes a node, and puts its checksum right.
fn sealed<C: Crc32c>(
    node: Option<NodeMut<'_>>,
    seed: Seed,
    edit: impl FnOnce(&mut NodeMut<'_>) -> Option<()>,
) -> Option<()> {
    let mut node = node?;
    edit(&mut node)?;
    node.seal::<C>(seed)
}
