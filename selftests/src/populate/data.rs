// SPDX-License-Identifier: GPL-2.0

//! Files whose data lies in every way that it can.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rustix::fs::{fallocate, FallocateFlags};
use rustix::io::Errno;

use super::Place;
use crate::seed::Bytes;

/// Lengths in bytes: around sectors, blocks and pages, many blocks with a rest.
const LENGTHS: &[usize] = &[
    0, 1, 2, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192,
    12_288, 65_535, 65_536, 100_001, 262_144, 262_145, 1_300_007,
];
/// Where the islands of the sparse file begin, in blocks; the last one is moved to the end of the file.
const ISLANDS: &[u64] = &[
    0,
    1,
    1000,
    32_767,
    32_768,
    70_000,
    1 << 24,
    1 << 28,
    (1 << 31) + 5,
];
/// The sparse file's length: 10 TiB, or as far as a file of small blocks can reach.
const SPARSE: u64 = 10 << 40;
/// An extent tree counts blocks in 32 bits, and the last number is no block.
const MOST_BLOCKS: u64 = u32::MAX as u64;

pub(super) fn all(place: &Place<'_>, extents: u64) -> Result<()> {
    for &len in LENGTHS {
        let file = new(place, &format!("{len} bytes"))?;
        file.write_all_at(&bytes(place, len as u64, len), 0)?;
    }
    sparse(place).context("sparse")?;
    fragmented(place, extents).context("fragmented")?;
    unwritten(place).context("unwritten")?;
    truncated(place).context("truncated")
}

/// Mostly hole, with data here and there.
fn sparse(place: &Place<'_>) -> Result<()> {
    let block = place.block;
    let size = SPARSE.min(MOST_BLOCKS * block);
    let file = new(place, "sparse")?;
    let last = size / block - 1;
    for (stream, &start) in (100..).zip(ISLANDS.iter().chain([&last])) {
        let len = if start == last { 77 } else { 5000 };
        file.write_all_at(&bytes(place, stream, len), start * block)
            .with_context(|| format!("block {start}"))?;
    }
    let whole = new(place, "only a hole")?;
    whole.set_len(3 << 20)?;
    let end = new(place, "a hole, then data")?;
    end.write_all_at(&bytes(place, 99, 3000), 1_000_003)?;
    let beginning = new(place, "data, then a hole")?;
    beginning.write_all_at(&bytes(place, 98, 3000), 0)?;
    beginning.set_len(2_000_003)?;
    Ok(())
}

/// As many extents as blocks: each second block is a hole.
fn fragmented(place: &Place<'_>, extents: u64) -> Result<()> {
    let file = new(place, "fragmented")?;
    let mut random = Bytes::new(place.seed, 0x21);
    for number in 0..extents {
        file.write_all_at(&random.take(16), number * 2 * place.block)
            .with_context(|| format!("extent {number}"))?;
    }
    Ok(())
}

/// Blocks that belong to the file and were never written, or no longer count.
fn unwritten(place: &Place<'_>) -> Result<()> {
    let allocate = |file: &File, flags: FallocateFlags, start: u64, len: u64| {
        fallocate(file, flags, start, len).with_context(|| format!("fallocate {flags:?}"))
    };
    let content = bytes(place, 200, 300_000);

    let file = new(place, "preallocated")?;
    allocate(&file, FallocateFlags::empty(), 0, 1_000_000)?;

    let file = new(place, "preallocated, written in parts")?;
    allocate(&file, FallocateFlags::empty(), 0, 1_000_000)?;
    for pos in [0, 100_000, 345_678, 999_990] {
        file.write_all_at(&content[..10], pos)?;
    }

    let file = new(place, "preallocated beyond the end")?;
    file.write_all_at(&content[..5000], 0)?;
    allocate(&file, FallocateFlags::KEEP_SIZE, 0, 500_000)?;

    let file = new(place, "preallocated, no size")?;
    allocate(&file, FallocateFlags::KEEP_SIZE, 0, 100_000)?;

    let file = new(place, "zeroed range")?;
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    allocate(&file, FallocateFlags::ZERO_RANGE, 50_000, 100_000)?;

    let file = new(place, "punched")?;
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    allocate(&file, punch, 10_000, 100_000)?;
    allocate(&file, punch, 250_000, 50_000)?;

    let file = new(place, "collapsed")?;
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    collapse(&file, 8 * place.block, 16 * place.block)
}

/// Takes `len` bytes at `pos` out of `file`, by hand if the filesystem does not.
fn collapse(file: &File, pos: u64, len: u64) -> Result<()> {
    match fallocate(file, FallocateFlags::COLLAPSE_RANGE, pos, len) {
        Err(Errno::OPNOTSUPP) => {
            let end = file.metadata()?.len();
            let mut rest = vec![0; usize::try_from(end - pos - len)?];
            file.read_exact_at(&mut rest, pos + len)?;
            file.write_all_at(&rest, pos)?;
            file.set_len(end - len).context("ftruncate")
        }
        other => other.context("fallocate COLLAPSE_RANGE"),
    }
}

/// A file that was longer: what lay behind its end must not be seen again.
fn truncated(place: &Place<'_>) -> Result<()> {
    let file = new(place, "truncated")?;
    file.write_all_at(&bytes(place, 201, 20_000), 0)?;
    file.sync_all()?;
    file.set_len(9_001)?;
    let file = new(place, "truncated and longer again")?;
    file.write_all_at(&bytes(place, 202, 20_000), 0)?;
    file.sync_all()?;
    file.set_len(9_001)?;
    file.set_len(30_001)?;
    Ok(())
}

fn new(place: &Place<'_>, name: &str) -> Result<File> {
    let path = place.path(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| path.display().to_string())
}

fn bytes(place: &Place<'_>, stream: u64, len: usize) -> Vec<u8> {
    Bytes::new(place.seed, 0x2000 + stream).take(len)
}
