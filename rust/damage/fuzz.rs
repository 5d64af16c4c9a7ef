// SPDX-License-Identifier: GPL-2.0

//! Bytes from anywhere, given to one parser after the other: whatever they are, there is a value
//! or an error, and a value keeps what its type promises.
//!
//! The same targets are run by cargo-fuzz, see `rust/fuzz`, and with [mutated](mutate) structures
//! of real volumes in every test run. An input begins with what the parser has to know beside the
//! structure, each number as a byte or little-endian.

use crate::{
    seal,
    walk::Volume,
    Image,
    Kind,
    Numbers,
    Structure, //
};
use ondisk::{
    acl::Acl,
    dir,
    extent::{
        self,
        Entries,
        Lookup,
        Node, //
    },
    group::Descriptor,
    htree::{
        Child,
        Index,
        Root, //
    },
    inode::Type,
    xattr::{
        encode_in_inode,
        Xattrs, //
    },
    Block,
    Cause,
    Compat,
    Crc32c,
    ErrorRecord,
    Free,
    Incident,
    Incidents,
    Incompat,
    Ino,
    Inode,
    Lblk,
    Pblk,
    RoCompat,
    Seed,
    Superblock,
    Update, //
};

/// What bytes are given to.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its file in `rust/fuzz`.
    pub name: &'static str,
    /// Gives them, and says whether there was a value. Panics if something is wrong.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    target("superblock", superblock),
    target("descriptor", descriptor),
    target("inode", inode),
    target("extent", extent),
    target("leaf", leaf),
    target("htree", htree),
    target("xattr_inode", xattr_inode),
    target("xattr_block", xattr_block),
    target("acl", acl),
    target("volume", volume),
];

const fn target(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run }
}

/// A checksum that is always 0, so that nobody has to guess one.
struct Zero;

impl Crc32c for Zero {
    fn crc32c(_: u32, _: &[u8]) -> u32 {
        0
    }
}

/// An input that is used up from its beginning on; 0 where it has ended.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        padded(bytes)
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// The superblock that a byte says.
    fn superblock(&mut self) -> Superblock {
        Shape::from_byte(self.u8()).superblock()
    }

    /// The rest, cut off or filled with zeroes.
    fn exactly(&self, len: usize) -> Vec<u8> {
        let mut bytes = self.0.to_vec();
        bytes.resize(len, 0);
        bytes
    }
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|n| bytes.get(n).copied().unwrap_or(0))
}

/// What of a volume matters to the parsers of its other structures.
#[derive(Clone, Copy)]
struct Shape {
    log_block_size: u8,
    log_inode_size: u8,
    checksums: bool,
    types: bool,
    is_64bit: bool,
    indexed: bool,
}

/// Blocks of the volumes, and inodes: two groups where blocks are small.
const COUNT: u32 = 16384;

impl Shape {
    fn from_byte(byte: u8) -> Self {
        Self {
            log_block_size: (byte & 3).min(2),
            log_inode_size: (byte >> 2) & 3,
            checksums: byte & 0x10 == 0,
            types: byte & 0x20 == 0,
            is_64bit: byte & 0x40 == 0,
            indexed: byte & 0x80 == 0,
        }
    }

    fn of(superblock: &Superblock) -> Self {
        let features = superblock.features();
        Self {
            log_block_size: (superblock.block_size().bytes().get() / 1024).ilog2() as u8,
            log_inode_size: (superblock.inode_size() / 128).ilog2() as u8,
            checksums: features.ro_compat.contains(RoCompat::METADATA_CSUM),
            types: features.incompat.contains(Incompat::FILETYPE),
            is_64bit: features.incompat.contains(Incompat::BIT64),
            indexed: true,
        }
    }

    fn byte(self) -> u8 {
        let flag = |set: bool, bit: u8| u8::from(!set) << bit;
        self.log_block_size
            | (self.log_inode_size << 2)
            | flag(self.checksums, 4)
            | flag(self.types, 5)
            | flag(self.is_64bit, 6)
            | flag(self.indexed, 7)
    }

