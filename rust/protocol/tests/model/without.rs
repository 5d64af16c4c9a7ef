// SPDX-License-Identifier: GPL-2.0

//! Without any one step, or with two of them swapped, something goes wrong; and where nothing does,
//! the step is not what the promise depends on.

use crate::{
    checker::{
        check,
        Scenario, //
    },
    handles::NO_COPY,
    process::{
        Broken::{
            self,
            Early,
            Swapped,
            Without, //
        },
        Step, //
    },
    scenarios::*,
    world::{
        Op,
        Source,
        Violation,
        ALL,
        BLOCKS, //
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

/// The checksum of the first block, as it is in the folio.
const CHECKSUM: Op = Op::Read {
    source: Source::Folio,
    block: 0,
};

/// All blocks of the folio.
const ALL_INSIDE: u8 = BLOCKS as u8;

broken! {
    writeback_without_the_folio_lock: MAPPED, Without(Step::Lock, 1) => Guard;
    /// The race of 2011: a thread keeps storing through its writable mapping.
    writeback_without_write_protection: MAPPED, Without(Step::WriteProtect, 0) => Guard;
    one_mapping_is_not_write_protected: MAPPED, Without(Step::WriteProtectRest, 0) => Guard;
    a_tlb_is_not_flushed: MAPPED, Without(Step::FlushTlb, 0) => Guard;
    dirty_is_not_cleared: MAPPED, Without(Step::ClearDirty, 1) => DirtyLeft;
    dirty_is_cleared_after_the_copy:
        PINNED, Early { step: Step::Copy, op: CHECKSUM, before: Step::ClearDirty } => Lost;
    writeback_is_not_set: MAPPED, Without(Step::StartWriteback, 0) => Guard;
    writeback_is_not_set_and_fsync_returns: MAPPED, Without(Step::StartWriteback, 0) => Lost;
    writeback_is_set_after_the_lock: MAPPED, Swapped(Step::StartWriteback, Step::Unlock) => Guard;
    pins_are_not_checked: PINNED, Without(Step::CheckPins, 0) => Guard;
    pins_are_not_checked_of_two: LARGE, Without(Step::CheckPins, 0) => Guard;
    pins_are_checked_before_write_protection:
        PINNED, Early { step: Step::CheckPins, op: Op::IsPinned, before: Step::WriteProtect } => Guard;
    references_are_not_checked: REFERENCED, Without(Step::CheckReferences, 0) => Guard;
    references_are_checked_before_write_protection: REFERENCED,
        Early { step: Step::CheckReferences, op: Op::HasOddReferences, before: Step::WriteProtect }
        => Guard;
    pinned_bytes_are_not_copied: PINNED, Without(Step::Copy, NO_COPY) => Guard;
    /// Who unpins the folio finds it dirty because of another block, and says nothing of his own.
    pinned_folio_is_not_kept_dirty: HALF_PINNED, Without(Step::KeepDirty, 0) => Lost;
    /// C takes the blocks' dirty bits at the end of the ranges.
    pinned_folio_is_kept_dirty_before_that: HALF_PINNED,
        Early { step: Step::KeepDirty, op: Op::MarkDirty { blocks: ALL }, before: Step::Copy } => Lost;
    no_checksum: MAPPED, Without(Step::Checksum, 0) => Guard;
    checksum_before_the_copy:
        PINNED, Early { step: Step::Checksum, op: CHECKSUM, before: Step::Copy } => Guard;
    checksum_before_pins_are_checked:
        PINNED, Early { step: Step::Checksum, op: CHECKSUM, before: Step::CheckPins } => Guard;
    checksum_before_write_protection:
        MAPPED, Early { step: Step::Checksum, op: CHECKSUM, before: Step::WriteProtect } => Guard;
    submitted_before_the_checksum:
        MAPPED, Early { step: Step::DeviceSubmit, op: Op::BioSubmit { bio: 0 }, before: Step::Checksum }
        => Guard;
    never_submitted: MAPPED, Without(Step::DeviceSubmit, 0) => Stuck;
    writeback_ends_before_the_device_has_read:
        MAPPED, Swapped(Step::DeviceWrites, Step::EndWriteback) => Guard;
    writeback_never_ends: MAPPED, Without(Step::EndWriteback, 0) => Stuck;
    not_recorded: WRITTEN, Without(Step::Record, 0) => Lost;
    recorded_before_the_device_has_written:
        END_OF_FILE, Early { step: Step::Record, op: Op::Record { bio: 0, block: 0 }, before: Step::DeviceWrites }
        => Exposed;
    recorded_after_writeback_has_ended:
        END_OF_FILE, Early { step: Step::EndWriteback, op: Op::EndWriteback { block: 0 }, before: Step::Record }
        => Lost;
    fsync_does_not_wait: WRITTEN, Without(Step::WaitForEnd, 0) => Lost;

    fault_of_a_frozen_volume: FROZEN, Without(Step::StartPagefault, 0) => Frozen;
    fault_without_the_invalidate_lock: PUNCHED, Without(Step::InvalidateLock, 0) => NoRoom;
    invalidate_lock_after_the_folio_lock:
        TRUNCATED, Early { step: Step::FaultLock, op: Op::Lock, before: Step::InvalidateLock } => Stuck;
    fault_without_the_folio_lock: FAULTED, Without(Step::FaultLock, 1) => Guard;
    fault_of_a_folio_that_was_removed: INVALIDATED, Without(Step::CheckInFile, 1) => RoomLeft;
    fault_of_more_than_the_file_has: END_OF_FILE, Without(Step::CheckSize, ALL_INSIDE) => RoomLeft;
    fault_of_a_folio_that_is_not_uptodate: NOT_UPTODATE, Without(Step::CheckUptodate, 1) => Stale;
    checked_before_the_folio_lock:
        INVALIDATED, Early { step: Step::CheckInFile, op: Op::IsInFile, before: Step::FaultLock } => RoomLeft;
    fault_does_not_wait: FAULTED, Without(Step::FaultWaits, 0) => Guard;
    waited_before_the_folio_lock:
        FAULTED, Early { step: Step::FaultWaits, op: Op::WaitWriteback, before: Step::FaultLock } => Guard;
    /// If a failed write takes back the block that the fault had found.
    reserved_before_the_wait: TAKEN_BACK,
        Early { step: Step::Reserve, op: Op::Reserve { n: 1 }, before: Step::FaultWaits } => NoRoom;
    nothing_is_reserved: WRITTEN, Without(Step::Reserve, 1) => NoRoom;
    dirty_before_it_is_reserved: FULL,
        Early { step: Step::MarkDirty, op: Op::MarkDirty { blocks: 1 }, before: Step::Reserve } => NoRoom;
    /// C makes it so, too, unless the entry has gone meanwhile.
    fault_does_not_make_it_dirty: INVALIDATED, Without(Step::MarkDirty, 0) => RoomLeft;
    fault_returns_it_unlocked: FAULTED, Swapped(Step::SetWritable, Step::ReturnLocked) => Guard;

    write_does_not_wait: WRITTEN, Without(Step::WriteWaits, 0) => Guard;
    truncate_does_not_wait: TRUNCATED, Without(Step::TruncateWaits, 0) => Freed;

    pin_taker_does_not_look_again: PINNED, Without(Step::LookAgain, 1) => Guard;

    /// No step is missing: a pin outlives a hole, and what it is used for has no room then.
    a_pin_outlives_a_hole: PUNCHED_PINNED_EARLY, Broken::Nothing => NoRoom;
    /// No step is missing: reclaim lets go of a folio to which a processor can still store.
    reclaim_flushes_tlbs_late: RECLAIMED_LATE, Broken::Nothing => Guard;

    direct_write_without_a_copy: DIRECT_WRITE, Without(Step::BufferCopy, NO_COPY) => Guard;
    direct_read_is_not_read_again: DIRECT_READ, Without(Step::ReadAgain, NO_COPY) => FalseError;
    direct_read_is_not_verified: BAD_DISK, Without(Step::Verify, 1) => Unseen;
}

/// The folio is locked from before the first of these until after the last: nobody sees which came
/// first. C needs an order for its tags and statistics.
#[test]
fn what_happens_in_the_folio_lock_has_no_order() {
    for scenario in ALL_SCENARIOS {
        goes_well(scenario, Swapped(Step::WriteProtect, Step::ClearDirty));
        goes_well(scenario, Swapped(Step::ClearDirty, Step::StartWriteback));
    }
}

/// Nor of these: nobody who can take the folio from the file, or freeze the volume, waits for the other.
#[test]
fn these_of_the_fault_have_no_order() {
    for scenario in ALL_SCENARIOS {
        goes_well(
            scenario,
            Early {
                step: Step::FaultWaits,
                op: Op::WaitWriteback,
                before: Step::CheckInFile,
            },
        );
        goes_well(
            scenario,
            Early {
                step: Step::InvalidateLock,
                op: Op::InvalidateShared,
                before: Step::StartPagefault,
            },
        );
    }
}

/// The same, if the lock is kept until the I/O is submitted.
#[test]
fn submitting_in_the_folio_lock_is_allowed() {
    for scenario in ALL_SCENARIOS {
        goes_well(scenario, Swapped(Step::Unlock, Step::Submit));
    }
}

/// The last `fsync` finds all that became dirty again after the lock. One that comes between would
/// return too early, which is not looked at here; and nobody but the lock keeps the folio in its file.
#[test]
fn dirty_again_after_the_lock_is_late_only() {
    let broken = Early {
        step: Step::Lock,
        op: Op::Unlock,
        before: Step::KeepDirty,
    };
    goes_well(&HALF_PINNED, broken);
}

/// A folio stays dirty as long as it is pinned, so that nothing depends on who unpins it.
#[test]
fn unpinning_need_not_make_dirty() {
    for scenario in [&PINNED, &LARGE, &HALF_PINNED, &PUNCHED_PINNED] {
        goes_well(scenario, Without(Step::DirtyUnpinned, 0));
    }
}

/// As long as a failed write leaves the block with the file, which it does: what the fault had found
/// before it waited is still there afterwards.
#[test]
fn reserving_before_the_wait_is_harmless_without_taking_back() {
    let reserve = Op::Reserve { n: 1 };
    let (step, before) = (Step::Reserve, Step::FaultWaits);
    for scenario in [&FAILING, &END_OF_FILE] {
        let broken = Early {
            step,
            op: reserve,
            before,
        };
        goes_well(scenario, broken);
    }
}
