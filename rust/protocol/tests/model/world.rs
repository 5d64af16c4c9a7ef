// SPDX-License-Identifier: GPL-2.0

//! What the processors, the device and the kernel have of one folio of a file, and what can happen to
//! it in one step that nobody sees the half of.
//!
//! The folio has two blocks, the smallest with a beginning and a rest. A block has one value at a time;
//! a checksum is the value itself. What is at work on it is in `process` and in `actors`.

use crate::{
    checker::{
        self,
        World as _, //
    },
    process, //
};

/// Blocks of the folio.
pub const BLOCKS: usize = 2;
/// Address spaces in which it is mapped.
pub const MAPS: usize = 2;
/// Which of them each processor uses: two share one.
pub const MAP_OF: [u8; 3] = [0, 1, 0];
/// All blocks of the folio, as a set.
pub const ALL: u8 = 0b11;

/// An entry of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pte {
    None,
    ReadOnly,
    Writable,
}

/// What a block of the file is on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    Hole,
    Reserved,
    Unwritten,
    Written,
}

/// Where the device takes bytes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The folio.
    Folio,
    /// A copy of this value.
    Copy(u8),
    /// The memory of somebody who writes without the page cache.
    Buffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    pub block: u8,
    pub source: Source,
    /// The checksum; 0 is none.
    pub guard: u8,
    pub written: bool,
    pub failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BioState {
    Free,
    Open,
    Submitted,
    AtDevice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bio {
    pub state: BioState,
    pub parts: [Option<Part>; BLOCKS],
}

impl Bio {
    const FREE: Self = Self {
        state: BioState::Free,
        parts: [None; BLOCKS],
    };
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// The device got bytes that do not match their checksum.
    Guard,
    /// What was stored is not on the disk after the last `fsync`.
    Lost,
    /// The device wrote to a block that is not the file's any more.
    Freed,
    /// The disk says that a block is data, and it has what it had before.
    Exposed,
    /// What is dirty has neither a block nor room for one.
    NoRoom,
    /// Room is reserved for what is not dirty.
    RoomLeft,
    /// A folio is dirty, and nobody writes it.
    DirtyLeft,
    /// Something became dirty while the volume was frozen.
    Frozen,
    /// A folio that is not up to date became dirty.
    Stale,
    /// A read failed, and the disk is in order.
    FalseError,
    /// A read gave what the disk has wrongly.
    Unseen,
    /// Those that are left wait for each other.
    Stuck,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A processor stores, if its TLB lets it.
    Store {
        cpu: u8,
        block: u8,
        value: u8,
    },
    /// A processor reads its page-table entry into its TLB, if that is writable.
    Walk {
        cpu: u8,
    },
    /// A page that is not mapped is found in the page cache and mapped for reading; 0 if it is gone.
    MapRead {
        map: u8,
    },
    IsWritable {
        map: u8,
    },
    /// The entry becomes writable, unless it went meanwhile; 0 then.
    SetWritable {
        map: u8,
    },
    /// 0 if the entry was not writable.
    WriteProtect {
        map: u8,
    },
    /// The entry goes, and no TLB has it any more when its lock is given up.
    Unmap {
        map: u8,
    },
    /// The entry goes, and TLBs still have it.
    UnmapUnflushed {
        map: u8,
    },
    Flush {
        map: u8,
    },

    TakePin,
    /// As the slow path of GUP, that looks at the entry and counts under the lock of the page table.
    TakePinIfWritable {
        map: u8,
    },
    DropPin,
    TakeRefIfWritable {
        map: u8,
    },
    DropRef,
    /// A device, or who has the page mapped in the kernel, stores.
    StoreByPin {
        block: u8,
        value: u8,
    },

    FreezeStart,
    /// Waits for faults to end.
    FreezeWait,
    FreezeEnd,
    Thaw,
    StartPagefault,
    EndPagefault,
    InvalidateShared,
    InvalidateSharedEnd,
    Invalidate,
    InvalidateEnd,

    Lock,
    Unlock,
    /// How many blocks are before the end of the file.
    Inside,
    IsInFile,
    IsUptodate,
    WaitWriteback,
    IsDirty,
    MarkDirty {
        blocks: u8,
    },
    ClearDirty,
    /// Which blocks are dirty, as far as the file has them.
    DirtyBlocks,
    ClearDirtyBlocks,
    StartWriteback {
        blocks: u8,
    },
    IsPinned,
    HasOddReferences,
    Read {
        source: Source,
        block: u8,
    },
    Write {
        block: u8,
        value: u8,
    },
    Remove,

    /// Blocks for those among the first `n` that have none; 0 if there is no room.
    Reserve {
        n: u8,
    },
    /// A block for what is dirty, of what was reserved.
    Allocate {
        block: u8,
    },
    SetSize {
        n: u8,
    },
    Free {
        from: u8,
    },

    BioNew,
    BioAdd {
        bio: u8,
        block: u8,
        source: Source,
    },
    BioGuard {
        bio: u8,
        block: u8,
        guard: u8,
    },
    BioSubmit {
        bio: u8,
    },
    BioWait {
        bio: u8,
    },
    /// The device takes the next bio that was submitted.
    BioTake,
    /// The device reads a block of it, and writes that to the disk; 0 if it fails.
    BioWrite {
        bio: u8,
        block: u8,
    },
    BioBlocks {
        bio: u8,
    },
    /// The block is data from now on, if it was written.
    Record {
        bio: u8,
        block: u8,
    },
    EndWriteback {
        block: u8,
    },
    BioFree {
        bio: u8,
    },

    StoreBuffer {
        value: u8,
    },
    ReadDiskToBuffer,
    ReadDisk,
    /// Whether a value is what the checksum on the disk is of.
    Verify {
        value: u8,
    },
    ReadEnded {
        ok: bool,
    },

    /// All processes with an end but this have come to it.
    OthersDone,
    Judge,
}

impl process::Op for Op {}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub bytes: [u8; BLOCKS],
    /// What was stored last to each block of the file.
    pub expected: [u8; BLOCKS],
    pub in_file: bool,
    pub uptodate: bool,
    pub locked: bool,
    pub dirty: bool,
    pub dirty_blocks: u8,
    pub under_writeback: u8,
    pub pins: u8,
    pub refs: u8,
    pub pte: [Pte; MAPS],
    pub tlb: [bool; MAP_OF.len()],
    pub blocks: [Block; BLOCKS],
    pub size: u8,
    pub room: u8,
    pub disk: [u8; BLOCKS],
    pub pagefaults: u8,
    pub freezing: bool,
    pub frozen: bool,
    pub invalidate_shared: u8,
    pub invalidate: bool,
    pub bios: [Bio; 3],
    pub buffer: u8,
    /// What the checksum is of that the disk has of its first block, when that is read.
    pub disk_guard: u8,
    /// How many writes may fail.
    pub failures: u8,
    /// Blocks that were to become data are taken back if the write fails.
    pub takes_back: bool,
    /// What is dirty without room for it gets a block, as long as there is any.
    pub allocates_late: bool,
    pub violation: Option<Violation>,
}

