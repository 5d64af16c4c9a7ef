// SPDX-License-Identifier: GPL-2.0

//! Inodes: bytes of the inode table → room for the newer fields → checksum → checked value.
//!
//! Format: [Documentation/filesystems/ext4/inodes.rst](srctree/Documentation/filesystems/ext4/inodes.rst),
//! special numbers: [special_inodes.rst](srctree/Documentation/filesystems/ext4/special_inodes.rst).

mod encode;

pub use encode::make_room;

use super::{
    bytes::{
        chunk,
        raw_structure, //
    },
    checksum::{
        Seed,
        Stored, //
    },
    extent,
    Compat,
    Crc32c,
    Error,
    Incompat,
    Ino,
    Lblk,
    Pblk,
    Result,
    RoCompat,
    Structure,
    Superblock,
    Unsupported, //
};

/// Bytes of an inode that every volume has room for.
const GOOD_OLD_LEN: usize = 128;
/// Bytes of an inode that have a meaning, where there is room for them.
const KNOWN: usize = 160;
/// Bytes of the newer fields of which the meaning is known: `i_extra_isize` of a new inode.
pub const EXTRA_ISIZE: u16 = 32;
/// Where `i_checksum_lo` stands, and where it ends.
const CHECKSUM_LO: (usize, usize) = (0x7c, 0x7e);
/// Where `i_checksum_hi` stands, and where it ends.
const CHECKSUM_HI: (usize, usize) = (0x82, 0x84);
/// 512 bytes: the unit of `i_blocks_lo`, unless [`Flags::HUGE_FILE`] says otherwise.
const SECTOR: u32 = 512;

raw_structure! {
    /// The fields as they are on the disk, with their C names; 0 where there is no room for them.
    struct RawInode [KNOWN] {
        0x00 i_mode: u16,
        0x02 i_uid: u16,
        0x04 i_size_lo: u32,
        0x08 i_atime: u32,
        0x0c i_ctime: u32,
        0x10 i_mtime: u32,
        0x14 i_dtime: u32,
        0x18 i_gid: u16,
        0x1a i_links_count: u16,
        0x1c i_blocks_lo: u32,
        0x20 i_flags: u32,
        0x24 l_i_version: u32,
        0x28 i_block: [u8; extent::ROOT_LEN],
        0x64 i_generation: u32,
        0x68 i_file_acl_lo: u32,
        0x6c i_size_high: u32,
        0x74 l_i_blocks_high: u16,
        0x76 l_i_file_acl_high: u16,
        0x78 l_i_uid_high: u16,
        0x7a l_i_gid_high: u16,
        0x7c l_i_checksum_lo: u16,
        0x82 i_checksum_hi: u16,
        0x84 i_ctime_extra: u32,
        0x88 i_mtime_extra: u32,
        0x8c i_atime_extra: u32,
        0x90 i_crtime: u32,
        0x94 i_crtime_extra: u32,
        0x98 i_version_hi: u32,
        0x9c i_projid: u32,
    }
}

/// Where `i_crtime` ends.
const CRTIME_END: usize = 0x94;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
}

impl Type {
    /// From the upper 4 bits of `i_mode`.
    fn from_mode(mode: u16) -> Option<Self> {
        match mode.wrapping_shr(12) {
            0o01 => Some(Self::Fifo),
            0o02 => Some(Self::CharDevice),
            0o04 => Some(Self::Directory),
            0o06 => Some(Self::BlockDevice),
            0o10 => Some(Self::Regular),
            0o12 => Some(Self::Symlink),
            0o14 => Some(Self::Socket),
            _ => None,
        }
    }
}

