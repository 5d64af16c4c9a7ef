// SPDX-License-Identifier: GPL-2.0

//! Inodes as bytes: values → fields for which there is room → checksum. What has no meaning here,
//! and the extended attributes behind the fields, stay as they are.

use super::{
    checksummed,
    fields_end,
    Content,
    Device,
    Fields,
    Flags,
    Inode,
    RawInode,
    Target,
    Time,
    Type,
    CHECKSUM_HI,
    CHECKSUM_LO,
    CRTIME_END,
    EXTRA_ISIZE,
    GOOD_OLD_LEN,
    KNOWN,
    SECTOR, //
};
use crate::ondisk::{
    bytes::{
        Field,
        Put, //
    },
    checksum::Seed,
    extent,
    Crc32c,
    Incompat,
    Ino,
    RoCompat,
    Superblock, //
};
use core::num::NonZeroU64;

/// What 48 bits have room for.
const MOST_SECTORS: u64 = (1 << 48) - 1;

/// Has an inode, in `bytes` as it was read, have room for the newer fields, if it is long enough and
/// never had any: then nobody has taken what lies behind either, which becomes zeroes.
pub fn make_room(bytes: &mut [u8]) {
    let Some(area) = bytes.get_mut(GOOD_OLD_LEN..) else {
        return;
    };
    if area.len() < EXTRA_ISIZE.into() || area.first_chunk() != Some(&[0; 2]) {
        return;
    }
    area.fill(0);
    if let Some(field) = area.first_chunk_mut() {
        *field = EXTRA_ISIZE.to_le_bytes();
    }
}

impl Fields {
    /// Leaves out what an inode, in `bytes` as it was read, has no room for: of times what is less than
    /// a second, and seconds before 1901 or after 2038; the upper half of the version; when it was made.
    pub fn cut(&mut self, bytes: &[u8]) {
        const EPOCH: Time = Time { sec: 0, nsec: 0 };

        let fields_end = fields_end(bytes).unwrap_or(GOOD_OLD_LEN);
        for (time, extra_end) in [
            (&mut self.ctime, 0x88),
            (&mut self.mtime, 0x8c),
            (&mut self.atime, 0x90),
        ] {
            if fields_end < extra_end {
                time.cut();
            }
        }
        self.crtime = (fields_end >= CRTIME_END).then_some(self.crtime.unwrap_or(EPOCH));
        if fields_end < 0x9c {
            self.version &= u64::from(u32::MAX);
        }
    }

    /// Puts these values into an inode, in `bytes` as it was read, or
    /// [empty](Self::encode_new); gives the inode that it is afterwards.
    ///
    /// If that would not be these values, the bytes mean nothing afterwards: because there is no
    /// room for one of them, or no inode can have them. [`Content::BlockMap`] stands for what is
    /// there already.
    pub fn encode<C: Crc32c>(
        &self,
        volume: &Superblock,
        ino: Ino,
        bytes: &mut [u8],
    ) -> Option<Inode> {
        let fields_end = fields_end(bytes).ok()?;
        let mut raw = RawInode::of(bytes, fields_end);
        self.put(volume, &mut raw)?;

        let mut known = [0; KNOWN];
        let (head, _) = bytes.split_at_mut_checked(fields_end.min(KNOWN))?;
        known.get_mut(..head.len())?.copy_from_slice(head);
        raw.put(&mut known);
        head.copy_from_slice(known.get(..head.len())?);

        let seed = Seed::of_volume(volume)
            .with::<C>(&ino.get().to_le_bytes())
            .with::<C>(&self.generation.to_le_bytes());
        if let Some(checksum) = seed.compute::<C>(&checksummed(bytes, fields_end)) {
            let (lo, hi) = halves(checksum);
            let mut put = |(start, end), half: u16| {
                let field: &mut [u8] = bytes.get_mut(start..end)?;
                field.copy_from_slice(&half.to_le_bytes());
                Some(())
            };
            put(CHECKSUM_LO, lo)?;
            if fields_end >= CHECKSUM_HI.1 {
                put(CHECKSUM_HI, hi)?;
            }
        }
        let inode = Inode::parse::<C>(volume, ino, bytes).ok()??;
        (inode.fields == *self).then_some(inode)
    }

    /// The same for a new inode, of which all else is 0; `extra_isize` bytes are for the newer
    /// fields, a multiple of 4, and none in an inode of 128 bytes.
    pub fn encode_new<C: Crc32c>(
        &self,
        volume: &Superblock,
        ino: Ino,
        extra_isize: u16,
        bytes: &mut [u8],
    ) -> Option<Inode> {
        bytes.fill(0);
        if let Some(field) = bytes
            .get_mut(GOOD_OLD_LEN..)
            .filter(|area| !area.is_empty())
        {
            let field = field.first_chunk_mut::<2>()?;
            *field = extra_isize.to_le_bytes();
        } else if extra_isize != 0 {
            return None;
        }
        self.encode::<C>(volume, ino, bytes)
    }

