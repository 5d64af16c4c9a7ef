// SPDX-License-Identifier: GPL-2.0

//! Files under random operations and fsyncs, and what of them must be there, may be there, and can never be there once
//! the power has failed.
//!
//! A task has a directory of its own. Each of its steps has a number, and changes what a name leads to, what is in some
//! sectors of a file, how long it is, or its attributes. Some promise that something is durable. After the last such step
//! that succeeded each thing is what it was then, or what a later step made of it:
//!
//! | promised by | durable |
//! | --- | --- |
//! | `fdatasync` | the data of the file, and its length |
//! | `fsync` | the same, its attributes, the names that it has, and that it has lost others |
//! | `O_DSYNC`, `msync` | the data written, as far as the file was not cut since |
//! | `O_SYNC` | the same, and of the file what `fsync` does |
//! | `fsync` of a directory | the names in it |
//! | `syncfs` | everything |
//!
//! What a step does depends on nothing but the seed and the steps before. So the past of a task that was killed with its
//! machine is found again from its seed and the number of its last step.

mod check;
mod content;
mod past;
mod plan;
mod step;
mod story;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::check::Durable;
pub use self::content::{stale, Takes};
use self::past::Past;
use self::step::Place;
use crate::seed::Bytes;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This step begins.
    Begins(u32),
    /// This step has promised something.
    Promised(u32),
}

/// One task: what it does, and what it has done.
pub struct Task {
    number: u32,
    random: Bytes,
    past: Past,
}

impl Task {
    /// Task `number`, on a device with sectors of `sector` bytes.
    pub fn new(number: u32, seed: u64, sector: u32) -> Self {
        Self {
            number,
            random: Bytes::new(seed, 0xda7a + u64::from(number)),
            past: Past::new(1 + number * 1_000_000, sector),
        }
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its directory.
    pub fn dir(&self, root: &Path) -> PathBuf {
        root.join(format!("task{}", self.number))
    }

    /// Does `n` steps below `root`, and closes all files. `tell` hears how far it is.
    ///
    /// # Errors
    /// The filesystem, or `tell`, fails.
    pub fn run(
        &mut self,
        root: &Path,
        n: u32,
        tell: impl Fn(Progress) -> Result<()>,
    ) -> Result<()> {
        let mut place = Place::new(self.dir(root));
        for _ in 0..n {
            let step = plan::plan(&self.past, &mut self.random);
            let number = self.past.step + 1;
            tell(Progress::Begins(number))?;
            place
                .carry_out(&step, number)
                .with_context(|| format!("task {}, step {number}, {step:?}", self.number))?;
            self.past.record(&step);
            if self.past.has_promised() {
                tell(Progress::Promised(number))?;
            }
        }
        Ok(())
    }

    /// Remembers `n` steps, without doing them.
    pub fn remember(&mut self, n: u32) {
        for _ in 0..n {
            let step = plan::plan(&self.past, &mut self.random);
            self.past.record(&step);
        }
    }

    /// Looks at what is below `root` after the power of a device that `takes` data in this way failed, with what was
    /// promised up to step `done`.
    ///
    /// # Errors
    /// Something is lost, or shows that cannot.
    pub fn check(&self, root: &Path, done: u32, takes: Takes) -> Result<()> {
        let durable = Durable::new(&self.past, done, takes);
        durable.check(&self.dir(root)).with_context(|| {
            format!(
                "task {}, with what it was promised up to step {done}",
                self.number
            )
        })
    }
}

#[cfg(test)]
mod tests;
