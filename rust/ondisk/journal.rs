// SPDX-License-Identifier: GPL-2.0

//! The superblock of the journal, which is the first block of its inode: what decides whether jbd2
//! may replay the journal. What jbd2 itself checks is left to it.
//!
//! All fields are big-endian.
//!
//! Format: [Documentation/filesystems/ext4/journal.rst](srctree/Documentation/filesystems/ext4/journal.rst).

use super::{
    bytes::raw_structure,
    Error,
    JournalIncompat,
    Result,
    Structure,
    Unsupported, //
};

/// `h_magic` of every block that is the journal's own.
const MAGIC: u32 = 0xc03b_3998;
/// `h_blocktype` of a superblock without features.
const SUPERBLOCK_V1: u32 = 3;
/// `h_blocktype` of a superblock with features.
const SUPERBLOCK_V2: u32 = 4;

raw_structure! {
    /// The fields as they are on the disk, with their C names, but of the other byte order.
    struct RawSuperblock [Superblock::LEN] {
        0x00 h_magic: u32,
        0x04 h_blocktype: u32,
        0x0c s_blocksize: u32,
        0x28 s_feature_incompat: u32,
    }
}

/// The superblock of a journal, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    incompat: JournalIncompat,
}

impl Superblock {
    /// How long it is, in bytes; the rest of its block means nothing.
    pub const LEN: usize = 1024;

    /// Checks the superblock of the journal of `volume`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt), else [`Unsupported`](Error::Unsupported).
    pub fn parse(volume: &super::Superblock, bytes: &[u8; Self::LEN]) -> Result<Self> {
        let raw = RawSuperblock::new(bytes);
        let structure = Structure::JournalSuperblock;

        let h_magic = raw.h_magic.swap_bytes();
        if h_magic != MAGIC {
            return structure.corrupt("h_magic", h_magic);
        }
        let s_blocksize = raw.s_blocksize.swap_bytes();
        if s_blocksize != volume.block_size().bytes().get() {
            return structure.corrupt("s_blocksize", s_blocksize);
        }
        let incompat = match raw.h_blocktype.swap_bytes() {
            SUPERBLOCK_V1 => 0,
            SUPERBLOCK_V2 => raw.s_feature_incompat.swap_bytes(),
            h_blocktype => return structure.corrupt("h_blocktype", h_blocktype),
        };
        let incompat = JournalIncompat::from_bits(incompat);
        if !incompat.unsupported().is_empty() {
            let unsupported = incompat.unsupported();
            return Err(Error::Unsupported(Unsupported::Journal(unsupported)));
        }
        Ok(Self { incompat })
    }

    /// The features of the journal.
    pub fn incompat(&self) -> JournalIncompat {
        self.incompat
    }
}