/// The flags of an inode (`EXT4_*_FL`), those included that mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// To be overwritten when it is deleted.
    const SECRM: Self = Self(0x1);
    /// To be kept when it is deleted.
    const UNRM: Self = Self(0x2);
    /// Contents are compressed.
    pub const COMPR: Self = Self(0x4);
    /// Every write is synchronous.
    pub const SYNC: Self = Self(0x8);
    /// Nothing may be changed.
    pub const IMMUTABLE: Self = Self(0x10);
    /// Data may only be appended.
    pub const APPEND: Self = Self(0x20);
    /// To be left out of backups.
    pub const NODUMP: Self = Self(0x40);
    /// The time of access is not kept.
    pub const NOATIME: Self = Self(0x80);
    /// Contents are not to be compressed.
    const NOCOMPR: Self = Self(0x400);
    /// Contents are encrypted.
    pub const ENCRYPT: Self = Self(0x800);
    /// A directory whose names are found by their hashes.
    pub const INDEX: Self = Self(0x1000);
    /// Data go through the journal.
    pub const JOURNAL_DATA: Self = Self(0x4000);
    /// The end of the file is not to share a block.
    const NOTAIL: Self = Self(0x8000);
    /// Every change of the directory is synchronous.
    pub const DIRSYNC: Self = Self(0x1_0000);
    /// Directories in it have nothing to do with each other.
    pub const TOPDIR: Self = Self(0x2_0000);
    /// `i_blocks_lo` counts blocks of the volume.
    pub const HUGE_FILE: Self = Self(0x4_0000);
    /// The file's blocks are mapped by extents.
    pub const EXTENTS: Self = Self(0x8_0000);
    /// Contents are protected by `fs-verity`.
    pub const VERITY: Self = Self(0x10_0000);
    /// Not a file, but the value of an extended attribute.
    pub const EA_INODE: Self = Self(0x20_0000);
    /// To be accessed without the page cache.
    pub const DAX: Self = Self(0x200_0000);
    /// Data are in the inode.
    pub const INLINE_DATA: Self = Self(0x1000_0000);
    /// New files get the directory's project.
    pub const PROJINHERIT: Self = Self(0x2000_0000);
    /// Names are found whatever their case.
    pub const CASEFOLD: Self = Self(0x4000_0000);

    /// What would give the contents another meaning, and comes only with features that no volume
    /// has which is read at all.
    const FOREIGN: Self =
        Self(Self::ENCRYPT.0 | Self::EA_INODE.0 | Self::INLINE_DATA.0 | Self::CASEFOLD.0);

    /// What programs are told of the flags.
    pub const USER_VISIBLE: Self = Self(0x725b_dfff);

    /// The flags of a word from the disk.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The flags as on the disk.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags and `flags`.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These flags without `flags`.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Those that a new file of that type gets in a directory with these.
    #[must_use]
    pub const fn inherited(self, file_type: Type) -> Self {
        const ALL: Flags = Flags::SECRM
            .with(Flags::UNRM)
            .with(Flags::COMPR)
            .with(Flags::SYNC)
            .with(Flags::NODUMP)
            .with(Flags::NOATIME)
            .with(Flags::NOCOMPR)
            .with(Flags::JOURNAL_DATA)
            .with(Flags::NOTAIL)
            .with(Flags::DIRSYNC)
            .with(Flags::PROJINHERIT)
            .with(Flags::DAX);

        let mask = match file_type {
            Type::Directory => ALL,
            Type::Regular => ALL.without(Flags::DIRSYNC).without(Flags::PROJINHERIT),
            _ => Flags::NODUMP.with(Flags::NOATIME),
        };
        Self(self.0 & mask.0)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of `flags` is set.
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }
}

/// A point in time.
///
/// # Invariants
///
/// Fewer than 10^9 nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970, from 1901 to 2446; to 2038 in an inode of 128 bytes.
    pub sec: i64,
    /// And nanoseconds.
    pub nsec: u32,
}

impl Time {
    /// From a field with seconds, and one with two more bits of them below the nanoseconds.
    fn from_disk(field: &'static str, sec: u32, extra: u32) -> Result<Self> {
        const EPOCH_BITS: u32 = 2;
        const EPOCH_MASK: u32 = 3;
        const NSEC_PER_SEC: u32 = 1_000_000_000;

        let nsec = extra.wrapping_shr(EPOCH_BITS);
        if nsec >= NSEC_PER_SEC {
            return Structure::Inode.corrupt(field, extra);
        }
        let sec = i64::from(i32::from_ne_bytes(sec.to_ne_bytes()));
        let epoch = i64::from(extra & EPOCH_MASK).wrapping_shl(u32::BITS);
        Ok(Self {
            // OVERFLOW: less than 2^31 and 2^34.
            sec: sec.saturating_add(epoch),
            nsec,
        })
    }
}

