// SPDX-License-Identifier: GPL-2.0

//! Blocks of metadata: place → private copy → parsed, or blamed.
//!
//! What is wrong on the disk is written to the log once, where it is seen: which inode, which
//! block, which field. Callers get an error number, and add nothing.

use super::{
    writing,
    SuperBlock, //
};
use crate::{
    kernel::{
        buffer::{
            sb_breadahead,
            BdevAddr,
            Buffer, //
        },
        errno,
        fserror,
        log,
        super_block::OnDevice,
        time::ktime_get_real_seconds, //
    },
    ondisk::{
        self,
        Block,
        Cause,
        InBlock,
        Incident,
        Ino,
        Pblk,
        PblkRange, //
    },
};
use ::kernel::prelude::*;
use core::fmt;

/// Where something wrong was seen.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// In, or on behalf of, which inode.
    ino: Ino,
    /// In which block of the volume.
    pblk: Option<Pblk>,
}

impl At {
    /// In a block of an inode.
    pub(super) fn block(ino: Ino, pblk: Pblk) -> Self {
        Self {
            ino,
            pblk: Some(pblk),
        }
    }

    /// In an inode.
    pub(super) fn inode(ino: Ino) -> Self {
        Self { ino, pblk: None }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {}", self.ino.get())?;
        match self.pblk {
            Some(pblk) => write!(f, ", block {}", pblk.0),
            None => Ok(()),
        }
    }
}

/// Why a structure is not to be had.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// It was not read: `EIO`, `ENOMEM`, or `EINTR` for a task that is to be killed.
    Read(Error),
    /// It is not what the format allows.
    Format(ondisk::Error),
}

impl Fault {
    pub(super) fn errno(&self) -> Error {
        match self {
            Self::Read(error) => *error,
            Self::Format(error) => errno_of(error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) if *error == ENOMEM => f.write_str("not enough memory"),
            Self::Read(error) if *error == EINTR => f.write_str("interrupted"),
            Self::Read(_) => f.write_str("cannot be read: I/O error"),
            Self::Format(error) => error.fmt(f),
        }
    }
}

/// The error number for what the format does not allow.
pub(super) fn errno_of(error: &ondisk::Error) -> Error {
    match error {
        ondisk::Error::NotExt4 { .. } | ondisk::Error::Corrupt { .. } => errno::efscorrupted(),
        ondisk::Error::BadChecksum { .. } => errno::efsbadcrc(),
        ondisk::Error::Unsupported(_) => errno::eopnotsupp(),
    }
}

/// Reports what the format does not allow, and gives the error number for it.
///
/// # Context
///
/// May sleep. With `errors=panic` it may not return.
pub(super) fn blame(sb: &SuperBlock, at: At, error: ondisk::Error) -> Error {
    log::err(sb, format_args!("{at}: {error}"));
    match error {
        // Nothing is broken.
        ondisk::Error::Unsupported(_) => errno_of(&error),
        _ => broken(sb, at, errno_of(&error), format_args!("{error}")),
    }
}

/// Reports what is wrong between one structure and another.
///
/// # Context
///
/// That of [`blame`].
pub(super) fn corrupt(sb: &SuperBlock, at: At, what: fmt::Arguments<'_>) -> Error {
    log::err(sb, format_args!("{at}: {what}"));
    broken(sb, at, errno::efscorrupted(), what)
}

/// Reports that a block could not be read.
pub(super) fn unreadable(sb: &SuperBlock, at: At, error: Error) -> Error {
    if error == ENOMEM {
        return error;
    }
    log::err(sb, format_args!("{at}: cannot be read"));
    broken(sb, at, error, format_args!("cannot be read"))
}

/// Does what is to be done when metadata turn out to be broken, beside the line in the log. Where
/// nothing is written, `errors=continue` and `errors=remount-ro` are the same.
fn broken(sb: &SuperBlock, at: At, error: Error, what: fmt::Arguments<'_>) -> Error {
    fserror::report_metadata(sb, at.ino.get(), error);
    if sb.volume().options().may_panic() {
        log::panic(sb);
    }
    if sb.volume().is_open() {
        writing::met_error(sb, error, incident(at, error, what));
    }
    error
}

