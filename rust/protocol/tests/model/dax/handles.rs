// SPDX-License-Identifier: GPL-2.0

//! What the protocol's traits are implemented with, and what the filesystem does around them.

use super::{
    actors::fault_in,
    world::{
        Lock,
        Op,
        Tree,
        NONE,
        WORDS, //
    },
    Cpu,
};
use crate::process::Step;
use core::num::NonZeroUsize;
use protocol::initialise::{
    self,
    Fresh,
    Written, //
};

/// All words of a block.
const ALL: u8 = (1 << WORDS) - 1;

/// Why a store fails.
pub struct Failed;

/// What the file was found to have, in the lock of its map or out of it.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    cpu: &'a Cpu<'a>,
    pub tree: Tree,
}

impl<'a> Found<'a> {
    pub fn look_up(cpu: &'a Cpu<'a>, step: Step) -> Self {
        let tree = Tree::from_answer(cpu.step(step, Op::Lookup));
        Self { cpu, tree }
    }
}

impl initialise::Extent for Found<'_> {
    fn is_written(&self) -> bool {
        let is_let_through = self.cpu.is_without(Step::IsWritten);
        match self.tree {
            Tree::Hole => false,
            Tree::Unwritten(_) => is_let_through,
            Tree::Written(_) => true,
        }
    }
}

/// A started handle. It is stopped when this is dropped.
pub struct Handle<'a>(&'a Cpu<'a>);

impl<'a> Handle<'a> {
    pub fn start(cpu: &'a Cpu<'a>) -> Self {
        cpu.step(Step::StartHandle, Op::StartHandle);
        Self(cpu)
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        self.0.step(Step::StopHandle, Op::StopHandle);
    }
}

/// The lock of the file's map.
struct MapLock<'a>(&'a Cpu<'a>);

impl<'a> MapLock<'a> {
    fn lock(cpu: &'a Cpu<'a>) -> Self {
        cpu.step(Step::LockMap, Op::Lock(Lock::Map));
        Self(cpu)
    }
}

impl Drop for MapLock<'_> {
    fn drop(&mut self) {
        self.0.step(Step::UnlockMap, Op::Unlock(Lock::Map));
    }
}

/// The right to change what the file has.
pub struct Changing<'a> {
    /// Given up before the other.
    _map: Option<MapLock<'a>>,
    _handle: Option<Handle<'a>>,
}

impl<'a> Changing<'a> {
    pub fn start(cpu: &'a Cpu<'a>) -> Self {
        let (mut handle, mut map) = (None, None);
        for step in cpu.order([Step::StartHandle, Step::LockMap]) {
            match step {
                Step::StartHandle => handle = Some(Handle::start(cpu)),
                _ => map = Some(MapLock::lock(cpu)),
            }
        }
        Self {
            _map: map,
            _handle: handle,
        }
    }
}

/// What `write()` copies to the page.
#[derive(Clone, Copy)]
pub struct Data {
    pub word: u8,
    pub value: u8,
    /// Where it is: in the page itself, as mapped there. Otherwise in memory of its own.
    pub map: Option<u8>,
}

/// A block that the file gets, or an unwritten one that it has.
struct Blocks<'a> {
    cpu: &'a Cpu<'a>,
    block: u8,
    is_new: bool,
    /// Words that data have been copied to.
    copied: u8,
}

impl<'a> Blocks<'a> {
    /// What is to become data where the file has nothing.
    fn take(found: Found<'a>) -> Result<Self, Failed> {
        let cpu = found.cpu;
        let (block, is_new) = match found.tree.block() {
            Some(block) => (block, false),
            None => (cpu.other(Op::TakeBlock), true),
        };
        if block == NONE {
            return Err(Failed);
        }
        Ok(Self {
            cpu,
            block,
            is_new,
            copied: 0,
        })
    }

    fn zero_words(&mut self, step: Step, words: u8) -> Result<(), Failed> {
        let block = self.block;
        if self.cpu.step(step, Op::Zero { block, words }) == 0 {
            return Err(Failed);
        }
        self.cpu
            .step(Step::WriteThrough, Op::WriteThrough { block });
        Ok(())
    }
}

