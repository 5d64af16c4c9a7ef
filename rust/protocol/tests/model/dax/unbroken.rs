// SPDX-License-Identifier: GPL-2.0

//! With all steps in order, nothing goes wrong.

use super::{
    scenarios::{
        ALL_SCENARIOS,
        EVERYBODY, //
    },
    Broken, Scenario,
};
use crate::checker::check;
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
}
