// SPDX-License-Identifier: GPL-2.0

//! Who is at work on the page. Where the protocol has no say, the steps are those of C.

use super::{
    handles::{
        for_store,
        for_write,
        Changing,
        Data,
        Found,
        Handle,
        ToWrite, //
    },
    world::{
        Lock,
        Op,
        Tree,
        WORDS, //
    },
    Cpu,
};
use crate::process::{
    self,
    Step,
    END, //
};

/// What a thread wants that faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Load,
    Store,
    /// With `MAP_SYNC`.
    SyncStore,
}

/// Maps the page, as `dax_iomap_fault()` does. Whether the thread is to try again; otherwise it gets a signal.
fn fault(cpu: &Cpu<'_>, map: u8, want: Want) -> bool {
    cpu.step(Step::InvalidateLock, Op::LockShared(Lock::Invalidate));
    let is_inside = cpu.other(Op::IsInside) != 0;
    let is_done = is_inside && fault_inside(cpu, map, want);
    cpu.step(Step::InvalidateLock, Op::UnlockShared(Lock::Invalidate));
    is_done
}

fn fault_inside(cpu: &Cpu<'_>, map: u8, want: Want) -> bool {
    cpu.step(Step::LockEntry, Op::Lock(Lock::Entry));
    let is_done = fault_locked(cpu, map, want);
    cpu.step(Step::LockEntry, Op::Unlock(Lock::Entry));
    is_done
}

fn fault_locked(cpu: &Cpu<'_>, map: u8, want: Want) -> bool {
    let is_writable = want != Want::Load;
    let tree = if is_writable {
        match for_store(cpu) {
            Ok(written) => written.into_extent().tree,
            Err(_) => return false,
        }
    } else {
        Found::look_up(cpu, Step::Other).tree
    };
    let block = match tree {
        Tree::Written(block) => block,
        Tree::Unwritten(block) if is_writable => {
            convert(cpu, block);
            block
        }
        Tree::Hole | Tree::Unwritten(_) => {
            cpu.other(Op::MapZeroes { map });
            return true;
        }
    };
    let is_dirty = is_writable;
    if cpu.other(Op::InsertEntry { is_dirty }) != 0 {
        cpu.step(Step::UnmapZeroes, Op::Unmap);
    }
    if want == Want::SyncStore && cpu.step(Step::SyncFault, Op::IsDirty) != 0 {
        cpu.other(Op::Unlock(Lock::Entry));
        cpu.other(Op::CleanEntry);
        cpu.other(Op::WaitCommitted);
        cpu.other(Op::Lock(Lock::Entry));
        cpu.other(Op::InsertEntry { is_dirty });
    }
    cpu.other(Op::MapBlock {
        map,
        block,
        is_writable,
    });
    true
}

/// What the fault path did with unwritten extents when it was given some.
fn convert(cpu: &Cpu<'_>, block: u8) {
    let words = (1 << WORDS) - 1;
    cpu.other(Op::Zero { block, words });
    cpu.other(Op::WriteThrough { block });
    let _changing = Changing::start(cpu);
    cpu.other(Op::Insert { block, copied: 0 });
}

/// Has memory that `write()` copies from be mapped.
pub fn fault_in(cpu: &Cpu<'_>, map: u8) -> bool {
    fault(cpu, map, Want::Load)
}

/// Stores through a mapping.
pub struct Stores {
    pub map: u8,
    pub word: u8,
    pub value: u8,
    pub is_sync: bool,
}

impl process::Process<Op> for Stores {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        let Self {
            map, word, value, ..
        } = *self;
        if cpu.other(Op::Store { map, word, value }) != 0 {
            if self.is_sync {
                cpu.other(Op::Persist { map, word });
            }
            return END;
        }
        let want = if self.is_sync {
            Want::SyncStore
        } else {
            Want::Store
        };
        if fault(cpu, map, want) {
            phase
        } else {
            END
        }
    }

    fn name(&self) -> String {
        format!("stores {}", self.value)
    }
}

/// Loads through a mapping, so many times.
pub struct Loads {
    pub map: u8,
    pub word: u8,
    pub times: u8,
}

impl process::Process<Op> for Loads {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        let (map, word) = (self.map, self.word);
        if cpu.other(Op::Load { map, word }) != 0 {
            return if phase + 1 == self.times {
                END
            } else {
                phase + 1
            };
        }
        if fault(cpu, map, Want::Load) {
            phase
        } else {
            END
        }
    }

    fn name(&self) -> String {
        "loads".into()
    }
}

/// `read()` of a word.
pub struct Reads {
    pub word: u8,
}

impl process::Process<Op> for Reads {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        cpu.other(Op::LockShared(Lock::Rwsem));
        if let Tree::Written(block) = Found::look_up(cpu, Step::Other).tree {
            let word = self.word;
            cpu.other(Op::Read { block, word });
        }
        cpu.other(Op::UnlockShared(Lock::Rwsem));
        END
    }

    fn name(&self) -> String {
        "read()".into()
    }
}

/// `write()` of a word, at the end of the file if that is there.
pub struct Writes(pub Data);

