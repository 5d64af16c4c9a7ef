// SPDX-License-Identifier: GPL-2.0

//! Who is at work on the folio. Where the protocol has no say, the steps are those of C.

use crate::{
    handles::{
        blocks,
        Bio,
        Fault,
        Folio,
        Range,
        Refused,
        Written,
        NO_COPY, //
    },
    process::{
        Cpu,
        Process,
        Step,
        END, //
    },
    world::{
        Op,
        Source,
        ALL,
        MAP_OF, //
    },
};
use protocol::{
    direct,
    fault::Faulted,
    folio::{
        Checked,
        Unchecked, //
    },
    writeback::{
        self,
        write_pages,
        Finished,
        Gathered,
        Pass,
        Protected,
        UnderWriteback, //
    },
};
use std::{
    cell::{
        Cell,
        RefCell, //
    },
    convert::Infallible,
};

/// What a thread gets when it wants to store.
enum Access {
    /// To try again.
    Again,
    Signal,
}

/// A store to a page that is not mapped for writing, as C handles it.
fn fault(cpu: &Cpu<'_>, map: u8) -> Access {
    if cpu.other(Op::MapRead { map }) == 0 {
        return Access::Signal;
    }
    let lock = match Faulted::new(Fault(cpu)).page_mkwrite() {
        Ok(lock) => lock,
        Err(Refused::NotThere) => return Access::Again,
        Err(Refused::Failed) => return Access::Signal,
    };
    let mut lock = Some(lock);
    for step in cpu.order([Step::SetWritable, Step::ReturnLocked]) {
        match step {
            Step::SetWritable => {
                if cpu.other(Op::SetWritable { map }) == 0 {
                    // The program may be killed before it tries again.
                    return Access::Signal;
                }
                cpu.other(Op::MarkDirty { blocks: ALL });
            }
            _ => drop(lock.take()),
        }
    }
    Access::Again
}

/// Stores to a block, once or more often.
pub struct Stores {
    pub cpu: u8,
    pub block: u8,
    /// The first, and the last; each is one more.
    pub values: (u8, u8),
}

impl Process for Stores {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        let (first, last) = self.values;
        let store = Op::Store {
            cpu: self.cpu,
            block: self.block,
            value: first + phase,
        };
        if cpu.other(store) != 0 {
            return if first + phase == last {
                END
            } else {
                phase + 1
            };
        }
        if cpu.other(Op::Walk { cpu: self.cpu }) == 0 {
            if let Access::Signal = fault(cpu, MAP_OF[usize::from(self.cpu)]) {
                return END;
            }
        }
        phase
    }

    fn name(&self) -> String {
        format!("stores by processor {}", self.cpu)
    }
}

/// What is dirty, written by C with the protocol called back.
struct FolioPass<'a, 'b> {
    written: &'b Writing<'a>,
    is_over: bool,
}

/// What is known while the folio is written.
struct Writing<'a> {
    cpu: &'a Cpu<'a>,
    /// In how many address spaces the folio is mapped.
    maps: u8,
    /// Which blocks of it are dirty and inside the file, as far as that was looked at.
    dirty: Cell<Option<u8>>,
    bio: RefCell<Option<Bio<'a>>>,
}

/// The folio of a pass, and what is left to be done from the end of its lock on.
struct PassFolio<'a, 'b> {
    written: &'b Writing<'a>,
    in_lock: Vec<Step>,
    rest: Vec<Step>,
}

/// What is done with a folio.
const WRITEBACK: [Step; 7] = [
    Step::Lock,
    Step::WriteProtect,
    Step::ClearDirty,
    Step::StartWriteback,
    Step::WriteRanges,
    Step::Unlock,
    Step::Submit,
];
/// How many of these steps C takes in `writeback_iter()`, and up to the end of
/// `iomap_writeback_folio()`.
const IN_ITER: usize = 3;
const IN_FOLIO: usize = 5;

