// SPDX-License-Identifier: GPL-2.0

//! What there is of a page of a file that is mapped from the memory that it is in, and what can happen
//! to it in one step that nobody sees the half of.
//!
//! The page has three words, for one who is at work on it each: so what one loses nobody hides. The volume has two blocks.
//! Power can fail after each step: so each state is looked at as it would be found again, in [`World::fail_power`].

use crate::{
    checker::{
        self,
        World as _, //
    },
    process, //
};

/// Words of the page, and of a block.
pub const WORDS: usize = 3;
/// Blocks of the volume that are not metadata.
pub const BLOCKS: usize = 2;
/// Address spaces that the page is mapped in, each with a thread of its own.
pub const MAPS: usize = 2;
/// What blocks hold that no file has: somebody's former data.
pub const FORMER: u8 = 31;
/// No block: there is none left.
pub const NONE: u8 = u8::MAX;

/// What the file has as its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    Hole,
    Unwritten(u8),
    Written(u8),
}

impl Tree {
    pub fn block(self) -> Option<u8> {
        match self {
            Self::Hole => None,
            Self::Unwritten(block) | Self::Written(block) => Some(block),
        }
    }

    /// As an answer to who looks it up.
    pub fn to_answer(self) -> u8 {
        match self {
            Self::Hole => 0,
            Self::Unwritten(block) => 0x10 | block,
            Self::Written(block) => 0x20 | block,
        }
    }

    pub fn from_answer(answer: u8) -> Self {
        let block = answer & 0xf;
        match answer >> 4 {
            0 => Self::Hole,
            1 => Self::Unwritten(block),
            _ => Self::Written(block),
        }
    }
}

/// What goes through the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metadata {
    pub tree: Tree,
    pub taken: [bool; BLOCKS],
    /// The page is before the end of the file.
    pub is_inside: bool,
    /// The file has been truncated.
    pub is_cut: bool,
}

/// An entry of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pte {
    None,
    /// The page of zeroes, for all holes.
    Zeroes,
    Block {
        block: u8,
        is_writable: bool,
    },
}

/// The entry for the page among those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    None,
    Zeroes,
    Block { is_dirty: bool },
}

/// What can be locked. All but [`Rwsem`](Self::Rwsem) and [`Invalidate`](Self::Invalidate) are so for
/// one thread only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// The inode's.
    Rwsem,
    Invalidate,
    /// Of the DAX entry.
    Entry,
    /// Of the file's map: `loading`.
    Map,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// What was stored is not there.
    Lost,
    /// Nor is it after power has failed, though it was said to be safe.
    LostByCrash,
    /// The file has what its block held before.
    Exposed,
    /// It has, after power has failed.
    ExposedByCrash,
    /// The file has what was cut off.
    CameBack,
    CameBackByCrash,
    /// A block is used that is not the file's any more.
    Freed,
    /// A block is taken, and no file has it; or the other way round. On the disk, or at the end.
    Inconsistent,
    /// Those that are left wait for each other.
    Stuck,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Lock(Lock),
    LockShared(Lock),
    Unlock(Lock),
    UnlockShared(Lock),
    /// `i_rwsem`, by `write()`.
    LockToWrite,
    UnlockWritten,

    /// A thread stores, if its page-table entry lets it.
    Store {
        map: u8,
        word: u8,
        value: u8,
    },
    /// It loads, if there is one.
    Load {
        map: u8,
        word: u8,
    },
    /// It has the word leave the caches, and knows then that it is safe.
    Persist {
        map: u8,
        word: u8,
    },
    IsMapped {
        map: u8,
    },
    MapZeroes {
        map: u8,
    },
    MapBlock {
        map: u8,
        block: u8,
        is_writable: bool,
    },
    /// From all address spaces.
    Unmap,
    TakePinIfWritable {
        map: u8,
    },
    StoreByPin {
        word: u8,
        value: u8,
    },
    DropPin,
    IsPinned,
    WaitUnpinned,

    /// The entry is that of a block from now on; whether it was one of zeroes.
    InsertEntry {
        is_dirty: bool,
    },
    /// The entry goes if it is not dirty, when it is not locked.
    InvalidateEntry,
    DeleteEntry,
    /// If it is dirty: write-protected in all address spaces, past the caches, and clean.
    CleanEntry,

    IsInside,
    /// What the map says.
    Lookup,
    TakeBlock,
    GiveBack {
        block: u8,
    },
    /// 0 if the memory is broken.
    Zero {
        block: u8,
        words: u8,
    },
    Copy {
        block: u8,
        word: u8,
        value: u8,
    },
    /// To what the file has, and past the caches.
    Overwrite {
        block: u8,
        word: u8,
        value: u8,
    },
    /// What was stored to the words leaves the caches.
    WriteThrough {
        block: u8,
    },
    /// The file has the block as written, with `copied` words of data in it; 0 if the tree cannot have it.
    Insert {
        block: u8,
        copied: u8,
    },
    InsertUnwritten {
        block: u8,
    },
    Remove,
    SetSize {
        is_inside: bool,
    },
    /// What `read()` copies.
    Read {
        block: u8,
        word: u8,
    },

    StartHandle,
    StopHandle,
    CommitStart,
    /// Waits for handles to stop.
    CommitWait,
    FlushDevice,
    CommitEnd,
    /// Whether something has to be committed.
    IsDirty,
    WaitCommitted,
    FsyncStart,
    FsyncEnd,

    OthersDone,
    Judge,
}

