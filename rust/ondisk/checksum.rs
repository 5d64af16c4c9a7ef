// SPDX-License-Identifier: GPL-2.0

//! CRC-32C, the checksum of all metadata. Who computes it is for the user of this module to say:
//! the kernel has instructions for it, the host a crate.
//!
//! Format: [Documentation/filesystems/ext4/checksums.rst](srctree/Documentation/filesystems/ext4/checksums.rst).

use super::{
    Error,
    Result,
    RoCompat,
    Structure,
    Superblock, //
};

/// An implementation of CRC-32C (Castagnoli).
///
/// ```
/// # use ondisk::Crc32c;
/// struct Bitwise;
///
/// impl Crc32c for Bitwise {
///     fn crc32c(seed: u32, data: &[u8]) -> u32 {
///         data.iter().fold(seed, |crc, byte| {
///             (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (crc & 1) * 0x82f6_3b78)
///         })
///     }
/// }
///
/// // The published check value is of the complemented register; ext4 stores the register itself.
/// assert_eq!(!Bitwise::crc32c(!0, b"123456789"), 0xe306_9283);
/// // The register after some bytes is the seed for those that follow.
/// assert_eq!(Bitwise::crc32c(Bitwise::crc32c(!0, b"1234"), b"56789"), !0xe306_9283);
/// ```
pub trait Crc32c {
    /// The shift register after `data`, having been `seed` before; complemented at neither end.
    fn crc32c(seed: u32, data: &[u8]) -> u32;
}

/// What a checksum begins with: the volume, or the inode, that the structure belongs to, so that
/// one that strayed in from elsewhere is not taken for its own. Empty where the volume has no
/// checksums; then every check succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(Option<u32>);

/// A checksum as it is stored: in full, or the half of it that there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Full(u32),
    Low(u16),
}

impl Seed {
    /// That of a volume.
    pub fn of_volume(volume: &Superblock) -> Self {
        let checksums = volume
            .features()
            .ro_compat
            .contains(RoCompat::METADATA_CSUM);
        Self(checksums.then_some(volume.checksum_seed()))
    }

    /// The seed after some more bytes.
    pub(super) fn with<C: Crc32c>(self, bytes: &[u8]) -> Self {
        Self(self.0.map(|seed| C::crc32c(seed, bytes)))
    }

    /// The checksum of a structure, all parts of which are given, with zeroes where the checksum
    /// stands; where there are checksums.
    pub(super) fn compute<C: Crc32c>(self, parts: &[&[u8]]) -> Option<u32> {
        let crc = |seed| parts.iter().fold(seed, |crc, part| C::crc32c(crc, part));
        self.0.map(crc)
    }

    /// Checks a structure, all parts of which are given, with zeroes where the checksum stands.
    pub(super) fn check<C: Crc32c>(
        self,
        structure: Structure,
        stored: Stored,
        parts: &[&[u8]],
    ) -> Result<()> {
        let Some(computed) = self.compute::<C>(parts) else {
            return Ok(());
        };
        let (stored, computed) = match stored {
            Stored::Full(stored) => (stored, computed),
            Stored::Low(stored) => (stored.into(), computed & u32::from(u16::MAX)),
        };
        if stored == computed {
            Ok(())
        } else {
            Err(Error::BadChecksum {
                structure,
                stored,
                computed,
            })
        }
    }

    /// Whether there are checksums at all.
    pub(super) fn is_some(self) -> bool {
        self.0.is_some()
    }
}
