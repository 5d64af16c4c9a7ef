// SPDX-License-Identifier: GPL-2.0

//! Whoever else stores to the pages of a mapping than a processor through the mapping, such as a device that reads into
//! them: the disk finds each block as its protection information says, and what was stored last is what the files hold.
//!
//! Promise 1, stable data.
//! Filesystems that fail it: ext4, XFS and btrfs, `O_DIRECT` reads into a mapping.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rustix::fs::fsync;
use rustix::io::Errno;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::trial::{another_disk, fresh, open_direct, to_words, Calls, Holds, Trial};
use stablefs_selftests::words::{Words, WORD};

pub(crate) const PROGRAM: Program = Program {
    name: "stable_pages_pinned",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Dif, Kind::Nvme]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("direct_reads", |env| direct_reads(env, 4096)),
        Case::new("direct_reads_1_kib", |env| direct_reads(env, 1024)),
        Case::new("process_vm_writev", |env| {
            race(env, 4096, "process_vm_writev", &|_| {
                Ok(Box::new(|place: Place<'_>| {
                    place.mapping.write_as_another(place.to, place.bytes())
                }))
            })
        }),
        Case::new("proc_mem", |env| {
            race(env, 4096, "write to /proc/self/mem", &|_| {
                let memory = File::options().write(true).open("/proc/self/mem")?;
                Ok(Box::new(move |place: Place<'_>| {
                    let address = place.mapping.start() + place.to as u64;
                    let written = memory.write_all_at(place.bytes(), address);
                    written.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
                }))
            })
        }),
    ],
};

const LEN: usize = 256 << 10;
const THREADS: usize = 4;
const SYNCS: u64 = 200;
const FILE: &str = "file";
/// Bytes that are stored at a time.
const CHUNK: usize = 16 << 10;
/// Bytes of what is stored, by turns.
const SOURCE: usize = 1 << 20;

/// A place in the mapping, and the part of the source that is to be there.
struct Place<'a> {
    mapping: &'a Words,
    to: usize,
    source: &'a [u8],
    from: usize,
}

impl<'a> Place<'a> {
    fn bytes(&self) -> &'a [u8] {
        &self.source[self.from..self.from + CHUNK]
    }
}

/// How a thread stores: one [`CHUNK`].
type Store = Box<dyn FnMut(Place<'_>) -> Result<(), Errno> + Send>;

/// A thread that stores.
struct Racer {
    number: usize,
    random: Bytes,
    store: Store,
    /// Which part of the source is in each part of the mapping that is its own.
    last: Vec<Option<usize>>,
    next: usize,
}

impl Racer {
    /// Where its part `own` of the mapping is.
    fn place(&self, own: usize) -> usize {
        (own * THREADS + self.number) * CHUNK
    }

    fn step(&mut self, mapping: &Words, source: &[u8]) -> Result<(), Errno> {
        let own = self.next;
        self.next = (own + 1) % self.last.len();
        let from = self.random.below((SOURCE / CHUNK) as u64) as usize * CHUNK;
        self.last[own] = Some(from);
        let to = self.place(own);
        (self.store)(Place {
            mapping,
            to,
            source,
            from,
        })
    }
}

/// The device holds a pin while it writes to the pages; nobody takes a fault then.
fn direct_reads(env: &Env, block: u32) -> Result<()> {
    let disk = another_disk(env)?;
    let data = Words::private(SOURCE)?;
    let words = (0..).zip(to_words(&source(env)));
    words.for_each(|(index, word)| data.store(index, word));
    let written = data.write_to(0..SOURCE, &open_direct(&disk)?, 0);
    written.context("the other disk")?;
    race(env, block, "direct read", &|_| {
        let disk = open_direct(&disk)?;
        Ok(Box::new(
            move |Place {
                      mapping, to, from, ..
                  }| { mapping.read_from(to..to + CHUNK, &disk, from as u64) },
        ))
    })
}

fn source(env: &Env) -> Vec<u8> {
    Bytes::new(env.seed, 0x50).take(SOURCE)
}

/// Threads, each with a [`Store`] that `new` makes, store to a mapping while this one calls fsync.
fn race(
    env: &Env,
    block: u32,
    what: &'static str,
    new: &dyn Fn(&Words) -> Result<Store>,
) -> Result<()> {
    let mut trial = Trial::new(env, block)?;
    let source = source(env);
    let mut words = fresh(LEN);
    let file = trial.create(FILE, &words)?;
    let mapping = Words::of(&file, 0, LEN)?;
    let racer = |number| {
        Ok(Racer {
            number,
            random: Bytes::new(env.seed, number as u64),
            store: new(&mapping)?,
            last: vec![None; LEN / CHUNK / THREADS],
            next: 0,
        })
    };
    let mut racers = (0..THREADS).map(racer).collect::<Result<Vec<_>>>()?;
    let mut syncs = Calls::of("fsync");
    let step = |racer: &mut Racer| racer.step(&mapping, &source);
    let stores = trial.race(what, &mut racers, step, SYNCS, |_| {
        syncs.count(fsync(&file));
        Ok(())
    })?;
    drop((mapping, file));
    for racer in &racers {
        for (own, from) in (0..).zip(&racer.last) {
            let Some(from) = *from else { continue };
            let to = racer.place(own) / WORD;
            words[to..to + CHUNK / WORD].copy_from_slice(&to_words(&source[from..from + CHUNK]));
        }
    }
    trial.judge(&[syncs, stores], &[Holds { name: FILE, words }])
}
