// SPDX-License-Identifier: GPL-2.0

//! What stable pages cost: the same work on stablefs, ext4 and XFS, on one disk that asks for them and does not, and on one
//! that has checksums. All of the volumes are mounted, and take turns within a round, so that whatever else the machine does
//! meets them alike; the table has the medians of the rounds.
//!
//! It overwrites the test devices. What it prints is for people: nothing is judged by how long it took.

mod column;
mod counters;
mod machine;
mod place;
mod results;
mod table;
mod volume;
mod workloads;

use std::process::ExitCode;

use anyhow::{Context, Result};
use column::Column;
use counters::Counters;
use place::Source;
use results::Results;
use stablefs_selftests::devices::{self, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::seed::Bytes;
use volume::Volume;
use workloads::WORKLOADS;

const ROUNDS: u64 = 5;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let devices = devices::listed()?;
    let mut plain = devices.iter().filter(|device| device.kind == Kind::Plain);
    let disk = plain.next().context("no plain device")?;
    let source = Source::on(&plain.next().context("no other plain device")?.path)?;
    let dif = devices.iter().find(|device| device.kind == Kind::Dif);
    let columns = Column::all(disk, dif.context("no device with DIF")?);
    let mut volumes = Vec::new();
    for column in &columns {
        eprintln!("{column}");
        let volume = Volume::new(column, &source);
        volumes.push(volume.with_context(|| column.to_string())?);
    }
    let mut results = Results::new(columns.len());
    for (number, workload) in (1..).zip(WORKLOADS) {
        for round in 1..=ROUNDS {
            eprintln!(
                "workload {number} of {}, round {round} of {ROUNDS}",
                WORKLOADS.len()
            );
            for index in order(columns.len(), round) {
                let place = &volumes[index].place;
                let measured = workload(place).with_context(|| columns[index].to_string())?;
                measured.into_iter().for_each(|one| results.add(index, one));
                place.clear()?;
            }
        }
    }
    println!("{}\n", machine::describe());
    println!("Microseconds an operation, median of {ROUNDS} rounds. Only ratios within one run mean anything.");
    print!("{}", table::of_times(&columns, &results));
    println!("\nWith stable pages, as a multiple of without; and what the slowest round took, as a multiple of the fastest.");
    println!("{}", table::of_ratios(&columns, &results));
    for (column, volume) in columns.iter().zip(&volumes) {
        if column.fstyp == Fstyp::Stablefs {
            println!("{column}: {}", Counters::of(&volume.device)?);
        }
    }
    table::failures(&columns, &results).for_each(|line| println!("{line}"));
    Ok(())
}

/// Who has which turn in a round: another one each time, or what is left to do of one would always meet the same next one.
fn order(columns: usize, round: u64) -> Vec<usize> {
    let mut random = Bytes::new(round, 0);
    let mut left: Vec<usize> = (0..columns).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        order.push(left.swap_remove(random.below(left.len() as u64) as usize));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_one_turn_a_round() {
        let orders: Vec<_> = (1..=ROUNDS).map(|round| order(10, round)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(orders[0], orders[1]);
    }
}
