// SPDX-License-Identifier: GPL-2.0

//! The least reader of a volume that there can be: it only puts together what `ondisk` says, and
//! trusts it, so that a place outside the volume is a panic.

use crate::common::{
    Bytes,
    Crc, //
};
use ondisk::{
    dir,
    extent::{
        Extent,
        Lookup,
        Node,
        State, //
    },
    group::Descriptor,
    htree::{
        Child,
        Index,
        Root, //
    },
    inode::{
        Content,
        Type, //
    },
    xattr::Xattrs,
    Block,
    BlockSize,
    Error,
    GroupNumber,
    InBlock,
    Ino,
    Inode,
    Lblk,
    Pblk,
    Superblock, //
};
use std::{
    cell::RefCell,
    collections::BTreeSet, //
};

/// Why reading ends.
#[derive(Debug, PartialEq)]
pub enum Wrong {
    Format(Error),
    /// The image ends before the volume does.
    Truncated,
    /// A directory has no such block.
    Hole(Lblk),
    /// A name has an inode that is free.
    Free(Ino),
    /// A name has an inode that is not for names.
    Reserved(Ino),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Format(error)
    }
}

pub type Result<T> = std::result::Result<T, Wrong>;

/// A name, its inode, its type.
pub type Name = (Vec<u8>, Ino, Option<Type>);

pub struct Volume<'a> {
    image: &'a [u8],
    pub superblock: Superblock,
    /// Where metadata were read: place and length.
    pub metadata: RefCell<BTreeSet<(usize, usize)>>,
}

impl<'a> Volume<'a> {
    pub fn open(image: &'a [u8]) -> Result<Self> {
        let bytes: &Bytes = image[1024..2048].try_into().unwrap();
        let superblock = Superblock::parse::<Crc>(bytes)?;
        if superblock.len() > image.len() as u64 {
            return Err(Wrong::Truncated);
        }
        Ok(Self {
            image,
            superblock,
            metadata: RefCell::new([(1024, 1024)].into()),
        })
    }

    pub fn block_size(&self) -> BlockSize {
        self.superblock.block_size()
    }

    fn block_len(&self) -> usize {
        self.block_size().bytes().get() as usize
    }

