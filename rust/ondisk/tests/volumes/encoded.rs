// SPDX-License-Identifier: GPL-2.0

//! Volumes all structures of which are read, encoded again and written: e2fsck has nothing to say,
//! and what is read is the same.

use crate::{
    image::DEFAULT,
    source::{
        e2fsck,
        Source,
        PLAIN, //
    },
};
use damage::{
    walk::Volume,
    Crc,
    Image,
    Kind,
    Structure, //
};
use ondisk::{
    dir::{
        self,
        NewEntry, //
    },
    extent::{
        Child,
        Entries,
        Node, //
    },
    group::{
        Bitmaps,
        Descriptor, //
    },
    inode::Type,
    xattr::{
        encode_in_block,
        encode_in_inode,
        Xattr,
        Xattrs, //
    },
    Block,
    Inode,
    Lblk,
    LblkRange,
    Pblk,
    Superblock, //
};
use std::{
    fs,
    num::NonZeroU32, //
};

/// The volume that is encoded, and what was read of it.
struct Old<'a> {
    image: Image<'a>,
    volume: Volume<'a>,
}

impl<'a> Old<'a> {
    fn superblock(&self) -> &Superblock {
        self.volume.superblock()
    }

    fn inode(&self, number: u32) -> Inode {
        let ino = self.superblock().ino(number).unwrap();
        self.volume.slot(ino).unwrap().unwrap().0
    }

    fn block(&self, structure: &Structure) -> Block<'a> {
        Block::new(self.image.bytes(structure)).unwrap()
    }

    /// The same structure from nothing but what was read, put over garbage where all of it is
    /// known. Trees of hashes stay.
    fn encode(&self, structure: &Structure) -> Option<Vec<u8>> {
        let superblock = self.superblock();
        let old = self.image.bytes(structure);
        let mut new = vec![0xff; old.len()];
        match structure.kind {
            Kind::Descriptor(number) => {
                new.copy_from_slice(old);
                let group = superblock.group(number).unwrap();
                let descriptor = Descriptor::parse::<Crc>(superblock, group, old).unwrap();
                let bitmap = |kind: Kind| {
                    let mut structures = self.image.structures().iter();
                    let place = structures.find(|s| s.kind == kind);
                    place.map(|place| self.image.bytes(place))
                };
                let bitmaps = Bitmaps {
                    block: bitmap(Kind::BlockBitmap(number)),
                    inode: bitmap(Kind::InodeBitmap(number)),
                };
                let usage = descriptor.usage();
                let again = descriptor.encode::<Crc>(superblock, &usage, &bitmaps, &mut new);
                assert_eq!(again, Some(descriptor));
            }
            Kind::Inode(number) => {
                new.copy_from_slice(old);
                let ino = superblock.ino(number).unwrap();
                let inode = Inode::parse::<Crc>(superblock, ino, old).unwrap()?;
                let xattrs = Xattrs::in_inode(&inode, old).unwrap();
                let xattrs: Vec<_> = xattrs.iter().flatten().collect();
                encode_in_inode(&inode, &xattrs, &mut new).unwrap();
                let fields = inode.fields();
                let again = fields.encode::<Crc>(superblock, ino, &mut new);
                assert_eq!(again, Some(inode), "{number}");
            }
            Kind::ExtentNode(number) => {
                let seed = self.inode(number).seed();
                let child = self.child(number, structure);
                let node = Node::child::<Crc>(superblock, seed, child, self.block(structure));
                let (extents, children): (Vec<_>, Vec<_>);
                let entries = match node.unwrap() {
                    Node::Leaf(leaf) => {
                        extents = leaf.extents().collect();
                        Entries::Extents(&extents)
                    }
                    Node::Inner(inner) => {
                        children = inner.children().collect();
                        Entries::Children(&children)
                    }
                };
                let done = entries.block::<Crc>(superblock, seed, child, &mut new);
                assert_eq!(done, Some(()));
            }
            Kind::DirLeaf(number) => {
                let dir = self.inode(number);
                let lblk = Lblk(u32::from(old[8..12] != *b".\0\0\0"));
                let block = self.block(structure);
                let leaf = dir::Leaf::parse::<Crc>(superblock, &dir, lblk, block).unwrap();
                let names: Vec<_> = leaf
                    .entries()
                    .map(|entry| entry.unwrap())
                    .map(|entry| NewEntry {
                        ino: entry.ino(),
                        file_type: entry.file_type().unwrap_or(Type::Regular),
                        name: entry.name(),
                    })
                    .collect();
                let done = dir::encode::<Crc>(superblock, &dir, lblk, &names, &mut new);
                assert_eq!(done, Some(()), "{structure:?}");
            }
            Kind::XattrBlock => {
                let pblk = Pblk((structure.pos / old.len()) as u64);
                let block = self.block(structure);
                let xattrs = Xattrs::in_block::<Crc>(superblock, pblk, block).unwrap();
                let xattrs: Vec<Xattr<'_>> = xattrs.iter().collect();
                let inodes = NonZeroU32::new(old[4].into()).unwrap();
                encode_in_block::<Crc>(superblock, pblk, inodes, &xattrs, &mut new).unwrap();
            }
            _ => return None,
        }
        Some(new)
    }

    /// The child that a block is in the tree of an inode.
    fn child(&self, number: u32, structure: &Structure) -> Child {
        let pblk = Pblk((structure.pos / structure.len) as u64);
        let inode = self.inode(number);
        let root = inode.extents(self.superblock()).unwrap();
        let mut nodes = vec![root];
        while let Some(Node::Inner(inner)) = nodes.pop() {
            for child in inner.children() {
                if child.pblk() == pblk {
                    let lblks = LblkRange {
                        start: child.lblks().start,
                        end: child.lblks().end,
                    };
                    let made = Child::new(self.superblock(), pblk, child.depth(), lblks);
                    assert_eq!(made, Some(child));
                    return child;
                }
                let kind = Kind::ExtentNode(number);
                let block = self.volume.block(kind, child.pblk()).unwrap();
                let node = Node::child::<Crc>(self.superblock(), inode.seed(), child, block);
                nodes.push(node.unwrap());
            }
            // Leaves have no children.
            nodes.retain(|node| matches!(node, Node::Inner(_)));
        }
        panic!("{structure:?} is not in the tree");
    }
}

