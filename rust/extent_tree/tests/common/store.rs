// SPDX-License-Identifier: GPL-2.0

//! Nodes in memory that keep an eye on who uses them: nothing is read or allocated once something
//! was changed, nothing is changed twice, and no block gets lost.

use damage::Crc;
use extent_tree::{
    Cost,
    Error,
    Nodes,
    Tree, //
};
use ondisk::{
    extent::{
        block_max,
        Child,
        Entries,
        Extent,
        Node,
        ROOT_LEN,
        ROOT_MAX, //
    },
    Block,
    Crc32c,
    Pblk,
    Seed,
    Superblock, //
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};

/// Why the store does not do something: it was told not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told;

/// The calls of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Reads, grants of access and allocations.
    pub asked: usize,
    pub changed: u16,
    pub created: u16,
    pub freed: u16,
    /// Changes of any kind.
    pub done: usize,
    pub set_root: bool,
}

impl Calls {
    pub fn cost(&self) -> Cost {
        Cost {
            changed: self.changed,
            created: self.created,
            freed: self.freed,
        }
    }
}

/// A block as it was read.
pub struct Copy {
    pblk: u64,
    bytes: Vec<u8>,
}

impl AsRef<[u8]> for Copy {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A block with access.
pub struct Granted(Copy);

impl AsRef<[u8]> for Granted {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// A new block.
pub struct New(u64);

#[derive(Clone)]
pub struct Store {
    pub volume: Superblock,
    pub seed: Seed,
    pub root: [u8; ROOT_LEN],
    pub blocks: BTreeMap<u64, Vec<u8>>,
    /// Blocks that were created and are neither filled nor given back.
    pub pending: BTreeSet<u64>,
    /// Blocks to create.
    pub free: Vec<u64>,
    /// The first call that asks for something, and the first that changes something, to fail.
    pub fail_ask: Option<usize>,
    pub fail_change: Option<usize>,
    pub calls: Calls,
    touched: BTreeSet<u64>,
}

impl Store {
    /// An empty tree whose nodes are to be in blocks from `first` on.
    pub fn new(volume: &Superblock, first: u64) -> Self {
        Self {
            volume: volume.clone(),
            seed: Seed::of_volume(volume),
            root: Entries::Extents(&[]).root(volume).unwrap(),
            blocks: BTreeMap::new(),
            pending: BTreeSet::new(),
            free: (first..first + 5000).rev().collect(),
            fail_ask: None,
            fail_change: None,
            calls: Calls::default(),
            touched: BTreeSet::new(),
        }
    }

    /// A step; what it called is in `calls` then.
    pub fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Tree<'_, Self>) -> Result<T, Error<Told>>,
    ) -> Result<T, Error<Told>> {
        self.calls = Calls::default();
        self.touched.clear();
        let (volume, seed) = (self.volume.clone(), self.seed);
        let result = step(&mut Tree::new(&volume, seed, self));
        assert!(
            self.pending.is_empty() || self.fail_change.is_some(),
            "lost new blocks: {:?}",
            self.pending
        );
        result
    }

    /// All that there is, to be compared.
    pub fn contents(&self) -> ([u8; ROOT_LEN], BTreeMap<u64, Vec<u8>>, BTreeSet<u64>) {
        let free = self.free.iter().copied().collect();
        (self.root, self.blocks.clone(), free)
    }

    pub fn depth(&self) -> u16 {
        Node::root(&self.volume, &self.root).unwrap().depth()
    }

    fn len(&self) -> usize {
        self.volume.block_size().bytes().get() as usize
    }

    /// Checks all of the tree, and gives the extents of each leaf.
    pub fn leaves(&self) -> Vec<Vec<Extent>> {
        let root = Node::root(&self.volume, &self.root).unwrap();
        assert_eq!(root.max(), usize::from(ROOT_MAX));
        let mut blocks = 0;
        let leaves = match root {
            Node::Leaf(leaf) => vec![leaf.extents().collect()],
            Node::Inner(inner) => inner
                .children()
                .flat_map(|child| self.below(child, &mut blocks))
                .collect(),
        };
        assert_eq!(blocks, self.blocks.len(), "blocks that are not in the tree");
        leaves
    }

    fn below(&self, child: Child, blocks: &mut usize) -> Vec<Vec<Extent>> {
        *blocks += 1;
        let bytes = &self.blocks[&child.pblk().0];
        let block = Block::new(bytes).unwrap();
        let node = Node::child::<Crc>(&self.volume, self.seed, child, block).unwrap();
        assert_eq!(node.max(), usize::from(block_max(self.len()).unwrap()));
        assert!(!node.run().is_empty());
        match node {
            Node::Leaf(leaf) => vec![leaf.extents().collect()],
            Node::Inner(inner) => inner
                .children()
                .flat_map(|child| self.below(child, blocks))
                .collect(),
        }
    }

    pub fn extents(&self) -> Vec<Extent> {
        self.leaves().concat()
    }

