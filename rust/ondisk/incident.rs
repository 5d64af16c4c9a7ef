// SPDX-License-Identifier: GPL-2.0

//! Errors that a driver has met: noted in the superblock, for who looks at the volume next.
//!
//! Format: [Documentation/filesystems/ext4/super.rst](srctree/Documentation/filesystems/ext4/super.rst).

use super::{
    bytes::{
        raw_structure,
        Put, //
    },
    superblock::Superblock,
    update::split,
    Ino,
    Pblk, //
};

raw_structure! {
    /// The fields about errors, with their C names.
    struct RawErrors [Superblock::LEN] {
        0x194 s_error_count: u32,
        0x198 s_first_error_time: u32,
        0x19c s_first_error_ino: u32,
        0x1a0 s_first_error_block: u64,
        0x1a8 s_first_error_func: [u8; Incident::TEXT_LEN],
        0x1c8 s_first_error_line: u32,
        0x1cc s_last_error_time: u32,
        0x1d0 s_last_error_ino: u32,
        0x1d4 s_last_error_line: u32,
        0x1d8 s_last_error_block: u64,
        0x1e0 s_last_error_func: [u8; Incident::TEXT_LEN],
        0x278 s_first_error_time_hi: u8,
        0x279 s_last_error_time_hi: u8,
        0x27a s_first_error_errcode: u8,
        0x27b s_last_error_errcode: u8,
    }
}

/// What kind of error it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another than these (`EXT4_ERR_UNKNOWN`).
    Other,
    /// The device did not read it (`EXT4_ERR_EIO`).
    Io,
    /// Its checksum is wrong (`EXT4_ERR_EFSBADCRC`).
    Checksum,
    /// It is not what the format allows (`EXT4_ERR_EFSCORRUPTED`).
    Corrupt,
}

impl Cause {
    const fn code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Io => 2,
            Self::Checksum => 4,
            Self::Corrupt => 5,
        }
    }
}

/// An error that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When, in seconds since 1970.
    pub time: u64,
    /// In, or on behalf of, which inode.
    pub ino: Ino,
    /// In which block, if that is known.
    pub pblk: Option<Pblk>,
    /// Of what kind.
    pub cause: Cause,
    /// What it was, for people, with zeroes behind it. C has the name of a function there, and beside
    /// it the number of a line, which is 0 here.
    pub text: [u8; Self::TEXT_LEN],
}

impl Incident {
    /// Bytes of its text.
    pub const TEXT_LEN: usize = 32;
}

/// Errors that were met one after the other, and that the superblock does not know of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incidents {
    /// How many; at least one.
    pub count: u32,
    /// The first one.
    pub first: Incident,
    /// The last one, perhaps the same.
    pub last: Incident,
}

impl Incidents {
    /// One.
    pub const fn one(incident: Incident) -> Self {
        Self {
            count: 1,
            first: incident,
            last: incident,
        }
    }

    /// One more.
    #[must_use]
    pub const fn with(self, incident: Incident) -> Self {
        Self {
            count: self.count.saturating_add(1),
            first: self.first,
            last: incident,
        }
    }

    /// Those that are left once the first `noted` of them have been noted.
    pub fn without(self, noted: u32) -> Option<Self> {
        let count = self.count.checked_sub(noted).filter(|count| *count > 0)?;
        // Which one was the first of these is forgotten, and not asked: the superblock has one.
        Some(Self {
            count,
            first: self.last,
            last: self.last,
        })
    }

    /// Has a superblock tell of them, too.
    pub(super) fn note(&self, bytes: &mut [u8; Superblock::LEN]) {
        let mut raw = RawErrors::new(bytes);
        let block = |incident: &Incident| incident.pblk.map_or(0, |pblk| pblk.0);
        if (raw.s_first_error_time, raw.s_first_error_time_hi) == (0, 0) {
            let first = &self.first;
            (raw.s_first_error_time, raw.s_first_error_time_hi) = split(first.time);
            raw.s_first_error_ino = first.ino.get();
            raw.s_first_error_block = block(first);
            raw.s_first_error_func = first.text;
            raw.s_first_error_line = 0;
            raw.s_first_error_errcode = first.cause.code();
        }
        let last = &self.last;
        (raw.s_last_error_time, raw.s_last_error_time_hi) = split(last.time);
        raw.s_last_error_ino = last.ino.get();
        raw.s_last_error_block = block(last);
        raw.s_last_error_func = last.text;
        raw.s_last_error_line = 0;
        raw.s_last_error_errcode = last.cause.code();
        raw.s_error_count = raw.s_error_count.saturating_add(self.count);
        raw.put(bytes);
    }
}
