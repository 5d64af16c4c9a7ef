// SPDX-License-Identifier: GPL-2.0

//! Threads that begin together, again and again.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Barrier;
use std::thread;

/// Where they wait for each other.
pub enum Meeting {
    /// Of two, who are both running: so they really do begin together.
    OfTwo(AtomicUsize),
    /// Of more than there are processors.
    Of(Barrier),
}

impl Meeting {
    /// One of so many threads.
    pub fn of(threads: usize) -> Self {
        match threads {
            2 => Self::OfTwo(AtomicUsize::new(0)),
            _ => Self::Of(Barrier::new(threads)),
        }
    }

    /// Waits for all others, for the `nth` time, counted from 0.
    pub fn wait(&self, nth: usize) {
        match self {
            Self::OfTwo(came) => {
                came.fetch_add(1, Ordering::SeqCst);
                let mut turns = 0_u32;
                while came.load(Ordering::SeqCst) < (nth + 1) * 2 {
                    turns += 1;
                    match turns % 256 {
                        0 => thread::yield_now(),
                        _ => hint::spin_loop(),
                    }
                }
            }
            Self::Of(barrier) => drop(barrier.wait()),
        }
    }
}
