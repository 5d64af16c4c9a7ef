// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: bytes of the inode, or of a block → list of names → values.
//!
//! All of a list is checked when it is made, so that reading it cannot fail.
//!
//! Format: [Documentation/filesystems/ext4/attributes.rst](srctree/Documentation/filesystems/ext4/attributes.rst).

mod encode;

pub use encode::{
    encode_in_block,
    encode_in_inode,
    inodes,
    set_inodes,
    sort, //
};

use super::{
    bytes::{
        chunk,
        raw_structure, //
    },
    checksum::{
        Seed,
        Stored, //
    },
    hash::Chars,
    Block,
    Crc32c,
    Inode,
    Pblk,
    Result,
    Structure,
    Superblock, //
};
use core::{
    iter::FusedIterator,
    ops::Range, //
};

/// `h_magic` of every area with attributes.
const MAGIC: u32 = 0xea02_0000;
/// Bytes before the first name in an inode.
const BODY_HEADER_LEN: usize = 4;
/// Bytes before the first name in a block.
const BLOCK_HEADER_LEN: usize = 32;
/// Where `h_checksum` stands in a block, and where it ends.
const CHECKSUM: (usize, usize) = (0x10, 0x14);
/// Bytes of an entry before its name.
const ENTRY_LEN: usize = 16;
/// Bytes that end a list of names: zeroes, and at least as many.
const END_LEN: usize = 4;

raw_structure! {
    /// How a block with attributes begins.
    struct RawHeader [BLOCK_HEADER_LEN] {
        0x00 h_magic: u32,
        0x04 h_refcount: u32,
        0x08 h_blocks: u32,
        0x0c h_hash: u32,
        0x10 h_checksum: u32,
    }
}

raw_structure! {
    /// An attribute, before its name.
    struct RawEntry [ENTRY_LEN] {
        0x0 e_name_len: u8,
        0x1 e_name_index: u8,
        0x2 e_value_offs: u16,
        0x4 e_value_inum: u32,
        0x8 e_value_size: u32,
        0xc e_hash: u32,
    }
}

/// What the name of an attribute begins with, which is stored as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(u8);

impl Prefix {
    /// `user.`
    pub const USER: Self = Self(1);
    /// `system.posix_acl_access`, all of the name
    pub const POSIX_ACL_ACCESS: Self = Self(2);
    /// `system.posix_acl_default`, all of the name
    pub const POSIX_ACL_DEFAULT: Self = Self(3);
    /// `trusted.`
    pub const TRUSTED: Self = Self(4);
    /// `security.`
    pub const SECURITY: Self = Self(6);
    /// `system.`
    pub const SYSTEM: Self = Self(7);
    /// `system.richacl`, all of the name
    pub const RICHACL: Self = Self(8);
    /// `gnu.`
    pub const HURD: Self = Self(10);

    /// All that have a text. Those that are all of a name come before those that begin them.
    const TEXTS: [(Self, &'static str); 8] = [
        (Self::POSIX_ACL_ACCESS, "system.posix_acl_access"),
        (Self::POSIX_ACL_DEFAULT, "system.posix_acl_default"),
        (Self::RICHACL, "system.richacl"),
        (Self::USER, "user."),
        (Self::TRUSTED, "trusted."),
        (Self::SECURITY, "security."),
        (Self::SYSTEM, "system."),
        (Self::HURD, "gnu."),
    ];

    /// The text, if the number has one.
    pub fn text(self) -> Option<&'static str> {
        let mut texts = Self::TEXTS.iter();
        texts
            .find(|(prefix, _)| *prefix == self)
            .map(|(_, text)| *text)
    }

    /// Takes a name apart, if it begins with one.
    ///
    /// ```
    /// # use ondisk::xattr::Prefix;
    /// let (prefix, rest) = Prefix::split(b"user.comment").unwrap();
    /// assert_eq!((prefix, rest), (Prefix::USER, b"comment".as_slice()));
    ///
    /// let (prefix, rest) = Prefix::split(b"system.posix_acl_access").unwrap();
    /// assert_eq!((prefix, rest), (Prefix::POSIX_ACL_ACCESS, b"".as_slice()));
    ///
    /// assert!(Prefix::split(b"comment").is_none());
    /// ```
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        Self::TEXTS.iter().find_map(|(prefix, text)| {
            let rest = name.strip_prefix(text.as_bytes())?;
            (text.ends_with('.') || rest.is_empty()).then_some((*prefix, rest))
        })
    }
}

