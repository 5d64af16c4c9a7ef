// SPDX-License-Identifier: GPL-2.0

//! With all steps in order, nothing goes wrong.

use crate::{
    actors::Disk,
    checker::{
        check,
        Scenario, //
    },
    process::Broken,
    scenarios::{
        ALL_SCENARIOS,
        EVERYBODY,
        EVERYBODY_TRUNCATED, //
    },
};
use protocol::direct;
use std::time::Instant;

fn goes_well(scenario: &Scenario) {
    let began = Instant::now();
    let report = check(scenario, Broken::Nothing, None);
    let (name, states) = (scenario.name, report.states);
    println!("{name}: {states} states, {:?}", began.elapsed());
    assert_eq!(report.violation, None, "{name}:\n{}", report.trace);
}

#[test]
fn nothing_goes_wrong() {
    for scenario in ALL_SCENARIOS {
        goes_well(scenario);
    }
}

#[test]
fn nothing_goes_wrong_with_everybody() {
    goes_well(&EVERYBODY);
    goes_well(&EVERYBODY_TRUNCATED);
}

#[test]
fn nothing_is_copied_for_a_device_without_checksums() {
    let source = |disk| direct::write((), &disk).into_parts().1;
    assert_eq!(source(Disk(false)), direct::Source::InPlace);
    assert_eq!(source(Disk(true)), direct::Source::Copy);
}
