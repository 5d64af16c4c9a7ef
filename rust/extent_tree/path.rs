// SPDX-License-Identifier: GPL-2.0

//! The way to a leaf: root → node below → … → leaf.

use super::{
    list::List,
    Error,
    Nodes,
    Result,
    Tree, //
};
use crate::ondisk::{
    self,
    extent::{
        block_max,
        Child,
        Inner,
        Leaf,
        Node,
        ROOT_LEN, //
    },
    Block,
    Lblk,
    LblkRange,
    Structure, //
};

/// By how many entries a node may fall short of what there is room for in its block.
const SPARE: usize = 2;

/// The nodes on the way to a leaf.
pub(super) struct Path<B> {
    /// The root, as it was read.
    pub(super) root: [u8; ROOT_LEN],
    /// Entries that it has room for.
    pub(super) root_max: usize,
    /// Levels below it.
    pub(super) depth: u16,
    /// The nodes of these; the leaf is the last one.
    pub(super) levels: List<Level<B>>,
}

/// A node below the root.
pub(super) struct Level<B> {
    /// Its entry in the node above.
    pub(super) at: usize,
    /// What that says.
    pub(super) child: Child,
    /// Entries that there is room for.
    pub(super) max: usize,
    /// The block with the node.
    pub(super) block: B,
}

impl<N: Nodes> Tree<'_, N> {
    /// Goes to the leaf that tells of block `lblk`, or to the first one if none does, and has `look`
    /// look into it. It gets the blocks as well of which the leaf tells.
    // Not inlined, for the stack of what happens to the leaf next.
    #[inline(never)]
    pub(super) fn walk<T>(
        &mut self,
        lblk: Lblk,
        look: impl Fn(&Self, Leaf<'_>, LblkRange) -> Result<T, N>,
    ) -> Result<(Path<N::Block>, T), N> {
        let root = self.nodes.root();
        let node =
            Node::root(self.volume, &root).map_err(|error| Error::Format { pblk: None, error })?;
        let mut path = Path {
            root,
            root_max: node.max(),
            depth: node.depth(),
            levels: List::NEW,
        };
        let mut next = match node {
            Node::Leaf(leaf) => return Ok((path, look(self, leaf, node.lblks())?)),
            Node::Inner(inner) => below(&inner, lblk),
        };
        // The depth falls with each step, which the type of a child guarantees.
        loop {
            let (at, child) = next.ok_or(Error::Inconsistent)?;
            let block = self.nodes.read(child.pblk())?;
            let node = self.check(child, &block)?;
            let max = node.max();
            let looked = match node {
                Node::Leaf(leaf) => Some(look(self, leaf, node.lblks())?),
                Node::Inner(inner) => {
                    next = below(&inner, lblk);
                    None
                }
            };
            let level = Level {
                at,
                child,
                max,
                block,
            };
            path.levels.push(level).ok_or(Error::Inconsistent)?;
            if let Some(looked) = looked {
                return Ok((path, looked));
            }
        }
    }

    /// Checks the node in a block. In a tree that is to be changed, no node below the root is empty,
    /// and each has about as much room as its block, so that it can be split: what e2fsck wants, too.
    pub(super) fn check<'b>(&self, child: Child, block: &'b N::Block) -> Result<Node<'b>, N> {
        let pblk = Some(child.pblk());
        let block = Block::new(block.as_ref()).ok_or(Error::Inconsistent)?;
        let node = Node::child::<N::Crc>(self.volume, self.seed, child, block)
            .map_err(|error| Error::Format { pblk, error })?;
        let most = block_max(block.len()).map_or(0, usize::from);
        let (field, value) = if node.run().is_empty() {
            ("eh_entries", 0)
        } else if node.max().saturating_add(SPARE) < most {
            ("eh_max", node.max())
        } else {
            return Ok(node);
        };
        let error = ondisk::Error::Corrupt {
            structure: Structure::ExtentNode,
            field,
            // CAST: 16 bits.
            value: u64::try_from(value).unwrap_or(u64::MAX),
        };
        Err(Error::Format { pblk, error })
    }
}

/// The node below that tells of block `lblk`, or else the first one, and which entry it has.
fn below(inner: &Inner<'_>, lblk: Lblk) -> Option<(usize, Child)> {
    let at = inner.position(lblk).saturating_sub(1);
    Some((at, inner.get(at)?))
}
