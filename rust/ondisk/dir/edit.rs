// SPDX-License-Identifier: GPL-2.0

//! A block of names changed in place: block → all of it checked → one name more, less, or of
//! another inode → checksum.
//!
//! Each change is of this one block, is sealed with one checksum, and looks at each entry once. If
//! it cannot be done, the block stays as it is.
//!
//! Format: [Documentation/filesystems/ext4/directory.rst](srctree/Documentation/filesystems/ext4/directory.rst).

use super::{
    encode::{
        head,
        number,
        put_tail,
        room, //
    },
    is_name,
    min_len,
    rec_len,
    Leaf,
    NewEntry,
    Next,
    RawEntry,
    Rules,
    HEADER_LEN,
    MIN_REC_LEN, //
};
use crate::ondisk::{
    bytes::{
        chunk,
        Writer, //
    },
    checksum::Seed,
    inode::{
        Inode,
        Type, //
    },
    Block,
    Crc32c,
    Ino,
    Lblk,
    Result,
    Structure,
    Superblock, //
};

/// Where in an entry its length is, in bytes.
const REC_LEN_POS: usize = 4;
/// Where in an entry its type is.
const FILE_TYPE_POS: usize = 7;

/// An entry behind which there is room.
struct Room {
    pos: usize,
    /// Bytes that it needs itself: none, if nobody has it.
    used: usize,
    len: usize,
}

impl Leaf<'_> {
    /// Whether [`LeafMut::insert`] would find room.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ondisk::Error::Corrupt), of how long an entry is.
    pub fn has_room(&self, entry: &NewEntry<'_>) -> Result<bool> {
        Ok(match entry.min_len() {
            Some(len) => self.room(len)?.is_some(),
            None => false,
        })
    }

    /// The first entry with so many bytes to spare.
    fn room(&self, wanted: usize) -> Result<Option<Room>> {
        let mut entries = self.entries();
        while !entries.is_at_end() {
            let seen = entries.advance()?;
            let len = rec_len(seen.raw.rec_len, self.rules.block_len);
            let used = match seen.raw.inode {
                0 => 0,
                // An entry is longer than its name.
                _ => min_len(seen.name).unwrap_or(len),
            };
            // What is for the directory above has to follow the first entry.
            let has_room = len.checked_sub(used).is_some_and(|spare| spare >= wanted);
            if has_room && seen.is != Next::Dot {
                return Ok(Some(Room {
                    pos: seen.pos,
                    used,
                    len,
                }));
            }
        }
        Ok(None)
    }
}

/// A block of names to be changed.
///
/// # Invariants
///
/// All of its entries were checked, or made here; `names_len` is not more than the block has.
#[derive(Debug)]
pub struct LeafMut<'a> {
    block: &'a mut [u8],
    /// Bytes of the block before its checksum.
    names_len: usize,
    seed: Seed,
    rules: Rules,
}

/// An entry that has a name, and the one before it.
struct Named {
    pos: usize,
    len: usize,
    before: Option<Before>,
    is: Next,
}

#[derive(Clone, Copy)]
struct Before {
    pos: usize,
    len: usize,
}

impl<'a> LeafMut<'a> {
    /// Checks block `lblk` of a directory, and each entry of it.
    ///
    /// ```
    /// # use ondisk::{dir::{LeafMut, NewEntry}, Crc32c, Error, Inode, Lblk, Superblock};
    /// /// Gives a name to another inode; nothing, if nobody has it.
    /// fn replace<C: Crc32c>(
    ///     volume: &Superblock,
    ///     dir: &Inode,
    ///     lblk: Lblk,
    ///     block: &mut [u8],
    ///     entry: &NewEntry<'_>,
    /// ) -> Result<Option<()>, Error> {
    ///     let mut leaf = LeafMut::check::<C>(volume, dir, lblk, block)?;
    ///     Ok(leaf.replace::<C>(entry))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Leaf::parse`], and [`Corrupt`](crate::ondisk::Error::Corrupt) of any entry.
    pub fn check<C: Crc32c>(
        volume: &Superblock,
        dir: &Inode,
        lblk: Lblk,
        block: &'a mut [u8],
    ) -> Result<Self> {
        let len = block.len();
        let (Some(whole), Some(names_len)) = (Block::new(block), room(dir, len)) else {
            return Structure::Directory.corrupt_len("rec_len", len);
        };
        let leaf = Leaf::parse::<C>(volume, dir, lblk, whole)?;
        leaf.entries().try_for_each(|entry| entry.map(|_| ()))?;
        // INVARIANT: All entries were checked; there is room for the names.
        Ok(Self {
            rules: leaf.rules,
            block,
            names_len,
            seed: dir.seed(),
        })
    }