impl Writing<'_> {
    fn dirty_blocks(&self) -> u8 {
        let dirty = self.dirty.get();
        let dirty = dirty.unwrap_or_else(|| self.cpu.other(Op::DirtyBlocks));
        self.dirty.set(Some(dirty));
        dirty
    }

    /// Takes a step, and returns whether the folio is to be written.
    fn take(&self, step: Step) -> bool {
        let cpu = self.cpu;
        match step {
            Step::Lock => {
                cpu.step(Step::Lock, Op::Lock);
                if cpu.other(Op::IsInFile) == 0 || cpu.other(Op::IsDirty) == 0 {
                    cpu.step(Step::Lock, Op::Unlock);
                    return false;
                }
                cpu.other(Op::WaitWriteback);
            }
            Step::WriteProtect => {
                for map in 0..self.maps {
                    let step = match map {
                        0 => Step::WriteProtect,
                        _ => Step::WriteProtectRest,
                    };
                    if cpu.step(step, Op::WriteProtect { map }) != 0 {
                        cpu.step(Step::FlushTlb, Op::Flush { map });
                    }
                }
            }
            Step::ClearDirty => {
                cpu.step(Step::ClearDirty, Op::ClearDirty);
            }
            Step::StartWriteback => {
                let blocks = self.dirty_blocks();
                cpu.step(Step::StartWriteback, Op::StartWriteback { blocks });
            }
            Step::WriteRanges => {
                let bio = &mut self.bio.borrow_mut();
                for block in blocks(self.dirty_blocks()) {
                    let mapped = UnderWriteback::new(block).map(|block| {
                        cpu.other(Op::Allocate { block });
                        Ok::<_, Infallible>(Range { cpu, block })
                    });
                    let Ok(mapped) = mapped;
                    mapped.write_to(bio.get_or_insert_with(|| Bio::new(cpu)));
                }
                cpu.other(Op::ClearDirtyBlocks);
            }
            Step::Unlock => {
                cpu.step(Step::Lock, Op::Unlock);
            }
            _ => {
                if let Some(bio) = self.bio.take() {
                    Gathered::new(bio).seal().submit();
                }
            }
        }
        true
    }
}

impl<'a, 'b> Pass for FolioPass<'a, 'b> {
    type Folio = PassFolio<'a, 'b>;
    type Error = ();

    fn next(&mut self, _last: Result<(), ()>) -> Option<PassFolio<'a, 'b>> {
        if core::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut steps = self.written.cpu.order(WRITEBACK).to_vec();
        let rest = steps.split_off(IN_FOLIO);
        let in_lock = steps.split_off(IN_ITER);
        let mut steps = steps.into_iter();
        steps
            .all(|step| self.written.take(step))
            .then_some(PassFolio {
                written: self.written,
                in_lock,
                rest,
            })
    }

    fn start_writeback(&mut self, folio: &Protected<PassFolio<'a, 'b>>) -> Result<(), ()> {
        for step in &folio.folio().in_lock {
            self.written.take(*step);
        }
        Ok(())
    }
}

impl writeback::Folio for PassFolio<'_, '_> {
    fn maybe_dma_pinned(&self) -> bool {
        self.written.cpu.other(Op::IsPinned) != 0
    }

    fn mark_dirty(&mut self) {
        let dirty = Op::MarkDirty { blocks: ALL };
        self.written.cpu.step(Step::KeepDirty, dirty);
    }

    fn unlock(self) {
        for step in self.rest {
            self.written.take(step);
        }
    }
}

/// Writes what is dirty, and waits for it.
fn fsync(cpu: &Cpu<'_>, maps: u8) {
    let written = Writing {
        cpu,
        maps,
        dirty: Cell::new(None),
        bio: RefCell::new(None),
    };
    write_pages(&mut FolioPass {
        written: &written,
        is_over: false,
    });
    cpu.step(Step::WaitForEnd, Op::WaitWriteback);
}

/// `fsync`, so many times.
pub struct Fsync {
    pub maps: u8,
    pub times: u8,
}

impl Process for Fsync {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        fsync(cpu, self.maps);
        if phase + 1 == self.times {
            END
        } else {
            phase + 1
        }
    }

    fn name(&self) -> String {
        "fsync".into()
    }
}

/// `fsync` after all others have ended, and a look at what it left.
pub struct LastFsync {
    pub maps: u8,
}

impl Process for LastFsync {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        cpu.other(Op::OthersDone);
        fsync(cpu, self.maps);
        cpu.other(Op::Judge);
        END
    }

    fn name(&self) -> String {
        "the last fsync".into()
    }
}

/// The device, and the end of what it has done.
pub struct Device;

impl Process for Device {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        let bio = cpu.other(Op::BioTake);
        let set = cpu.other(Op::BioBlocks { bio });
        let written = Written {
            cpu,
            bio,
            blocks: set,
        };
        let write = || {
            for block in blocks(set) {
                cpu.step(Step::DeviceWrites, Op::BioWrite { bio, block });
            }
        };
        match cpu.order([Step::DeviceWrites, Step::EndWriteback]) {
            [Step::DeviceWrites, _] => {
                write();
                Finished::new(written).record().end_writeback();
            }
            _ => {
                for block in blocks(set) {
                    cpu.other(Op::EndWriteback { block });
                }
                write();
                Finished::new(written).record().end_writeback();
            }
        }
        0
    }

    fn is_daemon(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        "the device".into()
    }
}