impl process::Op for Op {}

/// Values, as a set.
type Values = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What processors see of the blocks.
    pub memory: [[u8; WORDS]; BLOCKS],
    /// What of that has left their caches.
    pub near: [[u8; WORDS]; BLOCKS],
    /// And what is safe.
    pub durable: [[u8; WORDS]; BLOCKS],
    pub metadata: Metadata,
    pub committing: Option<Metadata>,
    pub disk: Metadata,
    /// What was stored last to each word of the file.
    pub expected: [u8; WORDS],
    /// What a crash may leave of the file, before it was truncated and after; nothing if all may be.
    pub safe: [[Values; WORDS]; 2],
    /// The same, if an `fsync()` that is under way ends well.
    pub syncing: Option<[Values; WORDS]>,
    pub stored: Values,
    /// What was cut off.
    pub gone: Values,
    /// -1: by one thread.
    pub locks: [i8; 4],
    pub is_writing: bool,
    pub handles: u8,
    pub waits_for_handles: bool,
    pub pte: [Pte; MAPS],
    pub entry: Entry,
    pub pin: Option<u8>,
    /// How many steps may fail that can.
    pub failures: u8,
    /// Without: the faults are for pages of different sizes, say.
    pub locks_entries: bool,
    /// Blocks can be taken again before the transaction is committed that frees them.
    pub reuses_early: bool,
    pub violation: Option<Violation>,
}

impl World {
    /// A hole, of which nobody has anything.
    pub const HOLE: Self = Self {
        memory: [[FORMER; WORDS]; BLOCKS],
        near: [[FORMER; WORDS]; BLOCKS],
        durable: [[FORMER; WORDS]; BLOCKS],
        metadata: Self::METADATA,
        committing: None,
        disk: Self::METADATA,
        expected: [0; WORDS],
        safe: [[0; WORDS]; 2],
        syncing: None,
        stored: 0,
        gone: 0,
        locks: [0; 4],
        is_writing: false,
        handles: 0,
        waits_for_handles: false,
        pte: [Pte::None; MAPS],
        entry: Entry::None,
        pin: None,
        failures: 0,
        locks_entries: true,
        reuses_early: false,
        violation: None,
    };

    const METADATA: Metadata = Metadata {
        tree: Tree::Hole,
        taken: [false; BLOCKS],
        is_inside: true,
        is_cut: false,
    };

    const UNWRITTEN_METADATA: Metadata = Metadata {
        tree: Tree::Unwritten(0),
        taken: [true, false],
        ..Self::METADATA
    };

    /// A page that was preallocated.
    pub const UNWRITTEN: Self = Self {
        metadata: Self::UNWRITTEN_METADATA,
        disk: Self::UNWRITTEN_METADATA,
        ..Self::HOLE
    };

    const WRITTEN_METADATA: Metadata = Metadata {
        tree: Tree::Written(0),
        ..Self::UNWRITTEN_METADATA
    };

    const DATA: [[u8; WORDS]; BLOCKS] = [[1, 2, 3], [FORMER; WORDS]];

