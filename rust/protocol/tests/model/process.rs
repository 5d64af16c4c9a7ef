// SPDX-License-Identifier: GPL-2.0

//! Ordinary code as a process that a model checker can stop, copy and resume.
//!
//! What code does next depends on nothing but the answers that it got so far. So it is run from its
//! beginning, is told those answers again, and is left, by unwinding, where it wants a new one. Where
//! that is becomes a node of the process, found once: from then on the process is an automaton.
//!
//! Code that may go round for ever is cut into phases: what is told again are the answers of this one.

use crate::world;
use std::{
    cell::Cell,
    collections::HashMap,
    hash::Hash,
    panic,
    sync::Mutex,
    thread, //
};

/// What can happen in one step, of one world.
pub trait Op: Copy + Eq + Hash + Send + Sync + std::fmt::Debug + 'static {}

/// What a step means to whoever takes it, so that it can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    // Writeback, by C:
    Lock,
    WriteProtect,
    WriteProtectRest,
    FlushTlb,
    ClearDirty,
    StartWriteback,
    WriteRanges,
    Unlock,
    Submit,
    WaitForEnd,
    // Writeback, by the protocol:
    KeepDirty,
    CheckPins,
    CheckReferences,
    Copy,
    Checksum,
    DeviceSubmit,
    DeviceWrites,
    Record,
    EndWriteback,
    // The fault:
    StartPagefault,
    InvalidateLock,
    FaultLock,
    CheckInFile,
    CheckSize,
    CheckUptodate,
    FaultWaits,
    Reserve,
    MarkDirty,
    SetWritable,
    ReturnLocked,
    // `write`, truncate, pins, direct I/O:
    WriteWaits,
    TruncateWaits,
    LookAgain,
    DirtyUnpinned,
    BufferCopy,
    ReadAgain,
    Verify,
    // A store to a block that is not there, by the filesystem:
    UnmapBefore,
    StartHandle,
    LockMap,
    LookUpAgain,
    Insert,
    UnlockMap,
    StopHandle,
    /// Only what is written is an answer.
    IsWritten,
    // By the protocol:
    Zero,
    CopyData,
    ZeroRest,
    WriteThrough,
    GiveBack,
    // By DAX:
    LockEntry,
    UnmapZeroes,
    SyncFault,
    /// `write()` copies from memory that it has seen to be mapped, and faults no more.
    DisableFaults,
    InvalidateZeroes,
    // Truncation:
    CleanFirst,
    BreakLayout,
    WaitUnpinned,
    Free,
    LockInvalidate,
    // The journal:
    CommitFlushes,
    CommitEnds,
    /// One that is never left out.
    Other,
}

/// What is wrong with the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken<O = world::Op> {
    Nothing,
    /// A step is not taken; its answer is made up.
    Without(Step, u8),
    /// Two steps of code that cannot be changed: the later one is taken before the earlier one, the
    /// first time in a phase, and when its turn comes its answer is remembered.
    Early {
        step: Step,
        op: O,
        before: Step,
    },
    /// Two steps of those that C takes in a row, the second of which comes first.
    Swapped(Step, Step),
}

/// What code talks to.
pub struct Cpu<'a, O = world::Op> {
    told: &'a [u8],
    next: Cell<usize>,
    wanted: Cell<Option<O>>,
    /// The answer to a step that was taken early, as long as it is not used; and whether it ever was.
    early: Cell<(Option<u8>, bool)>,
    broken: Broken<O>,
}

/// Where code is left.
struct Left;

impl<O: Op> Cpu<'_, O> {
    /// Takes a step.
    pub fn step(&self, step: Step, op: O) -> u8 {
        if thread::panicking() {
            // Something is dropped as the code is left.
            return 0;
        }
        match self.broken {
            Broken::Without(without, answer) if without == step => answer,
            Broken::Early {
                op: early, before, ..
            } if before == step && !self.early.get().1 => {
                self.early.set((Some(self.take(early)), true));
                self.take(op)
            }
            Broken::Early { step: early, .. } if early == step => {
                let (answer, was_early) = self.early.get();
                self.early.set((None, was_early));
                answer.unwrap_or_else(|| self.take(op))
            }
            _ => self.take(op),
        }
    }

    /// Takes a step that is never left out.
    pub fn other(&self, op: O) -> u8 {
        self.step(Step::Other, op)
    }

    /// Whether that step is left out.
    pub fn is_without(&self, step: Step) -> bool {
        matches!(self.broken, Broken::Without(without, _) if without == step)
    }

    /// Puts steps into the order in which they are taken.
    pub fn order<const N: usize>(&self, mut steps: [Step; N]) -> [Step; N] {
        if let Broken::Swapped(first, second) = self.broken {
            let place = |wanted| steps.iter().position(|step| *step == wanted);
            if let (Some(first), Some(second)) = (place(first), place(second)) {
                steps.swap(first, second);
            }
        }
        steps
    }

    fn take(&self, op: O) -> u8 {
        let next = self.next.get();
        match self.told.get(next) {
            Some(answer) => {
                self.next.set(next + 1);
                *answer
            }
            None => {
                self.wanted.set(Some(op));
                panic::resume_unwind(Box::new(Left));
            }
        }
    }
}

