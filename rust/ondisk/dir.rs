// SPDX-License-Identifier: GPL-2.0

//! Blocks of names: checksum → one entry after the other → name, inode number, type.
//!
//! A directory without hashes is nothing but such blocks; with hashes they are the leaves of its
//! [tree](super::htree). Entries are checked when one comes to them.
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst).

mod edit;
mod encode;
mod split;

pub use edit::LeafMut;
pub(super) use encode::number;
pub use encode::{
    encode,
    room,
    NewEntry, //
};
pub(super) use split::Cut;
pub use split::Slot;

use super::{
    bytes::{
        chunk,
        raw_structure, //
    },
    checksum::Stored,
    inode::{
        Inode,
        Type, //
    },
    Block,
    Crc32c,
    Incompat,
    Ino,
    Lblk,
    Result,
    Structure,
    Superblock, //
};
use core::{
    iter::FusedIterator,
    num::NonZeroU32,
    ops::RangeInclusive, //
};

/// Bytes of the longest name.
pub const NAME_LEN: usize = 255;

/// Bytes of an entry before its name.
const HEADER_LEN: usize = 8;
/// Bytes of the smallest entry.
const MIN_REC_LEN: usize = 12;
/// `det_reserved_ft` of the entry that holds the checksum.
const FT_DIR_CSUM: u8 = 0xde;

raw_structure! {
    /// The head of an entry.
    struct RawEntry [HEADER_LEN] {
        0x0 inode: u32,
        0x4 rec_len: u16,
        0x6 name_len: u8,
        0x7 file_type: u8,
    }
}

raw_structure! {
    /// The entry at the end of a block that holds its checksum.
    struct RawTail [MIN_REC_LEN] {
        0x0 det_reserved_zero1: u32,
        0x4 det_rec_len: u16,
        0x6 det_reserved_zero2: u8,
        0x7 det_reserved_ft: u8,
        0x8 det_checksum: u32,
    }
}

/// A block to be changed, and its place in a directory.
#[derive(Debug)]
pub struct DirBlock<'a> {
    /// The place.
    pub lblk: Lblk,
    /// The bytes; of a new block they mean nothing.
    pub bytes: &'a mut [u8],
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pos: usize,
    ino: Ino,
    file_type: Option<Type>,
    name: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Where in its block it begins, in bytes.
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// Where in its block the name begins, in bytes.
    pub fn name_pos(&self) -> usize {
        // OVERFLOW: less than a block.
        self.pos.saturating_add(HEADER_LEN)
    }

    /// The inode that has the name.
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// Bytes of the shortest entry with the name.
    fn min_len(&self) -> Option<usize> {
        min_len(self.name)
    }

    /// What the inode is, where the directory says so.
    pub fn file_type(&self) -> Option<Type> {
        self.file_type
    }

    /// The name: 1 to [`NAME_LEN`] bytes, none of them 0 or a slash.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }
}

/// What can be in a block of names of one directory.
#[derive(Clone, Debug)]
struct Rules {
    block_len: usize,
    dir: Ino,
    lblk: Lblk,
    /// Those that can have a name beside the root.
    inodes: RangeInclusive<u32>,
    has_types: bool,
}

impl Rules {
    fn new(volume: &Superblock, dir: &Inode, lblk: Lblk, block_len: usize) -> Self {
        Self {
            block_len,
            dir: dir.ino(),
            lblk,
            inodes: volume.first_ino()..=volume.inodes_count(),
            has_types: volume.features().incompat.contains(Incompat::FILETYPE),
        }
    }

    fn can_name(&self, ino: Ino) -> bool {
        ino == Ino::ROOT || self.inodes.contains(&ino.get())
    }
}

/// A block of names whose checksum is right.
#[derive(Clone, Debug)]
pub struct Leaf<'a> {
    /// All of the block but the checksum.
    bytes: &'a [u8],
    rules: Rules,
}

