// SPDX-License-Identifier: GPL-2.0

//! The kernel log from a mark on, through `/dev/kmsg`: see `Documentation/ABI/testing/dev-kmsg`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{bail, Context, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

const DEVICE: &str = "/dev/kmsg";
/// One read returns one whole record, and fails when the buffer is smaller; the kernel's own limit is 2 KiB.
const RECORD_BYTES: usize = 8192;

/// A place in the kernel log.
pub struct Kmsg {
    file: File,
}

impl Kmsg {
    /// The end of the log as it is now.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn mark() -> Result<Self> {
        let nonblock = OFlags::NONBLOCK.bits() as i32;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblock)
            .open(DEVICE)
            .context(DEVICE)?;
        file.seek(SeekFrom::End(0)).context(DEVICE)?;
        Ok(Self { file })
    }

    /// The kernel's lines since the mark, which moves to the end. What programs wrote to the log is left out.
    ///
    /// # Errors
    /// The log was overwritten before it was read.
    pub fn lines_since(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; RECORD_BYTES];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(len) => lines.extend(kernel_lines(&String::from_utf8_lossy(&record[..len]))),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(lines),
                Err(e) if e.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {
                    bail!("kernel log overran: records were lost")
                }
                Err(e) => return Err(e).context(DEVICE),
            }
        }
    }
}

/// Writes `text` to the log, so that a reader of the whole log sees where a test begins.
///
/// # Errors
/// The log cannot be written.
pub fn note(text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(DEVICE)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .context(DEVICE)
}

/// The text of one record, `PRIORITY,SEQUENCE,TIME,FLAGS;text`, if its facility is the kernel's.
fn kernel_lines(record: &str) -> Vec<String> {
    let Some((head, rest)) = record.split_once(';') else {
        return Vec::new();
    };
    let priority = head.split(',').next().and_then(|p| p.parse::<u32>().ok());
    if priority.is_none_or(|p| p >> 3 != 0) {
        return Vec::new();
    }
    // Lines after the first are the dictionary, `KEY=value`.
    unescape(rest.lines().next().unwrap_or_default())
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Undoes the `\xNN` of unprintable bytes.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                out.push(byte.into());
                out.push_str(&part[2..]);
            }
            None => {
                out.push_str("\\x");
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_records_give_their_text() {
        let record =
            "4,812,9123456,-;stablefs (sda): not an ext4 volume\n SUBSYSTEM=block\n DEVICE=b8:0\n";
        assert_eq!(kernel_lines(record), ["stablefs (sda): not an ext4 volume"]);
    }

    #[test]
    fn one_record_can_hold_several_lines() {
        assert_eq!(
            kernel_lines("6,1,1,-;one\\x0atwo; and a \\\\ more\n"),
            ["one", "two; and a \\\\ more"]
        );
    }

    #[test]
    fn records_of_programs_are_left_out() {
        assert!(kernel_lines("12,813,9123457,-;selftests: WARNING: not the kernel's\n").is_empty());
        assert!(kernel_lines("nonsense\n").is_empty());
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape("a\\xzzb\\x41\\x"), "a\\xzzbA\\x");
    }
}