impl checker::World for World {
    type Op = Op;
    type Violation = Violation;

    const OTHERS_DONE: Op = Op::OthersDone;
    const STUCK: Violation = Violation::Stuck;

    fn ways(&self, op: Op) -> u8 {
        match op {
            Op::BioWrite { .. } if self.failures > 0 => 2,
            _ => 1,
        }
    }

    fn step(&mut self, op: Op, way: u8, others_done: bool) -> Option<u8> {
        if let Some(answer) = self.step_of_memory(op) {
            return answer;
        }
        if let Some(answer) = self.step_of_folio(op) {
            return answer;
        }
        if let Some(answer) = self.step_of_volume(op) {
            return answer;
        }
        self.step_of_device(op, way, others_done)
    }

    fn violation(&self) -> Option<Violation> {
        self.violation
    }

    fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }
}

impl World {
    /// A folio that is mapped for reading everywhere, of blocks that are data, all 0.
    pub const CLEAN: Self = Self {
        bytes: [0; BLOCKS],
        expected: [0; BLOCKS],
        in_file: true,
        uptodate: true,
        locked: false,
        dirty: false,
        dirty_blocks: 0,
        under_writeback: 0,
        pins: 0,
        refs: 0,
        pte: [Pte::ReadOnly; MAPS],
        tlb: [false; MAP_OF.len()],
        blocks: [Block::Written; BLOCKS],
        size: BLOCKS as u8,
        room: 0,
        disk: [0; BLOCKS],
        pagefaults: 0,
        freezing: false,
        frozen: false,
        invalidate_shared: 0,
        invalidate: false,
        bios: [Bio::FREE; 3],
        buffer: 0,
        disk_guard: 0,
        failures: 0,
        takes_back: false,
        allocates_late: false,
        violation: None,
    };