    fn put(&self, volume: &Superblock, raw: &mut RawInode) -> Option<()> {
        raw.i_mode = self.file_type.mode() | self.permissions;
        (raw.i_uid, raw.l_i_uid_high) = halves(self.uid);
        (raw.i_gid, raw.l_i_gid_high) = halves(self.gid);
        let (size_lo, size_high) = words(self.size);
        raw.i_size_lo = size_lo;
        if self.file_type == Type::Regular {
            raw.i_size_high = size_high;
        }
        raw.i_flags = self.flags.0;
        self.put_sectors(volume, raw)?;
        raw.i_links_count = self.links;
        raw.i_generation = self.generation;
        (raw.l_i_version, raw.i_version_hi) = words(self.version);
        raw.i_projid = self.projid;
        (raw.i_atime, raw.i_atime_extra) = self.atime.to_disk()?;
        (raw.i_ctime, raw.i_ctime_extra) = self.ctime.to_disk()?;
        (raw.i_mtime, raw.i_mtime_extra) = self.mtime.to_disk()?;
        if let Some(crtime) = self.crtime {
            (raw.i_crtime, raw.i_crtime_extra) = crtime.to_disk()?;
        }
        raw.i_dtime = self.dtime;

        let (lo, hi) = words(self.xattr_block.map_or(0, |pblk| pblk.0));
        raw.i_file_acl_lo = lo;
        if volume.features().incompat.contains(Incompat::BIT64) {
            raw.l_i_file_acl_high = u16::try_from(hi).ok()?;
        }
        match self.content {
            Content::Extents(root) => raw.i_block = root,
            Content::BlockMap => (),
            Content::Target(target) => raw.i_block = target.bytes,
            Content::Device(device) => raw.i_block = device.to_disk(),
            Content::Nothing => raw.i_block = [0; extent::ROOT_LEN],
        }
        Some(())
    }

    fn put_sectors(&self, volume: &Superblock, raw: &mut RawInode) -> Option<()> {
        let unit = if self.flags.contains(Flags::HUGE_FILE) {
            NonZeroU64::new((volume.block_size().bytes().get() / SECTOR).into())?
        } else {
            NonZeroU64::MIN
        };
        let has_high = volume.features().ro_compat.contains(RoCompat::HUGE_FILE);
        // No file of a volume has more: so a count that does not fit was wrong before.
        let most = if has_high {
            MOST_SECTORS
        } else {
            u32::MAX.into()
        };
        let (lo, hi) = words((self.sectors / unit).min(most));
        raw.i_blocks_lo = lo;
        if has_high {
            raw.l_i_blocks_high = u16::try_from(hi).ok()?;
        }
        Some(())
    }
}

impl Type {
    /// The upper 4 bits of `i_mode`.
    fn mode(self) -> u16 {
        let number: u16 = match self {
            Self::Fifo => 0o01,
            Self::CharDevice => 0o02,
            Self::Directory => 0o04,
            Self::BlockDevice => 0o06,
            Self::Regular => 0o10,
            Self::Symlink => 0o12,
            Self::Socket => 0o14,
        };
        number.wrapping_shl(12)
    }
}

impl Time {
    /// Leaves out what 32 bits have no room for.
    fn cut(&mut self) {
        self.sec = self.sec.clamp(i32::MIN.into(), i32::MAX.into());
        self.nsec = 0;
    }

    /// Seconds, and nanoseconds above two more bits of seconds; if there are enough of them.
    fn to_disk(self) -> Option<(u32, u32)> {
        const EPOCH_MASK: i64 = 3;

        let sec = u32::try_from(self.sec & i64::from(u32::MAX)).ok()?;
        let signed = i64::from(i32::from_ne_bytes(sec.to_ne_bytes()));
        let epoch = self.sec.checked_sub(signed)?.checked_shr(u32::BITS)?;
        let epoch = u32::try_from(epoch & EPOCH_MASK).ok()?;
        Some((sec, self.nsec.checked_mul(4)? | epoch))
    }
}

impl Target {
    /// A target, if it is short enough to be in the inode, not empty, and has no zero in it.
    ///
    /// ```
    /// # use ondisk::inode::Target;
    /// assert_eq!(Target::short(b"../file").unwrap().bytes(), b"../file");
    /// assert!(Target::short(&[b'x'; 60]).is_none());
    /// ```
    pub fn short(target: &[u8]) -> Option<Self> {
        let mut bytes = [0; extent::ROOT_LEN];
        bytes.get_mut(..target.len())?.copy_from_slice(target);
        Self::new(bytes, u64::try_from(target.len()).ok()?).ok()
    }
}

impl Device {
    /// The first words of `i_block`: the old form for numbers that have it.
    fn to_disk(self) -> [u8; extent::ROOT_LEN] {
        let is_old = self.major < 1 << 8 && self.minor < 1 << 8;
        let (old, new) = if is_old {
            (self.major.wrapping_shl(8) | self.minor, 0)
        } else {
            let minor_hi = self.minor & !0xff;
            let new = self.minor & 0xff | self.major.wrapping_shl(8) | minor_hi.wrapping_shl(12);
            (0, new)
        };
        let mut bytes = [0; extent::ROOT_LEN];
        old.put::<0, { extent::ROOT_LEN }>(&mut bytes);
        new.put::<4, { extent::ROOT_LEN }>(&mut bytes);
        bytes
    }
}

fn halves(number: u32) -> (u16, u16) {
    let [b0, b1, b2, b3] = number.to_le_bytes();
    (u16::from_le_bytes([b0, b1]), u16::from_le_bytes([b2, b3]))
}

fn words(number: u64) -> (u32, u32) {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = number.to_le_bytes();
    (
        u32::from_le_bytes([b0, b1, b2, b3]),
        u32::from_le_bytes([b4, b5, b6, b7]),
    )
}
