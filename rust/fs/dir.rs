// SPDX-License-Identifier: GPL-2.0

//! Directories, read.
//!
//! A reader's position has to survive what others do to the directory between two calls. Where an
//! entry is in its block does not: leaves split. Its hash does, so the position in an indexed
//! directory is the hash of the next name, and names are given in the order of their hashes. A
//! directory of one block may become an indexed one, and is read in the same way.
//!
//! | position | hashed | linear |
//! | --- | --- | --- |
//! | 0 | `.` | the first byte: `.` |
//! | 1 | `..` | |
//! | others | hash of a name | a byte: the first entry from there on |
//!
//! Names of one hash have one position. They are given in the order of their checksums, so that names
//! made or taken away meanwhile change nothing for the others. At which of them to go on is kept with
//! the open file, as long as it is not moved; who comes back by the position alone gets all of them
//! again.

use super::{
    blocks, fsync, htree,
    inode::{
        read_block, //
    },
    ioctl,
    metadata::{
        self,
        At,
        MetaBlock, //
    },
    File, Inode, KernelCrc32c, Stablefs,
};
use crate::{
    kernel::{
        crc32c::crc32c,
        current,
        dir::{
            DirContext,
            EntryType, //
        },
        file::{
            self,
            Whence, //
        },
        sort::sort_by_key,
        truncate::ByteRange,
    },
    ondisk::{
        dir::{
            Entry,
            Leaf, //
        },
        hash::{
            Hash,
            Hasher, //
        },
        htree::Layout,
        inode::Type,
        Ino,
        Lblk, //
    },
};
use ::kernel::{
    prelude::*,
    uaccess::UserPtr, //
};
use core::ops::ControlFlow;

/// Leaves that are held in memory at a time, at most: names of one hash that fill more than these
/// are no accident.
const MAX_LEAVES: usize = 256;

/// The names in a block of a directory.
pub(super) fn leaf<'a>(dir: &Inode, lblk: Lblk, block: &'a MetaBlock) -> Result<Leaf<'a>> {
    Leaf::parse::<KernelCrc32c>(dir.sb().volume(), &dir.disk(), lblk, block.block()?)
        .map_err(|error| metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error))
}

/// All blocks of a directory.
pub(super) fn lblks(dir: &Inode) -> impl Iterator<Item = Lblk> {
    (0..blocks(dir)).map(Lblk)
}

fn blocks(dir: &Inode) -> u32 {
    let n = dir.disk().size().checked_div(blocks::len(dir)).unwrap_or(0);
    // A file has no more blocks than a `u32` can number.
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Operations on open directories.
pub(super) fn ops() -> file::Ops<Stablefs> {
    file::Ops::new::<Operations>()
}

struct Operations;

#[vtable]
impl file::Operations for Operations {
    type FileSystem = Stablefs;

    fn fsync(file: &File, range: ByteRange, _datasync: bool) -> Result {
        fsync::fsync(file, range)
    }

    fn iterate_shared(file: &File, ctx: &mut DirContext<'_>) -> Result {
        let dir = file.inode();
        match layout(dir) {
            Layout::Linear => iterate_linear(dir, ctx),
            layout => iterate_hashed(file, dir, layout, ctx),
        }
    }

    fn unlocked_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
        ioctl::ioctl(file, cmd, arg)
    }

    fn compat_ioctl(file: &File, cmd: u32, arg: UserPtr) -> Result {
        ioctl::compat_ioctl(file, cmd, arg)
    }

    fn llseek(file: &File, pos: i64, whence: Whence) -> Result<i64> {
        let (max, end) = match layout(file.inode()) {
            Layout::Linear => (u64::MAX, file.inode().i_size_read()),
            _ => (Positions::of(file).end(), Positions::of(file).end()),
        };
        let signed = |pos| i64::try_from(pos).unwrap_or(i64::MAX);
        let pos = file.generic_file_llseek_size(pos, whence, signed(max), signed(end))?;
        file.set_private_number(0);
        Ok(pos)
    }
}

fn layout(dir: &Inode) -> Layout {
    Layout::of(dir.sb().volume(), &dir.disk())
}

/// How hashes are positions, for a program that has room for 63 bits or for 31.
#[derive(Clone, Copy)]
enum Positions {
    Wide,
    Narrow,
}

impl Positions {
    fn of(file: &File) -> Self {
        if file.is_32bit_api() {
            Self::Narrow
        } else {
            Self::Wide
        }
    }