/// What the superblock is told.
fn incident(at: At, error: Error, what: fmt::Arguments<'_>) -> Incident {
    let mut text = Text {
        bytes: [0; Incident::TEXT_LEN],
        len: 0,
    };
    // It takes what it has room for.
    let _ = fmt::write(&mut text, what);
    Incident {
        time: ktime_get_real_seconds(),
        ino: at.ino,
        pblk: at.pblk,
        cause: if error == errno::efscorrupted() {
            Cause::Corrupt
        } else if error == errno::efsbadcrc() {
            Cause::Checksum
        } else if error == EIO {
            Cause::Io
        } else {
            Cause::Other
        },
        text: text.bytes,
    }
}

/// The beginning of a text.
struct Text {
    bytes: [u8; Incident::TEXT_LEN],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.bytes.iter_mut().skip(self.len);
        for (to, from) in room.zip(more.bytes()) {
            *to = from;
            // OVERFLOW: within the array.
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

/// A copy of a block of metadata.
pub(super) struct MetaBlock {
    /// Where it is.
    pub(super) pblk: Pblk,
    bytes: KVec<u8>,
}

impl AsRef<[u8]> for MetaBlock {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl MetaBlock {
    /// Reads block `pblk`, which has to be one of the volume, and which `ino` says is its own.
    pub(super) fn read(sb: &SuperBlock, ino: Ino, pblk: Pblk) -> Result<Self> {
        sb.check_blocks(ino, PblkRange::one(pblk).ok_or(EINVAL)?)?;
        let bytes = copy_block(sb, sb.volume(), pblk)
            .map_err(|error| unreadable(sb, At::block(ino, pblk), error))?;
        Ok(Self { pblk, bytes })
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The block.
    pub(super) fn block(&self) -> Result<Block<'_>> {
        Block::new(&self.bytes).ok_or(EINVAL)
    }
}

/// Asks for `blocks`, unless the block `wanted` is in memory: then they have been asked for.
pub(super) fn read_ahead(
    sb: &OnDevice,
    superblock: &ondisk::Superblock,
    wanted: Pblk,
    blocks: impl FnOnce() -> Option<PblkRange>,
) {
    let Ok(addr_wanted) = addr(superblock, wanted, 0) else {
        return;
    };
    if Buffer::sb_find_get_block(sb, addr_wanted).is_some() {
        return;
    }
    let Some(blocks) = blocks() else {
        return;
    };
    if let Ok(first) = addr(superblock, blocks.start, 0) {
        let n = blocks.end.0.saturating_sub(blocks.start.0);
        sb_breadahead(sb, first, u32::try_from(n).unwrap_or(0));
    }
}

/// The byte `start` of a block.
pub(super) fn addr(superblock: &ondisk::Superblock, pblk: Pblk, start: u32) -> Result<BdevAddr> {
    pblk.0
        .checked_mul(superblock.block_size().bytes().get().into())
        .and_then(|block| block.checked_add(start.into()))
        .map(BdevAddr)
        .ok_or(EINVAL)
}

/// Reads a part of a block of the volume.
pub(super) fn read(sb: &SuperBlock, at: At, place: InBlock) -> Result<KVec<u8>> {
    copy(sb, sb.volume(), place).map_err(|error| unreadable(sb, at, error))
}

/// As [`read`], but who is told, and how, is the caller's business.
pub(super) fn copy(
    sb: &OnDevice,
    superblock: &ondisk::Superblock,
    place: InBlock,
) -> Result<KVec<u8>> {
    let addr = addr(superblock, place.pblk, place.start)?;
    let len = usize::try_from(place.len).map_err(|_| EINVAL)?;
    Buffer::sb_bread(sb, addr)?.to_vec(addr, len)
}

/// As [`copy`], of a whole block.
pub(super) fn copy_block(
    sb: &OnDevice,
    superblock: &ondisk::Superblock,
    pblk: Pblk,
) -> Result<KVec<u8>> {
    let place = InBlock {
        pblk,
        start: 0,
        len: superblock.block_size().bytes().get(),
    };
    copy(sb, superblock, place)
}
