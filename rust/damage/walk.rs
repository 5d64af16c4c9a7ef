// SPDX-License-Identifier: GPL-2.0

//! The least reader of a volume that there can be: it only puts together what `ondisk` says, and
//! trusts it, so that a place outside the volume is a panic.

use crate::{
    Crc,
    Kind,
    Structure, //
};
use ondisk::{
    dir,
    extent::{
        Extent,
        Lookup,
        Node,
        State, //
    },
    group::{
        Descriptor,
        Flags, //
    },
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
    cell::{
        Cell,
        RefCell, //
    },
    collections::BTreeSet,
    hash::{
        DefaultHasher,
        Hash,
        Hasher, //
    }, //
};

/// Structures that are read in one walk, at most; a whole volume of 8 MiB takes a few thousand.
const MAX_READS: u64 = 2_000_000;
/// Names of one directory, at most: a tree may name one leaf again and again.
const MAX_NAMES: usize = 1_000_000;

/// Why reading ends.
#[derive(Debug, PartialEq)]
pub enum Wrong {
    /// What `ondisk` says.
    Format(Error),
    /// There is no end to it, or none that a reader would wait for: a few structures can name each
    /// other more often than there are atoms. Damage to one structure does not do that.
    Endless,
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

/// A [`std::result::Result`] of this module.
pub type Result<T> = std::result::Result<T, Wrong>;

/// A name, its inode, its type.
pub type Name = (Vec<u8>, Ino, Option<Type>);

/// A volume that is read.
pub struct Volume<'a> {
    image: &'a [u8],
    superblock: Superblock,
    structures: RefCell<BTreeSet<Structure>>,
    reads: Cell<u64>,
}