    fn superblock(self) -> Superblock {
        let mut bytes: [u8; Superblock::LEN] = [0; Superblock::LEN];
        let mut put = |pos: usize, value: u32| {
            bytes[pos..pos + 4].copy_from_slice(&value.to_le_bytes());
        };
        let log = u32::from(self.log_block_size);
        let per_group = (8192_u32 << log).min(COUNT);
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        put(0x00, COUNT);
        put(0x04, COUNT);
        put(0x14, u32::from(log == 0));
        put(0x18, log);
        put(0x1c, log);
        put(0x20, per_group);
        put(0x24, per_group);
        put(0x28, per_group);
        put(0x38, 0x1_ef53);
        put(0x4c, 1);
        put(0x54, 11);
        put(0x58, 128 << self.log_inode_size);
        put(0x5c, flag(self.indexed, 0x20));
        // Types, extents, 64bit, flex_bg.
        put(
            0x60,
            0x240 | flag(self.types, 0x2) | flag(self.is_64bit, 0x80),
        );
        // Large and huge files, many directories, long inodes; checksums.
        put(0x64, 0x6a | flag(self.checksums, 0x400));
        put(0xfc, 64 << 16);
        bytes[0x175] = 1;
        Superblock::parse::<Zero>(&bytes).expect("a superblock that is in order")
    }
}