    fn read(&self, place: InBlock) -> &'a [u8] {
        let start = place.pblk.0 as usize * self.block_len() + place.start as usize;
        let len = place.len as usize;
        self.metadata.borrow_mut().insert((start, len));
        &self.image[start..start + len]
    }

    pub fn block(&self, pblk: Pblk) -> Block<'a> {
        let bytes = self.read(InBlock {
            pblk,
            start: 0,
            len: self.block_len() as u32,
        });
        Block::new(bytes).unwrap()
    }

    pub fn descriptor(&self, group: GroupNumber) -> Result<Descriptor> {
        let bytes = self.read(self.superblock.descriptor_place(group)?);
        Ok(Descriptor::parse::<Crc>(&self.superblock, group, bytes)?)
    }

    /// An inode and its bytes, if it is in use.
    pub fn slot(&self, ino: Ino) -> Result<Option<(Inode, &'a [u8])>> {
        let group = self.descriptor(self.superblock.group_of(ino))?;
        let place = group.inode_place(&self.superblock, ino).unwrap();
        let bytes = self.read(place);
        let inode = Inode::parse::<Crc>(&self.superblock, ino, bytes)?;
        Ok(inode.map(|inode| (inode, bytes)))
    }

    pub fn inode(&self, ino: Ino) -> Result<Inode> {
        if !self.superblock.is_ordinary(ino) {
            return Err(Wrong::Reserved(ino));
        }
        let slot = self.slot(ino)?.filter(|(inode, _)| inode.links() > 0);
        slot.map(|(inode, _)| inode).ok_or(Wrong::Free(ino))
    }

    pub fn lookup(&self, inode: &Inode, lblk: Lblk) -> Result<Lookup> {
        let mut node = inode.extents(&self.superblock)?;
        loop {
            match node.lookup(lblk) {
                Lookup::Child(child) => {
                    assert!(child.depth() < node.depth());
                    let block = self.block(child.pblk());
                    node = Node::child::<Crc>(&self.superblock, inode.seed(), child, block)?;
                }
                found => return Ok(found),
            }
        }
    }

    /// All extents of a file, found one after the other.
    pub fn extents(&self, inode: &Inode) -> Result<Vec<Extent>> {
        let mut extents = vec![];
        let mut lblk = Lblk(0);
        while lblk < Lblk::END {
            let range = match self.lookup(inode, lblk)? {
                Lookup::Extent(extent) => {
                    extents.push(extent);
                    extent.lblks()
                }
                Lookup::Hole(range) => range,
                Lookup::Child(child) => panic!("{child:?}"),
            };
            assert!(range.contains(lblk));
            lblk = range.end;
        }
        Ok(extents)
    }

    /// The bytes of an extent's blocks.
    pub fn extent_data(&self, extent: &Extent) -> &'a [u8] {
        let start = extent.start().0 as usize * self.block_len();
        &self.image[start..start + extent.len().0 as usize * self.block_len()]
    }

    pub fn data(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut data = vec![0; inode.size() as usize];
        for extent in self.extents(inode)? {
            let start = extent.lblks().start.0 as usize * self.block_len();
            if extent.state() == State::Written && start < data.len() {
                let from = self.extent_data(&extent);
                for (to, from) in data[start..].iter_mut().zip(from) {
                    *to = *from;
                }
            }
        }
        Ok(data)
    }

    pub fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        match inode.content() {
            Content::Target(target) => Ok(target.bytes().to_vec()),
            _ => self.data(inode),
        }
    }

    fn dir_block(&self, dir: &Inode, lblk: Lblk) -> Result<Block<'a>> {
        match self.lookup(dir, lblk)? {
            Lookup::Extent(extent) => Ok(self.block(extent.pblk(lblk).unwrap())),
            _ => Err(Wrong::Hole(lblk)),
        }
    }

    fn leaf(&self, dir: &Inode, lblk: Lblk) -> Result<dir::Leaf<'a>> {
        let block = self.dir_block(dir, lblk)?;
        Ok(dir::Leaf::parse::<Crc>(&self.superblock, dir, lblk, block)?)
    }

    pub fn root(&self, dir: &Inode) -> Result<Root<'a>> {
        let block = self.dir_block(dir, Lblk(0))?;
        Ok(Root::parse::<Crc>(&self.superblock, dir, block)?)
    }

    fn below(&self, dir: &Inode, below: ondisk::htree::Below) -> Result<Index<'a>> {
        let block = self.dir_block(dir, below.lblk())?;
        Ok(Index::below::<Crc>(&self.superblock, dir, below, block)?)
    }

    fn leaves(&self, dir: &Inode, index: Index<'a>, leaves: &mut Vec<Lblk>) -> Result<()> {
        for entry in index.entries() {
            match entry.child() {
                Child::Leaf(lblk) => leaves.push(lblk),
                Child::Node(below) => self.leaves(dir, self.below(dir, below)?, leaves)?,
            }
        }
        Ok(())
    }

    /// All names of a directory; of an indexed one in the order of their hashes.
    pub fn names(&self, dir: &Inode) -> Result<Vec<Name>> {
        let mut names = vec![];
        let mut leaves = vec![];
        if dir.is_indexed(&self.superblock) {
            let root = self.root(dir)?;
            names.push((b".".to_vec(), dir.ino(), Some(Type::Directory)));
            names.push((b"..".to_vec(), root.parent(), Some(Type::Directory)));
            self.leaves(dir, root.index(), &mut leaves)?;
        } else {
            let blocks = dir.size() / self.block_len() as u64;
            leaves.extend((0..blocks).map(|lblk| Lblk(lblk as u32)));
        }
        for lblk in leaves {
            for entry in self.leaf(dir, lblk)?.entries() {
                let entry = entry?;
                names.push((entry.name().to_vec(), entry.ino(), entry.file_type()));
            }
        }
        Ok(names)
    }

    /// The inode of a name.
    pub fn find(&self, dir: &Inode, name: &[u8]) -> Result<Option<Ino>> {
        if dir.is_indexed(&self.superblock) {
            return self.find_hashed(dir, name);
        }
        for lblk in 0..dir.size() / self.block_len() as u64 {
            if let Some(entry) = self.leaf(dir, Lblk(lblk as u32))?.find(name)? {
                return Ok(Some(entry.ino()));
            }
        }
        Ok(None)
    }

    fn find_hashed(&self, dir: &Inode, name: &[u8]) -> Result<Option<Ino>> {
        let root = self.root(dir)?;
        match name {
            b"." => return Ok(Some(dir.ino())),
            b".." => return Ok(Some(root.parent())),
            _ => (),
        }
        let hash = root.hasher().hash(name);
        let mut path = vec![(root.index(), root.index().find(hash))];
        let mut continued = false;
        while let Some((_, entry)) = path.last() {
            match entry.child() {
                Child::Node(below) => {
                    let index = self.below(dir, below)?;
                    let entry = if continued {
                        index.first()
                    } else {
                        index.find(hash)
                    };
                    path.push((index, entry));
                }
                Child::Leaf(lblk) => {
                    if let Some(entry) = self.leaf(dir, lblk)?.find(name)? {
                        return Ok(Some(entry.ino()));
                    }
                    continued = true;
                    // Up to the first node that has another entry.
                    let next = loop {
                        let Some((index, entry)) = path.pop() else {
                            return Ok(None);
                        };
                        if let Some(next) = index.after(entry) {
                            break (index, next);
                        }
                    };
                    if !next.1.continues(hash) {
                        return Ok(None);
                    }
                    path.push(next);
                }
            }
        }
        Ok(None)
    }

    /// All extended attributes, by their whole names.
    pub fn xattrs(&self, ino: Ino) -> Result<Vec<(String, Vec<u8>)>> {
        let Some((inode, bytes)) = self.slot(ino)? else {
            return Err(Wrong::Free(ino));
        };
        let mut all = vec![];
        let mut add = |xattrs: Xattrs<'_>| {
            all.extend(xattrs.iter().map(|xattr| {
                let prefix = xattr.prefix().text().unwrap_or("?");
                let name = String::from_utf8_lossy(xattr.name());
                (format!("{prefix}{name}"), xattr.value().to_vec())
            }));
        };
        if let Some(xattrs) = Xattrs::in_inode(&inode, bytes)? {
            add(xattrs);
        }
        if let Some(pblk) = inode.xattr_block() {
            let block = self.block(pblk);
            add(Xattrs::in_block::<Crc>(&self.superblock, pblk, block)?);
        }
        all.sort();
        Ok(all)
    }
}