/// An attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xattr<'a> {
    prefix: Prefix,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Xattr<'a> {
    /// An attribute, if such a name can be stored: at most 255 bytes, none of which is 0.
    pub fn new(prefix: Prefix, name: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let is_storable = u8::try_from(name.len()).is_ok() && !name.contains(&0);
        is_storable.then_some(Self {
            prefix,
            name,
            value,
        })
    }

    /// What its name begins with.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// The rest of its name; no zero is in it.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Its value.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }
}

/// Attributes that were read and checked.
///
/// # Invariants
///
/// Names and values lie inside the bytes and do not overlap.
#[derive(Clone, Copy, Debug)]
pub struct Xattrs<'a> {
    structure: Structure,
    /// What places of values are counted from.
    bytes: &'a [u8],
    /// Where the first entry is.
    start: usize,
}

impl<'a> Xattrs<'a> {
    /// Checks the attributes in an inode, whose bytes these are, if there are any.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt), as well when a value has an inode of its own: that comes only
    /// with a feature that no volume has which is read at all.
    pub fn in_inode(inode: &Inode, bytes: &'a [u8]) -> Result<Option<Self>> {
        let area = inode.xattr_area(bytes);
        match (chunk(area, 0), area.get(BODY_HEADER_LEN..)) {
            (Some(magic), Some(bytes))
                if bytes.len() >= END_LEN && u32::from_le_bytes(*magic) == MAGIC =>
            {
                let xattrs = Self {
                    structure: Structure::InodeXattrs,
                    bytes,
                    start: 0,
                };
                xattrs.check()?;
                Ok(Some(xattrs))
            }
            _ => Ok(None),
        }
    }

    /// Checks the attributes in block `pblk`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Error::Corrupt) when it is no such block,
    /// [`BadChecksum`](super::Error::BadChecksum), else [`Corrupt`](super::Error::Corrupt), as
    /// [`in_inode`](Self::in_inode).
    pub fn in_block<C: Crc32c>(volume: &Superblock, pblk: Pblk, block: Block<'a>) -> Result<Self> {
        let structure = Structure::XattrBlock;
        let (before, after) = CHECKSUM;
        let (Some(header), Some(before), Some(after)) = (
            chunk(&block, 0).map(RawHeader::new),
            block.get(..before),
            block.get(after..),
        ) else {
            return structure.corrupt_len("h_magic", block.len());
        };
        if header.h_magic != MAGIC {
            return structure.corrupt("h_magic", header.h_magic);
        }
        Seed::of_volume(volume)
            .with::<C>(&pblk.0.to_le_bytes())
            .check::<C>(
                structure,
                Stored::Full(header.h_checksum),
                &[before, &[0; 4], after],
            )?;
        if header.h_blocks != 1 {
            return structure.corrupt("h_blocks", header.h_blocks);
        }
        if header.h_refcount == 0 {
            return structure.corrupt("h_refcount", header.h_refcount);
        }
        let xattrs = Self {
            structure,
            bytes: block.bytes(),
            start: BLOCK_HEADER_LEN,
        };
        xattrs.check()?;
        Ok(xattrs)
    }