    fn step_of_memory(&mut self, op: Op) -> Option<Option<u8>> {
        let answer = match op {
            Op::Store { cpu, block, value } => {
                if !self.tlb[usize::from(cpu)] {
                    return Some(Some(0));
                }
                self.store(block, value);
                1
            }
            Op::Walk { cpu } => {
                let writable = self.pte(MAP_OF[usize::from(cpu)]) == Pte::Writable;
                self.tlb[usize::from(cpu)] = writable;
                writable.into()
            }
            Op::MapRead { map } => {
                if self.in_file && self.pte(map) == Pte::None {
                    self.pte[usize::from(map)] = Pte::ReadOnly;
                }
                self.in_file.into()
            }
            Op::IsWritable { map } => (self.pte(map) == Pte::Writable).into(),
            Op::SetWritable { map } => {
                if self.pte(map) == Pte::None {
                    return Some(Some(0));
                }
                self.pte[usize::from(map)] = Pte::Writable;
                1
            }
            Op::WriteProtect { map } => {
                let writable = self.pte(map) == Pte::Writable;
                if writable {
                    self.pte[usize::from(map)] = Pte::ReadOnly;
                }
                writable.into()
            }
            Op::Unmap { map } => {
                self.pte[usize::from(map)] = Pte::None;
                self.flush(map);
                0
            }
            Op::UnmapUnflushed { map } => {
                self.pte[usize::from(map)] = Pte::None;
                0
            }
            Op::Flush { map } => {
                self.flush(map);
                0
            }
            Op::TakePin => {
                self.pins += 1;
                1
            }
            Op::TakePinIfWritable { map } => {
                let writable = self.pte(map) == Pte::Writable;
                self.pins += u8::from(writable);
                writable.into()
            }
            Op::DropPin => {
                self.pins -= 1;
                0
            }
            Op::TakeRefIfWritable { map } => {
                let writable = self.pte(map) == Pte::Writable;
                self.refs += u8::from(writable);
                writable.into()
            }
            Op::DropRef => {
                self.refs -= 1;
                0
            }
            Op::StoreByPin { block, value } => {
                self.store(block, value);
                0
            }
            Op::StoreBuffer { value } => {
                self.buffer = value;
                0
            }
            _ => return None,
        };
        Some(Some(answer))
    }

    fn step_of_folio(&mut self, op: Op) -> Option<Option<u8>> {
        let answer = match op {
            Op::Lock => {
                if self.locked {
                    return Some(None);
                }
                self.locked = true;
                1
            }
            Op::Unlock => {
                self.locked = false;
                0
            }
            Op::Inside => self.size,
            Op::IsInFile => self.in_file.into(),
            Op::IsUptodate => self.uptodate.into(),
            Op::WaitWriteback => return Some((self.under_writeback == 0).then_some(0)),
            Op::IsDirty => self.dirty.into(),
            Op::MarkDirty { blocks } => {
                if self.in_file {
                    if self.frozen {
                        self.fail(Violation::Frozen);
                    }
                    if !self.uptodate {
                        self.fail(Violation::Stale);
                    }
                    self.dirty = true;
                    self.dirty_blocks |= blocks;
                }
                0
            }
            Op::ClearDirty => core::mem::take(&mut self.dirty).into(),
            Op::DirtyBlocks => self.dirty_blocks & ((1 << self.size) - 1),
            Op::ClearDirtyBlocks => {
                self.dirty_blocks = 0;
                0
            }
            Op::StartWriteback { blocks } => {
                self.under_writeback |= blocks;
                0
            }
            Op::IsPinned => (self.pins > 0).into(),
            Op::HasOddReferences => (self.refs > 0).into(),
            Op::Read { source, block } => self.read(source, block),
            Op::Write { block, value } => {
                self.store(block, value);
                0
            }
            Op::Remove => {
                self.in_file = false;
                self.dirty = false;
                self.dirty_blocks = 0;
                0
            }
            _ => return None,
        };
        Some(Some(answer))
    }

