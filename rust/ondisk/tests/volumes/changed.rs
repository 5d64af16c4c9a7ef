// SPDX-License-Identifier: GPL-2.0

//! Volumes whose directories are changed in place: names of the same inodes in place of others, so
//! that no count changes, until leaves and nodes are split. e2fsck has nothing to say, and reads the
//! same names.

use crate::{
    image::{
        Image,
        DEFAULT, //
    },
    source::{
        debugfs,
        e2fsck,
        Source,
        PLAIN, //
    },
};
use damage::{
    walk::Volume,
    Crc,
    Numbers, //
};
use ondisk::{
    dir::{
        DirBlock,
        Leaf,
        LeafMut,
        NewEntry,
        Slot, //
    },
    extent::Lookup,
    hash::Hasher,
    htree::{
        self,
        Child,
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
use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    env,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path as FilePath,
    process::{
        self,
        Command, //
    },
};

/// What follows 200 times `n` in names of one legacy hash.
const COLLIDING: [&[u8; 6]; 16] = [
    b"stable", b"eGzDOr", b"j25ObM", b"lhUnOD", b"oIjo47", b"qVXTim", b"rbTn8V", b"xzCBzX",
    b"xHFYFC", b"zHGH5D", b"1zhfrn", b"1Mwf87", b"8RKAtv", b"90EZig", b"AD7dni", b"DU3doi",
];

/// A directory that is taken out of an image, with blocks at its end that have no names yet.
struct Directory {
    volume: Superblock,
    inode: Inode,
    /// Where each block is in the image.
    places: Vec<usize>,
    blocks: Vec<Vec<u8>>,
    /// The blocks that are not yet used.
    spare: Vec<Lblk>,
    names: BTreeMap<Vec<u8>, (Ino, Type)>,
    scratch: Vec<Slot>,
}

impl Directory {
    fn open(bytes: &[u8], path: &[&[u8]], spare: usize) -> Self {
        let volume = Volume::open(bytes).unwrap();
        let mut ino = Ino::ROOT;
        for name in path {
            let dir = volume.inode(ino).unwrap();
            ino = volume.find(&dir, name).unwrap().unwrap();
        }
        let inode = volume.inode(ino).unwrap();
        let len = volume.block_size().bytes().get() as usize;
        let count = inode.size() as usize / len;
        let place = |lblk| match volume.lookup(&inode, lblk).unwrap() {
            Lookup::Extent(extent) => extent.pblk(lblk).unwrap().0 as usize * len,
            hole => panic!("{hole:?}"),
        };
        let places: Vec<_> = (0..count as u32).map(|lblk| place(Lblk(lblk))).collect();
        let names = volume.names(&inode).unwrap();
        let names = names.into_iter().map(|(name, ino, file_type)| {
            // Without types in directories, what is written is not read.
            (name, (ino, file_type.unwrap_or(Type::Regular)))
        });
        Self {
            blocks: places
                .iter()
                .map(|pos| bytes[*pos..pos + len].to_vec())
                .collect(),
            spare: (count - spare..count)
                .map(|lblk| Lblk(lblk as u32))
                .collect(),
            names: names
                .filter(|(name, _)| ![&b"."[..], b".."].contains(&name.as_slice()))
                .collect(),
            scratch: vec![Slot::default(); Slot::MAX],
            volume: volume.superblock().clone(),
            inode,
            places,
        }
    }

    fn close(&self, bytes: &mut [u8]) {
        for (pos, block) in self.places.iter().zip(&self.blocks) {
            bytes[*pos..pos + block.len()].copy_from_slice(block);
        }
    }

    fn block(&self, lblk: Lblk) -> Block<'_> {
        Block::new(&self.blocks[lblk.0 as usize]).unwrap()
    }

    fn root(&self) -> Root<'_> {
        Root::parse::<Crc>(&self.volume, &self.inode, self.block(Lblk(0))).unwrap()
    }

    /// The node, if there is one, and the leaf that a name belongs to.
    fn way(&self, name: &[u8]) -> (Option<Lblk>, Lblk) {
        let root = self.root();
        let hash = root.hasher().hash(name);
        match root.index().find(hash).child() {
            Child::Leaf(lblk) => (None, lblk),
            Child::Node(below) => {
                let block = self.block(below.lblk());
                let node = Index::below::<Crc>(&self.volume, &self.inode, below, block).unwrap();
                match node.find(hash).child() {
                    Child::Leaf(lblk) => (Some(below.lblk()), lblk),
                    child => panic!("{child:?}"),
                }
            }
        }
    }

    fn change<R>(&mut self, lblk: Lblk, change: impl FnOnce(&mut LeafMut<'_>) -> R) -> R {
        let block = &mut self.blocks[lblk.0 as usize];
        let leaf = LeafMut::check::<Crc>(&self.volume, &self.inode, lblk, block);
        change(&mut leaf.unwrap())
    }

    /// Adds a name where there is room, or splits what has to be, which it then gives. Nothing if
    /// there are no more blocks for that.
    fn add(&mut self, name: &[u8], (ino, file_type): (Ino, Type)) -> Option<Option<Growth>> {
        let entry = NewEntry {
            ino,
            file_type,
            name,
        };
        let (node, leaf) = self.way(name);
        let done = self.change(leaf, |leaf| leaf.insert_packed::<Crc>(&entry));
        if done.is_some() {
            self.names.insert(name.to_vec(), (ino, file_type));
            return Some(None);
        }
        let mut blocks: Vec<_> = self.blocks.iter_mut().map(Some).collect();
        let mut take = |lblk: Lblk| DirBlock {
            lblk,
            bytes: blocks[lblk.0 as usize].take().unwrap(),
        };
        let root = take(Lblk(0)).bytes;
        let leaf = take(leaf);
        let leaf = LeafMut::check::<Crc>(&self.volume, &self.inode, leaf.lblk, leaf.bytes);
        let node = node.map(&mut take);
        let path = Path::check::<Crc>(&self.volume, &self.inode, entry, root, node, leaf.unwrap());
        let path = path.unwrap().unwrap();
        let growth = path.growth().unwrap();
        if self.spare.len() < 1 + usize::from(growth.needs_node()) {
            return None;
        }
        let new_leaf = take(self.spare.pop().unwrap());
        let new_node = growth.needs_node().then(|| take(self.spare.pop().unwrap()));
        path.split::<Crc>(new_leaf, new_node, &mut self.scratch)
            .unwrap();
        self.names.insert(name.to_vec(), (ino, file_type));
        Some(Some(growth))
    }

    fn remove(&mut self, name: &[u8]) {
        // Names of one hash may be in leaves behind the first.
        let leaves = 1..self.blocks.len() as u32;
        let (_, first) = self.way(name);
        let found = [first].into_iter().chain(leaves.map(Lblk)).find(|lblk| {
            let leaf = Leaf::parse::<Crc>(&self.volume, &self.inode, *lblk, self.block(*lblk));
            // A node is no leaf, or one without names.
            leaf.is_ok_and(|leaf| leaf.find(name) != Ok(None))
        });
        let found = found.expect("every name is in some leaf");
        self.change(found, |leaf| leaf.remove::<Crc>(name)).unwrap();
        self.names.remove(name);
    }
}

