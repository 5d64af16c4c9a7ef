// SPDX-License-Identifier: GPL-2.0

//! `write` of 4 KiB, nobody else at work.

use std::os::unix::fs::FileExt;

use anyhow::Result;

use super::each;
use crate::place::{Place, PAGE};
use crate::results::Measured;

const PAGES: usize = 1024;

/// Of what is in the page cache.
pub(super) fn overwrite(place: &Place<'_>) -> Result<Vec<Measured>> {
    let file = place.file()?;
    file.write_all_at(&vec![1; PAGES * PAGE], 0)?;
    file.sync_all()?;
    let measured = each("overwrite 4 KiB, cached", 4 * PAGES, |number| {
        Ok(file.write_all_at(&[2; PAGE], at(number % PAGES))?)
    })?;
    Ok(vec![measured])
}

/// To a new file.
pub(super) fn append(place: &Place<'_>) -> Result<Vec<Measured>> {
    let file = place.file()?;
    let measured = each("append 4 KiB", 2 * PAGES, |number| {
        Ok(file.write_all_at(&[1; PAGE], at(number))?)
    })?;
    Ok(vec![measured])
}

/// Of blocks that are written, each with an fsync.
pub(super) fn overwrite_and_sync(place: &Place<'_>) -> Result<Vec<Measured>> {
    let file = place.file()?;
    file.write_all_at(&vec![1; PAGES * PAGE], 0)?;
    file.sync_all()?;
    let measured = each("overwrite 4 KiB + fsync", 32, |number| {
        file.write_all_at(&[2; PAGE], at(number))?;
        Ok(file.sync_all()?)
    })?;
    Ok(vec![measured])
}

fn at(page: usize) -> u64 {
    (page * PAGE) as u64
}
