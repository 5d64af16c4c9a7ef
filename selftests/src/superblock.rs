// SPDX-License-Identifier: GPL-2.0

//! An ext4 superblock to be damaged on purpose: read, change fields, write back with or without a right checksum.
//!
//! Format: `Documentation/filesystems/ext4/super.rst`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};

/// Where the superblock lies on the device.
const POS: usize = 1024;
/// Its length in bytes.
const LEN: usize = 1024;
/// `s_magic` as it lies on the disk.
pub const MAGIC: [u8; 2] = [0x53, 0xef];
/// Where `s_magic` lies on the device.
pub const MAGIC_POS: usize = POS + 0x38;

/// A field of 32 bits, by its position in the superblock.
#[derive(Clone, Copy)]
pub struct Field(usize);

impl Field {
    /// `s_log_block_size`
    pub const LOG_BLOCK_SIZE: Self = Self(0x18);
    /// `s_inodes_per_group`
    pub const INODES_PER_GROUP: Self = Self(0x28);
    /// `s_feature_incompat`
    pub const FEATURE_INCOMPAT: Self = Self(0x60);
    /// `s_feature_ro_compat`
    pub const FEATURE_RO_COMPAT: Self = Self(0x64);
    /// The first four bytes of `s_volume_name`, which any value suits.
    pub const VOLUME_NAME: Self = Self(0x78);
    /// `s_checksum`: of everything before it.
    const CHECKSUM: Self = Self(0x3fc);
}

/// The superblock of an ext4 volume with metadata checksums.
pub struct Superblock {
    file: File,
    bytes: [u8; LEN],
}

impl Superblock {
    /// Reads the one of the volume on `dev`.
    ///
    /// # Errors
    /// It cannot be read, or its checksum is not right to begin with.
    pub fn open(dev: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dev)
            .with_context(|| dev.display().to_string())?;
        let mut bytes = [0; LEN];
        file.read_exact_at(&mut bytes, POS as u64)
            .context("read superblock")?;
        let superblock = Self { file, bytes };
        ensure!(
            superblock.get(Field::CHECKSUM) == superblock.checksum(),
            "{}: superblock of a new volume has a wrong checksum",
            dev.display()
        );
        Ok(superblock)
    }

    /// A field's value.
    pub fn get(&self, field: Field) -> u32 {
        let mut value = [0; 4];
        value.copy_from_slice(&self.bytes[field.0..field.0 + 4]);
        u32::from_le_bytes(value)
    }

    /// Changes a field; the checksum is now wrong.
    pub fn set(&mut self, field: Field, value: u32) {
        self.bytes[field.0..field.0 + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Makes the checksum right again.
    pub fn seal(&mut self) {
        self.set(Field::CHECKSUM, self.checksum());
    }

    /// Writes it to the device, waits until it is there, and closes the device: a kernel may refuse to mount what
    /// somebody has open for writing.
    ///
    /// # Errors
    /// The device refuses.
    pub fn write(self) -> Result<()> {
        self.file
            .write_all_at(&self.bytes, POS as u64)
            .context("write superblock")?;
        self.file.sync_all().context("sync superblock")
    }

    fn checksum(&self) -> u32 {
        crc32c(&self.bytes[..Field::CHECKSUM.0])
    }
}

/// CRC-32C as ext4 uses it: seeded with all ones, not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL * (crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_has_the_published_check_value() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }
}