impl<'a> Leaf<'a> {
    /// Checks block `lblk` of a directory.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt) when there is no checksum, and
    /// [`BadChecksum`](super::Error::BadChecksum).
    pub fn parse<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        lblk: Lblk,
        block: Block<'a>,
    ) -> Result<Self> {
        Ok(Self {
            bytes: if dir.seed().is_some() {
                check_checksum::<C>(dir, block)?
            } else {
                block.bytes()
            },
            rules: Rules::new(volume, dir, lblk, block.len()),
        })
    }

    /// The names, in order; up to the first error.
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            leaf: self.clone(),
            pos: 0,
            next: if self.rules.lblk == Lblk(0) {
                Next::Dot
            } else {
                Next::Name
            },
        }
    }

    /// The entry of that name. Of those before it only how long they are is checked, which is a
    /// third of the work.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt), of this entry or of how long one before it is.
    pub fn find(&self, name: &[u8]) -> Result<Option<Entry<'a>>> {
        let mut entries = self.entries();
        while !entries.is_at_end() {
            let seen = entries.advance()?;
            if seen.is == Next::Name && seen.name != name {
                continue;
            }
            match entries.check(seen)? {
                Some(entry) if entry.name == name => return Ok(Some(entry)),
                _ => (),
            }
        }
        Ok(None)
    }

    /// Whether there is no name in it, but for those of the directory itself and of the one above.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt), of an entry up to the first name.
    pub fn is_empty(&self) -> Result<bool> {
        let mut entries = self.entries();
        while !entries.is_at_end() {
            let seen = entries.advance()?;
            let is = seen.is;
            if entries.check(seen)?.is_some() && is == Next::Name {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Gives the bytes before the checksum, if it is theirs.
fn check_checksum<'a, C: Crc32c>(dir: &Inode, block: Block<'a>) -> Result<&'a [u8]> {
    let (Some(covered), Some(tail)) = (
        block.bytes().get(..block.len().saturating_sub(MIN_REC_LEN)),
        block.bytes().last_chunk().map(RawTail::new),
    ) else {
        return Structure::Directory.corrupt_len("det_checksum", block.len());
    };
    if tail.det_reserved_zero1 != 0 {
        return Structure::Directory.corrupt("det_reserved_zero1", tail.det_reserved_zero1);
    }
    if usize::from(tail.det_rec_len) != MIN_REC_LEN {
        return Structure::Directory.corrupt("det_rec_len", tail.det_rec_len);
    }
    if tail.det_reserved_zero2 != 0 {
        return Structure::Directory.corrupt("det_reserved_zero2", tail.det_reserved_zero2);
    }
    if tail.det_reserved_ft != FT_DIR_CSUM {
        return Structure::Directory.corrupt("det_reserved_ft", tail.det_reserved_ft);
    }
    dir.seed().check::<C>(
        Structure::Directory,
        Stored::Full(tail.det_checksum),
        &[covered],
    )?;
    Ok(covered)
}

/// What has to come next in a block: the first block of a directory begins with the directory
/// itself and the one above, which have a name nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Dot,
    DotDot,
    Name,
}

