// SPDX-License-Identifier: GPL-2.0

//! The data of a file, read in every way that there is, each time from the device.

use std::fs::File;
use std::io::{ErrorKind, IoSliceMut, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rustix::fs::{fadvise, memfd_create, sendfile, Advice, MemfdFlags, OFlags};
use rustix::io::{preadv2, Errno, ReadWriteFlags};
use rustix::pipe::{pipe, splice, SpliceFlags};

use super::extents::{segments, Segment};
use super::{checksum, Node, Record};
use crate::mapping::ReadMapping;

/// Bytes that are read at once and have one checksum, so that a difference is seen where it is.
pub(super) const CHUNK: u64 = 256 << 10;
/// Bytes read of a hole, at each of its ends.
const OF_A_HOLE: u64 = 64 << 10;
/// Lengths of the buffers of a vectored read, in turn: none is a whole page.
const VECTOR: &[usize] = &[1, 511, 0, 4097, 100, 8191];
/// What direct I/O wants of a buffer's address, at most.
const MEMORY_ALIGN: usize = 4096;
/// What direct I/O wants of positions and lengths, if statx(2) does not say.
const OFFSET_ALIGN: u32 = 4096;

type Method = (&'static str, fn(&Reader, u64, usize) -> Result<Vec<u8>>);

/// Ways to read.
const METHODS: &[Method] = &[
    ("read", Reader::read),
    ("mmap", Reader::mmap),
    ("direct", Reader::direct),
    ("splice", Reader::splice),
    ("sendfile", Reader::sendfile),
    ("preadv2", Reader::preadv2),
];

struct Reader {
    file: File,
    direct: Result<File, Errno>,
}

/// Records the data of `node`, which `file` is open on: a line for each chunk with its checksum, and how it was read,
/// by all methods or by some.
pub(super) fn record(record: &mut Record, node: &Node, file: &File) -> Result<()> {
    let reader = Reader {
        file: file.try_clone().context("dup")?,
        direct: node.open(OFlags::DIRECT),
    };
    let chunks = chunks(node.size, &segments(file, node.size).unwrap_or_default());
    let mut found: Vec<Vec<(String, Vec<&str>)>> = vec![Vec::new(); chunks.len()];
    for (name, method) in METHODS {
        // Each method finds the cache cold.
        fadvise(file, 0, None, Advice::DontNeed).context("fadvise")?;
        for (chunk, outcomes) in chunks.iter().zip(&mut found) {
            let len = usize::try_from(chunk.end - chunk.start)?;
            let outcome = match method(&reader, chunk.start, len) {
                Ok(bytes) => format!("{} bytes, {:016x}", bytes.len(), checksum(&bytes)),
                Err(e) => format!("error: {e:#}"),
            };
            match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
                Some((_, names)) => names.push(name),
                None => outcomes.push((outcome, vec![name])),
            }
        }
    }
    for (chunk, outcomes) in chunks.iter().zip(&found) {
        let value = match &outcomes[..] {
            [(outcome, _)] => outcome.clone(),
            several => format!("{several:?}"),
        };
        record.add(&node.path, format!("data {:#x}", chunk.start), value);
    }
    let align = match node.dio_offset_align {
        0 => OFFSET_ALIGN,
        align => align,
    };
    record.add(
        &node.path,
        "direct",
        reader.direct_alignments(align, node.size),
    );
    record.add(&node.path, "end", reader.end(node.size));
    Ok(())
}

/// The parts of a file of `size` bytes that are read, in chunks.
fn chunks(size: u64, segments: &[Segment]) -> Vec<Segment> {
    // A small hole is read whole, and so is a small file.
    let mut wanted: Vec<Segment> = Vec::new();
    let around = segments.iter().map(|segment| Segment {
        start: segment.start.saturating_sub(OF_A_HOLE),
        end: segment.end.saturating_add(OF_A_HOLE).min(size),
    });
    let ends = [
        Segment {
            start: 0,
            end: size.min(OF_A_HOLE),
        },
        Segment {
            start: size.saturating_sub(OF_A_HOLE),
            end: size,
        },
    ];
    let mut parts: Vec<Segment> = around
        .chain(ends)
        .filter(|part| part.start < part.end)
        .collect();
    parts.sort_by_key(|part| part.start);
    for part in parts {
        match wanted.last_mut() {
            Some(last) if part.start <= last.end.saturating_add(CHUNK) => {
                last.end = last.end.max(part.end);
            }
            _ => wanted.push(part),
        }
    }
    // Chunks begin at multiples of their length, so that they are aligned whatever is read by.
    let mut chunks = Vec::new();
    for part in wanted {
        let mut start = part.start / CHUNK * CHUNK;
        while start < part.end {
            let end = (start + CHUNK).min(size);
            chunks.push(Segment { start, end });
            start += CHUNK;
        }
    }
    chunks.dedup();
    chunks
}

impl Reader {
    fn read(&self, pos: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xee; len];
        let got = read_at(&self.file, pos, &mut bytes)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// What lies behind the end of the file in its last page must be zeroes; it is no part of the answer.
    fn mmap(&self, pos: u64, len: usize) -> Result<Vec<u8>> {
        let whole = len.next_multiple_of(rustix::param::page_size());
        let mut bytes = ReadMapping::new(&self.file, pos, whole)?.load(0, whole)?;
        let tail = bytes.split_off(len);
        anyhow::ensure!(
            tail.iter().all(|&byte| byte == 0),
            "the page at {:#x} is not zeroes behind the end of the file",
            pos + len as u64
        );
        Ok(bytes)
    }

    fn direct(&self, pos: u64, len: usize) -> Result<Vec<u8>> {
        let file = self.direct.as_ref().map_err(|&e| e)?;
        let whole = len.next_multiple_of(MEMORY_ALIGN);
        let mut bytes = direct_read(file, pos, whole, 0)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    fn splice(&self, pos: u64, len: usize) -> Result<Vec<u8>> {
        let (from, to) = pipe().context("pipe")?;
        let mut from = File::from(from);
        let mut pos = pos;
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let moved = splice(
                &self.file,
                Some(&mut pos),
                &to,
                None,
                len - bytes.len(),
                SpliceFlags::empty(),
            )?;
            if moved == 0 {
                break;
            }
            let old = bytes.len();
            bytes.resize(old + moved, 0xee);
            from.read_exact(&mut bytes[old..])
                .context("read the pipe")?;
        }
        Ok(bytes)
    }

    fn sendfile(&self, pos: u64, len: usize) -> Result<Vec<u8>> {
        let to = File::from(memfd_create("sendfile", MemfdFlags::CLOEXEC).context("memfd_create")?);
        let (mut pos, mut sent) = (pos, 0);
        while sent < len {
            match sendfile(&to, &self.file, Some(&mut pos), len - sent)? {
                0 => break,
                count => sent += count,
            }
        }
        let mut bytes = vec![0xee; sent];
        to.read_exact_at(&mut bytes, 0)
            .context("read what was sent")?;
        Ok(bytes)
    }

    fn preadv2(&self, pos: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xee; len];
        let mut filled = 0;
        while filled < len {
            let mut rest = &mut bytes[filled..];
            let mut vector = Vec::new();
            for &size in VECTOR.iter().cycle().take(128) {
                let (part, others) = rest.split_at_mut(size.min(rest.len()));
                vector.push(IoSliceMut::new(part));
                rest = others;
            }
            let at = pos + filled as u64;
            match preadv2(self.file.as_fd(), &mut vector, at, ReadWriteFlags::empty())? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Direct I/O at odd multiples of the alignment, and what becomes of the unaligned.
    fn direct_alignments(&self, align: u32, size: u64) -> String {
        let file = match &self.direct {
            Ok(file) => file,
            Err(e) => return format!("open: {e}"),
        };
        let unit = u64::from(align);
        let width = align as usize;
        let show = |outcome: Result<Vec<u8>, Errno>| match outcome {
            Ok(bytes) => format!("{} bytes, {:016x}", bytes.len(), checksum(&bytes)),
            Err(e) => e.to_string(),
        };
        // Position, length, and by how much the buffer is off its alignment.
        let tries = [
            (unit, width, 0),
            (unit * 3, width * 5, 0),
            (size / unit * unit, width * 3, 0),
            (size.next_multiple_of(unit), width, 0),
            (1, width, 0),
            (0, width + 1, 0),
            (0, width * 2, 1),
            (0, width * 2, 4),
        ];
        tries
            .map(|(pos, len, off)| {
                format!(
                    "{pos:#x}+{len}/{off}: {}",
                    show(direct_read(file, pos, len, off))
                )
            })
            .join("; ")
    }

    /// Reads at the end, behind it, and far behind it; but not behind all blocks that a file can have, where ext4 does
    /// not tell the end of the file when it reads with DAX.
    fn end(&self, size: u64) -> String {
        let mut byte = [0xee; 2];
        let mut outcome = |pos: u64| match self.file.read_at(&mut byte, pos) {
            Ok(count) => count.to_string(),
            Err(e) => e.to_string(),
        };
        [size.saturating_sub(1), size, size + 1, size + (1 << 40)]
            .map(&mut outcome)
            .join(", ")
    }
}

/// Fills `bytes` as far as the file goes.
fn read_at(file: &File, pos: u64, bytes: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], pos + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(filled)
}

/// One direct read of up to `len` bytes into a buffer `off` bytes behind an aligned address.
/// A direct read, that ends where the blocks end that a file can have: of one that goes on behind them ext4 reads
/// nothing, not even what is before.
fn direct_read(file: &File, pos: u64, len: usize, off: usize) -> Result<Vec<u8>, Errno> {
    let most = rustix::fs::fstatvfs(file)?.f_bsize * u64::from(u32::MAX);
    let len = match most.checked_sub(pos).map(usize::try_from) {
        Some(Ok(left)) => len.min(left),
        _ => len,
    };
    let mut buffer = vec![0xee_u8; len + MEMORY_ALIGN + off];
    let start = buffer.as_ptr().align_offset(MEMORY_ALIGN) + off;
    let bytes = &mut buffer[start..start + len];
    let count = rustix::io::pread(file, &mut *bytes, pos)?;
    Ok(bytes[..count].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: u64, end: u64) -> Segment {
        Segment { start, end }
    }

    #[test]
    fn small_files_are_read_whole() {
        assert_eq!(chunks(0, &[]), []);
        assert_eq!(chunks(1, &[]), [segment(0, 1)]);
        assert_eq!(
            chunks(CHUNK + 7, &[segment(0, CHUNK + 7)]),
            [segment(0, CHUNK), segment(CHUNK, CHUNK + 7)]
        );
    }

    #[test]
    fn of_a_large_hole_the_ends_are_read() {
        let size = 10 << 40;
        let island = segment(5 << 40, (5 << 40) + 4096);
        let chunks = chunks(size, &[island]);
        assert!(chunks.len() <= 6, "{chunks:?}");
        for pos in [0, island.start - 1, island.start, island.end, size - 1] {
            assert!(
                chunks
                    .iter()
                    .any(|chunk| (chunk.start..chunk.end).contains(&pos)),
                "{pos:#x} {chunks:?}"
            );
        }
        assert!(chunks.iter().all(|chunk| chunk.start % CHUNK == 0));
    }
}