#[test]
#[ignore = "needs mke2fs, e2fsck and debugfs"]
fn e2fsck_accepts_what_is_encoded() {
    let old = "none,extent,dir_index,ext_attr,metadata_csum,sparse_super";
    for (features, block, inode) in [
        (DEFAULT, "1024", "256"),
        (DEFAULT, "2048", "1024"),
        (DEFAULT, "4096", "128"),
        (PLAIN, "1024", "256"),
        (old, "1024", "256"),
    ] {
        let source = Source::new("encoded", 900, 900);
        let options = ["-O", features, "-b", block, "-I", inode, "-N", "128"];
        let file = source.image(12 << 20, &options, &source.extras());
        let bytes = fs::read(&file.0).unwrap();
        let old = Old {
            image: Image::open(&bytes).unwrap(),
            volume: Volume::open(&bytes).unwrap(),
        };
        let sum = old.volume.walk().unwrap();

        let mut new = bytes.clone();
        let (mut encoded, mut changed) = (0, 0);
        for structure in old.image.structures() {
            if let Some(bytes) = old.encode(structure) {
                let place = &mut new[structure.pos..][..structure.len];
                encoded += 1;
                changed += u32::from(place != bytes);
                place.copy_from_slice(&bytes);
            }
        }
        println!("{features} {block} {inode}: {encoded} encoded, {changed} changed");
        assert!(encoded > 50);
        fs::write(&file.0, &new).unwrap();
        e2fsck(&file.0, "-fn", 0);
        assert_eq!(Volume::open(&new).unwrap().walk(), Ok(sum));
    }
}