/// Which device a special file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its driver, fewer than 2^12.
    pub major: u32,
    /// Which of the driver's devices, fewer than 2^20.
    pub minor: u32,
}

impl Device {
    /// From the first words of `i_block`: 8 bits each in the first, or more in the second.
    fn from_disk(old: u32, new: u32) -> Self {
        if old != 0 {
            Self {
                major: old.wrapping_shr(8) & 0xff,
                minor: old & 0xff,
            }
        } else {
            Self {
                major: new.wrapping_shr(8) & 0xfff,
                minor: new & 0xff | new.wrapping_shr(12) & 0xf_ff00,
            }
        }
    }
}

/// The target of a symbolic link that is short enough to be in the inode.
///
/// # Invariants
///
/// Neither empty nor with a zero in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    bytes: [u8; extent::ROOT_LEN],
    len: usize,
}

impl Target {
    /// Checks that the bytes before the first zero are as many as the link is long.
    fn new(bytes: [u8; extent::ROOT_LEN], size: u64) -> Result<Self> {
        let len = bytes.iter().position(|byte| *byte == 0);
        match len {
            Some(len) if len > 0 && u64::try_from(len) == Ok(size) => Ok(Self { bytes, len }),
            _ => Structure::Inode.corrupt("i_size", size),
        }
    }

    /// The target.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What `i_block` holds, which depends on what the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The root of a tree of extents, of a directory, a regular file or a long symbolic link.
    Extents([u8; extent::ROOT_LEN]),
    /// The same as in ext2, for files without [`Flags::EXTENTS`].
    BlockMap,
    /// The target of a symbolic link.
    Target(Target),
    /// The number of a device.
    Device(Device),
    /// Nothing, for pipes, sockets, and symbolic links that are being deleted.
    Nothing,
}

/// An inode in use, read and checked.
///
/// # Invariants
///
/// * [`size`](Self::size) is less than 2^63, and not more than [`Lblk::END`] blocks. That of a
///   directory is one or more whole blocks; that of a symbolic link is not 0 and less than a
///   block. Without links both may be 0.
/// * A tree of extents has a root that [`extent::Node::root`] accepts.
/// * [`xattr_block`](Self::xattr_block) is inside the volume.
/// * [`links`](Self::links) may be 0: then the inode is deleted, or waits for it in the list of
///   orphans, and no name leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    ino: Ino,
    fields: Fields,
    seed: Seed,
    fields_end: usize,
}

/// What an inode says, to be changed and written back: see [`Inode::fields`] and
/// [`Fields::encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// What the file is.
    pub file_type: Type,
    /// The lower 12 bits of the mode: who may do what, and the bits for setuid, setgid and sticky.
    pub permissions: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of the file, of a symbolic link's target, or of a directory's blocks.
    pub size: u64,
    /// 512 bytes, how many times, of the volume are the file's. With [`Flags::HUGE_FILE`] whole
    /// blocks.
    pub sectors: u64,
    /// How many names there are for it.
    pub links: u16,
    /// Its flags.
    pub flags: Flags,
    /// What tells this file from others that had the number before.
    pub generation: u32,
    /// How often the file changed; 32 bits in an inode of 128 bytes.
    pub version: u64,
    /// The project whose quota it counts against; 0 where there is no room to tell.
    pub projid: u32,
    /// When it was read last.
    pub atime: Time,
    /// When the inode was changed last.
    pub ctime: Time,
    /// When the contents were changed last.
    pub mtime: Time,
    /// When it was made, where there is room to tell.
    pub crtime: Option<Time>,
    /// When it was deleted, or the next in the list of orphans.
    pub dtime: u32,
    /// The block with more extended attributes than those in the inode.
    pub xattr_block: Option<Pblk>,
    /// What `i_block` holds.
    pub content: Content,
}