impl<'a> Volume<'a> {
    /// Reads the superblock of an image.
    pub fn open(image: &'a [u8]) -> Result<Self> {
        let start = Superblock::POS as usize;
        let bytes = image.get(start..).and_then(|bytes| bytes.first_chunk());
        let superblock = Superblock::parse::<Crc>(bytes.ok_or(Wrong::Truncated)?)?;
        if superblock.len() > image.len() as u64 {
            return Err(Wrong::Truncated);
        }
        let first = Structure {
            kind: Kind::Superblock,
            pos: start,
            len: Superblock::LEN,
        };
        Ok(Self {
            image,
            superblock,
            structures: RefCell::new([first].into()),
            reads: Cell::new(0),
        })
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The structures that were read up to now.
    pub fn structures(&self) -> Vec<Structure> {
        self.structures.borrow().iter().copied().collect()
    }

    /// Goes through all that can be reached, and sums it up in a number. Of files it takes no more
    /// than the beginning of each block.
    pub fn walk(&self) -> Result<u64> {
        let mut sum = DefaultHasher::new();
        self.walk_groups()?;
        self.walk_special(&mut sum)?;

        let mut seen = BTreeSet::from([Ino::ROOT]);
        let mut dirs = vec![Ino::ROOT];
        // Files can have blocks in common, each of which would be read again and again.
        let mut budget = 4 * self.image.len();
        self.inode(Ino::ROOT)?;
        while let Some(ino) = dirs.pop() {
            let dir = self.inode(ino)?;
            for (n, (name, ino, file_type)) in self.names(&dir)?.into_iter().enumerate() {
                (&name, ino, format!("{file_type:?}")).hash(&mut sum);
                // Each takes a way through the tree.
                if n % 16 == 0 {
                    self.find(&dir, &name)?.hash(&mut sum);
                }
                if !seen.insert(ino) {
                    continue;
                }
                let inode = self.inode(ino)?;
                format!("{inode:?}").hash(&mut sum);
                self.xattrs(ino)?.hash(&mut sum);
                if matches!(inode.content(), Content::Extents(_) | Content::BlockMap) {
                    self.walk_extents(&inode, &mut budget, &mut sum)?;
                }
                match inode.file_type() {
                    Type::Directory => dirs.push(ino),
                    Type::Symlink => self.target(&inode)?.hash(&mut sum),
                    _ => (),
                }
            }
        }
        Ok(sum.finish())
    }

    fn walk_groups(&self) -> Result<()> {
        for number in self.superblock.groups() {
            let group = self.descriptor(number)?;
            let kind = |kind: fn(u32) -> Kind| kind(number.get());
            if !group.flags().contains(Flags::BLOCK_UNINIT) {
                let block = self.block(kind(Kind::BlockBitmap), group.block_bitmap())?;
                group.check_block_bitmap::<Crc>(&self.superblock, &block)?;
            }
            if !group.flags().contains(Flags::INODE_UNINIT) {
                let block = self.block(kind(Kind::InodeBitmap), group.inode_bitmap())?;
                group.check_inode_bitmap::<Crc>(&self.superblock, &block)?;
            }
        }
        Ok(())
    }

    /// The inodes without names.
    fn walk_special(&self, sum: &mut DefaultHasher) -> Result<()> {
        let settings = self.superblock.settings();
        let special = [settings.journal(), settings.orphan_file()];
        for ino in special.into_iter().flatten() {
            if let Some((inode, _)) = self.slot(ino)? {
                format!("{:?}", self.extents(&inode)?).hash(sum);
            }
        }
        Ok(())
    }

    fn walk_extents(
        &self,
        inode: &Inode,
        budget: &mut usize,
        sum: &mut DefaultHasher,
    ) -> Result<()> {
        for extent in self.extents(inode)? {
            format!("{extent:?}").hash(sum);
            let data = self.extent_data(&extent);
            *budget = budget.saturating_sub(data.len());
            if extent.state() == State::Written && *budget > 0 {
                for block in data.chunks(self.block_len()) {
                    block.first_chunk::<8>().hash(sum);
                }
            }
        }
        Ok(())
    }

    /// The size of its blocks.
    pub fn block_size(&self) -> BlockSize {
        self.superblock.block_size()
    }

    fn block_len(&self) -> usize {
        self.block_size().bytes().get() as usize
    }

    fn read(&self, kind: Kind, place: InBlock) -> Result<&'a [u8]> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > MAX_READS {
            return Err(Wrong::Endless);
        }
        let pos = place.pblk.0 as usize * self.block_len() + place.start as usize;
        let len = place.len as usize;
        let structure = Structure { kind, pos, len };
        self.structures.borrow_mut().insert(structure);
        Ok(&self.image[pos..pos + len])
    }

    /// A block that holds something.
    pub fn block(&self, kind: Kind, pblk: Pblk) -> Result<Block<'a>> {
        let place = InBlock {
            pblk,
            start: 0,
            len: self.block_len() as u32,
        };
        Ok(Block::new(self.read(kind, place)?).unwrap())
    }

    /// The descriptor of a group.
    pub fn descriptor(&self, group: GroupNumber) -> Result<Descriptor> {
        let place = self.superblock.descriptor_place(group)?;
        let bytes = self.read(Kind::Descriptor(group.get()), place)?;
        Ok(Descriptor::parse::<Crc>(&self.superblock, group, bytes)?)
    }

    /// An inode and its bytes, if it is in use.
    pub fn slot(&self, ino: Ino) -> Result<Option<(Inode, &'a [u8])>> {
        let group = self.descriptor(self.superblock.group_of(ino))?;
        let place = group.inode_place(&self.superblock, ino).unwrap();
        let bytes = self.read(Kind::Inode(ino.get()), place)?;
        let inode = Inode::parse::<Crc>(&self.superblock, ino, bytes)?;
        Ok(inode.map(|inode| (inode, bytes)))
    }

    /// The inode of a name.
    pub fn inode(&self, ino: Ino) -> Result<Inode> {
        if !self.superblock.is_ordinary(ino) {
            return Err(Wrong::Reserved(ino));
        }
        let slot = self.slot(ino)?.filter(|(inode, _)| inode.links() > 0);
        slot.map(|(inode, _)| inode).ok_or(Wrong::Free(ino))
    }

    /// What there is at a block of a file.
    pub fn lookup(&self, inode: &Inode, lblk: Lblk) -> Result<Lookup> {
        let mut node = inode.extents(&self.superblock)?;
        loop {
            match node.lookup(lblk) {
                Lookup::Child(child) => {
                    assert!(child.depth() < node.depth());
                    let block = self.block(Kind::ExtentNode(inode.ino().get()), child.pblk())?;
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

    /// The bytes of a file.
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

    /// The target of a symbolic link.
    pub fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        match inode.content() {
            Content::Target(target) => Ok(target.bytes().to_vec()),
            _ => self.data(inode),
        }
    }

    fn dir_block(&self, kind: fn(u32) -> Kind, dir: &Inode, lblk: Lblk) -> Result<Block<'a>> {
        let kind = kind(dir.ino().get());
        match self.lookup(dir, lblk)? {
            Lookup::Extent(extent) => self.block(kind, extent.pblk(lblk).unwrap()),
            _ => Err(Wrong::Hole(lblk)),
        }
    }

    fn leaf(&self, dir: &Inode, lblk: Lblk) -> Result<dir::Leaf<'a>> {
        let block = self.dir_block(Kind::DirLeaf, dir, lblk)?;
        Ok(dir::Leaf::parse::<Crc>(&self.superblock, dir, lblk, block)?)
    }

    /// The root of an indexed directory.
    pub fn root(&self, dir: &Inode) -> Result<Root<'a>> {
        let block = self.dir_block(Kind::HashRoot, dir, Lblk(0))?;
        Ok(Root::parse::<Crc>(&self.superblock, dir, block)?)
    }

    fn below(&self, dir: &Inode, below: ondisk::htree::Below) -> Result<Index<'a>> {
        let block = self.dir_block(Kind::HashNode, dir, below.lblk())?;
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
        let mut linear = 0;
        if dir.is_indexed(&self.superblock) {
            let root = self.root(dir)?;
            names.push((b".".to_vec(), dir.ino(), Some(Type::Directory)));
            names.push((b"..".to_vec(), root.parent(), Some(Type::Directory)));
            self.leaves(dir, root.index(), &mut leaves)?;
        } else {
            linear = dir.size() / self.block_len() as u64;
        }
        let linear = (0..linear).map(|lblk| Lblk(lblk as u32));
        for lblk in leaves.into_iter().chain(linear) {
            for entry in self.leaf(dir, lblk)?.entries() {
                let entry = entry?;
                names.push((entry.name().to_vec(), entry.ino(), entry.file_type()));
                if names.len() > MAX_NAMES {
                    return Err(Wrong::Endless);
                }
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
            let block = self.block(Kind::XattrBlock, pblk)?;
            add(Xattrs::in_block::<Crc>(&self.superblock, pblk, block)?);
        }
        all.sort();
        Ok(all)
    }
}
