// SPDX-License-Identifier: GPL-2.0

//! Images, what they consist of, and damage to one structure of them.

use crate::{
    change,
    seal,
    walk::{
        Result,
        Volume, //
    },
    Crc,
    Numbers, //
};
use ondisk::Superblock;
use std::fmt;

/// What a structure is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The superblock.
    Superblock,
    /// The descriptor of that group.
    Descriptor(u32),
    /// The block bitmap of that group.
    BlockBitmap(u32),
    /// The inode bitmap of that group.
    InodeBitmap(u32),
    /// The inode of that number.
    Inode(u32),
    /// A node of that inode's tree of extents, in a block of its own.
    ExtentNode(u32),
    /// A block of names of that directory.
    DirLeaf(u32),
    /// The root of that directory's tree of hashes.
    HashRoot(u32),
    /// A node below it.
    HashNode(u32),
    /// A block of extended attributes.
    XattrBlock,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("superblock"),
            Self::Descriptor(group) => write!(f, "descriptor of group {group}"),
            Self::BlockBitmap(group) => write!(f, "block bitmap of group {group}"),
            Self::InodeBitmap(group) => write!(f, "inode bitmap of group {group}"),
            Self::Inode(ino) => write!(f, "inode {ino}"),
            Self::ExtentNode(ino) => write!(f, "extent node of inode {ino}"),
            Self::DirLeaf(ino) => write!(f, "names of directory {ino}"),
            Self::HashRoot(ino) => write!(f, "hash root of directory {ino}"),
            Self::HashNode(ino) => write!(f, "hash node of directory {ino}"),
            Self::XattrBlock => f.write_str("attribute block"),
        }
    }
}

/// A structure of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Structure {
    /// What it is.
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub pos: usize,
    /// How many bytes it has.
    pub len: usize,
}

/// What happens to the checksum of what was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// It is put right, as it would be on a volume that somebody made in order to do harm.
    Repaired,
    /// It stays, as after an accident.
    Left,
}

/// Bytes for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they belong, in bytes from the beginning of the image.
    pub pos: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A damage that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// To whom it happens and what, for people.
    pub what: String,
    /// What to write.
    pub patches: Vec<Patch>,
}

impl Damage {
    /// Does it to the image, and gives what undoes it.
    ///
    /// # Panics
    ///
    /// When the image is another one, and shorter.
    pub fn apply(&self, image: &mut [u8]) -> Self {
        let mut undone = Self {
            what: format!("undone: {}", self.what),
            patches: vec![],
        };
        for Patch { pos, bytes } in &self.patches {
            let old = &mut image[*pos as usize..][..bytes.len()];
            undone.patches.push(Patch {
                pos: *pos,
                bytes: old.to_vec(),
            });
            old.copy_from_slice(bytes);
        }
        undone.patches.reverse();
        undone
    }
}

/// An image of a volume in good order.
pub struct Image<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) superblock: Superblock,
    pub(crate) structures: Vec<Structure>,
}

impl<'a> Image<'a> {
    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// When it is already damaged, or more than can be read.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let volume = Volume::open(bytes)?;
        volume.walk()?;
        Ok(Self {
            bytes,
            superblock: volume.superblock().clone(),
            structures: volume.structures(),
        })
    }

    /// The structures that there are.
    pub fn structures(&self) -> &[Structure] {
        &self.structures
    }

    /// The bytes of one of them.
    pub fn bytes(&self, structure: &Structure) -> &'a [u8] {
        &self.bytes[structure.pos..][..structure.len]
    }

    /// Puts the checksum right of what is to become of a structure, and gives what else has to be
    /// written for that: the checksum of a bitmap is in the descriptor of its group.
    pub fn seal(&self, structure: &Structure, bytes: &mut [u8]) -> Vec<Patch> {
        seal::seal::<Crc>(self, structure, bytes)
    }

    /// Some fields of one structure with other values. The more kinds of structures there are, the
    /// less often one of them is hit, however many there are of that kind.
    pub fn damage(&self, seed: u64, checksums: Checksums) -> Damage {
        let mut numbers = Numbers(seed);
        let structure = self.pick(&mut numbers);
        let mut bytes = self.bytes(&structure).to_vec();
        let changed = change::change(self, &structure, &mut numbers, &mut bytes);
        let mut what = format!("{} at {:#x}: {changed}", structure.kind, structure.pos);
        let mut patches = vec![];
        match checksums {
            Checksums::Repaired => {
                seal::forget_hashes(structure.kind, &mut bytes);
                patches = self.seal(&structure, &mut bytes);
            }
            Checksums::Left => what.push_str(", checksum left"),
        }
        patches.push(Patch {
            pos: structure.pos as u64,
            bytes,
        });
        Damage { what, patches }
    }

    /// One bit of one structure, or some that follow it, the other way round.
    pub fn flip(&self, seed: u64) -> Damage {
        let mut numbers = Numbers(seed);
        let structure = self.pick(&mut numbers);
        let mut bytes = self.bytes(&structure).to_vec();
        let bit = numbers.below(8 * bytes.len());
        // A burst of up to 32 bits, which is what every CRC of 32 bits is sure to notice.
        let burst = numbers
            .pick(&[1, 1, 1, 2, 8, 32])
            .min(8 * bytes.len() - bit);
        for bit in bit..bit + burst {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Damage {
            what: format!(
                "{} at {:#x}: {burst} bits from bit {bit} on",
                structure.kind, structure.pos
            ),
            patches: vec![Patch {
                pos: structure.pos as u64,
                bytes,
            }],
        }
    }

    fn pick(&self, numbers: &mut Numbers) -> Structure {
        let same = |a: &Structure, b: &Structure| {
            std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
        };
        // Sorted by kind.
        let kinds: Vec<_> = self.structures.chunk_by(same).collect();
        let kind = numbers.pick(&kinds);
        numbers.pick(kind)
    }
}
