// SPDX-License-Identifier: GPL-2.0

//! CRC-32C on the host.

use ondisk::Crc32c;

/// CRC-32C by the `crc` crate.
pub struct Crc;

impl Crc32c for Crc {
    fn crc32c(seed: u32, data: &[u8]) -> u32 {
        static ISCSI: crc::Crc<u32, crc::Table<16>> =
            crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);
        // The crate takes the seed in its unreflected form, and complements the result.
        let mut digest = ISCSI.digest_with_initial(seed.reverse_bits());
        digest.update(data);
        !digest.finalize()
    }
}
