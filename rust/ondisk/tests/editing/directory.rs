// SPDX-License-Identifier: GPL-2.0

//! A directory as a list of blocks, to which a name is added as a filesystem would add it.

use crate::support::{
    dir_block,
    directory,
    ino,
    inode_seed,
    seal_dir_block,
    GENERATION, //
};
use damage::Crc;
use ondisk::{
    dir::{
        encode,
        room,
        DirBlock,
        Leaf,
        LeafMut,
        NewEntry,
        Slot, //
    },
    hash::{
        Hash,
        Hasher, //
    },
    htree::{
        self,
        Child,
        Cost,
        Entry,
        Growth,
        Index,
        Layout,
        Path,
        Root, //
    },
    inode::Type,
    Block,
    Ino,
    Inode,
    Lblk,
    Superblock, //
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};

pub const INO: u32 = 20;
/// The flag of indexed directories.
const INDEX: u32 = 0x1000;

/// What became of a name that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Added {
    InPlace,
    Appended,
    Indexed,
    LeafSplit,
    NodeSplit,
    Deepened,
    Full,
}

/// A directory beside the names that it should have.
pub struct Directory<'a> {
    volume: &'a Superblock,
    pub inode: Inode,
    pub blocks: Vec<Vec<u8>>,
    pub names: BTreeMap<Vec<u8>, (u32, Type)>,
    scratch: Vec<Slot>,
    pub parent: u32,
}

/// Blocks between the root and a name.
struct Way {
    node: Option<Lblk>,
    leaf: Lblk,
}

impl<'a> Directory<'a> {
    pub fn new(volume: &'a Superblock, len: usize) -> Self {
        let inode = directory(volume, INO, 1, 0);
        let mut bytes = vec![0xff; len];
        let dots = [(INO, &b"."[..]), (2, b"..")].map(|(number, name)| NewEntry {
            ino: ino(volume, number),
            file_type: Type::Directory,
            name,
        });
        encode::<Crc>(volume, &inode, Lblk(0), &dots, &mut bytes).unwrap();
        Self {
            volume,
            inode,
            blocks: vec![bytes],
            names: BTreeMap::new(),
            scratch: vec![Slot::default(); Slot::MAX],
            parent: 2,
        }
    }

