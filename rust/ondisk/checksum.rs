// SPDX-License-Identifier: GPL-2.0

//! CRC-32C, the checksum of all metadata. Who computes it is for the user of this module to say:
//! the kernel has instructions for it, the host a crate.
//!
//! Format: [Documentation/filesystems/ext4/checksums.rst](srctree/Documentation/filesystems/ext4/checksums.rst).

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
