// SPDX-License-Identifier: GPL-2.0

//! What was done last, to be shown when something is wrong.

use std::collections::VecDeque;

/// Operations that are kept.
const KEPT: usize = 40;

/// The last operations, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct History {
    done: u64,
    last: VecDeque<String>,
}

impl History {
    /// The number that the next operation gets.
    pub(super) fn next(&self) -> u64 {
        self.done + 1
    }

    /// Keeps an operation, before it is carried out.
    pub(super) fn add(&mut self, what: impl Into<String>) {
        self.done += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last
            .push_back(format!("{}: {}", self.done, what.into()));
    }

    /// Adds to the last one how it came out.
    pub(super) fn outcome(&mut self, outcome: &str) {
        if let Some(last) = self.last.back_mut() {
            last.push_str(" = ");
            last.push_str(outcome);
        }
    }

    /// The last operations, a line each.
    pub(super) fn show(&self) -> String {
        let lines: Vec<&str> = self.last.iter().map(String::as_str).collect();
        format!("the last operations:\n{}", lines.join("\n"))
    }
}