    fn block(&self, lblk: Lblk) -> Block<'_> {
        Block::new(&self.blocks[lblk.0 as usize]).unwrap()
    }

    fn leaf(&self, lblk: Lblk) -> Leaf<'_> {
        Leaf::parse::<Crc>(self.volume, &self.inode, lblk, self.block(lblk)).unwrap()
    }

    pub fn root(&self) -> Root<'_> {
        Root::parse::<Crc>(self.volume, &self.inode, self.block(Lblk(0))).unwrap()
    }

    fn below(&self, below: htree::Below) -> Index<'_> {
        Index::below::<Crc>(self.volume, &self.inode, below, self.block(below.lblk())).unwrap()
    }

    fn way(&self, name: &[u8]) -> Way {
        let root = self.root();
        let hash = root.hasher().hash(name);
        let (node, child) = match root.index().find(hash).child() {
            Child::Node(below) => (Some(below.lblk()), self.below(below).find(hash).child()),
            child => (None, child),
        };
        match child {
            Child::Leaf(leaf) => Way { node, leaf },
            Child::Node(_) => panic!("too deep"),
        }
    }

    /// Visits the leaves in the order of their hashes, each with the entry of the next one, from that
    /// of a hash on, as the filesystem does; until `visit` says that it is enough.
    fn for_each_leaf(&self, from: Hash, mut visit: impl FnMut(Lblk, Option<Entry>) -> bool) {
        let index = self.root().index();
        let mut is_first = true;
        let mut entry = Some(index.find(from));
        while let Some(above) = entry {
            let next_above = index.after(above);
            match above.child() {
                Child::Leaf(lblk) if visit(lblk, next_above) => return,
                Child::Leaf(_) => (),
                Child::Node(below) => {
                    let node = self.below(below);
                    let mut entry = Some(match is_first {
                        true => node.find(from),
                        false => node.first(),
                    });
                    while let Some(leaf) = entry {
                        let next = node.after(leaf);
                        let Child::Leaf(lblk) = leaf.child() else {
                            panic!("too deep");
                        };
                        if visit(lblk, next.or(next_above)) {
                            return;
                        }
                        entry = next;
                    }
                }
            }
            is_first = false;
            entry = next_above;
        }
    }

    /// The block with a name, found as a filesystem does.
    fn find(&self, name: &[u8]) -> Option<Lblk> {
        if Layout::of(self.volume, &self.inode) != Layout::Indexed {
            let mut lblks = (0..self.blocks.len() as u32).map(Lblk);
            return lblks.find(|lblk| self.leaf(*lblk).find(name).unwrap().is_some());
        }
        let hash = self.root().hasher().hash(name);
        let mut found = None;
        self.for_each_leaf(hash, |lblk, next| {
            found = self.leaf(lblk).find(name).unwrap().map(|_| lblk);
            found.is_some() || !next.is_some_and(|next| next.continues(hash))
        });
        found
    }

    fn new_block(&mut self) -> Lblk {
        let lblk = Lblk(self.blocks.len() as u32);
        self.blocks.push(vec![0xff; self.blocks[0].len()]);
        lblk
    }

    fn resize(&mut self, flags: u32) {
        self.inode = directory(self.volume, INO, self.blocks.len() as u32, flags);
    }

    pub fn add(&mut self, name: &[u8], number: u32, file_type: Type) -> Added {
        let entry = NewEntry {
            ino: ino(self.volume, number),
            file_type,
            name,
        };
        // To compare larger ones each time would take too long.
        let before = (self.blocks.len() < 300).then(|| self.blocks.clone());
        let layout = Layout::of(self.volume, &self.inode);
        let added = match layout {
            Layout::Linear => self.add_linear(&entry),
            Layout::OneBlock(hasher) => self.add_to_one_block(&hasher, &entry),
            Layout::Indexed => self.add_indexed(&entry),
        };
        if let Some(before) = before {
            self.check_cost(&before, added, layout.cost());
        }
        if added != Added::Full {
            self.names.insert(name.to_vec(), (number, file_type));
            assert!(self.find(name).is_some());
        }
        added
    }

    fn check_cost(&self, before: &[Vec<u8>], added: Added, cost: Cost) {
        let old = before.iter().zip(&self.blocks).filter(|(a, b)| a != b);
        let (old, new) = (old.count(), self.blocks.len() - before.len());
        assert!(old as u32 <= cost.old && new as u32 <= cost.new);
        let expected = match added {
            Added::InPlace => (1, 0),
            Added::Appended => (0, 1),
            Added::Indexed => (1, 2),
            Added::LeafSplit => (2, 1),
            Added::NodeSplit => (3, 2),
            Added::Deepened => (2, 2),
            Added::Full => (0, 0),
        };
        assert_eq!((old, new), expected, "{added:?}");
    }

    fn add_linear(&mut self, entry: &NewEntry<'_>) -> Added {
        let mut lblks = (0..self.blocks.len() as u32).map(Lblk);
        let lblk = lblks.find(|lblk| self.leaf(*lblk).has_room(entry).unwrap());
        if let Some(lblk) = lblk {
            self.change(lblk, |leaf| leaf.insert::<Crc>(entry)).unwrap();
            return Added::InPlace;
        }
        let lblk = self.new_block();
        self.resize(0);
        let block = &mut self.blocks[lblk.0 as usize];
        encode::<Crc>(self.volume, &self.inode, lblk, &[*entry], block).unwrap();
        Added::Appended
    }

    fn add_to_one_block(&mut self, hasher: &Hasher, entry: &NewEntry<'_>) -> Added {
        let done = self.change(Lblk(0), |leaf| leaf.insert_packed::<Crc>(entry));
        if done.is_some() {
            return Added::InPlace;
        }
        let leaves = [self.new_block(), self.new_block()];
        let [old, lower, upper] = self.blocks.as_mut_slice() else {
            panic!("more than one block");
        };
        let leaf = LeafMut::check::<Crc>(self.volume, &self.inode, Lblk(0), old).unwrap();
        let leaves =
            [(leaves[0], lower), (leaves[1], upper)].map(|(lblk, bytes)| DirBlock { lblk, bytes });
        htree::index::<Crc>(leaf, hasher, entry, leaves, &mut self.scratch).unwrap();
        self.resize(INDEX);
        Added::Indexed
    }

    fn add_indexed(&mut self, entry: &NewEntry<'_>) -> Added {
        let Way { node, leaf } = self.way(entry.name);
        let done = self.change(leaf, |leaf| leaf.insert_packed::<Crc>(entry));
        if done.is_some() {
            return Added::InPlace;
        }
        let Some(growth) = self.growth(entry) else {
            return Added::Full;
        };
        let new_leaf = self.new_block();
        let new_node = growth.needs_node().then(|| self.new_block());
        let mut blocks: Vec<_> = self.blocks.iter_mut().map(Some).collect();
        let mut take = |lblk: Lblk| DirBlock {
            lblk,
            bytes: blocks[lblk.0 as usize].take().unwrap(),
        };
        let root = take(Lblk(0)).bytes;
        let leaf = take(leaf);
        let leaf = LeafMut::check::<Crc>(self.volume, &self.inode, leaf.lblk, leaf.bytes).unwrap();
        let node = node.map(&mut take);
        let path = Path::check::<Crc>(self.volume, &self.inode, *entry, root, node, leaf);
        let path = path.unwrap().unwrap();
        path.split::<Crc>(take(new_leaf), new_node.map(take), &mut self.scratch)
            .unwrap();
        self.resize(INDEX);
        match growth {
            Growth::Leaf => Added::LeafSplit,
            Growth::Node => Added::NodeSplit,
            Growth::Level => Added::Deepened,
        }
    }

    /// What a filesystem would ask before it allocates anything.
    fn growth(&mut self, entry: &NewEntry<'_>) -> Option<Growth> {
        let Way { node, leaf } = self.way(entry.name);
        let (volume, inode) = (self.volume, &self.inode);
        let mut blocks: Vec<_> = self.blocks.iter_mut().map(Some).collect();
        let mut take = |lblk: Lblk| blocks[lblk.0 as usize].take().unwrap();
        let root = take(Lblk(0));
        let leaf = LeafMut::check::<Crc>(volume, inode, leaf, take(leaf)).unwrap();
        let node = node.map(|lblk| DirBlock {
            lblk,
            bytes: take(lblk),
        });
        let path = Path::check::<Crc>(volume, inode, *entry, root, node, leaf);
        path.unwrap().unwrap().growth()
    }

    fn change<R>(&mut self, lblk: Lblk, change: impl FnOnce(&mut LeafMut<'_>) -> R) -> R {
        let block = &mut self.blocks[lblk.0 as usize];
        let leaf = LeafMut::check::<Crc>(self.volume, &self.inode, lblk, block);
        change(&mut leaf.unwrap())
    }

    pub fn remove(&mut self, name: &[u8]) {
        let lblk = self.find(name).unwrap();
        self.change(lblk, |leaf| leaf.remove::<Crc>(name)).unwrap();
        self.names.remove(name);
        assert_eq!(self.find(name), None);
    }

    pub fn replace(&mut self, name: &[u8], number: u32, file_type: Type) {
        let lblk = self.find(name).unwrap();
        let entry = NewEntry {
            ino: ino(self.volume, number),
            file_type,
            name,
        };
        self.change(lblk, |leaf| leaf.replace::<Crc>(&entry))
            .unwrap();
        self.names.insert(name.to_vec(), (number, file_type));
    }

    pub fn set_parent(&mut self, number: u32) {
        let parent = ino(self.volume, number);
        self.parent = number;
        if Layout::of(self.volume, &self.inode) == Layout::Indexed {
            let (root, inode) = (&mut self.blocks[0], &self.inode);
            htree::set_parent::<Crc>(self.volume, inode, parent, root).unwrap();
        } else {
            let entry = NewEntry {
                ino: parent,
                file_type: Type::Directory,
                name: b"..",
            };
            self.change(Lblk(0), |leaf| leaf.replace::<Crc>(&entry))
                .unwrap();
        }
    }

    fn parent(&self) -> Ino {
        match Layout::of(self.volume, &self.inode) {
            Layout::Indexed => self.root().parent(),
            _ => self.leaf(Lblk(0)).find(b"..").unwrap().unwrap().ino(),
        }
    }

    /// Every block is taken by the parser, is where it belongs, and has what it should.
    pub fn check(&self) {
        assert_eq!(self.parent().get(), self.parent);
        let mut left = self.names.clone();
        let mut used = BTreeSet::new();
        if Layout::of(self.volume, &self.inode) == Layout::Indexed {
            self.check_tree(&mut left, &mut used);
        } else {
            for lblk in (0..self.blocks.len() as u32).map(Lblk) {
                self.check_leaf(lblk, &mut left, |_| ());
                used.insert(lblk);
            }
        }
        assert_eq!(left, BTreeMap::new());
        assert_eq!(used.len(), self.blocks.len());
        for name in self.names.keys() {
            assert!(self.find(name).is_some());
        }
        // Deleted names are nowhere, nor what else was in the new blocks.
        for bytes in &self.blocks {
            assert!(!bytes.windows(9).any(|part| part == [0xff; 9]));
        }
    }

    fn check_tree(&self, left: &mut BTreeMap<Vec<u8>, (u32, Type)>, used: &mut BTreeSet<Lblk>) {
        let root = self.root();
        used.insert(Lblk(0));
        for entry in root.index().entries() {
            if let Child::Node(below) = entry.child() {
                assert!(used.insert(below.lblk()));
            }
        }
        let mut least = 0;
        let first = Hash { major: 0, minor: 0 };
        self.for_each_leaf(first, |lblk, next| {
            assert!(used.insert(lblk));
            self.check_leaf(lblk, left, |name| {
                let hash = root.hasher().hash(name);
                assert!(hash.major >= least);
                if let Some(next) = next {
                    // Only where it says so, names of its hash are before it, too.
                    assert!(hash.major < next.hash() || next.continues(hash));
                }
            });
            least = next.map_or(u32::MAX, |next| next.hash());
            false
        });
    }

    fn check_leaf(
        &self,
        lblk: Lblk,
        left: &mut BTreeMap<Vec<u8>, (u32, Type)>,
        check: impl Fn(&[u8]),
    ) {
        for entry in self.leaf(lblk).entries() {
            let entry = entry.unwrap();
            if [&b"."[..], b".."].contains(&entry.name()) {
                continue;
            }
            let (number, file_type) = left.remove(entry.name()).expect("a name that is gone");
            assert_eq!(entry.ino().get(), number);
            assert_eq!(entry.file_type(), Some(file_type));
            check(entry.name());
        }
    }

    /// The path to a name with other new blocks than it takes: nothing changes.
    pub fn check_wrong_blocks(&mut self, name: &[u8], new: [Option<Lblk>; 2]) -> bool {
        let entry = NewEntry {
            ino: ino(self.volume, 30),
            file_type: Type::Regular,
            name,
        };
        let Way { node, leaf } = self.way(name);
        let before = self.blocks.clone();
        let (volume, inode) = (self.volume, &self.inode);
        let len = self.blocks[0].len();
        let mut spare = [vec![0; len], vec![0; len]];
        let mut blocks: Vec<_> = self.blocks.iter_mut().map(Some).collect();
        let mut take = |lblk: Lblk| blocks[lblk.0 as usize].take().unwrap();
        let root = take(Lblk(0));
        let leaf = LeafMut::check::<Crc>(volume, inode, leaf, take(leaf)).unwrap();
        let node = node.map(|lblk| DirBlock {
            lblk,
            bytes: take(lblk),
        });
        let path = Path::check::<Crc>(volume, inode, entry, root, node, leaf);
        let path = path.unwrap().unwrap();
        let [a, b] = &mut spare;
        let [leaf, node] = [(new[0], a), (new[1], b)]
            .map(|(lblk, bytes)| lblk.map(|lblk| DirBlock { lblk, bytes }));
        let done = path.split::<Crc>(leaf.unwrap(), node, &mut self.scratch);
        assert!(done.is_some() || self.blocks == before);
        done.is_some()
    }

    /// Bytes of a block for names.
    pub fn room(&self) -> usize {
        room(&self.inode, self.blocks[0].len()).unwrap()
    }

    /// The blocks of a new directory with room for names behind one that is too long.
    pub fn with_long_dot(mut self) -> Self {
        let end = self.room();
        let mut bytes = dir_block(
            self.blocks[0].len(),
            end < self.blocks[0].len(),
            &[(INO, 2, b"."), (2, 2, b"..")],
        );
        bytes.copy_within(12..24, 24);
        bytes[4] = 24;
        bytes[12..24].fill(0);
        let rest = (end as u16 - 24).to_le_bytes();
        bytes[28..30].copy_from_slice(&rest);
        if end < bytes.len() {
            seal_dir_block(inode_seed(self.volume, INO, GENERATION), &mut bytes);
        }
        self.blocks[0] = bytes;
        self
    }
}