impl<'a> initialise::Blocks for Blocks<'a> {
    type Extent = Found<'a>;
    type Error = Failed;

    fn insert(&mut self) -> Result<Found<'a>, Failed> {
        let (block, copied) = (self.block, self.copied);
        let (cpu, tree) = (self.cpu, Tree::Written(block));
        match cpu.step(Step::Insert, Op::Insert { block, copied }) {
            0 => Err(Failed),
            _ => Ok(Found { cpu, tree }),
        }
    }

    fn give_back(&mut self) {
        if self.is_new {
            let block = self.block;
            self.cpu.step(Step::GiveBack, Op::GiveBack { block });
        }
    }
}

impl<'a> initialise::New for Blocks<'a> {
    fn insert_unwritten(&mut self) -> Result<Found<'a>, Failed> {
        let (cpu, block) = (self.cpu, self.block);
        cpu.step(Step::Insert, Op::InsertUnwritten { block });
        let tree = Tree::Unwritten(block);
        Ok(Found { cpu, tree })
    }
}

impl initialise::Zero for Blocks<'_> {
    fn zero(&mut self) -> Result<(), Failed> {
        self.zero_words(Step::Zero, ALL)
    }
}

impl initialise::Fill<Data> for Blocks<'_> {
    fn copy(&mut self, data: Data) -> Result<usize, Failed> {
        let Data { word, value, map } = data;
        if let Some(map) = map {
            if self.cpu.other(Op::IsMapped { map }) == 0 {
                if !self.cpu.is_without(Step::DisableFaults) {
                    return Ok(0);
                }
                fault_in(self.cpu, map);
            }
        }
        let block = self.block;
        self.cpu
            .step(Step::CopyData, Op::Copy { block, word, value });
        self.copied = 1 << word;
        Ok(1)
    }

    /// There is but one.
    fn shorten(&mut self, _copied: NonZeroUsize) {}

    fn zero_rest(&mut self, _copied: NonZeroUsize) -> Result<(), Failed> {
        self.zero_words(Step::ZeroRest, ALL & !self.copied)
    }
}

/// Sees to it that the file has data in the page, for a store through a mapping.
pub fn for_store<'a>(cpu: &'a Cpu<'a>) -> Result<Written<Found<'a>>, Failed> {
    let found = Written::found(Found::look_up(cpu, Step::Other));
    if let Ok(written) = found {
        return Ok(written);
    }
    // Who writes to what is found then has no reason to. Nobody maps zeroes before the entry is unlocked.
    cpu.step(Step::UnmapBefore, Op::Unmap);
    let _changing = Changing::start(cpu);
    let found = match Written::found(Found::look_up(cpu, Step::LookUpAgain)) {
        Ok(written) => return Ok(written),
        Err(found) => found,
    };
    let fresh = Fresh::new(Blocks::take(found)?);
    if cpu.is_without(Step::IsWritten) {
        // What is wrong then, and no type allows: an unwritten extent is an answer.
        return Written::found(fresh.insert_unwritten()?).map_err(|_| Failed);
    }
    fresh.zero()?.insert()
}

/// What `write()` is to go on with.
pub enum ToWrite<'a> {
    /// To copy to what is there.
    Over(u8),
    /// Nothing but to have the file seen as it is.
    Filled(Changing<'a>),
    /// Its data were not there to be copied.
    Nothing,
}

/// Has data be in the page, or finds that there are some.
pub fn for_write<'a>(cpu: &'a Cpu<'a>, data: Data) -> Result<ToWrite<'a>, Failed> {
    if let Tree::Written(block) = Found::look_up(cpu, Step::Other).tree {
        return Ok(ToWrite::Over(block));
    }
    let changing = Changing::start(cpu);
    let found = Found::look_up(cpu, Step::LookUpAgain);
    if let Tree::Written(block) = found.tree {
        return Ok(ToWrite::Over(block));
    }
    let Some(filled) = Fresh::new(Blocks::take(found)?).fill(data)? else {
        return Ok(ToWrite::Nothing);
    };
    let _ = filled.insert()?;
    if cpu.other(Op::IsInside) == 0 {
        cpu.other(Op::SetSize { is_inside: true });
    }
    Ok(ToWrite::Filled(changing))
}