/// The names in a block, in order; after an error there are no more.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    leaf: Leaf<'a>,
    pos: usize,
    next: Next,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_at_end() {
            match self.advance().and_then(|seen| self.check(seen)) {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => (),
                Err(error) => {
                    self.pos = self.leaf.bytes.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl FusedIterator for Entries<'_> {}

/// An entry of which only how long it and its name are has been checked.
struct Seen<'a> {
    raw: RawEntry,
    pos: usize,
    name: &'a [u8],
    /// What it has to be.
    is: Next,
    /// Whether it is the last of its block.
    is_last: bool,
}

impl<'a> Entries<'a> {
    fn is_at_end(&self) -> bool {
        self.pos >= self.leaf.bytes.len()
    }

    /// Goes past one entry, and so on by at least the smallest there is.
    fn advance(&mut self) -> Result<Seen<'a>> {
        let rest = self.leaf.bytes.get(self.pos..).unwrap_or_default();
        let Some(raw) = chunk(rest, 0).map(RawEntry::new) else {
            // Entries leave room for another one, or none.
            return Structure::Directory.corrupt_len("rec_len", rest.len());
        };
        let len = rec_len(raw.rec_len, self.leaf.rules.block_len);
        let left = match rest.len().checked_sub(len) {
            Some(left) if len >= MIN_REC_LEN && len % 4 == 0 => left,
            _ => return Structure::Directory.corrupt("rec_len", raw.rec_len),
        };
        if left > 0 && left < MIN_REC_LEN {
            return Structure::Directory.corrupt("rec_len", raw.rec_len);
        }
        // OVERFLOW: less than a block.
        let name_end = HEADER_LEN.saturating_add(raw.name_len.into());
        let Some(name) = rest.get(HEADER_LEN..name_end).filter(|_| name_end <= len) else {
            return Structure::Directory.corrupt("name_len", raw.name_len);
        };
        let seen = Seen {
            raw,
            pos: self.pos,
            name,
            is: self.next,
            is_last: left == 0,
        };
        // OVERFLOW: less than a block.
        self.pos = self.pos.saturating_add(len);
        self.next = match self.next {
            Next::Dot => Next::DotDot,
            Next::DotDot | Next::Name => Next::Name,
        };
        Ok(seen)
    }

    /// Gives the entry if it has an inode.
    fn check(&self, seen: Seen<'a>) -> Result<Option<Entry<'a>>> {
        let Seen { raw, name, .. } = seen;
        if seen.is == Next::Dot && seen.is_last {
            return Structure::Directory.corrupt("rec_len", raw.rec_len);
        }
        let expected: Option<&[u8]> = match seen.is {
            Next::Dot => Some(b"."),
            Next::DotDot => Some(b".."),
            Next::Name => None,
        };
        if expected.is_some_and(|expected| raw.inode == 0 || name != expected) {
            return Structure::Directory.corrupt("name", first_bytes(name));
        }
        let Some(ino) = NonZeroU32::new(raw.inode).map(Ino) else {
            return Ok(None);
        };
        if !self.leaf.rules.can_name(ino) || seen.is == Next::Dot && ino != self.leaf.rules.dir {
            return Structure::Directory.corrupt("inode", raw.inode);
        }
        if name.is_empty() {
            return Structure::Directory.corrupt("name_len", raw.name_len);
        }
        if expected.is_none() && !is_name(name) {
            return Structure::Directory.corrupt("name", first_bytes(name));
        }
        let file_type = if self.leaf.rules.has_types {
            file_type(raw.file_type)?
        } else if raw.file_type == 0 {
            None
        } else {
            // Where there are no types it is the upper half of the name's length.
            return Structure::Directory.corrupt("name_len", raw.file_type);
        };
        Ok(Some(Entry {
            pos: seen.pos,
            ino,
            file_type,
            name,
        }))
    }
}

/// The length of an entry; 0 and the largest are the length of a block, which in one of 64 KiB
/// does not fit into the field.
pub(super) fn rec_len(field: u16, block_len: usize) -> usize {
    match field {
        0 | u16::MAX => block_len,
        // The lowest two bits are the highest, and 0 in all blocks that are supported.
        len => len.into(),
    }
}

/// Bytes of the shortest entry with a name, unless it is too long: at most 264.
fn min_len(name: &[u8]) -> Option<usize> {
    let len = HEADER_LEN.checked_add(name.len())?;
    (name.len() <= NAME_LEN).then_some(len.checked_next_multiple_of(4)?)
}

/// Whether a file or a directory can have that name.
fn is_name(name: &[u8]) -> bool {
    let is_dots = [b".".as_slice(), b".."].contains(&name);
    !name.is_empty() && !is_dots && name.iter().all(|byte| ![0, b'/'].contains(byte))
}

/// The beginning of a name as a number, to be reported.
fn first_bytes(name: &[u8]) -> u64 {
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(name) {
        *to = *from;
    }
    u64::from_be_bytes(number)
}

fn file_type(number: u8) -> Result<Option<Type>> {
    Ok(match number {
        0 => None,
        1 => Some(Type::Regular),
        2 => Some(Type::Directory),
        3 => Some(Type::CharDevice),
        4 => Some(Type::BlockDevice),
        5 => Some(Type::Fifo),
        6 => Some(Type::Socket),
        7 => Some(Type::Symlink),
        _ => return Structure::Directory.corrupt("file_type", number),
    })
}