    /// The first position that is a hash.
    const FIRST: u64 = 2;

    /// Behind all names; no hash has it.
    fn end(self) -> u64 {
        match self {
            Self::Wide => 0x7fff_ffff_ffff_ffff,
            Self::Narrow => 0x7fff_ffff,
        }
    }

    fn of_hash(self, hash: Hash) -> u64 {
        let major = u64::from(hash.major.wrapping_shr(1));
        let pos = match self {
            Self::Wide => major.wrapping_shl(u32::BITS) | u64::from(hash.minor),
            Self::Narrow => major,
        };
        pos.max(Self::FIRST)
    }

    /// The least hash that can have a position.
    fn hash(self, pos: u64) -> Hash {
        let major = match self {
            Self::Wide => pos.wrapping_shr(u32::BITS),
            Self::Narrow => pos,
        };
        Hash {
            major: u32::try_from(major).unwrap_or(u32::MAX).wrapping_shl(1),
            minor: 0,
        }
    }
}

/// Some leaves, and the names in them by their positions.
#[derive(Default)]
struct Gathered {
    blocks: KVec<MetaBlock>,
    names: KVVec<Name>,
    /// What comes after them.
    next: Option<u64>,
}

/// A name: its position, where it is, and what it is the name of.
#[derive(Clone, Copy)]
struct Name {
    pos: u64,
    /// Checksum of the name.
    tag: u32,
    block: u16,
    start: u16,
    len: u8,
    entry_type: EntryType,
    ino: Ino,
}

impl Gathered {
    fn add(&mut self, dir: &Inode, lblk: Lblk, hasher: &Hasher, positions: Positions) -> Result {
        if self.blocks.len() >= MAX_LEAVES {
            let at = At::inode(dir.ino());
            let what = format_args!("too many names of one hash in the directory");
            return Err(metadata::corrupt(dir.sb(), at, what));
        }
        let block = read_block(dir, lblk)?;
        for entry in leaf(dir, lblk, &block)?.entries() {
            let entry = entry.map_err(|error| {
                metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error)
            })?;
            if is_dots(&entry) {
                continue;
            }
            let name = Name {
                pos: positions.of_hash(hasher.hash(entry.name())),
                tag: crc32c(0, entry.name()),
                block: u16::try_from(self.blocks.len())?,
                start: u16::try_from(entry.name_pos())?,
                len: u8::try_from(entry.name().len())?,
                entry_type: entry_type(&entry),
                ino: entry.ino(),
            };
            self.names.push(name, GFP_KERNEL)?;
        }
        self.blocks.push(block, GFP_KERNEL)?;
        Ok(())
    }

    /// The text of one of the names.
    fn text(&self, name: &Name) -> &[u8] {
        let block = self.blocks.get(usize::from(name.block));
        let bytes = block.map_or(&[][..], MetaBlock::bytes);
        let start = usize::from(name.start);
        bytes
            .get(start..start.saturating_add(name.len.into()))
            .unwrap_or_default()
    }
}

fn is_dots(entry: &Entry<'_>) -> bool {
    [b".".as_slice(), b".."].contains(&entry.name())
}

/// Gathers the names from position `pos` on of the leaf that it is in, and of those that have names
/// of the last hash there, too.
fn gather(dir: &Inode, layout: Layout, positions: Positions, pos: u64) -> Result<Gathered> {
    let mut gathered = Gathered::default();
    match layout {
        Layout::Linear => (),
        Layout::OneBlock(hasher) => gathered.add(dir, Lblk(0), &hasher, positions)?,
        Layout::Indexed => {
            let _ = htree::for_each_leaf(
                dir,
                |_| positions.hash(pos),
                |leaf| {
                    gathered.add(dir, leaf.lblk, &leaf.hasher, positions)?;
                    gathered.next = leaf.next.map(|next| {
                        positions.of_hash(Hash {
                            major: next.hash(),
                            minor: 0,
                        })
                    });
                    Ok(match leaf.next {
                        Some(next) if htree::is_continued(next) => ControlFlow::Continue(()),
                        // Leaves may begin with one position when their hashes differ.
                        Some(_) if gathered.next.is_some_and(|next| next <= pos) => {
                            ControlFlow::Continue(())
                        }
                        _ => ControlFlow::Break(()),
                    })
                },
            )?;
        }
    }
    // A name is never given behind where the next leaf begins, whatever its hash: the position
    // would then go back.
    let last = gathered
        .next
        .map_or(positions.end(), |next| next)
        .saturating_sub(1);
    for name in gathered.names.iter_mut() {
        name.pos = name.pos.min(last);
    }
    sort_by_key(&mut gathered.names, |name| {
        (name.pos, name.tag, name.block, name.start)
    });
    Ok(gathered)
}

