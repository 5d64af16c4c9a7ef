// SPDX-License-Identifier: GPL-2.0

//! What the protocol's traits are implemented with: each method is the steps that C takes in it.

use crate::{
    process::{
        Cpu,
        Step, //
    },
    world::{
        Op,
        Source,
        ALL,
        BLOCKS, //
    },
};
use protocol::{
    fault,
    folio,
    writeback, //
};

/// A copy that was not made: the folio itself.
pub const NO_COPY: u8 = u8::MAX;

/// A dirty block of the folio under writeback.
pub struct Range<'a> {
    pub cpu: &'a Cpu<'a>,
    pub block: u8,
}

impl writeback::Range for Range<'_> {
    type Copy = (u8, Source);

    fn maybe_held(&self) -> bool {
        self.cpu.step(Step::CheckPins, Op::IsPinned) != 0
            || self.cpu.step(Step::CheckReferences, Op::HasOddReferences) != 0
    }

    fn copy(self) -> (u8, Source) {
        let read = Op::Read {
            source: Source::Folio,
            block: self.block,
        };
        let source = match self.cpu.step(Step::Copy, read) {
            NO_COPY => Source::Folio,
            value => Source::Copy(value),
        };
        (self.block, source)
    }
}

/// A bio, and what is in it.
pub struct Bio<'a> {
    cpu: &'a Cpu<'a>,
    n: u8,
    parts: Vec<(u8, Source)>,
}

impl<'a> Bio<'a> {
    pub fn new(cpu: &'a Cpu<'a>) -> Self {
        let n = cpu.other(Op::BioNew);
        let parts = Vec::new();
        Self { cpu, n, parts }
    }

    pub fn push(&mut self, block: u8, source: Source) {
        let bio = self.n;
        self.cpu.other(Op::BioAdd { bio, block, source });
        self.parts.push((block, source));
    }
}

impl<'a> writeback::Gather<Range<'a>> for Bio<'a> {
    type Added = ();

    fn add(&mut self, bytes: writeback::Stable<Range<'a>>) {
        let (block, source) = match bytes.into_bytes() {
            writeback::Bytes::Own(range) => (range.block, Source::Folio),
            writeback::Bytes::Copy(copy) => copy,
        };
        self.push(block, source);
    }
}

impl writeback::Io for Bio<'_> {
    type Submitted = u8;

    fn seal(&mut self) {
        let bio = self.n;
        for (block, source) in self.parts.iter().copied() {
            let guard = self.cpu.step(Step::Checksum, Op::Read { source, block });
            self.cpu.other(Op::BioGuard { bio, block, guard });
        }
    }

    fn submit(self) -> u8 {
        self.cpu
            .step(Step::DeviceSubmit, Op::BioSubmit { bio: self.n });
        self.n
    }
}

/// A bio that the device has finished.
pub struct Written<'a> {
    pub cpu: &'a Cpu<'a>,
    pub bio: u8,
    pub blocks: u8,
}

impl writeback::End for Written<'_> {
    type Result = ();

    fn record(&mut self) {
        for block in blocks(self.blocks) {
            let bio = self.bio;
            self.cpu.step(Step::Record, Op::Record { bio, block });
        }
    }

    fn end_writeback(self, (): ()) {
        for block in blocks(self.blocks) {
            self.cpu
                .step(Step::EndWriteback, Op::EndWriteback { block });
        }
        self.cpu.other(Op::BioFree { bio: self.bio });
    }
}

/// The blocks of a set.
pub fn blocks(set: u8) -> impl Iterator<Item = u8> {
    (0..BLOCKS as u8).filter(move |n| set & (1 << n) != 0)
}

/// Why a store is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// To be tried again.
    NotThere,
    /// The program is told.
    Failed,
}

/// A fault: what it holds is given up when these are dropped.
pub struct Fault<'a>(pub &'a Cpu<'a>);

pub struct Pagefault<'a>(&'a Cpu<'a>);

pub struct Invalidate<'a> {
    cpu: &'a Cpu<'a>,
    /// Given up before the other.
    _invalidate: InvalidateShared<'a>,
    _pagefault: Pagefault<'a>,
}

pub struct InvalidateShared<'a>(&'a Cpu<'a>);

pub struct FaultFolio<'a> {
    lock: Option<FolioLock<'a>>,
    fault: Invalidate<'a>,
}

