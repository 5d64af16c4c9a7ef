// SPDX-License-Identifier: GPL-2.0

//! Who is at work on the folio at the same time.

use crate::{
    actors::{
        ChangesBuffer,
        Device,
        DirectReads,
        DirectWrites,
        Freezes,
        Fsync,
        Hold,
        Holder,
        Invalidates,
        LastFsync,
        Punches,
        Reclaims,
        Stores,
        Truncates,
        Writes, //
    },
    checker::Scenario,
    process::Process,
    world::{
        Block,
        Pte,
        World,
        ALL, //
    },
};

fn boxed<P: Process + 'static>(process: P) -> Box<dyn Process> {
    Box::new(process)
}

/// A folio of one block; the other is behind the end of the file.
const SMALL: World = World {
    size: 1,
    blocks: [Block::Written, Block::Hole],
    ..World::CLEAN
};

/// One that is dirty, and mapped for writing by all.
const DIRTY: World = World {
    dirty: true,
    dirty_blocks: ALL,
    pte: [Pte::Writable; 2],
    ..SMALL
};

/// Two threads of one program, and one of another, store while `fsync` is called.
pub const MAPPED: Scenario = Scenario {
    name: "mapped",
    world: DIRTY,
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Stores {
                cpu: 1,
                block: 0,
                values: (11, 12),
            }),
            boxed(Stores {
                cpu: 2,
                block: 0,
                values: (21, 21),
            }),
            boxed(Fsync { maps: 2, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 2 }),
        ]
    },
};

/// Threads of two programs store to a folio that is clean, while `fsync` is called twice.
pub const FAULTED: Scenario = Scenario {
    name: "faulted",
    world: SMALL,
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Stores {
                cpu: 1,
                block: 0,
                values: (11, 11),
            }),
            boxed(Fsync { maps: 2, times: 2 }),
            boxed(Device),
            boxed(LastFsync { maps: 2 }),
        ]
    },
};

