// SPDX-License-Identifier: GPL-2.0

//! Who is at work on the page at the same time.

use super::{
    actors::{
        Device,
        Fsync,
        Journal,
        Judge,
        Loads,
        Reads,
        Stores,
        Truncates,
        Writes, //
    },
    handles::Data,
    world::{
        Op,
        World, //
    },
    Scenario,
};
use crate::process::{
    AnyProcess,
    Process, //
};

fn boxed<P: Process<Op> + 'static>(process: P) -> AnyProcess<Op> {
    Box::new(process)
}

const fn stores(map: u8, word: u8, value: u8) -> Stores {
    Stores {
        map,
        word,
        value,
        is_sync: false,
    }
}

const fn writes(word: u8, value: u8) -> Writes {
    Writes(Data {
        word,
        value,
        map: None,
    })
}

/// Two programs store to one word each, and `write()` to a third.
const STORES_AND_WRITE: fn() -> Vec<AnyProcess<Op>> = || {
    vec![
        boxed(stores(0, 0, 11)),
        boxed(stores(1, 1, 12)),
        boxed(writes(2, 13)),
        boxed(Journal),
        boxed(Judge),
    ]
};

/// So they do in a hole.
pub const HOLE: Scenario = Scenario {
    name: "hole",
    world: World::HOLE,
    processes: STORES_AND_WRITE,
};

/// In a page that was preallocated.
pub const UNWRITTEN: Scenario = Scenario {
    name: "unwritten",
    world: World::UNWRITTEN,
    processes: STORES_AND_WRITE,
};

/// In a page of data.
pub const WRITTEN: Scenario = Scenario {
    name: "written",
    world: World::WRITTEN,
    processes: STORES_AND_WRITE,
};

/// As of a hole, and nothing but what the filesystem does keeps one from the other.
pub const ALONE: Scenario = Scenario {
    name: "without the lock of the entry",
    world: World {
        locks_entries: false,
        ..World::HOLE
    },
    ..HOLE
};

/// As before, without `write()`.
pub const TWO_FAULTS: Scenario = Scenario {
    name: "two faults, without the lock of the entry",
    processes: || {
        vec![
            boxed(stores(0, 0, 11)),
            boxed(stores(1, 1, 12)),
            boxed(Journal),
            boxed(Judge),
        ]
    },
    ..ALONE
};

/// Two programs store to a page while another truncates the file, and enlarges it.
const STORES_AND_TRUNCATE: fn() -> Vec<AnyProcess<Op>> = || {
    vec![
        boxed(stores(0, 0, 11)),
        boxed(stores(1, 1, 12)),
        boxed(Truncates { extends: true }),
        boxed(Journal),
        boxed(Judge),
    ]
};

/// Of a hole.
pub const TRUNCATED: Scenario = Scenario {
    name: "truncated",
    world: World::HOLE,
    processes: STORES_AND_TRUNCATE,
};

/// Of data.
pub const TRUNCATED_DATA: Scenario = Scenario {
    name: "truncated data",
    world: World::WRITTEN,
    processes: STORES_AND_TRUNCATE,
};

/// The file is truncated, and `write()` appends to it.
pub const APPENDED: Scenario = Scenario {
    name: "appended",
    world: World::WRITTEN,
    processes: || {
        vec![
            boxed(stores(0, 0, 11)),
            boxed(writes(2, 13)),
            boxed(Truncates { extends: false }),
            boxed(Fsync),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// Others look while one stores and one writes.
pub const LOOKED_AT: Scenario = Scenario {
    name: "looked at",
    world: World::UNWRITTEN,
    processes: || {
        vec![
            boxed(stores(0, 0, 11)),
            boxed(Loads {
                map: 1,
                word: 0,
                times: 2,
            }),
            boxed(Reads { word: 1 }),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// One loads what `write()` has written, and another faults on the page as well.
pub const LOADED: Scenario = Scenario {
    name: "loaded",
    world: World::HOLE,
    processes: || {
        vec![
            boxed(writes(2, 13)),
            boxed(Loads {
                map: 0,
                word: 2,
                times: 2,
            }),
            boxed(stores(1, 1, 12)),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// `write()` copies from a mapping of the page that it writes to, in which somebody stores.
pub const FROM_ITSELF: Scenario = Scenario {
    name: "from itself",
    world: World::HOLE,
    processes: || {
        vec![
            boxed(Writes(Data {
                word: 0,
                value: 13,
                map: Some(0),
            })),
            boxed(stores(1, 1, 12)),
            boxed(Truncates { extends: true }),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// Stores that are safe without `fsync`.
pub const SYNC: Scenario = Scenario {
    name: "MAP_SYNC",
    world: World::HOLE,
    processes: || {
        vec![
            boxed(Stores {
                is_sync: true,
                ..stores(0, 0, 11)
            }),
            boxed(stores(1, 1, 12)),
            boxed(writes(2, 13)),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// As before, and the file is truncated.
pub const SYNC_TRUNCATED: Scenario = Scenario {
    name: "MAP_SYNC, truncated",
    processes: || {
        vec![
            boxed(Stores {
                is_sync: true,
                ..stores(0, 0, 11)
            }),
            boxed(Truncates { extends: true }),
            boxed(Fsync),
            boxed(Journal),
            boxed(Judge),
        ]
    },
    ..SYNC
};

/// A device has a pin while the file is truncated.
pub const PINNED: Scenario = Scenario {
    name: "pinned",
    world: World::HOLE,
    processes: || {
        vec![
            boxed(Device {
                map: 0,
                word: 0,
                value: 11,
            }),
            boxed(stores(1, 1, 12)),
            boxed(Truncates { extends: true }),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// The memory is broken for a while, or a tree has no room.
pub const FAILING: Scenario = Scenario {
    name: "failing",
    world: World {
        failures: 2,
        ..World::HOLE
    },
    processes: STORES_AND_WRITE,
};

/// As before, in a page that was preallocated.
pub const FAILING_UNWRITTEN: Scenario = Scenario {
    name: "failing, unwritten",
    world: World {
        failures: 2,
        ..World::UNWRITTEN
    },
    processes: STORES_AND_WRITE,
};

/// Two threads that fault, `write()`, truncation; and power may fail.
pub const EVERYBODY: Scenario = Scenario {
    name: "everybody",
    world: World::HOLE,
    processes: || {
        vec![
            boxed(stores(0, 0, 11)),
            boxed(stores(1, 1, 12)),
            boxed(writes(2, 13)),
            boxed(Truncates { extends: true }),
            boxed(Journal),
            boxed(Judge),
        ]
    },
};

/// Those in which nothing goes wrong, but for that with everybody, which takes its time.
pub const ALL_SCENARIOS: [&Scenario; 16] = [
    &HOLE,
    &UNWRITTEN,
    &WRITTEN,
    &ALONE,
    &TWO_FAULTS,
    &TRUNCATED,
    &TRUNCATED_DATA,
    &APPENDED,
    &LOOKED_AT,
    &LOADED,
    &FROM_ITSELF,
    &SYNC,
    &SYNC_TRUNCATED,
    &PINNED,
    &FAILING,
    &FAILING_UNWRITTEN,
];