/// A volume with a directory of `many` names, one of a few, and two that can change places.
fn volume(name: &str, len: u64, options: &[&str], many: usize, few: usize) -> Image {
    let source = Source(env::temp_dir().join(format!("stablefs-{}-{name}", process::id())));
    let path = |name: &str| source.0.join(name);
    for dir in ["many", "one", "a/tree", "b/block"] {
        fs::create_dir_all(path(dir)).unwrap();
    }
    fs::write(path("many/first"), b"many names").unwrap();
    let link = |name: &FilePath| fs::hard_link(path("many/first"), name).unwrap();
    for n in 0..many {
        // Not all of them are UTF-8.
        let name = [format!("{n}").as_bytes(), &[0xe9, 0xf0][n % 3 % 2..]].concat();
        link(&path("many").join(OsStr::from_bytes(&name)));
    }
    for n in 0..400 {
        link(&path("a/tree").join(format!("a name that is not short {n}")));
    }
    // They fit into one block, and so many long ones do not.
    for n in 0..few {
        link(&path("one").join(format!("{n}")));
        link(&path("b/block").join(format!("{n}")));
    }
    let from = ["-d", source.0.to_str().unwrap()];
    Image::new(&format!("{name}.image"), len, &[options, &from].concat())
}

/// Exchanges two directories, one with a tree and one with a block, that are in different ones.
fn exchange(bytes: &mut [u8]) {
    let mut above = [
        Directory::open(bytes, &[b"a"], 0),
        Directory::open(bytes, &[b"b"], 0),
    ];
    let mut below = [
        Directory::open(bytes, &[b"a", b"tree"], 0),
        Directory::open(bytes, &[b"b", b"block"], 0),
    ];
    let directory = |ino, name| NewEntry {
        ino,
        file_type: Type::Directory,
        name,
    };
    let [tree, block] = [0, 1].map(|n: usize| below[n].inode.ino());
    let [a, b] = [0, 1].map(|n: usize| above[n].inode.ino());
    let names: [(usize, &[u8], Ino); 2] = [(0, b"tree", block), (1, b"block", tree)];
    for (n, name, ino) in names {
        above[n]
            .change(Lblk(0), |leaf| leaf.replace::<Crc>(&directory(ino, name)))
            .unwrap();
    }
    let Directory {
        volume,
        inode,
        blocks,
        ..
    } = &mut below[0];
    assert_eq!(Layout::of(volume, inode), Layout::Indexed);
    htree::set_parent::<Crc>(volume, inode, b, &mut blocks[0]).unwrap();
    below[1]
        .change(Lblk(0), |leaf| leaf.replace::<Crc>(&directory(a, b"..")))
        .unwrap();
    for dir in above.iter().chain(&below) {
        dir.close(bytes);
    }
}