impl Inode {
    /// Checks an inode: the bytes that [`inode_place`](super::group::Descriptor::inode_place)
    /// names. There is none where it is not in use and was perhaps never written.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt) when the checksum cannot be found,
    /// [`BadChecksum`](Error::BadChecksum), else [`Corrupt`](Error::Corrupt).
    pub fn parse<C: Crc32c>(volume: &Superblock, ino: Ino, bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.len() != usize::from(volume.inode_size()) {
            return Structure::Inode.corrupt_len("s_inode_size", bytes.len());
        }
        let fields_end = fields_end(bytes)?;
        let raw = RawInode::of(bytes, fields_end);
        if raw.i_mode == 0 && raw.i_links_count == 0 {
            return Ok(None);
        }

        let seed = Seed::of_volume(volume)
            .with::<C>(&ino.get().to_le_bytes())
            .with::<C>(&raw.i_generation.to_le_bytes());
        raw.check_checksum::<C>(seed, bytes, fields_end)?;
        raw.check_fields(volume, ino, seed, fields_end).map(Some)
    }

    /// Its number.
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// All that it says, to be changed.
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// What the file is.
    pub fn file_type(&self) -> Type {
        self.fields.file_type
    }

    /// The lower 12 bits of the mode: who may do what, and the bits for setuid, setgid and sticky.
    pub fn permissions(&self) -> u16 {
        self.fields.permissions
    }

    /// The owner.
    pub fn uid(&self) -> u32 {
        self.fields.uid
    }

    /// The group.
    pub fn gid(&self) -> u32 {
        self.fields.gid
    }

    /// Bytes of the file, of a symbolic link's target, or of a directory's blocks.
    pub fn size(&self) -> u64 {
        self.fields.size
    }

    /// 512 bytes, how many times, of the volume are the file's; blocks of its tree and of its
    /// extended attributes included.
    pub fn sectors(&self) -> u64 {
        self.fields.sectors
    }

    /// How many names there are for it. 1 for a directory means that they are too many to count.
    pub fn links(&self) -> u16 {
        self.fields.links
    }

    /// Its flags.
    pub fn flags(&self) -> Flags {
        self.fields.flags
    }

    /// What tells this file from others that had the number before.
    pub fn generation(&self) -> u32 {
        self.fields.generation
    }

    /// How often the file changed; 32 bits in an inode of 128 bytes.
    pub fn version(&self) -> u64 {
        self.fields.version
    }

    /// The project whose quota it counts against.
    pub fn projid(&self) -> u32 {
        self.fields.projid
    }

    /// When it was read last.
    pub fn atime(&self) -> Time {
        self.fields.atime
    }

    /// When the inode was changed last.
    pub fn ctime(&self) -> Time {
        self.fields.ctime
    }

    /// When the contents were changed last.
    pub fn mtime(&self) -> Time {
        self.fields.mtime
    }

    /// When it was made, where there is room to tell.
    pub fn crtime(&self) -> Option<Time> {
        self.fields.crtime
    }

    /// When it was deleted, in seconds since 1970; or, while it waits for that, the number of the
    /// next in the list of orphans.
    pub fn dtime(&self) -> u32 {
        self.fields.dtime
    }

    /// The block with more extended attributes than those in the inode.
    pub fn xattr_block(&self) -> Option<Pblk> {
        self.fields.xattr_block
    }

    /// What `i_block` holds.
    pub fn content(&self) -> &Content {
        &self.fields.content
    }

    /// What the checksums of all blocks that belong to the inode begin with.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The root of the file's tree of extents.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](Error::Unsupported) for a file without extents, and for one without blocks.
    pub fn extents(&self, volume: &Superblock) -> Result<extent::Node<'_>> {
        match &self.fields.content {
            Content::Extents(root) => extent::Node::root(volume, root),
            _ => Err(Error::Unsupported(Unsupported::BlockMap)),
        }
    }

    /// Whether names in this directory are found by their hashes.
    pub fn is_indexed(&self, volume: &Superblock) -> bool {
        self.fields.file_type == Type::Directory
            && self.fields.flags.contains(Flags::INDEX)
            && volume.features().compat.contains(Compat::DIR_INDEX)
    }

    /// Where the bytes for extended attributes begin, counted from the inode.
    pub fn xattr_pos(&self) -> usize {
        self.fields_end
    }

    /// The bytes after the newer fields, for extended attributes. Without newer fields what
    /// follows was never taken, and is not to be looked into.
    pub(super) fn xattr_area<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.get(self.fields_end..) {
            Some(area) if self.fields_end > GOOD_OLD_LEN => area,
            _ => &[],
        }
    }
}

