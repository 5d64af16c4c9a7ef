// SPDX-License-Identifier: GPL-2.0

//! Without any one step, or with two of them swapped, something goes wrong; and where nothing does,
//! the step is not what the promise depends on.

use super::{
    scenarios::*,
    world::{
        Op,
        Violation,
        World, //
    },
    Broken, Scenario,
};
use crate::{
    checker::check,
    process::{
        Broken::{
            Early,
            Nothing,
            Swapped,
            Without, //
        },
        Step, //
    },
};

fn goes_wrong(scenario: &Scenario, broken: Broken, violation: Violation) {
    let report = check(scenario, broken, Some(violation));
    println!(
        "{}, {broken:?}: {:?} in {} states\n{}",
        scenario.name, report.violation, report.states, report.trace
    );
    assert_eq!(report.violation, Some(violation));
}

fn goes_well(scenario: &Scenario, broken: Broken) {
    let report = check(scenario, broken, None);
    println!("{}, {broken:?}: {} states", scenario.name, report.states);
    assert_eq!(report.violation, None, "{}", report.trace);
}

/// A test for each: its name, who is at work, what is wrong, and what comes of it.
macro_rules! broken {
    ($($(#[$doc:meta])* $name:ident: $scenario:ident, $broken:expr => $violation:ident;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                goes_wrong(&$scenario, $broken, Violation::$violation);
            }
        )*
    };
}

/// As the first store to a hole does it.
const INSERT: Op = Op::Insert {
    block: 0,
    copied: 0,
};
const INSERT_EARLY: Broken = Early {
    step: Step::Insert,
    op: INSERT,
    before: Step::Zero,
};
const STOP_EARLY: Broken = Early {
    step: Step::StopHandle,
    op: Op::StopHandle,
    before: Step::Zero,
};

/// A volume on which blocks can be taken again at once.
const REUSED: Scenario = Scenario {
    world: World {
        reuses_early: true,
        ..World::WRITTEN
    },
    ..TRUNCATED_DATA
};