/// Makes a directory of one block, and two that are spare, into a tree.
fn index(bytes: &mut [u8], numbers: &mut Numbers) -> BTreeSet<Vec<u8>> {
    let mut dir = Directory::open(bytes, &[b"one"], 2);
    let settings = dir.volume.settings();
    let hasher = Hasher::new(
        settings.def_hash_version().unwrap(),
        settings.hash_chars(),
        settings.hash_seed(),
    );
    let names: Vec<_> = dir.names.clone().into_iter().collect();
    for (old, (ino, file_type)) in names.iter().cycle() {
        let name = long_name(numbers);
        let entry = NewEntry {
            ino: *ino,
            file_type: *file_type,
            name: &name,
        };
        if dir.names.contains_key(old) {
            dir.change(Lblk(0), |leaf| leaf.remove::<Crc>(old)).unwrap();
            dir.names.remove(old);
        } else {
            // One name for another one of those that it got, so that there are ever longer ones.
            let shortest = dir
                .names
                .keys()
                .min_by_key(|name| name.len())
                .unwrap()
                .clone();
            dir.change(Lblk(0), |leaf| leaf.remove::<Crc>(&shortest))
                .unwrap();
            dir.names.remove(&shortest);
        }
        dir.names.insert(name.clone(), (*ino, *file_type));
        if dir
            .change(Lblk(0), |leaf| leaf.insert_packed::<Crc>(&entry))
            .is_some()
        {
            continue;
        }
        let [root, lower, upper] = dir.blocks.as_mut_slice() else {
            panic!("{} blocks", dir.blocks.len());
        };
        let leaf = LeafMut::check::<Crc>(&dir.volume, &dir.inode, Lblk(0), root).unwrap();
        let leaves = [(1, lower), (2, upper)].map(|(lblk, bytes)| DirBlock {
            lblk: Lblk(lblk),
            bytes,
        });
        htree::index::<Crc>(leaf, &hasher, &entry, leaves, &mut dir.scratch).unwrap();
        break;
    }
    dir.close(bytes);
    dir.names.into_keys().collect()
}

fn long_name(numbers: &mut Numbers) -> Vec<u8> {
    let len = 100 + numbers.below(156);
    let letters = [
        &b"abcdefghijklmnopqrstuvwxyz"[..],
        &[0x80, 0xc3, 0xe9, 0xff],
    ]
    .concat();
    (0..len).map(|_| numbers.pick(&letters)).collect()
}

