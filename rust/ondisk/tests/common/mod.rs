// SPDX-License-Identifier: GPL-2.0

//! What the tests of `ondisk` share.

use ondisk::{
    Crc32c,
    Superblock, //
};

/// CRC-32C by the `crc` crate.
pub struct Crc;

impl Crc32c for Crc {
    fn crc32c(seed: u32, data: &[u8]) -> u32 {
        const ISCSI: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
        // The crate takes the seed in its unreflected form, and complements the result.
        let mut digest = ISCSI.digest_with_initial(seed.reverse_bits());
        digest.update(data);
        !digest.finalize()
    }
}

/// A superblock as bytes.
pub type Bytes = [u8; Superblock::LEN];