/// What is held of a page by who writes to it without a page-table entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A pin, as of a device that reads into the page.
    Pin,
    /// A reference, as of `/proc/PID/mem` and ptrace.
    Reference,
}

/// Stores to a page that is held, and says so at the end.
pub struct Holder {
    pub hold: Hold,
    pub map: u8,
    pub block: u8,
    pub value: u8,
}

impl Holder {
    /// Takes hold of the page, if that may be written to, as the fast path of GUP.
    fn take_fast(&self, cpu: &Cpu<'_>) -> bool {
        if cpu.other(Op::IsWritable { map: self.map }) == 0 {
            return false;
        }
        cpu.other(Op::TakePin);
        if cpu.step(Step::LookAgain, Op::IsWritable { map: self.map }) != 0 {
            return true;
        }
        cpu.other(Op::DropPin);
        false
    }

    /// As its slow path.
    fn take_slow(&self, cpu: &Cpu<'_>) -> bool {
        let map = self.map;
        let take = match self.hold {
            Hold::Pin => Op::TakePinIfWritable { map },
            Hold::Reference => Op::TakeRefIfWritable { map },
        };
        cpu.other(take) != 0
    }
}

impl Process for Holder {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        match phase {
            0 if self.hold == Hold::Pin && self.take_fast(cpu) => 2,
            0 => 1,
            1 if self.take_slow(cpu) => 2,
            1 => match fault(cpu, self.map) {
                Access::Again => 1,
                Access::Signal => END,
            },
            2 => {
                let (block, value) = (self.block, self.value);
                cpu.other(Op::StoreByPin { block, value });
                3
            }
            _ => {
                if self.hold == Hold::Reference || cpu.other(Op::IsDirty) == 0 {
                    cpu.other(Op::Lock);
                    cpu.step(Step::DirtyUnpinned, Op::MarkDirty { blocks: ALL });
                    cpu.other(Op::Unlock);
                }
                cpu.other(match self.hold {
                    Hold::Pin => Op::DropPin,
                    Hold::Reference => Op::DropRef,
                });
                END
            }
        }
    }

    fn name(&self) -> String {
        match self.hold {
            Hold::Pin => "who has a pin".into(),
            Hold::Reference => "who has a reference".into(),
        }
    }
}

/// `write()` of a block.
pub struct Writes {
    pub block: u8,
    pub value: u8,
}

impl Process for Writes {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        let (block, value) = (self.block, self.value);
        if cpu.other(Op::Reserve { n: block + 1 }) == 0 {
            return END;
        }
        let folio = Unchecked::new(Folio::lock(cpu, Step::WriteWaits));
        if let Ok(mut quiet) = folio.check().and_then(Checked::wait_for_writeback) {
            quiet.change(|_, _| {
                cpu.other(Op::Write { block, value });
                cpu.other(Op::MarkDirty { blocks: 1 << block });
            });
        }
        END
    }

    fn name(&self) -> String {
        "write()".into()
    }
}

/// Truncation of the file to 0.
pub struct Truncates {
    pub maps: u8,
}

impl Process for Truncates {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        cpu.other(Op::Invalidate);
        cpu.other(Op::SetSize { n: 0 });
        for map in 0..self.maps {
            cpu.other(Op::Unmap { map });
        }
        let folio = Unchecked::new(Folio::lock(cpu, Step::TruncateWaits));
        if let Ok(mut quiet) = folio.check().and_then(Checked::wait_for_writeback) {
            quiet.change(|_, _| {
                cpu.other(Op::Remove);
            });
        }
        cpu.other(Op::Free { from: 0 });
        cpu.other(Op::InvalidateEnd);
        END
    }

    fn name(&self) -> String {
        "truncate".into()
    }
}

/// A hole is punched into the second block of the folio, which stays.
pub struct Punches {
    pub maps: u8,
}

impl Process for Punches {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        match phase {
            0 => {
                cpu.other(Op::Invalidate);
                fsync(cpu, self.maps);
                1
            }
            _ => {
                let folio = Unchecked::new(Folio::lock(cpu, Step::TruncateWaits));
                if let Ok(mut quiet) = folio.check().and_then(Checked::wait_for_writeback) {
                    quiet.change(|_, _| {
                        cpu.other(Op::Write { block: 1, value: 0 });
                    });
                }
                cpu.other(Op::Free { from: 1 });
                cpu.other(Op::InvalidateEnd);
                END
            }
        }
    }

    fn name(&self) -> String {
        "fallocate()".into()
    }
}

/// A direct write elsewhere, or the like, that wants no page cache there: only what is dirty stays.
pub struct Invalidates {
    pub maps: u8,
}