/// Changes names until all spare blocks are used, and some more; gives what was split.
fn rename(dir: &mut Directory, numbers: &mut Numbers, first: Vec<Vec<u8>>) -> BTreeMap<u8, u32> {
    let mut seen = BTreeMap::new();
    let mut first = first.into_iter();
    let (mut after, mut tries) = (300, 0);
    while after > 0 {
        tries += 1;
        assert!(tries < 100_000, "{} blocks are left", dir.spare.len());
        let known = dir.names.range(vec![numbers.next() as u8]..).next();
        let (old, inode) = known.or(dir.names.first_key_value()).unwrap();
        let (old, inode) = (old.clone(), *inode);
        // Those of one hash stay.
        if old.starts_with(&[b'n'; 200]) {
            continue;
        }
        let new = first.next().unwrap_or_else(|| long_name(numbers));
        if let Some(growth) = dir.add(&new, inode) {
            dir.remove(&old);
            *seen
                .entry(growth.map_or(0, |growth| growth as u8 + 1))
                .or_insert(0) += 1;
        }
        after -= u32::from(dir.spare.is_empty());
    }
    seen
}

#[test]
#[ignore = "needs mke2fs, e2fsck, tune2fs and debugfs"]
fn e2fsck_accepts_directories_that_changed() {
    let untyped = "none,extent,dir_index,ext_attr,metadata_csum,sparse_super";
    let mut all = BTreeMap::new();
    for (n, (features, block, hash, flags)) in [
        (DEFAULT, "1024", "half_md4", 1),
        (DEFAULT, "1024", "tea", 2),
        (DEFAULT, "1024", "legacy", 1),
        (DEFAULT, "1024", "legacy", 2),
        (DEFAULT, "2048", "half_md4", 2),
        (DEFAULT, "4096", "half_md4", 1),
        (PLAIN, "1024", "tea", 1),
        (untyped, "1024", "half_md4", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let (many, few, spare) = match block {
            "1024" => (900, 12, 300),
            _ => (1500, 50, 60),
        };
        let options = ["-O", features, "-b", block, "-N", "128"];
        let image = volume(&format!("changed{n}"), 12 << 20, &options, many, few);
        let tune2fs = Command::new("tune2fs")
            .arg("-E")
            .arg(format!("hash_alg={hash}"))
            .arg(&image.0)
            .output()
            .unwrap();
        assert!(tune2fs.status.success(), "{tune2fs:?}");
        debugfs(&image.0, &format!("ssv flags {flags}\n"));
        // Only now directories are indexed.
        e2fsck(&image.0, "-fyD", 1);
        e2fsck(&image.0, "-fn", 0);
        let commands = "expand_dir many\n".repeat(spare) + &"expand_dir one\n".repeat(2);
        debugfs(&image.0, &commands);

        let numbers = &mut Numbers(n as u64);
        let mut bytes = fs::read(&image.0).unwrap();
        let mut dir = Directory::open(&bytes, &[b"many"], spare);
        assert_eq!(Layout::of(&dir.volume, &dir.inode), Layout::Indexed);
        let colliding = COLLIDING.map(|end| [&[b'n'; 200][..], end].concat());
        let seen = rename(&mut dir, numbers, colliding.to_vec());
        println!("{features} {block} {hash} {flags}: {seen:?}");
        for (growth, count) in seen {
            *all.entry(growth).or_insert(0) += count;
        }
        dir.close(&mut bytes);
        let names = index(&mut bytes, numbers);
        exchange(&mut bytes);
        fs::write(&image.0, &bytes).unwrap();
        // The flags of a file with extents that is a directory with a tree.
        debugfs(&image.0, "sif one flags 0x81000\n");
        e2fsck(&image.0, "-fn", 0);

        let bytes = fs::read(&image.0).unwrap();
        let volume = Volume::open(&bytes).unwrap();
        for name in dir.names.keys() {
            assert!(volume.find(&dir.inode, name).unwrap().is_some());
        }
        let again = Directory::open(&bytes, &[b"many"], 0);
        assert_eq!(again.names, dir.names);
        let one = Directory::open(&bytes, &[b"one"], 0);
        assert_eq!(Layout::of(&one.volume, &one.inode), Layout::Indexed);
        assert!(one.names.into_keys().eq(names));
    }
    println!("{all:?}");
    assert_eq!(all.len(), 4);
}