    /// A page of data, which are safe.
    pub const WRITTEN: Self = Self {
        metadata: Self::WRITTEN_METADATA,
        disk: Self::WRITTEN_METADATA,
        memory: Self::DATA,
        near: Self::DATA,
        durable: Self::DATA,
        expected: Self::DATA[0],
        safe: [[1 << 1, 1 << 2, 1 << 3], [0; WORDS]],
        stored: 0b1110,
        ..Self::HOLE
    };
}

impl checker::World for World {
    type Op = Op;
    type Violation = Violation;

    const OTHERS_DONE: Op = Op::OthersDone;
    const STUCK: Violation = Violation::Stuck;

    fn ways(&self, op: Op) -> u8 {
        match op {
            Op::Zero { .. } | Op::Insert { .. } if self.failures > 0 => 2,
            _ => 1,
        }
    }

    fn step(&mut self, op: Op, way: u8, others_done: bool) -> Option<u8> {
        let answer = if way == 1 {
            self.failures -= 1;
            Some(0)
        } else if let Some(answer) = self.step_of_locks(op) {
            answer
        } else if let Some(answer) = self.step_of_threads(op) {
            Some(answer)
        } else if let Some(answer) = self.step_of_file(op) {
            answer
        } else {
            self.step_of_journal(op, others_done)
        }?;
        self.fail_power();
        Some(answer)
    }

    fn violation(&self) -> Option<Violation> {
        self.violation
    }

    fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }
}

impl World {
    fn step_of_locks(&mut self, op: Op) -> Option<Option<u8>> {
        let entry = self.locks[Lock::Entry as usize] == 0 || !self.locks_entries;
        let held = |lock| match lock {
            Lock::Entry if !self.locks_entries => 0,
            _ => self.locks[lock as usize],
        };
        match op {
            Op::LockToWrite if held(Lock::Rwsem) != 0 => return Some(None),
            Op::LockToWrite => {
                self.locks[Lock::Rwsem as usize] = -1;
                self.is_writing = true;
            }
            Op::UnlockWritten => {
                self.locks[Lock::Rwsem as usize] = 0;
                self.is_writing = false;
            }
            Op::Lock(lock) if held(lock) != 0 => return Some(None),
            Op::Lock(Lock::Entry) if !self.locks_entries => (),
            Op::Lock(lock) => self.locks[lock as usize] = -1,
            Op::LockShared(lock) if held(lock) < 0 => return Some(None),
            Op::LockShared(lock) => self.locks[lock as usize] += 1,
            Op::Unlock(lock) => self.locks[lock as usize] = 0,
            Op::UnlockShared(lock) => self.locks[lock as usize] -= 1,
            Op::InvalidateEntry | Op::DeleteEntry | Op::CleanEntry if !entry => return Some(None),
            Op::InvalidateEntry => {
                if !matches!(self.entry, Entry::Block { is_dirty: true }) {
                    self.entry = Entry::None;
                }
            }
            Op::DeleteEntry => self.entry = Entry::None,
            Op::CleanEntry => self.clean_entry(),
            _ => return None,
        }
        Some(Some(1))
    }

    fn clean_entry(&mut self) {
        if !matches!(self.entry, Entry::Block { is_dirty: true }) {
            return;
        }
        self.entry = Entry::Block { is_dirty: false };
        for pte in &mut self.pte {
            if let Pte::Block { is_writable, .. } = pte {
                *is_writable = false;
            }
        }
        if let Some(block) = self.metadata.tree.block() {
            self.near[usize::from(block)] = self.memory[usize::from(block)];
        }
    }