fn iterate_hashed(file: &File, dir: &Inode, layout: Layout, ctx: &mut DirContext<'_>) -> Result {
    let positions = Positions::of(file);
    let ino = dir.ino().get();
    if ctx.pos() == 0 {
        if !ctx.emit(b".", ino, EntryType::Directory) {
            return Ok(());
        }
        ctx.set_pos(1);
    }
    if ctx.pos() == 1 {
        let parent = parent(dir, layout)?;
        if !ctx.emit(b"..", parent.get(), EntryType::Directory) {
            return Ok(());
        }
        ctx.set_pos(Positions::FIRST);
        file.set_private_number(0);
    }
    while ctx.pos() < positions.end() {
        current::check_fatal_signal()?;
        let from = ctx.pos();
        let gathered = gather(dir, layout, positions, from)?;
        let resume = file.private_number();
        let (mut last, mut n) = (None, 0_u32);
        for name in gathered.names.iter().filter(|name| name.pos >= from) {
            let this = Some((name.pos, name.tag));
            n = if last == this { n.saturating_add(1) } else { 0 };
            last = this;
            let rank = rank(name.tag, n);
            if name.pos == from && rank < resume {
                continue;
            }
            ctx.set_pos(name.pos);
            if !ctx.emit(gathered.text(name), name.ino.get(), name.entry_type) {
                file.set_private_number(rank);
                return Ok(());
            }
        }
        // Hashes of the next leaf are behind those of this one, so that this comes to an end.
        let next = gathered.next.unwrap_or(positions.end());
        ctx.set_pos(next.max(from.saturating_add(1)));
        file.set_private_number(0);
    }
    Ok(())
}

/// A number that orders names of one position by their checksums, and those that have even that in
/// common by where they are; 0 is before all.
fn rank(tag: u32, n: u32) -> usize {
    const { assert!(usize::BITS >= u64::BITS) };
    usize::try_from(u64::from(tag).wrapping_shl(u32::BITS) | u64::from(n)).unwrap_or(usize::MAX)
}

fn parent(dir: &Inode, layout: Layout) -> Result<Ino> {
    if matches!(layout, Layout::Indexed) {
        return htree::parent(dir);
    }
    let block = read_block(dir, Lblk(0))?;
    let found = leaf(dir, Lblk(0), &block)?
        .find(b"..")
        .map_err(|error| metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error))?;
    // A block whose second name is another one is refused as corrupt.
    Ok(found.map_or(dir.ino(), |entry| entry.ino()))
}

fn iterate_linear(dir: &Inode, ctx: &mut DirContext<'_>) -> Result {
    let block_len = blocks::len(dir);
    let first = ctx.pos().checked_div(block_len).unwrap_or(0);
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    for lblk in (first..blocks(dir)).map(Lblk) {
        current::check_fatal_signal()?;
        let start = blocks::pos(dir, lblk);
        let block = read_block(dir, lblk)?;
        for entry in leaf(dir, lblk, &block)?.entries() {
            let entry = entry.map_err(|error| {
                metadata::blame(dir.sb(), At::block(dir.ino(), block.pblk), error)
            })?;
            let pos = start.saturating_add(u64::try_from(entry.pos()).unwrap_or(0));
            if pos < ctx.pos() {
                continue;
            }
            ctx.set_pos(pos);
            if !ctx.emit(entry.name(), entry.ino().get(), entry_type(&entry)) {
                return Ok(());
            }
            ctx.set_pos(pos.saturating_add(1));
        }
        ctx.set_pos(start.saturating_add(block_len));
    }
    Ok(())
}

fn entry_type(entry: &Entry<'_>) -> EntryType {
    match entry.file_type() {
        None => EntryType::Unknown,
        Some(Type::Fifo) => EntryType::Fifo,
        Some(Type::CharDevice) => EntryType::CharDevice,
        Some(Type::Directory) => EntryType::Directory,
        Some(Type::BlockDevice) => EntryType::BlockDevice,
        Some(Type::Regular) => EntryType::Regular,
        Some(Type::Symlink) => EntryType::Symlink,
        Some(Type::Socket) => EntryType::Socket,
    }
}