/// The phase after which nothing comes.
pub const END: u8 = u8::MAX;

/// Somebody who takes steps.
pub trait Process<O = world::Op>: Send + Sync {
    /// Does a phase, and returns the next.
    fn run(&self, cpu: &Cpu<'_, O>, phase: u8) -> u8;

    /// Whether it has no end.
    fn is_daemon(&self) -> bool {
        false
    }

    fn name(&self) -> String;
}

/// Somebody, whoever it is.
pub type AnyProcess<O = world::Op> = Box<dyn Process<O>>;

/// A process, as far as it is known.
pub struct Automaton<O> {
    pub process: AnyProcess<O>,
    broken: Broken<O>,
    nodes: Mutex<Nodes<O>>,
}

struct Nodes<O> {
    list: Vec<Node<O>>,
    phases: HashMap<u8, u16>,
}

struct Node<O> {
    phase: u8,
    told: Vec<u8>,
    /// What it does next; nothing at the end.
    op: Option<O>,
    next: HashMap<u8, u16>,
}

impl<O: Op> Automaton<O> {
    pub fn new(process: AnyProcess<O>, broken: Broken<O>) -> Self {
        Self {
            process,
            broken,
            nodes: Mutex::new(Nodes {
                list: Vec::new(),
                phases: HashMap::new(),
            }),
        }
    }

    /// Where it begins.
    pub fn begin(&self) -> u16 {
        self.phase(&mut self.nodes.lock().unwrap(), 0)
    }

    /// What it does next.
    pub fn op(&self, node: u16) -> Option<O> {
        self.nodes.lock().unwrap().list[usize::from(node)].op
    }

    /// Where it is after an answer.
    pub fn next(&self, node: u16, answer: u8) -> u16 {
        let nodes = &mut self.nodes.lock().unwrap();
        let from = &nodes.list[usize::from(node)];
        if let Some(next) = from.next.get(&answer) {
            return *next;
        }
        let phase = from.phase;
        let mut told = from.told.clone();
        told.push(answer);
        let next = self.find(nodes, phase, told);
        nodes.list[usize::from(node)].next.insert(answer, next);
        next
    }

    fn phase(&self, nodes: &mut Nodes<O>, phase: u8) -> u16 {
        match nodes.phases.get(&phase) {
            Some(node) => *node,
            None => {
                let node = self.find(nodes, phase, Vec::new());
                nodes.phases.insert(phase, node);
                node
            }
        }
    }

    fn find(&self, nodes: &mut Nodes<O>, phase: u8, told: Vec<u8>) -> u16 {
        if phase == END {
            return Self::add(nodes, phase, told, None);
        }
        let cpu = Cpu {
            told: &told,
            next: Cell::new(0),
            wanted: Cell::new(None),
            early: Cell::new((None, false)),
            broken: self.broken,
        };
        let run = panic::AssertUnwindSafe(|| self.process.run(&cpu, phase));
        let ended = panic::catch_unwind(run);
        let wanted = cpu.wanted.get();
        match ended {
            Ok(next) => self.phase(nodes, next),
            Err(left) if left.is::<Left>() => Self::add(nodes, phase, told, wanted),
            Err(panic) => panic::resume_unwind(panic),
        }
    }

    fn add(nodes: &mut Nodes<O>, phase: u8, told: Vec<u8>, op: Option<O>) -> u16 {
        let next = HashMap::new();
        nodes.list.push(Node {
            phase,
            told,
            op,
            next,
        });
        u16::try_from(nodes.list.len() - 1).unwrap()
    }
}