impl Process for Invalidates {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        let unmap = || {
            for map in 0..self.maps {
                cpu.other(Op::Unmap { map });
            }
        };
        unmap();
        let folio = Unchecked::new(Folio::lock(cpu, Step::Other));
        if let Ok(mut quiet) = folio.check().and_then(Checked::wait_for_writeback) {
            quiet.change(|_, _| {
                unmap();
                if cpu.other(Op::IsDirty) == 0 {
                    cpu.other(Op::Remove);
                }
            });
        }
        END
    }

    fn name(&self) -> String {
        "who invalidates the page cache".into()
    }
}

/// Memory reclaim unmaps the folio, finds it dirty and lets go of it; TLBs are flushed later, for many
/// folios at a time.
pub struct Reclaims {
    pub flushes_late: bool,
}

impl Process for Reclaims {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        let map = 0;
        cpu.other(Op::Lock);
        cpu.other(if self.flushes_late {
            Op::UnmapUnflushed { map }
        } else {
            Op::Unmap { map }
        });
        cpu.other(Op::Unlock);
        if self.flushes_late {
            cpu.other(Op::Flush { map });
        }
        END
    }

    fn name(&self) -> String {
        "memory reclaim".into()
    }
}

/// The volume is frozen, and thawed.
pub struct Freezes {
    pub maps: u8,
}

impl Process for Freezes {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        match phase {
            0 => {
                cpu.other(Op::FreezeStart);
                cpu.other(Op::FreezeWait);
                1
            }
            1 => {
                fsync(cpu, self.maps);
                2
            }
            _ => {
                cpu.other(Op::FreezeEnd);
                cpu.other(Op::Thaw);
                END
            }
        }
    }

    fn name(&self) -> String {
        "freeze".into()
    }
}

/// Changes the memory that a direct write is from, or a direct read to.
pub struct ChangesBuffer {
    pub values: (u8, u8),
}

impl Process for ChangesBuffer {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        let (first, last) = self.values;
        let value = first + phase;
        cpu.other(Op::StoreBuffer { value });
        if value == last {
            END
        } else {
            phase + 1
        }
    }

    fn name(&self) -> String {
        "who changes the buffer".into()
    }
}

/// A device, and whether it has checksums.
pub struct Disk(pub bool);

impl direct::Checks for Disk {
    fn has_checksums(&self) -> bool {
        self.0
    }
}

/// A direct write of the first block.
pub struct DirectWrites;

impl Process for DirectWrites {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        let write = direct::write((), &Disk(true));
        let mut bio = Bio::new(cpu);
        let buffer = Op::Read {
            source: Source::Buffer,
            block: 0,
        };
        let source = match write.into_parts().1 {
            direct::Source::InPlace => Source::Buffer,
            direct::Source::Copy => match cpu.step(Step::BufferCopy, buffer) {
                NO_COPY => Source::Buffer,
                value => Source::Copy(value),
            },
        };
        bio.push(0, source);
        let bio = Gathered::new(bio).seal().submit();
        cpu.step(Step::WaitForEnd, Op::BioWait { bio });
        END
    }

    fn name(&self) -> String {
        "a direct write".into()
    }
}

/// A direct read of the first block.
pub struct DirectReads {
    pub is_sync: bool,
}

struct Reading<'a> {
    cpu: &'a Cpu<'a>,
    is_sync: bool,
}

impl direct::DirectRead for Reading<'_> {
    type Done = ();
    type Error = ();

    fn is_sync(&self) -> bool {
        self.is_sync
    }

    fn read(&mut self, target: direct::Target) -> Result<(), direct::Failure<()>> {
        let cpu = self.cpu;
        let value = match target {
            direct::Target::InPlace => {
                cpu.other(Op::ReadDiskToBuffer);
                cpu.other(Op::Read {
                    source: Source::Buffer,
                    block: 0,
                })
            }
            direct::Target::Private => match cpu.step(Step::ReadAgain, Op::ReadDisk) {
                NO_COPY => return Err(direct::Failure::Mismatch(())),
                value => value,
            },
        };
        if cpu.step(Step::Verify, Op::Verify { value }) == 0 {
            return Err(direct::Failure::Mismatch(()));
        }
        if target == direct::Target::Private {
            cpu.other(Op::StoreBuffer { value });
        }
        Ok(())
    }
}

impl Process for DirectReads {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        let mut reading = Reading {
            cpu,
            is_sync: self.is_sync,
        };
        let ok = direct::read(&mut reading).is_ok();
        cpu.other(Op::ReadEnded { ok });
        END
    }

    fn name(&self) -> String {
        "a direct read".into()
    }
}