    fn step_of_volume(&mut self, op: Op) -> Option<Option<u8>> {
        let answer = match op {
            Op::FreezeStart => {
                self.freezing = true;
                0
            }
            Op::FreezeWait => return Some((self.pagefaults == 0).then_some(0)),
            Op::FreezeEnd => {
                self.frozen = true;
                if self.dirty {
                    self.fail(Violation::Frozen);
                }
                0
            }
            Op::Thaw => {
                (self.freezing, self.frozen) = (false, false);
                0
            }
            Op::StartPagefault => {
                if self.freezing {
                    return Some(None);
                }
                self.pagefaults += 1;
                0
            }
            Op::EndPagefault => {
                self.pagefaults -= 1;
                0
            }
            Op::InvalidateShared => {
                if self.invalidate {
                    return Some(None);
                }
                self.invalidate_shared += 1;
                0
            }
            Op::InvalidateSharedEnd => {
                self.invalidate_shared -= 1;
                0
            }
            Op::Invalidate => {
                if self.invalidate || self.invalidate_shared > 0 {
                    return Some(None);
                }
                self.invalidate = true;
                0
            }
            Op::InvalidateEnd => {
                self.invalidate = false;
                0
            }
            Op::Reserve { n } => {
                for block in &mut self.blocks[..usize::from(n)] {
                    if *block != Block::Hole {
                        continue;
                    }
                    if self.room == 0 {
                        return Some(Some(0));
                    }
                    self.room -= 1;
                    *block = Block::Reserved;
                }
                1
            }
            Op::Allocate { block } => {
                let state = &mut self.blocks[usize::from(block)];
                match state {
                    Block::Hole if self.allocates_late && self.room > 0 => {
                        self.room -= 1;
                        *state = Block::Unwritten;
                    }
                    Block::Hole => self.fail(Violation::NoRoom),
                    Block::Reserved => *state = Block::Unwritten,
                    Block::Unwritten | Block::Written => (),
                }
                0
            }
            Op::SetSize { n } => {
                self.size = n;
                0
            }
            Op::Free { from } => {
                for n in usize::from(from)..BLOCKS {
                    if core::mem::replace(&mut self.blocks[n], Block::Hole) != Block::Hole {
                        self.room += 1;
                    }
                }
                0
            }
            _ => return None,
        };
        Some(Some(answer))
    }