    fn step_of_threads(&mut self, op: Op) -> Option<u8> {
        Some(match op {
            Op::Store { map, word, value } => match self.pte(map) {
                Pte::Block {
                    block,
                    is_writable: true,
                } => {
                    self.store(block, word, value);
                    1
                }
                _ => 0,
            },
            Op::Load { map, word } => {
                let value = match self.pte(map) {
                    Pte::None => return Some(0),
                    Pte::Zeroes => 0,
                    Pte::Block { block, .. } => self.word(block, word),
                };
                // What write() has done is seen when it has returned.
                let is_early = self.is_writing && self.pte(map) == Pte::Zeroes;
                if !is_early {
                    self.check(word, value);
                }
                1
            }
            Op::Persist { map, word } => {
                if let Pte::Block { block, .. } = self.pte(map) {
                    let (block, word) = (usize::from(block), usize::from(word));
                    let value = self.memory[block][word];
                    self.near[block][word] = value;
                    self.durable[block][word] = value;
                    self.safe[usize::from(self.metadata.is_cut)][word] = 1 << value;
                }
                0
            }
            Op::IsMapped { map } => (self.pte(map) != Pte::None).into(),
            Op::MapZeroes { map } => {
                if self.entry == Entry::None {
                    self.entry = Entry::Zeroes;
                }
                self.pte[usize::from(map)] = Pte::Zeroes;
                0
            }
            Op::MapBlock {
                map,
                block,
                is_writable,
            } => {
                self.check_block(block);
                self.pte[usize::from(map)] = Pte::Block { block, is_writable };
                0
            }
            Op::Unmap => {
                self.pte = [Pte::None; MAPS];
                0
            }
            Op::TakePinIfWritable { map } => match self.pte(map) {
                Pte::Block {
                    block,
                    is_writable: true,
                } => {
                    self.pin = Some(block);
                    1
                }
                _ => 0,
            },
            Op::StoreByPin { word, value } => {
                if let Some(block) = self.pin {
                    self.store(block, word, value);
                }
                0
            }
            Op::DropPin => {
                self.pin = None;
                0
            }
            Op::IsPinned => self.pin.is_some().into(),
            Op::InsertEntry { is_dirty } => {
                let was_dirty = self.entry == Entry::Block { is_dirty: true };
                let was_zeroes = self.entry == Entry::Zeroes;
                self.entry = Entry::Block {
                    is_dirty: is_dirty || was_dirty,
                };
                was_zeroes.into()
            }
            Op::IsInside => self.metadata.is_inside.into(),
            Op::Lookup => self.metadata.tree.to_answer(),
            Op::Read { block, word } => {
                self.check_block(block);
                if self.word(block, word) == FORMER {
                    self.fail(Violation::Exposed);
                }
                0
            }
            _ => return None,
        })
    }

    fn step_of_file(&mut self, op: Op) -> Option<Option<u8>> {
        let answer = match op {
            Op::WaitUnpinned => return Some(self.pin.is_none().then_some(0)),
            Op::TakeBlock => {
                let is_free = |n: &usize| {
                    let freed = [Some(self.disk), self.committing];
                    let is_freed = |old: &Metadata| old.taken[*n] && !self.reuses_early;
                    !self.metadata.taken[*n] && !freed.iter().flatten().any(is_freed)
                };
                match (0..BLOCKS).find(is_free) {
                    Some(n) => {
                        self.metadata.taken[n] = true;
                        n as u8
                    }
                    None => NONE,
                }
            }
            Op::GiveBack { block } => {
                self.metadata.taken[usize::from(block)] = false;
                0
            }
            Op::Zero { block, words } => {
                self.set(block, words, 0);
                1
            }
            Op::Copy { block, word, value } => {
                self.set(block, 1 << word, value);
                0
            }
            Op::Overwrite { block, word, value } => {
                self.store(block, word, value);
                self.near[usize::from(block)][usize::from(word)] = value;
                0
            }
            Op::WriteThrough { block } => {
                self.near[usize::from(block)] = self.memory[usize::from(block)];
                0
            }
            Op::Insert { block, copied } => {
                self.metadata.tree = Tree::Written(block);
                for word in (0..WORDS as u8).filter(|word| copied & (1 << word) != 0) {
                    self.was_stored(word, self.word(block, word));
                }
                1
            }
            Op::InsertUnwritten { block } => {
                self.metadata.tree = Tree::Unwritten(block);
                1
            }
            Op::Remove => {
                if let Some(block) = self.metadata.tree.block() {
                    let maps =
                        |pte: &Pte| matches!(pte, Pte::Block { block: b, .. } if *b == block);
                    if self.pte.iter().any(maps) || self.pin == Some(block) {
                        self.fail(Violation::Freed);
                    }
                    self.metadata.taken[usize::from(block)] = false;
                }
                self.metadata.tree = Tree::Hole;
                0
            }
            Op::SetSize { is_inside } => {
                self.metadata.is_inside = is_inside;
                if !is_inside {
                    self.metadata.is_cut = true;
                    self.gone |= self.stored;
                    self.expected = [0; WORDS];
                    self.syncing = None;
                }
                0
            }
            _ => return None,
        };
        Some(Some(answer))
    }