pub struct FolioLock<'a>(&'a Cpu<'a>);

impl Drop for Pagefault<'_> {
    fn drop(&mut self) {
        self.0.step(Step::StartPagefault, Op::EndPagefault);
    }
}

impl Drop for InvalidateShared<'_> {
    fn drop(&mut self) {
        self.0.step(Step::InvalidateLock, Op::InvalidateSharedEnd);
    }
}

impl Drop for FolioLock<'_> {
    fn drop(&mut self) {
        self.0.step(Step::FaultLock, Op::Unlock);
    }
}

impl<'a> fault::WriteFault for Fault<'a> {
    type Started = Pagefault<'a>;

    fn sb_start_pagefault(self) -> Pagefault<'a> {
        self.0.step(Step::StartPagefault, Op::StartPagefault);
        Pagefault(self.0)
    }
}

impl<'a> fault::Started for Pagefault<'a> {
    type Error = Refused;
    type Invalidate = Invalidate<'a>;

    fn prepare(&mut self) -> Result<(), Refused> {
        Ok(())
    }

    fn file_update_time(&mut self) -> Result<(), Refused> {
        Ok(())
    }

    fn filemap_invalidate_lock_shared(self) -> Invalidate<'a> {
        let cpu = self.0;
        cpu.step(Step::InvalidateLock, Op::InvalidateShared);
        Invalidate {
            cpu,
            _invalidate: InvalidateShared(cpu),
            _pagefault: self,
        }
    }
}

impl<'a> fault::Invalidate for Invalidate<'a> {
    type Error = Refused;
    type Folio = FaultFolio<'a>;

    fn folio_lock(self) -> Result<FaultFolio<'a>, Refused> {
        self.cpu.step(Step::FaultLock, Op::Lock);
        Ok(FaultFolio {
            lock: Some(FolioLock(self.cpu)),
            fault: self,
        })
    }
}

impl folio::Locked for FaultFolio<'_> {
    type Error = Refused;

    fn check(&self) -> Result<usize, Refused> {
        let cpu = self.fault.cpu;
        if cpu.step(Step::CheckInFile, Op::IsInFile) == 0 {
            return Err(Refused::NotThere);
        }
        let inside = cpu.step(Step::CheckSize, Op::Inside);
        if inside == 0 {
            return Err(Refused::NotThere);
        }
        if cpu.step(Step::CheckUptodate, Op::IsUptodate) == 0 {
            return Err(Refused::Failed);
        }
        Ok(inside.into())
    }

    fn wait_for_writeback(&mut self) -> Result<(), Refused> {
        self.fault.cpu.step(Step::FaultWaits, Op::WaitWriteback);
        Ok(())
    }
}

impl<'a> fault::Folio for FaultFolio<'a> {
    type Outcome = FolioLock<'a>;

    fn reserve(&mut self, len: usize) -> Result<(), Refused> {
        let reserve = Op::Reserve { n: len as u8 };
        match self.fault.cpu.step(Step::Reserve, reserve) {
            0 => Err(Refused::Failed),
            _ => Ok(()),
        }
    }

    fn mark_dirty(&mut self) {
        let dirty = Op::MarkDirty { blocks: ALL };
        self.fault.cpu.step(Step::MarkDirty, dirty);
    }

    fn into_locked(mut self) -> FolioLock<'a> {
        self.lock.take().unwrap()
    }
}

/// The folio, locked by C: by `write`, or by truncation.
pub struct Folio<'a> {
    cpu: &'a Cpu<'a>,
    wait: Step,
}

impl<'a> Folio<'a> {
    pub fn lock(cpu: &'a Cpu<'a>, wait: Step) -> Self {
        cpu.other(Op::Lock);
        Self { cpu, wait }
    }
}

impl Drop for Folio<'_> {
    fn drop(&mut self) {
        self.cpu.other(Op::Unlock);
    }
}

impl folio::Locked for Folio<'_> {
    type Error = ();

    fn check(&self) -> Result<usize, ()> {
        match self.cpu.other(Op::IsInFile) {
            0 => Err(()),
            _ => Ok(BLOCKS),
        }
    }

    fn wait_for_writeback(&mut self) -> Result<(), ()> {
        self.cpu.step(self.wait, Op::WaitWriteback);
        Ok(())
    }
}
