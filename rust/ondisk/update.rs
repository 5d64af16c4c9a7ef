// SPDX-License-Identifier: GPL-2.0

//! What mounting writes to the superblock: bytes that are a superblock → changed copy → checked →
//! in place of the old ones.
//!
//! Format: [Documentation/filesystems/ext4/super.rst](srctree/Documentation/filesystems/ext4/super.rst).

use super::{
    bytes::{
        raw_structure,
        Field,
        Put, //
    },
    superblock::CHECKSUMMED,
    Crc32c,
    Incidents,
    Incompat,
    Ino,
    Result,
    RoCompat,
    State,
    Superblock, //
};

/// The largest time that 40 bits hold, in seconds since 1970.
const MAX_TIME: u64 = (1 << 40) - 1;

raw_structure! {
    /// The fields that change, with their C names.
    struct RawUpdate [Superblock::LEN] {
        0x00c s_free_blocks_count_lo: u32,
        0x010 s_free_inodes_count: u32,
        0x02c s_mtime: u32,
        0x030 s_wtime: u32,
        0x034 s_mnt_count: u16,
        0x03a s_state: u16,
        0x060 s_feature_incompat: u32,
        0x064 s_feature_ro_compat: u32,
        0x0e8 s_last_orphan: u32,
        0x158 s_free_blocks_count_hi: u32,
        0x194 error_record: [u8; ErrorRecord::LEN],
        0x274 s_wtime_hi: u8,
        0x275 s_mtime_hi: u8,
    }
}

/// What drivers noted about errors that they met: how many, and of the first and the last one when,
/// where and what. `e2fsck` forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRecord([u8; Self::LEN]);

impl ErrorRecord {
    /// From `s_error_count` to the end of `s_last_error_func`.
    const LEN: usize = 108;

    /// That of a superblock.
    pub fn of(bytes: &[u8; Superblock::LEN]) -> Self {
        Self(RawUpdate::new(bytes).error_record)
    }

    /// How many errors were noted.
    pub fn count(&self) -> u32 {
        Field::at::<0, { Self::LEN }>(&self.0)
    }
}

/// What the groups say together: see [`Settings::free_clusters`](super::Settings::free_clusters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Clusters that are free.
    pub clusters: u64,
    /// Inodes that are free.
    pub inodes: u32,
}

/// Changes of a superblock; the default is none, and all of them go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Whether the journal has to be replayed before the volume means anything: `true` while the
    /// volume is written, `false` once the journal is replayed or empty. Only with a journal can
    /// it be `true`.
    pub needs_recovery: Option<bool>,
    /// Whether the orphan file may name inodes.
    pub orphan_present: Option<bool>,
    /// The first of the list of orphans, or that there is none.
    pub last_orphan: Option<Option<Ino>>,
    /// How many clusters and inodes are free.
    pub free: Option<Free>,
    /// Says that a driver has met an error; only `e2fsck` takes that back.
    pub error: bool,
    /// Puts a record of errors back. A driver may write it beside the journal, so the replay of an
    /// older copy of the superblock loses it.
    pub error_record: Option<ErrorRecord>,
    /// Adds errors that were met to the record, and says so as [`error`](Self::error) does.
    pub incidents: Option<Incidents>,
    /// Says that the volume was mounted to be written, at that time in seconds since 1970, once
    /// more than before.
    pub mounted: Option<u64>,
    /// When this is written, in seconds since 1970. A driver that only replays the journal leaves
    /// the time as it is: early in the boot the clock may be wrong, and a time in the future makes
    /// `e2fsck` check everything.
    pub written: Option<u64>,
}

impl Update {
    /// Changes a superblock as it was read, and says what it is afterwards. If it cannot be read
    /// before or after, it stays as it is.
    ///
    /// Journal replay may write the superblock: read it again before.
    ///
    /// ```
    /// # use ondisk::{Crc32c, Error, Incompat, Superblock, Update};
    /// fn recovered<C: Crc32c>(bytes: &mut [u8; Superblock::LEN]) -> Result<Superblock, Error> {
    ///     let update = Update {
    ///         needs_recovery: Some(false),
    ///         ..Update::default()
    ///     };
    ///     update.apply::<C>(bytes)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Superblock::parse`].
    pub fn apply<C: Crc32c>(&self, bytes: &mut [u8; Superblock::LEN]) -> Result<Superblock> {
        let features = Superblock::parse::<C>(bytes)?.features();
        let checksum = features.ro_compat.contains(RoCompat::METADATA_CSUM);
        let is_wide = features.incompat.contains(Incompat::BIT64);

        let mut changed = *bytes;
        let mut raw = RawUpdate::new(bytes);
        self.change(&mut raw, is_wide);
        raw.put(&mut changed);
        if let Some(incidents) = &self.incidents {
            incidents.note(&mut changed);
        }
        if checksum {
            let (covered, _) = changed.split_at(CHECKSUMMED);
            let s_checksum = C::crc32c(!0, covered);
            Field::put::<CHECKSUMMED, { Superblock::LEN }>(&s_checksum, &mut changed);
        }
        let superblock = Superblock::parse::<C>(&changed)?;
        *bytes = changed;
        Ok(superblock)
    }

    fn change(&self, raw: &mut RawUpdate, is_wide: bool) {
        if let Some(needs_recovery) = self.needs_recovery {
            let flag = Incompat::RECOVER.bits();
            raw.s_feature_incompat = with_flag(raw.s_feature_incompat, flag, needs_recovery);
        }
        if let Some(orphan_present) = self.orphan_present {
            let flag = RoCompat::ORPHAN_PRESENT.bits();
            raw.s_feature_ro_compat = with_flag(raw.s_feature_ro_compat, flag, orphan_present);
        }
        if let Some(ino) = self.last_orphan {
            raw.s_last_orphan = ino.map_or(0, Ino::get);
        }
        if let Some(free) = self.free {
            let [b0, b1, b2, b3, b4, b5, b6, b7] = free.clusters.to_le_bytes();
            raw.s_free_blocks_count_lo = u32::from_le_bytes([b0, b1, b2, b3]);
            // Elsewhere the field has no meaning.
            if is_wide {
                raw.s_free_blocks_count_hi = u32::from_le_bytes([b4, b5, b6, b7]);
            }
            raw.s_free_inodes_count = free.inodes;
        }
        if self.error || self.incidents.is_some() {
            raw.s_state |= State::ERROR.bits();
        }
        if let Some(ErrorRecord(record)) = self.error_record {
            raw.error_record = record;
        }
        if let Some(time) = self.mounted {
            (raw.s_mtime, raw.s_mtime_hi) = split(time);
            // The count says when to check; no more than the most is needed for that.
            raw.s_mnt_count = raw.s_mnt_count.saturating_add(1);
        }
        if let Some(time) = self.written {
            (raw.s_wtime, raw.s_wtime_hi) = split(time);
        }
    }
}

fn with_flag(word: u32, flag: u32, set: bool) -> u32 {
    if set {
        word | flag
    } else {
        word & !flag
    }
}

/// A time as its lower 32 bits and the next 8; the latest time for later ones.
pub(super) fn split(time: u64) -> (u32, u8) {
    let [b0, b1, b2, b3, b4, ..] = time.min(MAX_TIME).to_le_bytes();
    (u32::from_le_bytes([b0, b1, b2, b3]), b4)
}