/// A device stores through a pin, a thread through the mapping, while `fsync` is called.
pub const PINNED: Scenario = Scenario {
    name: "pinned",
    world: DIRTY,
    processes: || {
        vec![
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 0,
                value: 1,
            }),
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (11, 11),
            }),
            boxed(Fsync { maps: 1, times: 2 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// As before, with a reference that is not a pin.
pub const REFERENCED: Scenario = Scenario {
    name: "referenced",
    world: DIRTY,
    processes: || {
        vec![
            boxed(Holder {
                hold: Hold::Reference,
                map: 0,
                block: 0,
                value: 1,
            }),
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (11, 11),
            }),
            boxed(Fsync { maps: 1, times: 2 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// A folio of two blocks, which are written one after the other: two pins, one of each block.
pub const LARGE: Scenario = Scenario {
    name: "large",
    world: World {
        size: 2,
        blocks: [Block::Written; 2],
        ..DIRTY
    },
    processes: || {
        vec![
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 0,
                value: 1,
            }),
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 1,
                value: 2,
            }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// A device stores to one block of a folio through a pin, and `write()` to the other.
pub const HALF_PINNED: Scenario = Scenario {
    name: "half pinned",
    world: LARGE.world,
    processes: || {
        vec![
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 1,
                value: 1,
            }),
            boxed(Writes {
                block: 0,
                value: 11,
            }),
            boxed(Fsync { maps: 1, times: 2 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// `write()` and a thread store to a file with a hole.
pub const WRITTEN: Scenario = Scenario {
    name: "written",
    world: World {
        size: 2,
        blocks: [Block::Hole; 2],
        room: 2,
        ..World::CLEAN
    },
    processes: || {
        vec![
            boxed(Writes { block: 0, value: 1 }),
            boxed(Stores {
                cpu: 0,
                block: 1,
                values: (11, 12),
            }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// The volume has no room.
pub const FULL: Scenario = Scenario {
    name: "full",
    world: World {
        size: 1,
        blocks: [Block::Hole; 2],
        ..World::CLEAN
    },
    processes: WRITTEN_ONCE,
};

/// The end of the file is in the folio, behind its first block.
pub const END_OF_FILE: Scenario = Scenario {
    name: "end of file",
    world: World {
        size: 1,
        blocks: [Block::Hole; 2],
        room: 2,
        ..World::CLEAN
    },
    processes: WRITTEN_ONCE,
};

/// The folio is not up to date any more.
pub const NOT_UPTODATE: Scenario = Scenario {
    name: "not up to date",
    world: World {
        uptodate: false,
        ..World::CLEAN
    },
    processes: WRITTEN_ONCE,
};

const WRITTEN_ONCE: fn() -> Vec<Box<dyn Process>> = || {
    vec![
        boxed(Stores {
            cpu: 0,
            block: 0,
            values: (1, 1),
        }),
        boxed(Fsync { maps: 1, times: 1 }),
        boxed(Device),
        boxed(LastFsync { maps: 1 }),
    ]
};

/// The file is truncated while a thread stores to it and `fsync` is called.
pub const TRUNCATED: Scenario = Scenario {
    name: "truncated",
    world: World {
        blocks: [Block::Hole; 2],
        room: 2,
        ..World::CLEAN
    },
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Truncates { maps: 1 }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// One block of the folio becomes a hole while a thread stores to both.
pub const PUNCHED: Scenario = Scenario {
    name: "punched",
    world: World {
        pte: [Pte::Writable; 2],
        dirty: true,
        dirty_blocks: ALL,
        ..World::CLEAN
    },
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Stores {
                cpu: 2,
                block: 1,
                values: (11, 12),
            }),
            boxed(Punches { maps: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// One block becomes a hole while a device has a pin.
pub const PUNCHED_PINNED: Scenario = Scenario {
    name: "punched and pinned",
    world: World {
        allocates_late: true,
        ..PUNCHED.world
    },
    processes: || {
        vec![
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 1,
                value: 1,
            }),
            boxed(Punches { maps: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// As before, and what is dirty is written only if it had room when it became so.
pub const PUNCHED_PINNED_EARLY: Scenario = Scenario {
    name: "punched and pinned, allocated early",
    world: PUNCHED.world,
    ..PUNCHED_PINNED
};

/// The page cache is invalidated while a thread stores to a hole.
pub const INVALIDATED: Scenario = Scenario {
    name: "invalidated",
    world: World {
        blocks: [Block::Hole; 2],
        room: 2,
        ..World::CLEAN
    },
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Invalidates { maps: 1 }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// Memory is reclaimed while a thread stores, and TLBs are flushed in time.
pub const RECLAIMED: Scenario = Scenario {
    name: "reclaimed",
    world: DIRTY,
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Reclaims {
                flushes_late: false,
            }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// As before, and they are flushed late.
pub const RECLAIMED_LATE: Scenario = Scenario {
    name: "reclaimed late",
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Reclaims { flushes_late: true }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
    ..RECLAIMED
};

/// A thread, `write()`, a device with a pin, and `fsync`, of a file with holes.
pub const EVERYBODY: Scenario = Scenario {
    name: "everybody",
    world: World {
        size: 2,
        blocks: [Block::Hole; 2],
        room: 2,
        ..World::CLEAN
    },
    processes: || {
        vec![
            boxed(Stores {
                cpu: 1,
                block: 0,
                values: (1, 1),
            }),
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 1,
                value: 11,
            }),
            boxed(Writes {
                block: 0,
                value: 21,
            }),
            boxed(Fsync { maps: 2, times: 2 }),
            boxed(Device),
            boxed(LastFsync { maps: 2 }),
        ]
    },
};

/// The same with truncation instead of `write()`, which do not happen at the same time.
pub const EVERYBODY_TRUNCATED: Scenario = Scenario {
    name: "everybody, truncated",
    processes: || {
        vec![
            boxed(Stores {
                cpu: 1,
                block: 0,
                values: (1, 1),
            }),
            boxed(Holder {
                hold: Hold::Pin,
                map: 0,
                block: 1,
                value: 11,
            }),
            boxed(Truncates { maps: 2 }),
            boxed(Fsync { maps: 2, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 2 }),
        ]
    },
    ..EVERYBODY
};

/// The volume is frozen while a thread stores.
pub const FROZEN: Scenario = Scenario {
    name: "frozen",
    world: DIRTY,
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Freezes { maps: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// A write to a new block fails, while a thread stores again, and `write()` elsewhere wants the room.
pub const FAILING: Scenario = Scenario {
    name: "failing",
    world: World {
        size: 1,
        blocks: [Block::Hole; 2],
        room: 1,
        failures: 1,
        ..World::CLEAN
    },
    processes: || {
        vec![
            boxed(Stores {
                cpu: 0,
                block: 0,
                values: (1, 2),
            }),
            boxed(Fsync { maps: 1, times: 1 }),
            boxed(Device),
            boxed(LastFsync { maps: 1 }),
        ]
    },
};

/// As before, on a volume that takes the block back.
pub const TAKEN_BACK: Scenario = Scenario {
    name: "taken back",
    world: World {
        takes_back: true,
        ..FAILING.world
    },
    ..FAILING
};

/// The buffer of a direct write changes.
pub const DIRECT_WRITE: Scenario = Scenario {
    name: "direct write",
    world: SMALL,
    processes: || {
        vec![
            boxed(DirectWrites),
            boxed(ChangesBuffer { values: (1, 3) }),
            boxed(Device),
        ]
    },
};

/// The buffer of a direct read changes.
pub const DIRECT_READ: Scenario = Scenario {
    name: "direct read",
    world: World {
        disk: [7, 0],
        expected: [7, 0],
        disk_guard: 7,
        ..SMALL
    },
    processes: || {
        vec![
            boxed(DirectReads { is_sync: true }),
            boxed(DirectReads { is_sync: false }),
            boxed(ChangesBuffer { values: (1, 3) }),
        ]
    },
};

/// And the disk has something else than was written to it.
pub const BAD_DISK: Scenario = Scenario {
    name: "bad disk",
    world: World {
        disk_guard: 8,
        ..DIRECT_READ.world
    },
    ..DIRECT_READ
};

/// Those in which nothing goes wrong, but for those with everybody, which take their time.
pub const ALL_SCENARIOS: [&Scenario; 21] = [
    &MAPPED,
    &FAULTED,
    &PINNED,
    &REFERENCED,
    &LARGE,
    &HALF_PINNED,
    &WRITTEN,
    &FULL,
    &END_OF_FILE,
    &NOT_UPTODATE,
    &TRUNCATED,
    &PUNCHED,
    &PUNCHED_PINNED,
    &INVALIDATED,
    &RECLAIMED,
    &FROZEN,
    &FAILING,
    &TAKEN_BACK,
    &DIRECT_WRITE,
    &DIRECT_READ,
    &BAD_DISK,
];