    fn step_of_journal(&mut self, op: Op, others_done: bool) -> Option<u8> {
        let is_committed = self.metadata == self.disk && self.committing.is_none();
        match op {
            Op::StartHandle => {
                if self.waits_for_handles {
                    return None;
                }
                self.handles += 1;
            }
            Op::StopHandle => self.handles -= 1,
            Op::CommitStart => {
                if is_committed {
                    return None;
                }
                self.waits_for_handles = true;
            }
            Op::CommitWait => {
                if self.handles > 0 {
                    return None;
                }
                self.waits_for_handles = false;
                self.committing = Some(self.metadata);
            }
            Op::FlushDevice => self.durable = self.near,
            Op::CommitEnd => {
                self.disk = self.committing.take()?;
                self.check_metadata(self.disk);
            }
            Op::IsDirty => return Some((!is_committed).into()),
            Op::WaitCommitted => return is_committed.then_some(0),
            Op::FsyncStart => self.syncing = Some(self.expected.map(|value| 1 << value)),
            Op::FsyncEnd => {
                if let Some(values) = self.syncing.take() {
                    self.safe[usize::from(self.metadata.is_cut)] = values;
                }
            }
            Op::OthersDone => return others_done.then_some(0),
            Op::Judge => self.judge(),
            _ => unreachable!("{op:?}"),
        }
        Some(0)
    }

    fn pte(&self, map: u8) -> Pte {
        self.pte[usize::from(map)]
    }

    fn word(&self, block: u8, word: u8) -> u8 {
        self.memory[usize::from(block)][usize::from(word)]
    }

    /// Sets words of a block, in the caches.
    fn set(&mut self, block: u8, words: u8, value: u8) {
        for word in (0..WORDS).filter(|word| words & (1 << word) != 0) {
            self.memory[usize::from(block)][word] = value;
        }
    }

    /// A store to a block that the file should have.
    fn store(&mut self, block: u8, word: u8, value: u8) {
        self.check_block(block);
        self.set(block, 1 << word, value);
        self.was_stored(word, value);
    }

    fn was_stored(&mut self, word: u8, value: u8) {
        let (word, values) = (usize::from(word), 1 << value);
        self.stored |= values;
        self.expected[word] = value;
        let safe = &mut self.safe[usize::from(self.metadata.is_cut)][word];
        if *safe != 0 {
            *safe |= values;
        }
        if let Some(syncing) = &mut self.syncing {
            syncing[word] |= values;
        }
    }

    fn check_block(&mut self, block: u8) {
        if self.metadata.tree != Tree::Written(block) {
            self.fail(Violation::Freed);
        }
    }

    /// Somebody has found that value in the file.
    fn check(&mut self, word: u8, value: u8) {
        if value == self.expected[usize::from(word)] {
            return;
        }
        self.fail(if value == FORMER {
            Violation::Exposed
        } else if self.gone & (1 << value) != 0 {
            Violation::CameBack
        } else {
            Violation::Lost
        });
    }

    fn check_metadata(&mut self, metadata: Metadata) {
        let mut taken = [false; BLOCKS];
        if let Some(block) = metadata.tree.block() {
            taken[usize::from(block)] = true;
        }
        if taken != metadata.taken {
            self.fail(Violation::Inconsistent);
        }
    }

    /// What is found if power fails now, with all of what processors have stored on its way to the memory,
    /// with none of it, or with what they had flushed.
    fn fail_power(&mut self) {
        let disk = self.disk;
        let is_cut = usize::from(disk.is_cut);
        for memory in [self.durable, self.near, self.memory] {
            for word in 0..WORDS {
                let value = match disk.tree {
                    Tree::Written(block) if disk.is_inside => memory[usize::from(block)][word],
                    _ => 0,
                };
                let safe = self.safe[is_cut][word];
                if value == FORMER {
                    self.fail(Violation::ExposedByCrash);
                } else if disk.is_cut && self.gone & (1 << value) != 0 {
                    self.fail(Violation::CameBackByCrash);
                } else if safe != 0 && safe & (1 << value) == 0 {
                    self.fail(Violation::LostByCrash);
                }
            }
        }
    }

    /// After everything.
    fn judge(&mut self) {
        for word in 0..WORDS as u8 {
            let value = match self.metadata.tree {
                Tree::Written(block) if self.metadata.is_inside => self.word(block, word),
                _ => 0,
            };
            self.check(word, value);
        }
        self.check_metadata(self.metadata);
    }
}