/// A directory of the volume with as many blocks as there can be names of.
fn directory(volume: &Superblock, ino: Ino) -> Inode {
    let mut bytes = vec![0; volume.inode_size().into()];
    let mut put = |pos: usize, value: u32| {
        bytes[pos..pos + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(0x00, 0o40755);
    put(0x04, 64 * volume.block_size().bytes().get());
    put(0x18, 0x2_0000);
    let indexed = volume.features().compat.contains(Compat::DIR_INDEX);
    put(0x20, 0x8_0000 | (u32::from(indexed) << 12));
    put(0x28, 0xf30a);
    put(0x2c, 4);
    if volume.inode_size() > 128 {
        put(0x80, 32);
    }
    let inode = Inode::parse::<Zero>(volume, ino, &bytes).expect("a directory that is in order");
    inode.expect("a directory that is in use")
}

/// The inode of a number, whatever that is.
fn some_ino(volume: &Superblock, number: u32) -> Ino {
    volume.ino(number).unwrap_or(Ino::ROOT)
}

/// Input: a superblock.
pub fn superblock(data: &[u8]) -> bool {
    let bytes: [u8; Superblock::LEN] = padded(data);
    let Ok(volume) = Superblock::parse::<Zero>(&bytes) else {
        return false;
    };
    let last = volume.group(volume.groups_count().get() - 1).unwrap();
    for group in volume.groups().take(2).chain([last]) {
        let blocks = volume.group_blocks(group);
        assert!(blocks.start < blocks.end && blocks.end.0 <= volume.blocks_count().0);
        assert!(volume.clusters(blocks) <= volume.clusters_per_group());
        if let Ok(place) = volume.descriptor_place(group) {
            assert!(place.start + place.len <= volume.block_size().bytes().get());
            assert!(place.pblk.0 < volume.blocks_count().0);
        }
        volume.has_super(group);
    }
    let ino = volume.ino(volume.inodes_count()).unwrap();
    assert!(volume.group_of(ino) == last);

    let mut updated = bytes;
    let same = Update::default().apply::<Zero>(&mut updated);
    assert_eq!(same, Ok(volume));
    assert_eq!(updated, bytes);
    let update = Update {
        needs_recovery: Some(false),
        orphan_present: Some(true),
        last_orphan: Some(None),
        free: Some(Free {
            clusters: 0,
            inodes: 0,
        }),
        error: true,
        error_record: Some(ErrorRecord::of(&bytes)),
        incidents: Some(Incidents::one(Incident {
            time: 3,
            ino,
            pblk: None,
            cause: Cause::Other,
            text: [0xff; Incident::TEXT_LEN],
        })),
        mounted: Some(1),
        written: Some(2),
    };
    let settings = update.apply::<Zero>(&mut updated).unwrap();
    assert_eq!(settings.settings().written(), 2);
    true
}

/// Input: [`Shape`], group, descriptor.
pub fn descriptor(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let group = input.u32() % volume.groups_count();
    let group = volume.group(group).unwrap();
    let bytes = input.exactly(volume.desc_size().into());
    let Ok(descriptor) = Descriptor::parse::<Zero>(&volume, group, &bytes) else {
        return false;
    };
    assert!(volume.holds(descriptor.inode_table()));
    let inodes = volume.inodes_per_group().get();
    for number in [1, group.get() * inodes + 1, (group.get() + 1) * inodes] {
        if let Some(place) = descriptor.inode_place(&volume, volume.ino(number).unwrap()) {
            assert!(place.pblk < descriptor.inode_table().end);
            assert!(place.start + place.len <= volume.block_size().bytes().get());
        }
    }
    let block = vec![0xff; volume.block_size().bytes().get() as usize];
    let _ = descriptor.check_block_bitmap::<Zero>(&volume, &block);
    let _ = descriptor.check_inode_bitmap::<Zero>(&volume, &block);
    true
}

/// Input: [`Shape`], number, inode.
pub fn inode(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let ino = some_ino(&volume, input.u32());
    let bytes = input.exactly(volume.inode_size().into());
    let Ok(Some(inode)) = Inode::parse::<Zero>(&volume, ino, &bytes) else {
        return false;
    };
    assert!(inode.size() < 1 << 63);
    if let Ok(root) = inode.extents(&volume) {
        walk_node(&root);
    }
    let mut again = bytes;
    let encoded = inode.fields().encode::<Zero>(&volume, ino, &mut again);
    assert_eq!(encoded, Some(inode));
    true
}

/// Looks around in a node.
fn walk_node(node: &Node<'_>) {
    let lblks = node.lblks();
    let mut at = lblks.start;
    // Each lookup goes on by what was found, and a node has fewer entries than this.
    for _ in 0..1000 {
        if at >= lblks.end {
            break;
        }
        let range = match node.lookup(at) {
            Lookup::Extent(extent) => {
                assert!(extent.pblk(at).is_some());
                extent.lblks()
            }
            Lookup::Hole(range) => range,
            Lookup::Child(child) => {
                assert!(child.depth() < node.depth());
                child.lblks()
            }
        };
        assert!(range.contains(at) && range.end <= lblks.end);
        at = range.end;
    }
    assert!(at >= lblks.end);
    match node {
        Node::Leaf(leaf) => leaf.extents().for_each(drop),
        Node::Inner(inner) => inner.children().for_each(drop),
    }
}

/// Makes another block of a node.
fn encode_node(volume: &Superblock, seed: Seed, child: extent::Child, node: &Node<'_>, len: usize) {
    let mut bytes = vec![0xff; len];
    let (extents, children): (Vec<_>, Vec<_>);
    let entries = match node {
        Node::Leaf(leaf) => {
            extents = leaf.extents().collect();
            Entries::Extents(&extents)
        }
        Node::Inner(inner) => {
            children = inner.children().collect();
            Entries::Children(&children)
        }
    };
    let done = entries.block::<Zero>(volume, seed, child, &mut bytes);
    assert!(done.is_some());
}

/// Input: [`Shape`], root of a tree, another node of it.
pub fn extent(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let root = input.bytes();
    let bytes = input.exactly(volume.block_size().bytes().get() as usize);
    let block = Block::new(&bytes).unwrap();
    let Ok(Node::Inner(root)) = Node::root(&volume, &root) else {
        return false;
    };
    let seed = Seed::of_volume(&volume);
    let mut accepted = false;
    let mut children: Vec<_> = root.children().collect();
    while let Some(child) = children.pop() {
        let Ok(node) = Node::child::<Zero>(&volume, seed, child, block) else {
            continue;
        };
        accepted = true;
        assert_eq!(node.depth(), child.depth());
        walk_node(&node);
        encode_node(&volume, seed, child, &node, bytes.len());
        // The depth falls, so the block cannot be its own child.
        if let Node::Inner(inner) = node {
            let below = inner.children().next().unwrap();
            assert!(Node::child::<Zero>(&volume, seed, below, block).is_err());
        }
    }
    accepted
}

/// Input: [`Shape`], number of the directory, of the block in it, block of names.
pub fn leaf(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let dir = directory(&volume, some_ino(&volume, input.u32()));
    let lblk = Lblk(input.u8().into());
    let bytes = input.exactly(volume.block_size().bytes().get() as usize);
    let block = Block::new(&bytes).unwrap();
    let Ok(leaf) = dir::Leaf::parse::<Zero>(&volume, &dir, lblk, block) else {
        return false;
    };
    let mut end = 0;
    let mut whole = true;
    let mut names = vec![];
    for entry in leaf.entries() {
        let Ok(entry) = entry else {
            whole = false;
            continue;
        };
        assert!(whole && (1..=dir::NAME_LEN).contains(&entry.name().len()));
        assert!(entry.pos() >= end);
        end = entry.pos() + 8 + entry.name().len();
        assert!(end <= bytes.len());
        let found = leaf.find(entry.name()).unwrap().unwrap();
        assert!(found.pos() <= entry.pos() && found.name() == entry.name());
        names.push(dir::NewEntry {
            ino: entry.ino(),
            file_type: entry.file_type().unwrap_or(Type::Regular),
            name: entry.name(),
        });
    }
    if whole && !(lblk == Lblk(0) && names.is_empty()) {
        let mut again = vec![0xff; bytes.len()];
        let done = dir::encode::<Zero>(&volume, &dir, lblk, &names, &mut again);
        assert!(done.is_some());
    }
    whole
}

/// Input: [`Shape`], number of the directory, block with the root, another node.
pub fn htree(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let dir = directory(&volume, some_ino(&volume, input.u32()));
    let len = volume.block_size().bytes().get() as usize;
    let bytes = input.exactly(2 * len);
    let (first, second) = bytes.split_at(len);
    let Ok(root) = Root::parse::<Zero>(&volume, &dir, Block::new(first).unwrap()) else {
        return false;
    };
    let hash = root.hasher().hash(second.get(..20).unwrap());
    let mut next = Some((root.index(), 2));
    while let Some((index, levels)) = next.take() {
        assert!(levels > 0);
        let mut least = 0;
        for entry in index.entries() {
            assert!(entry.hash() >= least);
            least = entry.hash();
        }
        let found = index.find(hash);
        assert!(found.hash() <= hash.major);
        if let Some(after) = index.after(found) {
            assert!(after.hash() >= hash.major);
        }
        for entry in index.entries() {
            if let Child::Node(below) = entry.child() {
                assert!(below.lblk() != Lblk(0));
                let block = Block::new(second).unwrap();
                let node = Index::below::<Zero>(&volume, &dir, below, block);
                next = node.ok().map(|node| (node, levels - 1));
            }
        }
    }
    true
}

/// Looks at every attribute.
fn walk_xattrs(xattrs: &Xattrs<'_>) {
    for xattr in xattrs {
        assert!(xattrs.get(xattr.prefix(), xattr.name()).is_some());
        assert!(!xattr.name().contains(&0));
        if let Ok(Some(acl)) = Acl::parse(xattr.value()) {
            assert!(acl.iter().count() > 2);
        }
    }
}

/// Input: [`Shape`], number, inode with attributes.
pub fn xattr_inode(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let ino = some_ino(&volume, input.u32());
    let bytes = input.exactly(volume.inode_size().into());
    let Ok(Some(inode)) = Inode::parse::<Zero>(&volume, ino, &bytes) else {
        return false;
    };
    let Ok(Some(xattrs)) = Xattrs::in_inode(&inode, &bytes) else {
        return false;
    };
    walk_xattrs(&xattrs);
    // An entry without anything would be the end of the list.
    let all: Vec<_> = xattrs.iter().collect();
    if all.iter().all(|xattr| xattr.prefix().text().is_some()) {
        let mut again = bytes.clone();
        assert!(encode_in_inode(&inode, &all, &mut again).is_some());
    }
    true
}

/// Input: [`Shape`], block with attributes.
pub fn xattr_block(data: &[u8]) -> bool {
    let mut input = Input(data);
    let volume = input.superblock();
    let bytes = input.exactly(volume.block_size().bytes().get() as usize);
    let block = Block::new(&bytes).unwrap();
    let Ok(xattrs) = Xattrs::in_block::<Zero>(&volume, Pblk(100), block) else {
        return false;
    };
    walk_xattrs(&xattrs);
    true
}

/// Input: the value of an attribute.
pub fn acl(data: &[u8]) -> bool {
    let Ok(Some(acl)) = Acl::parse(data) else {
        return false;
    };
    let mut bytes = vec![0; Acl::value_len(&acl)];
    assert_eq!(Acl::encode(&acl, &mut bytes), Some(data));
    true
}

/// Bytes of the volume that [`volume`] walks, and of its blocks.
const VOLUME_LEN: usize = 2 << 20;
const VOLUME_BLOCK: usize = 1024;

/// Input: blocks that are not all zeroes, each as its number in two bytes and 1,024 bytes.
///
/// Made for volumes without checksums, which no input would get right.
pub fn volume(data: &[u8]) -> bool {
    let mut image = vec![0; VOLUME_LEN];
    for record in data.chunks_exact(2 + VOLUME_BLOCK) {
        let (number, bytes) = record.split_at(2);
        let number = usize::from(u16::from_le_bytes(padded(number)));
        let pos = number * VOLUME_BLOCK % VOLUME_LEN;
        image[pos..pos + VOLUME_BLOCK].copy_from_slice(bytes);
    }
    Volume::open(&image).is_ok_and(|volume| volume.walk().is_ok())
}

/// Inputs made from the structures of an image, with the names of their targets.
pub fn seeds(image: &Image<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let shape = Shape::of(&image.superblock).byte();
    let mut seeds = vec![];
    let sealed = |structure: &Structure| {
        let mut bytes = image.bytes(structure).to_vec();
        seal::seal::<Zero>(image, structure, &mut bytes);
        bytes
    };
    let of_kind = |wanted: fn(u32) -> Kind, ino: u32| {
        let mut structures = image.structures().iter();
        structures.find(|s| s.kind == wanted(ino)).map(sealed)
    };
    for structure in image.structures() {
        let bytes = sealed(structure);
        let with = |number: u32, parts: &[&[u8]]| {
            let head = [&[shape][..], &number.to_le_bytes()].concat();
            [&head, parts.concat().as_slice()].concat()
        };
        match structure.kind {
            Kind::Superblock => seeds.push(("superblock", bytes)),
            Kind::Descriptor(group) => seeds.push(("descriptor", with(group, &[&bytes]))),
            Kind::BlockBitmap(_) | Kind::InodeBitmap(_) => (),
            Kind::Inode(ino) => {
                seeds.push(("inode", with(ino, &[&bytes])));
                seeds.push(("xattr_inode", with(ino, &[&bytes])));
            }
            Kind::ExtentNode(ino) => {
                if let Some(inode) = of_kind(Kind::Inode, ino) {
                    let seed = [&[shape][..], &inode[0x28..0x64], &bytes].concat();
                    seeds.push(("extent", seed));
                }
            }
            Kind::DirLeaf(ino) => {
                let lblk = u8::from(bytes.get(8..12) != Some(b".\0\0\0"));
                seeds.push(("leaf", with(ino, &[&[lblk], &bytes])));
            }
            Kind::HashRoot(ino) => {
                let node = of_kind(Kind::HashNode, ino).unwrap_or_default();
                seeds.push(("htree", with(ino, &[&bytes, &node])));
            }
            Kind::HashNode(_) => (),
            Kind::XattrBlock => seeds.push(("xattr_block", [&[shape][..], &bytes].concat())),
        }
    }
    seeds.extend(lists(image).map(|list| ("acl", list)));
    if image.bytes.len() == VOLUME_LEN {
        seeds.push(("volume", blocks(image)));
    }
    seeds
}

/// The access control lists of an image.
fn lists<'a>(image: &'a Image<'_>) -> impl Iterator<Item = Vec<u8>> + 'a {
    let blocks = image.structures().iter();
    let blocks = blocks.filter(|s| s.kind == Kind::XattrBlock);
    blocks.flat_map(|structure| {
        let block = Block::new(image.bytes(structure)).unwrap();
        let pblk = structure.pos as u64 / block.len() as u64;
        let xattrs = Xattrs::in_block::<crate::Crc>(&image.superblock, Pblk(pblk), block);
        let values = xattrs.into_iter().flat_map(|xattrs| xattrs.iter());
        let lists = values.filter(|xattr| Acl::parse(xattr.value()).is_ok());
        lists
            .map(|xattr| xattr.value().to_vec())
            .collect::<Vec<_>>()
    })
}

/// The blocks of an image that hold metadata.
fn blocks(image: &Image<'_>) -> Vec<u8> {
    let blocks = image.bytes.chunks(VOLUME_BLOCK).enumerate();
    let metadata = blocks.filter(|(number, _)| {
        let pos = number * VOLUME_BLOCK;
        let mut structures = image.structures().iter();
        structures.any(|s| s.pos < pos + VOLUME_BLOCK && pos < s.pos + s.len)
    });
    metadata
        .flat_map(|(number, bytes)| [&(number as u16).to_le_bytes(), bytes].concat())
        .collect()
}

/// An input like one of `seeds`, but for some bytes.
pub fn mutate(seeds: &[&[u8]], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = numbers.pick(seeds).to_vec();
    for _ in 0..numbers.pick(&[1, 1, 2, 4]) {
        if bytes.is_empty() {
            break;
        }
        // What matters most is in front.
        let most = (bytes.len() >> numbers.below(6)).max(1);
        let pos = numbers.below(most);
        match numbers.below(8) {
            0 | 1 => bytes[pos] ^= 1 << numbers.below(8),
            2 => bytes[pos] = numbers.pick(&[0, 1, 2, 4, 8, 12, 0x7f, 0x80, 0xfe, 0xff]),
            3 => bytes[pos] = numbers.next() as u8,
            4 | 5 => {
                // A field of two or four bytes.
                let value = numbers.pick(&[0, 1, 0x7fff, 0x8000, 0xffff, 1 << 31, u32::MAX]);
                let value = value.wrapping_add(numbers.below(3) as u32).wrapping_sub(1);
                let len = numbers.pick(&[2, 4]);
                for (to, from) in bytes[pos..].iter_mut().zip(&value.to_le_bytes()[..len]) {
                    *to = *from;
                }
            }
            6 => {
                // Bytes of another input, in their place or in another one.
                let other = numbers.pick(seeds);
                let elsewhere = numbers.below(other.len());
                let from = numbers.pick(&[pos, elsewhere]).min(other.len());
                let len = numbers.pick(&[1, 4, 12, 64, 1024]);
                for (to, from) in bytes[pos..].iter_mut().zip(&other[from..]).take(len) {
                    *to = *from;
                }
            }
            _ => bytes.truncate(bytes.len() - numbers.below(16).min(bytes.len())),
        }
    }
    bytes
}