/// Where the fields end of an inode that is so long; before that of the inode.
fn fields_end(bytes: &[u8]) -> Result<usize> {
    let Some(extra_isize) = chunk(bytes, GOOD_OLD_LEN) else {
        return Ok(GOOD_OLD_LEN);
    };
    let extra_isize = u16::from_le_bytes(*extra_isize);
    // OVERFLOW: 2^16 bytes.
    let end = GOOD_OLD_LEN.saturating_add(extra_isize.into());
    if end > bytes.len() || extra_isize % 4 != 0 {
        return Structure::Inode.corrupt("i_extra_isize", extra_isize);
    }
    Ok(end)
}

/// What the checksum of an inode covers: all of it, with zeroes where the checksum stands.
fn checksummed(bytes: &[u8], fields_end: usize) -> [&[u8]; 5] {
    let part = |start, end| bytes.get(start..end).unwrap_or_default();
    let ((lo, after_lo), (hi, after_hi)) = (CHECKSUM_LO, CHECKSUM_HI);
    if fields_end < after_hi {
        [part(0, lo), &[0; 2], part(after_lo, bytes.len()), &[], &[]]
    } else {
        [
            part(0, lo),
            &[0; 2],
            part(after_lo, hi),
            &[0; 2],
            part(after_hi, bytes.len()),
        ]
    }
}

impl RawInode {
    /// The fields of an inode that end there.
    fn of(bytes: &[u8], fields_end: usize) -> Self {
        let mut known = [0; KNOWN];
        for (to, from) in known.iter_mut().zip(bytes.iter().take(fields_end)) {
            *to = *from;
        }
        Self::new(&known)
    }

    fn check_checksum<C: Crc32c>(&self, seed: Seed, bytes: &[u8], fields_end: usize) -> Result<()> {
        let (_, after_hi) = CHECKSUM_HI;
        let stored = if fields_end < after_hi {
            Stored::Low(self.l_i_checksum_lo)
        } else {
            Stored::Full(join(self.l_i_checksum_lo, self.i_checksum_hi))
        };
        seed.check::<C>(Structure::Inode, stored, &checksummed(bytes, fields_end))
    }

    fn check_fields(
        &self,
        volume: &Superblock,
        ino: Ino,
        seed: Seed,
        fields_end: usize,
    ) -> Result<Inode> {
        let Some(file_type) = Type::from_mode(self.i_mode) else {
            return Structure::Inode.corrupt("i_mode", self.i_mode);
        };
        let flags = self.flags(volume, file_type, seed)?;
        let sectors = self.sectors(volume, flags);
        let xattr_block = self.xattr_block(volume)?;
        let is_fast_symlink = file_type == Type::Symlink && {
            // In 512 bytes; the same block may belong to several files, and counts for each.
            let cluster = u64::from(volume.block_size().bytes().get() / SECTOR)
                .saturating_mul(volume.blocks_per_cluster().get().into());
            sectors == xattr_block.map_or(0, |_| cluster)
        };
        let size = self.size(volume, file_type)?;

        let fields = Fields {
            file_type,
            permissions: self.i_mode & 0o7777,
            uid: join(self.i_uid, self.l_i_uid_high),
            gid: join(self.i_gid, self.l_i_gid_high),
            size,
            sectors,
            links: self.i_links_count,
            flags,
            generation: self.i_generation,
            version: wide(self.l_i_version, self.i_version_hi),
            projid: self.i_projid,
            atime: Time::from_disk("i_atime_extra", self.i_atime, self.i_atime_extra)?,
            ctime: Time::from_disk("i_ctime_extra", self.i_ctime, self.i_ctime_extra)?,
            mtime: Time::from_disk("i_mtime_extra", self.i_mtime, self.i_mtime_extra)?,
            crtime: if fields_end < CRTIME_END {
                None
            } else {
                Some(Time::from_disk(
                    "i_crtime_extra",
                    self.i_crtime,
                    self.i_crtime_extra,
                )?)
            },
            dtime: self.i_dtime,
            xattr_block,
            content: match file_type {
                Type::Symlink if size == 0 => Content::Nothing,
                Type::Symlink if is_fast_symlink => {
                    Content::Target(Target::new(self.i_block, size)?)
                }
                Type::Regular | Type::Directory | Type::Symlink => {
                    if flags.contains(Flags::EXTENTS) {
                        extent::Node::root(volume, &self.i_block)?;
                        Content::Extents(self.i_block)
                    } else {
                        Content::BlockMap
                    }
                }
                Type::CharDevice | Type::BlockDevice => {
                    let [old, new] = [0, 4].map(|pos| {
                        chunk(&self.i_block, pos).map_or(0, |word| u32::from_le_bytes(*word))
                    });
                    Content::Device(Device::from_disk(old, new))
                }
                Type::Fifo | Type::Socket => Content::Nothing,
            },
        };
        Ok(Inode {
            ino,
            fields,
            seed,
            fields_end,
        })
    }