    /// A new block of the same directory, as long as this one, in which there is no name yet. It
    /// is right only once it is [sealed](Self::seal).
    pub(super) fn another<'b>(&self, lblk: Lblk, block: &'b mut [u8]) -> Option<LeafMut<'b>> {
        if block.len() != self.block.len() || lblk == Lblk(0) {
            return None;
        }
        let mut leaf = LeafMut {
            block,
            names_len: self.names_len,
            seed: self.seed,
            rules: Rules {
                lblk,
                ..self.rules.clone()
            },
        };
        // INVARIANT: The only entry is one that nobody has; both blocks are of one length.
        leaf.pack(0, None)?;
        Some(leaf)
    }

    /// The block as one to be read.
    pub fn leaf(&self) -> Leaf<'_> {
        Leaf {
            bytes: self.names(),
            rules: self.rules.clone(),
        }
    }

    /// Puts a name into the first place with room for it; unless there is none, or it cannot be
    /// one. Whether the directory has the name already is for the caller to know.
    pub fn insert<C: Crc32c>(&mut self, entry: &NewEntry<'_>) -> Option<()> {
        self.put(entry)?;
        self.seal::<C>()
    }

    /// As [`insert`](Self::insert), and if bytes to spare are enough but not in one place, moves
    /// the names together. Not for [linear](crate::ondisk::htree::Layout::Linear) directories, in
    /// which places in blocks are positions of readers.
    pub fn insert_packed<C: Crc32c>(&mut self, entry: &NewEntry<'_>) -> Option<()> {
        let len = self.len_of(entry)?;
        if self.leaf().room(len).ok()?.is_none() {
            let names = self.leaf().entries().flatten();
            // OVERFLOW: less than a block.
            let used: usize = names.filter_map(|entry| entry.min_len()).sum();
            if used.checked_add(len)? > self.names_len {
                return None;
            }
            self.drop_unused()?;
        }
        self.insert::<C>(entry)
    }

    /// Takes a name out; unless it is not there, or that of the directory itself or of the one
    /// above.
    pub fn remove<C: Crc32c>(&mut self, name: &[u8]) -> Option<()> {
        let found = self.named(name).filter(|found| found.is == Next::Name)?;
        let end = found.pos.checked_add(found.len)?;
        let (pos, len) = match found.before {
            Some(before) => (before.pos, before.len.checked_add(found.len)?),
            None => (found.pos, found.len),
        };
        let rec_len = u16::try_from(len).ok()?;
        self.block.get_mut(found.pos..end)?.fill(0);
        self.set_rec_len(pos, rec_len)?;
        self.seal::<C>()
    }

    /// Makes a name that of another inode; unless it is not there, or that of the directory
    /// itself. `..` has to be that of a directory.
    pub fn replace<C: Crc32c>(&mut self, entry: &NewEntry<'_>) -> Option<()> {
        let found = self.named(entry.name)?;
        let is_possible = match found.is {
            Next::Dot => false,
            Next::DotDot => entry.file_type == Type::Directory,
            Next::Name => true,
        };
        if !is_possible || !self.rules.can_name(entry.ino) {
            return None;
        }
        let has_types = self.rules.has_types;
        let bytes = self.block.get_mut(found.pos..)?;
        let head: &mut [u8; HEADER_LEN] = bytes.first_chunk_mut()?;
        Writer::new(head).put(&entry.ino.get().to_le_bytes())?;
        if has_types {
            *head.get_mut(FILE_TYPE_POS)? = number(entry.file_type);
        }
        self.seal::<C>()
    }

    /// The directory, which has the block at this place.
    pub(in crate::ondisk) fn dir(&self) -> Ino {
        self.rules.dir
    }

    /// The place of the block in its directory.
    pub(in crate::ondisk) fn lblk(&self) -> Lblk {
        self.rules.lblk
    }

    /// Whether the directory has types beside names.
    pub(in crate::ondisk) fn has_types(&self) -> bool {
        self.rules.has_types
    }

    /// What the checksums of the directory's blocks begin with.
    pub(in crate::ondisk) fn seed(&self) -> Seed {
        self.seed
    }

    /// The bytes of the names.
    pub(super) fn names(&self) -> &[u8] {
        self.block.get(..self.names_len).unwrap_or_default()
    }

    /// Bytes for names.
    pub(super) fn names_len(&self) -> usize {
        self.names_len
    }

    /// The block, for something else than names.
    pub(in crate::ondisk) fn into_block(self) -> &'a mut [u8] {
        self.block
    }

    /// Bytes of the shortest entry for a name, if it can be one.
    pub(in crate::ondisk) fn len_of(&self, entry: &NewEntry<'_>) -> Option<usize> {
        let is_possible = is_name(entry.name) && self.rules.can_name(entry.ino);
        entry.min_len().filter(|_| is_possible)
    }

    /// As [`insert`](Self::insert), but leaves the checksum.
    pub(super) fn put(&mut self, entry: &NewEntry<'_>) -> Option<()> {
        let len = self.len_of(entry)?;
        let room = self.leaf().room(len).ok()??;
        let pos = room.pos.checked_add(room.used)?;
        let file_type = if self.rules.has_types {
            number(entry.file_type)
        } else {
            0
        };
        let head = head(
            entry.ino.get(),
            room.len.checked_sub(room.used)?,
            u8::try_from(entry.name.len()).ok()?,
            file_type,
        )?;
        let rec_len = u16::try_from(room.used).ok()?;

        let bytes = self.block.get_mut(pos..pos.checked_add(len)?)?;
        bytes.fill(0);
        let mut writer = Writer::new(bytes);
        writer.put(&head)?;
        writer.put(entry.name)?;
        if rec_len > 0 {
            self.set_rec_len(room.pos, rec_len)?;
        }
        Some(())
    }

    /// Appends entries that are `parts` of another block, each as short as can be; the last gets
    /// the rest of this block. Leaves the checksum.
    pub(super) fn fill<'p>(&mut self, parts: impl Iterator<Item = &'p [u8]>) -> Option<()> {
        let (mut end, mut last) = (0_usize, None);
        for part in parts {
            let start = end;
            end = start.checked_add(part.len())?;
            if end > self.names_len {
                return None;
            }
            self.block.get_mut(start..end)?.copy_from_slice(part);
            self.set_rec_len(start, u16::try_from(part.len()).ok()?)?;
            last = Some(start);
        }
        self.pack(end, last)
    }

    /// Says that nobody has the entry at `pos`; the next [`drop_unused`](Self::drop_unused) takes
    /// it away. Leaves the checksum.
    pub(super) fn forget(&mut self, pos: usize) -> Option<()> {
        let inode = self.block.get_mut(pos..)?.first_chunk_mut()?;
        *inode = 0_u32.to_le_bytes();
        Some(())
    }

    /// Moves the entries together that somebody has. Leaves the checksum.
    pub(super) fn drop_unused(&mut self) -> Option<()> {
        let (mut pos, mut end, mut last) = (0_usize, 0_usize, None);
        // BOUNDS: the entries were checked, so they fill the block, and none ends before its name.
        while pos < self.names_len {
            let raw = chunk(self.block, pos).map(RawEntry::new)?;
            let len = rec_len(raw.rec_len, self.rules.block_len).max(MIN_REC_LEN);
            if raw.inode != 0 {
                let name_end = HEADER_LEN.checked_add(raw.name_len.into())?;
                let needed = name_end.checked_next_multiple_of(4)?;
                self.block.copy_within(pos..pos.checked_add(needed)?, end);
                self.set_rec_len(end, u16::try_from(needed).ok()?)?;
                last = Some(end);
                end = end.checked_add(needed)?;
            }
            pos = pos.checked_add(len)?;
        }
        self.pack(end, last)
    }

    /// Gives what follows the entries to the last of them, or to one that nobody has.
    fn pack(&mut self, end: usize, last: Option<usize>) -> Option<()> {
        let last = last.unwrap_or(0);
        let rec_len = u16::try_from(self.names_len.checked_sub(last)?).ok()?;
        self.block.get_mut(end..self.names_len)?.fill(0);
        self.set_rec_len(last, rec_len)
    }

    /// Puts the checksum right, where there is one.
    pub(super) fn seal<C: Crc32c>(&mut self) -> Option<()> {
        let (names, tail) = self.block.split_at_mut_checked(self.names_len)?;
        match tail.first_chunk_mut() {
            Some(tail) => put_tail::<C>(self.seed, names, tail),
            None => Some(()),
        }
    }

    fn set_rec_len(&mut self, pos: usize, rec_len: u16) -> Option<()> {
        let pos = pos.checked_add(REC_LEN_POS)?;
        *self.block.get_mut(pos..)?.first_chunk_mut()? = rec_len.to_le_bytes();
        Some(())
    }

    /// The entry with that name.
    fn named(&self, name: &[u8]) -> Option<Named> {
        let leaf = self.leaf();
        let mut entries = leaf.entries();
        let mut before = None;
        while !entries.is_at_end() {
            let seen = entries.advance().ok()?;
            let (pos, len) = (seen.pos, rec_len(seen.raw.rec_len, self.rules.block_len));
            if seen.raw.inode != 0 && seen.name == name {
                return Some(Named {
                    pos,
                    len,
                    before,
                    is: seen.is,
                });
            }
            before = Some(Before { pos, len });
        }
        None
    }
}
