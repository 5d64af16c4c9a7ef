// SPDX-License-Identifier: GPL-2.0

//! Stores to a mapping, nobody else at work.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Result;
use stablefs_selftests::mapping::SharedMapping;

use super::{average, each};
use crate::place::{Place, PAGE};
use crate::results::Measured;

/// A word a page, to a hole, and again when all have been written.
pub(super) fn store(place: &Place<'_>) -> Result<Vec<Measured>> {
    const PAGES: usize = 2048;
    let file = place.file()?;
    file.set_len((PAGES * PAGE) as u64)?;
    let mapping = SharedMapping::new(&file, PAGES * PAGE)?;
    let store = |page| mapping.store(page * PAGE, &[1; 8]);
    let first = each("first store in a hole, a page", PAGES, store)?;
    mapping.sync()?;
    let again = each("store to a clean page", PAGES, store)?;
    Ok(vec![first, again])
}

/// Of 256 pages, each stored to before.
pub(super) fn sync(place: &Place<'_>) -> Result<Vec<Measured>> {
    const LEN: usize = 1 << 20;
    const TIMES: u64 = 8;
    let file = place.file()?;
    file.write_all_at(&vec![1; LEN], 0)?;
    file.sync_all()?;
    let mapping = SharedMapping::new(&file, LEN)?;
    let mut time = Duration::ZERO;
    for _ in 0..TIMES {
        (0..LEN)
            .step_by(PAGE)
            .try_for_each(|pos| mapping.store(pos, &[2; 8]))?;
        let start = Instant::now();
        mapping.sync()?;
        time += start.elapsed();
    }
    Ok(vec![average("msync of 1 MiB", time, TIMES)])
}
