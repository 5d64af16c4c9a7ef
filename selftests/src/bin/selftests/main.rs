// SPDX-License-Identifier: GPL-2.0

//! Every test, in one static program: it is the test whose name it is called by. `selftests --list` prints the names;
//! `selftests --walk DIR SEED` prints all that the comparing tests look at, of whatever is mounted there; `selftests
//! --until-killed DEV SLATE` works on a volume until the machine is killed.

mod audit_sees_no_change;
mod comparison_sees_a_change;
mod copies_without_memory;
mod corrupt_sector_is_an_error;
mod dax_attributes;
mod dax_map_sync;
mod dax_maps_a_block_once;
mod dax_pinned;
mod dax_poison;
mod dax_reads;
mod dax_stores;
mod dax_zeroes;
mod direct_io_of_mappings;
mod fails_whole_without_memory;
mod faults_tell_the_truth;
mod file_roundtrip;
mod finds_names_under_every_hash;
mod full_disk;
mod handed_back_and_forth;
mod integrity_formats;
mod io_uring_operations;
mod large_directories;
mod module_load_unload;
mod mount_options;
mod mount_refuses;
mod moves_ranges;
mod no_store_is_lost;
mod random_file_operations;
mod random_tree_operations;
mod reads_what_ext4_wrote;
mod real_programs;
mod recovers_orphans;
mod refuses_what_may_not_be_written;
mod replays_the_journal;
mod sets_attributes;
mod stable_pages;
mod stable_pages_held;
mod stable_pages_mixed;
mod stable_pages_pinned;
mod stops_when_the_journal_does;
mod suites;
mod survives_damaged_volumes;
mod survives_power_cuts;
mod swap_file;
mod unreadable_metadata_is_an_error;
mod until_killed;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use stablefs_selftests::program::Program;
use stablefs_selftests::worker::{self, Prepare};
use stablefs_selftests::{child, storer, walk};

const PROGRAMS: &[&Program] = &[
    &module_load_unload::PROGRAM,
    &mount_refuses::PROGRAM,
    &mount_options::PROGRAM,
    &replays_the_journal::PROGRAM,
    &recovers_orphans::PROGRAM,
    &dax_reads::PROGRAM,
    &dax_reads::WITHOUT,
    &dax_maps_a_block_once::PROGRAM,
    &dax_stores::PROGRAM,
    &dax_zeroes::PROGRAM,
    &dax_attributes::PROGRAM,
    &dax_pinned::PROGRAM,
    &dax_map_sync::PROGRAM,
    &dax_poison::PROGRAM,
    &real_programs::PROGRAM,
    &corrupt_sector_is_an_error::PROGRAM,
    &corrupt_sector_is_an_error::UNREADABLE,
    &file_roundtrip::PROGRAM,
    &comparison_sees_a_change::PROGRAM,
    &finds_names_under_every_hash::PROGRAM,
    &reads_what_ext4_wrote::PROGRAM,
    &survives_damaged_volumes::PROGRAM,
    &reads_what_ext4_wrote::SHAPES,
    &reads_what_ext4_wrote::WRITTEN,
    &no_store_is_lost::PROGRAM,
    &random_file_operations::PROGRAM,
    &moves_ranges::PROGRAM,
    &io_uring_operations::PROGRAM,
    &direct_io_of_mappings::PROGRAM,
    &random_tree_operations::PROGRAM,
    &handed_back_and_forth::PROGRAM,
    &large_directories::PROGRAM,
    &sets_attributes::PROGRAM,
    &full_disk::PROGRAM,
    &faults_tell_the_truth::PROGRAM,
    &fails_whole_without_memory::PROGRAM,
    &stops_when_the_journal_does::PROGRAM,
    &refuses_what_may_not_be_written::PROGRAM,
    &unreadable_metadata_is_an_error::PROGRAM,
    &survives_power_cuts::PROGRAM,
    &stable_pages::PROGRAM,
    &stable_pages_mixed::PROGRAM,
    &stable_pages_pinned::PROGRAM,
    &stable_pages_held::PROGRAM,
    &copies_without_memory::PROGRAM,
    &integrity_formats::PROGRAM,
    &suites::FSX,
    &suites::PJDFSTEST,
    &swap_file::PROGRAM,
    &audit_sees_no_change::PROGRAM,
];

/// What other processes of this program do, told by a test.
const WORKS: &[(&str, Prepare)] = &[
    (random_file_operations::WORK, random_file_operations::work),
    (random_tree_operations::WORK, random_tree_operations::work),
    (stable_pages_pinned::WORK, stable_pages_pinned::work),
    (storer::WORK, storer::work),
];

fn main() -> ExitCode {
    let mut words = env::args();
    let called = words.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    let args: Vec<String> = words.collect();
    match PROGRAMS.iter().find(|program| name == program.name) {
        Some(program) => program.main(&args),
        None if args == ["--list"] => {
            PROGRAMS
                .iter()
                .for_each(|program| println!("{}", program.name));
            ExitCode::SUCCESS
        }
        None if args.len() == 3 && args[0] == child::OPTION => child::main(&args[1], &args[2]),
        None if args.len() == 4 && args[0] == child::STORE => {
            child::main_store(&args[1], &args[2], &args[3])
        }
        None if args.len() == 3
            && [until_killed::WORK, until_killed::CHECK].contains(&&*args[0]) =>
        {
            until_killed::main(&args[0], &args[1], &args[2])
        }
        None if args.len() == 3 && args[0] == walk::OPTION => walk::main(&args[1], &args[2]),
        None if args.len() > 1 && args[0] == worker::OPTION => {
            let known = WORKS.iter().find(|(name, _)| *name == args[1]);
            let work = known.context("no such work");
            worker::main(work.and_then(|(_, work)| work(&args[2..])))
        }
        None => {
            eprintln!("{called}: no test of that name. `selftests --list` prints the tests; link one to this program");
            ExitCode::FAILURE
        }
    }
}
