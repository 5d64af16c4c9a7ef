// SPDX-License-Identifier: GPL-2.0

//! What is measured. A workload makes the one file of its volume, and leaves it.

mod buffered;
mod mapped;
mod raced;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::place::Place;
use crate::results::Measured;

/// Does it once.
type Workload = fn(&Place<'_>) -> Result<Vec<Measured>>;

/// All of them, in the order of the table.
pub(crate) const WORKLOADS: &[Workload] = &[
    buffered::overwrite,
    buffered::append,
    buffered::overwrite_and_sync,
    mapped::store,
    mapped::sync,
    raced::stores,
    raced::writes,
    raced::direct_reads,
];

/// Operation `what`, so many times, each with its number.
fn each(
    what: &'static str,
    times: usize,
    mut operation: impl FnMut(usize) -> Result<()>,
) -> Result<Measured> {
    let start = Instant::now();
    (0..times).try_for_each(&mut operation)?;
    Ok(average(what, start.elapsed(), times as u64))
}

fn average(what: &'static str, time: Duration, times: u64) -> Measured {
    Measured {
        what,
        us: time.as_secs_f64() * 1e6 / times as f64,
        failed: 0,
    }
}