    fn step_of_device(&mut self, op: Op, way: u8, others_done: bool) -> Option<u8> {
        match op {
            Op::BioNew => {
                let free = |bio: &Bio| bio.state == BioState::Free;
                let n = self.bios.iter().position(free)?;
                self.bios[n].state = BioState::Open;
                Some(n as u8)
            }
            Op::BioAdd { bio, block, source } => {
                self.bios[usize::from(bio)].parts[usize::from(block)] = Some(Part {
                    block,
                    source,
                    guard: 0,
                    written: false,
                    failed: false,
                });
                Some(0)
            }
            Op::BioGuard { bio, block, guard } => {
                self.part(bio, block)?.guard = guard;
                Some(0)
            }
            Op::BioSubmit { bio } => {
                self.bios[usize::from(bio)].state = BioState::Submitted;
                Some(0)
            }
            Op::BioWait { bio } => {
                (self.bios[usize::from(bio)].state == BioState::Free).then_some(0)
            }
            Op::BioTake => {
                let submitted = |bio: &Bio| bio.state == BioState::Submitted;
                let n = self.bios.iter().position(submitted)?;
                self.bios[n].state = BioState::AtDevice;
                Some(n as u8)
            }
            Op::BioBlocks { bio } => {
                let parts = self.bios[usize::from(bio)].parts.iter().flatten();
                Some(parts.fold(0, |blocks, part| blocks | (1 << part.block)))
            }
            Op::BioWrite { bio, block } => {
                let part = *self.part(bio, block)?;
                if way == 1 {
                    self.failures -= 1;
                    self.part(bio, block)?.failed = true;
                    return Some(0);
                }
                let value = self.read(part.source, block);
                let state = self.blocks[usize::from(block)];
                if !matches!(state, Block::Unwritten | Block::Written) {
                    self.fail(Violation::Freed);
                }
                if value != part.guard {
                    self.fail(Violation::Guard);
                }
                self.disk[usize::from(block)] = value;
                self.part(bio, block)?.written = true;
                Some(1)
            }
            Op::Record { bio, block } => {
                let Part {
                    written, failed, ..
                } = *self.part(bio, block)?;
                if !written && !failed {
                    self.fail(Violation::Exposed);
                }
                let state = &mut self.blocks[usize::from(block)];
                if *state == Block::Unwritten {
                    if !failed {
                        *state = Block::Written;
                    } else if self.takes_back {
                        *state = Block::Hole;
                        self.room += 1;
                    }
                }
                if failed {
                    // Whoever waits is told, so that nothing is expected any more of what was stored.
                    self.expected[usize::from(block)] = self.on_disk(block);
                }
                Some(0)
            }
            Op::EndWriteback { block } => {
                self.under_writeback &= !(1 << block);
                Some(0)
            }
            Op::BioFree { bio } => {
                self.bios[usize::from(bio)] = Bio::FREE;
                Some(0)
            }
            Op::ReadDiskToBuffer => {
                self.buffer = self.disk[0];
                Some(0)
            }
            Op::ReadDisk => Some(self.disk[0]),
            Op::Verify { value } => Some((value == self.disk_guard).into()),
            Op::ReadEnded { ok } => {
                match (ok, self.disk[0] == self.disk_guard) {
                    (false, true) => self.fail(Violation::FalseError),
                    (true, false) => self.fail(Violation::Unseen),
                    (true, true) | (false, false) => (),
                }
                Some(0)
            }
            Op::OthersDone => others_done.then_some(0),
            Op::Judge => {
                self.judge();
                Some(0)
            }
            _ => unreachable!("{op:?}"),
        }
    }

    fn pte(&self, map: u8) -> Pte {
        self.pte[usize::from(map)]
    }

    fn flush(&mut self, map: u8) {
        for (tlb, of) in self.tlb.iter_mut().zip(MAP_OF) {
            *tlb &= of != map;
        }
    }

    fn part(&mut self, bio: u8, block: u8) -> Option<&mut Part> {
        self.bios[usize::from(bio)].parts[usize::from(block)].as_mut()
    }

    fn store(&mut self, block: u8, value: u8) {
        self.bytes[usize::from(block)] = value;
        if self.in_file && block < self.size {
            self.expected[usize::from(block)] = value;
        }
    }

    fn read(&self, source: Source, block: u8) -> u8 {
        match source {
            Source::Folio => self.bytes[usize::from(block)],
            Source::Copy(value) => value,
            Source::Buffer => self.buffer,
        }
    }

    /// What a block reads as.
    fn on_disk(&self, block: u8) -> u8 {
        match self.blocks[usize::from(block)] {
            Block::Written => self.disk[usize::from(block)],
            Block::Hole | Block::Reserved | Block::Unwritten => 0,
        }
    }

    /// After everything was written.
    fn judge(&mut self) {
        if (0..self.size).any(|n| self.on_disk(n) != self.expected[usize::from(n)]) {
            self.fail(Violation::Lost);
        }
        if self.blocks.contains(&Block::Reserved) {
            self.fail(Violation::RoomLeft);
        }
        if self.dirty {
            self.fail(Violation::DirtyLeft);
        }
    }
}