    fn flags(&self, volume: &Superblock, file_type: Type, seed: Seed) -> Result<Flags> {
        let flags = Flags(self.i_flags);
        let unindexed = !volume.features().compat.contains(Compat::DIR_INDEX);
        if flags.intersects(Flags::FOREIGN)
            // Blocks with hashes would be taken for blocks with names, which end otherwise.
            || flags.contains(Flags::INDEX) && unindexed && seed.is_some()
            || file_type == Type::Symlink
                && flags.intersects(Flags(Flags::IMMUTABLE.0 | Flags::APPEND.0))
        {
            return Structure::Inode.corrupt("i_flags", self.i_flags);
        }
        Ok(flags)
    }

    fn sectors(&self, volume: &Superblock, flags: Flags) -> u64 {
        let lo = u64::from(self.i_blocks_lo);
        if !volume.features().ro_compat.contains(RoCompat::HUGE_FILE) {
            return lo;
        }
        let blocks = lo | u64::from(self.l_i_blocks_high).wrapping_shl(u32::BITS);
        if flags.contains(Flags::HUGE_FILE) {
            // OVERFLOW: 2^48 times 8.
            blocks.saturating_mul((volume.block_size().bytes().get() / SECTOR).into())
        } else {
            blocks
        }
    }

    fn xattr_block(&self, volume: &Superblock) -> Result<Option<Pblk>> {
        let hi = if volume.features().incompat.contains(Incompat::BIT64) {
            self.l_i_file_acl_high
        } else {
            0
        };
        let pblk = Pblk(wide(self.i_file_acl_lo, hi.into()));
        if pblk.0 == 0 {
            Ok(None)
        } else if volume.holds_block(pblk) {
            Ok(Some(pblk))
        } else {
            Structure::Inode.corrupt("i_file_acl", pblk.0)
        }
    }

    fn size(&self, volume: &Superblock, file_type: Type) -> Result<u64> {
        let block_len = volume.block_size().bytes();
        // Of others the upper half once had another meaning.
        let hi = if file_type == Type::Regular {
            self.i_size_high
        } else {
            0
        };
        let size = wide(self.i_size_lo, hi);
        let possible = match file_type {
            Type::Regular => size <= u64::from(Lblk::END.0).saturating_mul(block_len.get().into()),
            // Deleting them may be under way.
            Type::Directory | Type::Symlink if size == 0 => self.i_links_count == 0,
            Type::Directory => self.i_size_lo % block_len == 0,
            Type::Symlink => size < block_len.get().into(),
            _ => true,
        };
        if possible {
            Ok(size)
        } else {
            Structure::Inode.corrupt("i_size", size)
        }
    }
}

fn join(lo: u16, hi: u16) -> u32 {
    u32::from(hi).wrapping_shl(u16::BITS) | u32::from(lo)
}

fn wide(lo: u32, hi: u32) -> u64 {
    u64::from(hi).wrapping_shl(u32::BITS) | u64::from(lo)
}