    /// The attributes, in the order of the disk.
    pub fn iter(&self) -> Iter<'a> {
        Iter(self.entries())
    }

    /// The value of the attribute of that name.
    pub fn get(&self, prefix: Prefix, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .find(|xattr| xattr.prefix == prefix && xattr.name == name)
            .map(|xattr| xattr.value)
    }

    fn entries(&self) -> Entries<'a> {
        Entries {
            xattrs: *self,
            pos: self.start,
        }
    }

    fn check(&self) -> Result<()> {
        let mut entries = self.entries();
        for entry in entries.by_ref() {
            if entry.name.contains(&0) {
                return self.structure.corrupt("e_name", entry.raw.e_name_len);
            }
        }
        // The list ends with zeroes, or with an entry that reaches beyond the bytes.
        let names_end = entries.pos;
        match chunk::<END_LEN>(self.bytes, names_end) {
            Some([0, 0, 0, 0]) => (),
            Some([name_len, ..]) => return self.structure.corrupt("e_name_len", *name_len),
            None => return self.structure.corrupt_len("e_name_len", names_end),
        }
        // OVERFLOW: less than a block.
        let names_end = names_end.saturating_add(END_LEN);

        for (n, entry) in self.entries().enumerate() {
            let value = entry.check(self.structure, self.bytes, names_end)?;
            let overlaps = |other: Entry<'_>| {
                let other = other.value_range().unwrap_or(value.clone());
                value.start.max(other.start) < value.end.min(other.end)
            };
            if self.entries().take(n).any(overlaps) {
                return self
                    .structure
                    .corrupt("e_value_offs", entry.raw.e_value_offs);
            }
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &Xattrs<'a> {
    type Item = Xattr<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The attributes of a list.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Entries<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Xattr<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        Some(Xattr {
            prefix: Prefix(entry.raw.e_name_index),
            name: entry.name,
            value: self
                .0
                .xattrs
                .bytes
                .get(entry.value_range()?)?
                .get(..usize::try_from(entry.raw.e_value_size).ok()?)?,
        })
    }
}

impl FusedIterator for Iter<'_> {}

/// The entries of a list, up to its end or to one that the bytes do not hold.
#[derive(Clone, Debug)]
struct Entries<'a> {
    xattrs: Xattrs<'a>,
    pos: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.xattrs.bytes.get(self.pos..)?;
        if rest.first_chunk() == Some(&[0; END_LEN]) {
            return None;
        }
        let raw = chunk(rest, 0).map(RawEntry::new)?;
        // OVERFLOW: 16 bytes and a name of 255.
        let name_end = ENTRY_LEN.saturating_add(raw.e_name_len.into());
        let name = rest.get(ENTRY_LEN..name_end)?;
        // Each step goes on by at least the smallest entry.
        self.pos = self.pos.saturating_add(padded(name_end)?);
        Some(Entry { raw, name })
    }
}

/// An attribute, the value of which may be out of bounds.
struct Entry<'a> {
    raw: RawEntry,
    name: &'a [u8],
}

impl Entry<'_> {
    /// Checks the value and the hash, and gives the place of the value.
    fn check(&self, structure: Structure, bytes: &[u8], names_end: usize) -> Result<Range<usize>> {
        let raw = &self.raw;
        if raw.e_value_inum != 0 {
            return structure.corrupt("e_value_inum", raw.e_value_inum);
        }
        let Some(range) = self.value_range() else {
            return structure.corrupt("e_value_size", raw.e_value_size);
        };
        if !range.is_empty() && range.start < names_end {
            return structure.corrupt("e_value_offs", raw.e_value_offs);
        }
        let Some(value) = bytes.get(range.clone()) else {
            return structure.corrupt("e_value_size", raw.e_value_size);
        };
        // Linux leaves it 0 in inodes.
        if raw.e_hash != 0
            && raw.e_hash != self.hash(value, Chars::Unsigned)
            && raw.e_hash != self.hash(value, Chars::Signed)
        {
            return structure.corrupt("e_hash", raw.e_hash);
        }
        Ok(range)
    }

    /// Where the value is, and what fills it up to a multiple of 4 bytes. Empty at 0 if it is.
    fn value_range(&self) -> Option<Range<usize>> {
        let len = padded(usize::try_from(self.raw.e_value_size).ok()?)?;
        let start = if len == 0 {
            0
        } else {
            self.raw.e_value_offs.into()
        };
        Some(start..start.checked_add(len)?)
    }

    /// The hash of name and value. Old versions took the name's bytes for signed on some machines.
    fn hash(&self, value: &[u8], chars: Chars) -> u32 {
        hash_value(hash_name(self.name, chars), value)
    }
}

fn hash_name(name: &[u8], chars: Chars) -> u32 {
    name.iter().fold(0, |hash: u32, byte| {
        hash.rotate_left(5) ^ chars.widen(*byte)
    })
}

/// Goes on with a value and what fills it up to a multiple of 4 bytes.
fn hash_value(name: u32, value: &[u8]) -> u32 {
    let words = value.chunks_exact(4).filter_map(|word| word.first_chunk());
    words.fold(name, |hash, word| {
        hash.rotate_left(16) ^ u32::from_le_bytes(*word)
    })
}

/// The next multiple of 4.
fn padded(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(4)
}