    /// Puts a node that was made by somebody else into a block.
    pub fn put(&mut self, child: Child, entries: Entries<'_>) {
        let mut block = vec![0; self.len()];
        entries
            .block::<Crc>(&self.volume, self.seed, child, &mut block)
            .unwrap();
        self.free.retain(|pblk| *pblk != child.pblk().0);
        self.blocks.insert(child.pblk().0, block);
    }

    fn ask(&mut self) -> Result<(), Told> {
        assert_eq!(self.calls.done, 0, "something was changed before");
        let fails = self.fail_ask == Some(self.calls.asked);
        self.calls.asked += 1;
        if fails {
            Err(Told)
        } else {
            Ok(())
        }
    }

    fn modify(&mut self) -> Result<(), Told> {
        let fails = self.fail_change == Some(self.calls.done);
        self.calls.done += 1;
        if fails {
            Err(Told)
        } else {
            Ok(())
        }
    }
}

impl Nodes for Store {
    type Error = Told;
    type Crc = Crc;
    type Block = Copy;
    type Access = Granted;
    type New = New;

    fn root(&self) -> [u8; ROOT_LEN] {
        self.root
    }

    fn read(&mut self, pblk: Pblk) -> Result<Copy, Told> {
        self.ask()?;
        let bytes = self.blocks.get(&pblk.0).ok_or(Told)?.clone();
        Ok(Copy {
            pblk: pblk.0,
            bytes,
        })
    }

    fn access(&mut self, block: Copy) -> Result<Granted, Told> {
        self.ask()?;
        assert!(self.touched.insert(block.pblk), "access twice");
        Ok(Granted(block))
    }

    fn create(&mut self) -> Result<New, Told> {
        self.ask()?;
        let pblk = self.free.pop().ok_or(Told)?;
        assert!(self.pending.insert(pblk));
        self.calls.created += 1;
        Ok(New(pblk))
    }

    fn pblk(new: &New) -> Pblk {
        Pblk(new.0)
    }

    fn cancel(&mut self, new: New) {
        assert_eq!(self.calls.done, 0);
        assert!(self.pending.remove(&new.0));
        self.calls.created -= 1;
        self.free.push(new.0);
    }

    fn fill<T>(&mut self, new: New, fill: impl FnOnce(&mut [u8]) -> T) -> Result<T, Told> {
        self.modify()?;
        assert_eq!(self.calls.freed, 0);
        assert!(self.pending.remove(&new.0));
        let mut bytes = vec![0xaa; self.len()];
        let filled = fill(&mut bytes);
        assert!(self.blocks.insert(new.0, bytes).is_none());
        Ok(filled)
    }

    fn change<T>(
        &mut self,
        block: Granted,
        change: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, Told> {
        self.modify()?;
        assert_eq!(self.calls.freed, 0);
        self.calls.changed += 1;
        let bytes = self.blocks.get_mut(&block.0.pblk).unwrap();
        assert!(*bytes == block.0.bytes);
        Ok(change(bytes))
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Told> {
        self.modify()?;
        assert!(!self.calls.set_root && self.calls.freed == 0);
        self.calls.set_root = true;
        self.root = *root;
        Ok(())
    }

    fn free(&mut self, block: Copy) -> Result<(), Told> {
        self.modify()?;
        self.calls.freed += 1;
        assert!(self.touched.insert(block.pblk));
        assert!(self.blocks.remove(&block.pblk).is_some());
        self.free.push(block.pblk);
        Ok(())
    }
}

const DEFAULT: &[u8; Superblock::LEN] = include_bytes!("../../../ondisk/tests/default.superblock");

/// A volume of 2^34 blocks of 1 KiB, or without checksums.
pub fn volume(checksums: bool) -> Superblock {
    let mut bytes = *DEFAULT;
    let mut put = |offset: usize, field: &[u8]| {
        bytes[offset..offset + field.len()].copy_from_slice(field);
    };
    // 2^21 groups of 2^13 blocks and 8 inodes, and the block before them.
    put(0x00, &(1_u32 << 24).to_le_bytes());
    put(0x04, &1_u32.to_le_bytes());
    put(0x150, &4_u32.to_le_bytes());
    put(0x14, &1_u32.to_le_bytes());
    put(0x18, &0_u32.to_le_bytes());
    put(0x1c, &0_u32.to_le_bytes());
    put(0x20, &8192_u32.to_le_bytes());
    put(0x24, &8192_u32.to_le_bytes());
    put(0x28, &8_u32.to_le_bytes());
    if !checksums {
        let ro_compat = u32::from_le_bytes(DEFAULT[0x64..0x68].try_into().unwrap());
        let without = ro_compat & !ondisk::RoCompat::METADATA_CSUM.bits();
        put(0x64, &without.to_le_bytes());
        let incompat = u32::from_le_bytes(DEFAULT[0x60..0x64].try_into().unwrap());
        let without = incompat & !ondisk::Incompat::CSUM_SEED.bits();
        put(0x60, &without.to_le_bytes());
    }
    let sum = Crc::crc32c(!0, &bytes[..0x3fc]);
    bytes[0x3fc..].copy_from_slice(&sum.to_le_bytes());
    Superblock::parse::<Crc>(&bytes).unwrap()
}
