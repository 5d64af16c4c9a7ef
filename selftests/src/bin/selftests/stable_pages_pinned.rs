// SPDX-License-Identifier: GPL-2.0

//! Whoever else stores to the pages of a mapping than a processor through the mapping, such as a device that reads into
//! them: the disk finds each block as its protection information says, and what was stored last is what the files hold.
//!
//! Promise 1, stable data. Broken by control `skip_reference_check` (`/proc/PID/mem`, ptrace).
//! Filesystems that fail it, on a disk with protection information: ext4 and XFS, `O_DIRECT` reads into a mapping and
//! process_vm_writev; ext4, `/proc/PID/mem` and ptrace.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use rustix::fs::fsync;
use rustix::io::Errno;
use rustix::pipe::pipe;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::tracee::Tracee;
use stablefs_selftests::trial::{another_disk, fresh, open_direct, to_words, Calls, Holds, Trial};
use stablefs_selftests::uring::Reader;
use stablefs_selftests::words::{Words, WORD};
use stablefs_selftests::worker::{Work, Worker};

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
        Case::new("direct_reads_by_io_uring", direct_reads_by_io_uring),
        Case::new("memory_for_io_uring", |env| {
            race(env, 4096, REFUSED, &for_io_uring)
        }),
        Case::new("process_vm_writev", |env| {
            race(env, 4096, "process_vm_writev", &|_, _| {
                Ok(Box::new(as_another))
            })
        }),
        Case::new("in_a_pipe", |env| race(env, 4096, "vmsplice", &in_a_pipe)),
        Case::new("from_a_pipe", |env| {
            race(env, 4096, "vmsplice", &from_a_pipe)
        }),
        Case::new("proc_mem", |env| {
            race(env, 4096, "/proc/self/mem", &proc_mem)
        }),
        Case::new("ptrace", |env| race(env, 4096, "PTRACE_POKEDATA", &traced)),
    ],
};

const LEN: usize = 256 << 10;
const THREADS: usize = 4;
const SYNCS: u64 = 80;
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

    fn part(&self) -> Range<usize> {
        self.to..self.to + CHUNK
    }

    /// By the processor, through the mapping.
    fn store(&self) {
        let words = (self.to / WORD..).zip(to_words(self.bytes()));
        words.for_each(|(index, word)| self.mapping.store(index, word));
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
    let disk = filled(env)?;
    race(env, block, "direct read", &|_, _| {
        let disk = open_direct(&disk)?;
        Ok(Box::new(move |place: Place<'_>| {
            place
                .mapping
                .read_from(place.part(), &disk, place.from as u64)
        }))
    })
}

fn direct_reads_by_io_uring(env: &Env) -> Result<()> {
    let disk = filled(env)?;
    race(env, 4096, "IORING_OP_READ", &|_, _| {
        let disk = open_direct(&disk)?;
        let mut ring = Reader::new()?;
        Ok(Box::new(move |place: Place<'_>| {
            ring.read(place.mapping, place.part(), &disk, place.from as u64)
        }))
    })
}

/// Another disk, which holds the source.
fn filled(env: &Env) -> Result<PathBuf> {
    let disk = another_disk(env)?;
    let data = Words::private(SOURCE)?;
    let words = (0..).zip(to_words(&source(env)));
    words.for_each(|(index, word)| data.store(index, word));
    let written = data.write_to(0..SOURCE, &open_direct(&disk)?, 0);
    written.context("the other disk")?;
    Ok(disk)
}

const REFUSED: &str = "store, and a refusal";

/// Registered memory would be pinned for as long as the ring is there, so that of a file is refused.
fn for_io_uring(_: &Words, _: &Path) -> Result<Store> {
    let ring = Reader::new()?;
    Ok(Box::new(move |place: Place<'_>| {
        place.store();
        match ring.register(place.mapping, place.part()) {
            Err(Errno::FAULT | Errno::OPNOTSUPP) => Ok(()),
            Err(other) => Err(other),
            Ok(()) => Err(Errno::ISCONN),
        }
    }))
}

/// The pages are pinned while they are stored to.
fn as_another(place: Place<'_>) -> Result<(), Errno> {
    place.mapping.write_as_another(place.to, place.bytes())
}

/// The pipe has references to the pages, which no pin count shows; it only reads.
fn in_a_pipe(_: &Words, _: &Path) -> Result<Store> {
    let (end, pages) = pipe()?;
    let mut end = File::from(end);
    let mut taken = vec![0; CHUNK];
    Ok(Box::new(move |place: Place<'_>| {
        place.mapping.splice_to(place.part(), &pages)?;
        place.store();
        end.read_exact(&mut taken).map_err(errno)
    }))
}

/// The kernel stores to the pages as the process itself would, by faults.
fn from_a_pipe(_: &Words, _: &Path) -> Result<Store> {
    let (end, start) = pipe()?;
    let mut start = File::from(start);
    Ok(Box::new(move |place: Place<'_>| {
        start.write_all(place.bytes()).map_err(errno)?;
        place.mapping.splice_from(place.part(), &end)
    }))
}

/// A reference to the page, which no pin count shows, is held while it is stored to.
fn proc_mem(_: &Words, _: &Path) -> Result<Store> {
    let memory = File::options().write(true).open("/proc/self/mem")?;
    Ok(Box::new(move |place: Place<'_>| {
        let address = place.mapping.start() + place.to as u64;
        memory.write_all_at(place.bytes(), address).map_err(errno)
    }))
}

/// As `proc_mem`, by words, in the memory of another process.
fn traced(_: &Words, path: &Path) -> Result<Store> {
    let path = path.to_str().context("path")?.to_owned();
    let mut worker = Worker::start(WORK, &[path])?;
    worker.tell(&[])?;
    let start: u64 = worker.hear()?.parse()?;
    let pid = i32::try_from(worker.pid())?;
    let mut tracee = None;
    Ok(Box::new(move |place: Place<'_>| {
        // Only the thread that traces it can store to it; and the process has to be there for as long.
        let _ = &worker;
        if tracee.is_none() {
            tracee = Some(Tracee::attach(pid)?);
        }
        let (Some(tracee), pos) = (&tracee, start + place.to as u64) else {
            return Err(Errno::SRCH);
        };
        let words = to_words(place.bytes());
        (pos..)
            .step_by(WORD)
            .zip(words)
            .try_for_each(|(address, word)| tracee.store(address, word))
    }))
}

/// What the processes are called by that have a mapping, and do nothing.
pub(crate) const WORK: &str = "mapping";

/// The work of one: says where the mapping is.
pub(crate) fn work(args: &[String]) -> Result<Work> {
    let [path] = args else {
        bail!("{args:?}");
    };
    let file = File::options().read(true).write(true).open(path)?;
    let mapping = Words::of(&file, 0, LEN)?;
    Ok(Box::new(move |_| Ok(mapping.start().to_string())))
}

fn errno(e: io::Error) -> Errno {
    Errno::from_io_error(&e).unwrap_or(Errno::IO)
}

fn source(env: &Env) -> Vec<u8> {
    Bytes::new(env.seed, 0x50).take(SOURCE)
}

/// Threads, each with a [`Store`] that `new` makes, store to a mapping while this one calls fsync.
fn race(
    env: &Env,
    block: u32,
    what: &'static str,
    new: &dyn Fn(&Words, &Path) -> Result<Store>,
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
            store: new(&mapping, &trial.path(FILE))?,
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
    // Among them are processes that have the file mapped.
    drop(racers);
    trial.judge(&[syncs, stores], &[Holds { name: FILE, words }])
}