broken! {
    /// The race that other filesystems have: `write()` fills the page that a fault has yet to zero.
    unwritten_is_let_through_to_the_fault: UNWRITTEN, Without(Step::IsWritten, 1) => Lost;
    unwritten_is_let_through_to_the_fault_of_a_hole: HOLE, Without(Step::IsWritten, 1) => Lost;
    /// So do two faults, if nothing but what the filesystem does keeps them apart.
    unwritten_is_let_through_to_two_faults: TWO_FAULTS, Without(Step::IsWritten, 1) => Lost;
    unwritten_is_let_through_to_everybody: EVERYBODY, Without(Step::IsWritten, 1) => Lost;
    not_zeroed: LOOKED_AT, Without(Step::Zero, 1) => Exposed;
    not_zeroed_and_power_fails: HOLE, Without(Step::Zero, 1) => ExposedByCrash;
    inserted_before_it_is_zeroed_and_read: LOOKED_AT, INSERT_EARLY => Exposed;
    inserted_before_it_is_zeroed_and_written_to: HOLE, INSERT_EARLY => Lost;
    rest_is_not_zeroed: HOLE, Without(Step::ZeroRest, 1) => ExposedByCrash;
    data_are_not_copied: HOLE, Without(Step::CopyData, 0) => ExposedByCrash;
    zeroes_stay_in_the_caches: HOLE, Without(Step::WriteThrough, 0) => ExposedByCrash;
    committed_before_the_device_has_the_zeroes: HOLE, Without(Step::CommitFlushes, 0) => ExposedByCrash;
    flushed_after_the_commit:
        HOLE, Swapped(Step::CommitFlushes, Step::CommitEnds) => ExposedByCrash;
    /// The bitmap and the tree are not of one transaction.
    handle_is_stopped_before_the_insertion: HOLE, STOP_EARLY => Inconsistent;
    not_given_back: FAILING, Without(Step::GiveBack, 0) => Inconsistent;
    not_given_back_when_nothing_was_copied: FROM_ITSELF, Without(Step::GiveBack, 0) => Inconsistent;

    looked_up_before_the_lock: ALONE,
        Early { step: Step::LookUpAgain, op: Op::Lookup, before: Step::LockMap } => Lost;
    looked_up_before_the_lock_and_written: HOLE,
        Early { step: Step::LookUpAgain, op: Op::Lookup, before: Step::LockMap } => Inconsistent;
    not_looked_up_again: HOLE, Without(Step::LookUpAgain, 0) => Inconsistent;
    map_is_not_locked: HOLE, Without(Step::LockMap, 1) => Lost;
    map_is_unlocked_before_the_insertion: HOLE,
        Early { step: Step::UnlockMap, op: Op::Unlock(super::world::Lock::Map), before: Step::Zero } => Lost;

    copy_with_faults: FROM_ITSELF, Without(Step::DisableFaults, 0) => Stuck;
    zeroes_stay_mapped: LOADED, Without(Step::InvalidateZeroes, 0) => Lost;
    zeroes_are_unmapped_before_the_insertion:
        LOADED, Swapped(Step::Insert, Step::InvalidateZeroes) => Lost;
    zeroes_are_unmapped_in_the_handle:
        LOADED, Swapped(Step::StopHandle, Step::InvalidateZeroes) => Stuck;
    /// C unmaps them, too, but later: in between, `write()` finds data to write over.
    zeroes_stay_mapped_when_the_fault_inserts: LOADED, Without(Step::UnmapBefore, 0) => Lost;
    entry_is_not_locked: LOOKED_AT, Without(Step::LockEntry, 1) => Lost;
    sync_fault_does_not_commit: SYNC, Without(Step::SyncFault, 0) => LostByCrash;

    fault_without_the_invalidate_lock: TRUNCATED, Without(Step::InvalidateLock, 1) => Freed;
    truncate_without_the_invalidate_lock: TRUNCATED, Without(Step::LockInvalidate, 1) => Freed;
    freed_before_it_is_unmapped: TRUNCATED, Swapped(Step::BreakLayout, Step::Free) => Freed;
    not_unmapped: TRUNCATED, Without(Step::BreakLayout, 0) => Freed;
    pins_are_not_waited_for: PINNED, Without(Step::WaitUnpinned, 0) => Freed;
    /// C takes the entry away, and with it that it is dirty: `fsync()` finds nothing to flush.
    entries_are_not_cleaned_before_they_go: APPENDED, Without(Step::CleanFirst, 0) => LostByCrash;
    not_freed: TRUNCATED_DATA, Without(Step::Free, 0) => CameBack;
    not_freed_and_power_fails: TRUNCATED_DATA, Without(Step::Free, 0) => CameBackByCrash;
    /// No step is missing: who takes what was freed too early zeroes what a crash brings back.
    freed_blocks_are_taken_too_early: REUSED, Nothing => LostByCrash;
}

/// What the filesystem does is enough to keep stores apart. What C has its lock for is who has the page of
/// zeroes mapped.
#[test]
fn stores_do_not_need_the_lock_of_the_entry() {
    for scenario in [&HOLE, &UNWRITTEN, &TRUNCATED, &TWO_FAULTS] {
        goes_well(scenario, Without(Step::LockEntry, 1));
    }
}

/// It is done before, so `dax_insert_entry()` finds none.
#[test]
fn zeroes_need_not_be_unmapped_later() {
    for scenario in [&HOLE, &LOOKED_AT, &LOADED, &FROM_ITSELF] {
        goes_well(scenario, Without(Step::UnmapZeroes, 0));
    }
}

/// As long as everybody locks the map first. Writeback has a handle by then, and the fault may not be
/// the only one to do it the other way round.
#[test]
fn handle_and_map_have_no_order_of_their_own() {
    for scenario in [&HOLE, &TRUNCATED, &SYNC_TRUNCATED] {
        goes_well(scenario, Swapped(Step::StartHandle, Step::LockMap));
    }
}
