// SPDX-License-Identifier: GPL-2.0

//! Every order in which the processes can take their steps, looked at by the model checker.

use crate::{
    process::{
        AnyProcess,
        Automaton,
        Broken,
        Op, //
    },
    world, //
};
use stateright::{
    Checker,
    HasDiscoveries,
    Model,
    Property, //
};
use std::{
    fmt::Debug,
    hash::Hash, //
};

/// What the processes are at work on.
pub trait World: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    type Op: Op;
    /// What must not be.
    type Violation: Copy + Eq + Debug + Send + Sync;

    /// All processes with an end but this have come to it.
    const OTHERS_DONE: Self::Op;
    /// Those that are left wait for each other.
    const STUCK: Self::Violation;

    /// In how many ways a step can end.
    fn ways(&self, op: Self::Op) -> u8;

    /// Takes a step, in one of the ways that it can end; `None` if it has to wait.
    fn step(&mut self, op: Self::Op, way: u8, others_done: bool) -> Option<u8>;

    fn violation(&self) -> Option<Self::Violation>;

    fn fail(&mut self, violation: Self::Violation);
}

/// What one test is about: a world, and who is at work in it.
pub struct Scenario<W: World = world::World> {
    pub name: &'static str,
    pub world: W,
    pub processes: fn() -> Vec<AnyProcess<W::Op>>,
}

/// What came of a check.
pub struct Report<V> {
    pub states: usize,
    pub violation: Option<V>,
    /// How it came to that, a line for each step.
    pub trace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State<W> {
    world: W,
    at: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action<O> {
    Step {
        process: usize,
        way: u8,
        op: O,
    },
    /// Nobody can take any.
    Stop,
}

struct Processes<W: World> {
    begin: W,
    list: Vec<Automaton<W::Op>>,
    wanted: Option<W::Violation>,
}

const PROMISES: &str = "nothing that must not be";

impl<W: World> Processes<W> {
    fn others_done(&self, state: &State<W>, than: usize) -> bool {
        let done = |n: usize| {
            let automaton = &self.list[n];
            n == than || automaton.process.is_daemon() || automaton.op(state.at[n]).is_none()
        };
        (0..self.list.len()).all(done)
    }

    fn take(&self, state: &State<W>, process: usize, op: W::Op, way: u8) -> Option<State<W>> {
        let mut next = state.clone();
        let others_done = op == W::OTHERS_DONE && self.others_done(state, process);
        let answer = next.world.step(op, way, others_done)?;
        next.at[process] = self.list[process].next(state.at[process], answer);
        Some(next)
    }
}

impl<W: World> Model for Processes<W> {
    type State = State<W>;
    type Action = Action<W::Op>;

    fn init_states(&self) -> Vec<State<W>> {
        vec![State {
            world: self.begin.clone(),
            at: self.list.iter().map(Automaton::begin).collect(),
        }]
    }

    fn actions(&self, state: &State<W>, actions: &mut Vec<Action<W::Op>>) {
        if state.world.violation().is_some() {
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

    fn next_state(&self, state: &State<W>, action: Action<W::Op>) -> Option<State<W>> {
        match action {
            Action::Step { process, way, op } => self.take(state, process, op, way),
            Action::Stop => {
                let mut next = state.clone();
                next.world.fail(W::STUCK);
                Some(next)
            }
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(
            PROMISES,
            |model: &Self, state: &State<W>| {
                let violation = state.world.violation();
                violation.is_none() || model.wanted.is_some_and(|wanted| Some(wanted) != violation)
            },
        )]
    }
}

/// Looks at every order, up to the first violation; with `wanted`, to the first of that kind.
pub fn check<W: World>(
    scenario: &Scenario<W>,
    broken: Broken<W::Op>,
    wanted: Option<W::Violation>,
) -> Report<W::Violation> {
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
        report.violation = path.last_state().world.violation();
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