impl Writes {
    /// Whether there were data.
    fn write(&self, cpu: &Cpu<'_>) -> bool {
        let Data { word, value, .. } = self.0;
        let order = cpu.order([Step::Insert, Step::InvalidateZeroes]);
        let invalidates_early = order[0] == Step::InvalidateZeroes;
        if invalidates_early {
            invalidate(cpu);
        }
        match for_write(cpu, self.0) {
            Ok(ToWrite::Over(block)) => {
                cpu.other(Op::Overwrite { block, word, value });
            }
            Ok(ToWrite::Filled(changing)) => {
                let mut changing = Some(changing);
                for step in cpu.order([Step::StopHandle, Step::InvalidateZeroes]) {
                    match step {
                        Step::StopHandle => drop(changing.take()),
                        _ if !invalidates_early => invalidate(cpu),
                        _ => (),
                    }
                }
            }
            Ok(ToWrite::Nothing) => return false,
            Err(_) => (),
        }
        true
    }
}

/// Has those who have the page of zeroes mapped look again, as `invalidate_inode_pages2_range()` does.
fn invalidate(cpu: &Cpu<'_>) {
    cpu.step(Step::InvalidateZeroes, Op::InvalidateEntry);
    cpu.step(Step::InvalidateZeroes, Op::Unmap);
}

impl process::Process<Op> for Writes {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        if phase == 0 {
            cpu.other(Op::LockToWrite);
            return 1;
        }
        if self.write(cpu) {
            cpu.other(Op::UnlockWritten);
            return END;
        }
        // With nothing locked but the inode, which no fault wants.
        if !self.0.map.is_some_and(|map| fault_in(cpu, map)) {
            cpu.other(Op::UnlockWritten);
            return END;
        }
        1
    }

    fn name(&self) -> String {
        format!("write() of {}", self.0.value)
    }
}

/// Truncation to 0, and back if the file is to have a hole then.
pub struct Truncates {
    pub extends: bool,
}

/// What truncation does, with the inode locked and the pages kept from being mapped.
const TRUNCATE: [Step; 3] = [Step::BreakLayout, Step::Other, Step::Free];

impl process::Process<Op> for Truncates {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        let steps = cpu.order(TRUNCATE);
        let step = usize::from(phase).checked_sub(1).and_then(|n| steps.get(n));
        match step {
            None if phase == 0 => {
                cpu.other(Op::Lock(Lock::Rwsem));
                cpu.step(Step::LockInvalidate, Op::Lock(Lock::Invalidate));
            }
            Some(Step::BreakLayout) => {
                // The entry goes, and who syncs looks at nothing else.
                cpu.step(Step::CleanFirst, Op::CleanEntry);
                cpu.step(Step::BreakLayout, Op::Unmap);
                if cpu.step(Step::WaitUnpinned, Op::IsPinned) != 0 {
                    cpu.step(Step::LockInvalidate, Op::Unlock(Lock::Invalidate));
                    cpu.other(Op::WaitUnpinned);
                    cpu.step(Step::LockInvalidate, Op::Lock(Lock::Invalidate));
                    return phase;
                }
                cpu.other(Op::DeleteEntry);
            }
            Some(Step::Free) => {
                let _changing = Changing::start(cpu);
                cpu.step(Step::Free, Op::Remove);
            }
            Some(_) => {
                let _handle = Handle::start(cpu);
                cpu.other(Op::SetSize { is_inside: false });
            }
            None => {
                cpu.step(Step::LockInvalidate, Op::Unlock(Lock::Invalidate));
                if self.extends {
                    let _handle = Handle::start(cpu);
                    cpu.other(Op::SetSize { is_inside: true });
                }
                cpu.other(Op::Unlock(Lock::Rwsem));
                return END;
            }
        }
        phase + 1
    }

    fn name(&self) -> String {
        "truncate".into()
    }
}

/// A device that stores to the page, through a pin.
pub struct Device {
    pub map: u8,
    pub word: u8,
    pub value: u8,
}

impl process::Process<Op> for Device {
    fn run(&self, cpu: &Cpu<'_>, phase: u8) -> u8 {
        let Self { map, word, value } = *self;
        if cpu.other(Op::TakePinIfWritable { map }) == 0 {
            return if fault(cpu, map, Want::Store) {
                phase
            } else {
                END
            };
        }
        cpu.other(Op::StoreByPin { word, value });
        cpu.other(Op::DropPin);
        END
    }

    fn name(&self) -> String {
        "the device".into()
    }
}

/// The thread that commits.
pub struct Journal;

impl process::Process<Op> for Journal {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        cpu.other(Op::CommitStart);
        cpu.other(Op::CommitWait);
        for step in cpu.order([Step::CommitFlushes, Step::CommitEnds]) {
            match step {
                Step::CommitFlushes => cpu.step(Step::CommitFlushes, Op::FlushDevice),
                _ => cpu.step(Step::CommitEnds, Op::CommitEnd),
            };
        }
        0
    }

    fn is_daemon(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        "the journal".into()
    }
}

fn fsync(cpu: &Cpu<'_>) {
    cpu.other(Op::FsyncStart);
    cpu.other(Op::CleanEntry);
    cpu.other(Op::WaitCommitted);
    cpu.other(Op::FlushDevice);
    cpu.other(Op::FsyncEnd);
}

/// `fsync` by one of those at work.
pub struct Fsync;

impl process::Process<Op> for Fsync {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        fsync(cpu);
        END
    }

    fn name(&self) -> String {
        "fsync".into()
    }
}

/// A look at the file after all others have ended, and `fsync`.
pub struct Judge;

impl process::Process<Op> for Judge {
    fn run(&self, cpu: &Cpu<'_>, _phase: u8) -> u8 {
        cpu.other(Op::OthersDone);
        cpu.other(Op::Judge);
        fsync(cpu);
        END
    }

    fn name(&self) -> String {
        "the last fsync".into()
    }
}
