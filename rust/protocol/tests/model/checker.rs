// SPDX-License-Identifier: GPL-2.0

//! Every order in which the processes can take their steps, looked at by the model checker.

use crate::{
    process::{
        Automaton,
        Broken,
        Process, //
    },
    world::{
        Op,
        Violation,
        World, //
    },
};
use stateright::{
    Checker,
    HasDiscoveries,
    Model,
    Property, //
};

/// What one test is about: a folio, and who is at work on it.
pub struct Scenario {
    pub name: &'static str,
    pub world: World,
    pub processes: fn() -> Vec<Box<dyn Process>>,
}

/// What came of a check.
pub struct Report {
    pub states: usize,
    pub violation: Option<Violation>,
    /// How it came to that, a line for each step.
    pub trace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    world: World,
    at: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Step {
        process: usize,
        way: u8,
        op: Op,
    },
    /// Nobody can take any.
    Stop,
}

struct Processes {
    begin: World,
    list: Vec<Automaton>,
    wanted: Option<Violation>,
}

const PROMISES: &str = "nothing that must not be";

impl Processes {
    fn others_done(&self, state: &State, than: usize) -> bool {
        let done = |n: usize| {
            let automaton = &self.list[n];
            n == than || automaton.process.is_daemon() || automaton.op(state.at[n]).is_none()
        };
        (0..self.list.len()).all(done)
    }

    fn take(&self, state: &State, process: usize, op: Op, way: u8) -> Option<State> {
        let mut next = state.clone();
        let others_done = op == Op::OthersDone && self.others_done(state, process);
        let answer = next.world.step(op, way, others_done)?;
        next.at[process] = self.list[process].next(state.at[process], answer);
        Some(next)
    }
}

impl Model for Processes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            world: self.begin.clone(),
            at: self.list.iter().map(Automaton::begin).collect(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.world.violation.is_some() {
            return;
        }
        for (process, automaton) in self.list.iter().enumerate() {
            let Some(op) = automaton.op(state.at[process]) else {
                continue;
            };
            if self.take(state, process, op, 0).is_some() {
                let ways = 0..state.world.ways(op);
                actions.extend(ways.map(|way| Action::Step { process, way, op }));
            }
        }
        if actions.is_empty() && !self.others_done(state, usize::MAX) {
            actions.push(Action::Stop);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        match action {
            Action::Step { process, way, op } => self.take(state, process, op, way),
            Action::Stop => {
                let mut next = state.clone();
                next.world.violation = Some(Violation::Stuck);
                Some(next)
            }
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(PROMISES, |model: &Self, state: &State| {
            let violation = state.world.violation;
            violation.is_none() || model.wanted.is_some_and(|wanted| Some(wanted) != violation)
        })]
    }
}

/// Looks at every order, up to the first violation; with `wanted`, to the first of that kind.
pub fn check(scenario: &Scenario, broken: Broken, wanted: Option<Violation>) -> Report {
    let list = (scenario.processes)()
        .into_iter()
        .map(|process| Automaton::new(process, broken))
        .collect();
    let begin = scenario.world.clone();
    let processes = Processes {
        begin,
        list,
        wanted,
    };
    let checker = processes
        .checker()
        .finish_when(HasDiscoveries::Any)
        .spawn_bfs()
        .join();
    let processes = checker.model();
    let mut report = Report {
        states: checker.unique_state_count(),
        violation: None,
        trace: String::new(),
    };
    if let Some(path) = checker.discovery(PROMISES) {
        report.violation = path.last_state().world.violation;
        for action in path.into_actions() {
            let line = match action {
                Action::Step { process, way, op } => {
                    let failed = if way == 0 { "" } else { ", which fails" };
                    let name = processes.list[process].process.name();
                    format!("  {name}: {op:?}{failed}\n")
                }
                Action::Stop => "  and nobody can go on\n".into(),
            };
            report.trace.push_str(&line);
        }
    }
    report
}
