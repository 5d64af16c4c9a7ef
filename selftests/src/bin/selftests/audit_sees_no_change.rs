// SPDX-License-Identifier: GPL-2.0

//! Mounted with `audit`, a volume on any device has its data stay as they are while they are written, whatever programs
//! do meanwhile; and the auditor, which looks at each block, finds no change. Without it nobody looks.
//!
//! The device is held in the middle of a write, so that no test depends on who is faster. What changes then is in the log,
//! with inode, position and program: in a control that lets somebody in, the test fails with that line.
//!
//! Promise 1, stable data.
//! Filesystems: stablefs, which has the option.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{fadvise, fallocate, Advice, FallocateFlags, OFlags};
use rustix::io::Errno;
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::devices::{self, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mapping::SharedMapping;
use stablefs_selftests::mount_context::MountContext;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "audit_sees_no_change",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs]),
    },
    cases: &[
        Case::new("a_store", |env| unchanged(env, 4096, store)),
        Case::new("a_store_1_kib", |env| unchanged(env, 1024, store)),
        Case::new("a_write", |env| unchanged(env, 4096, write)),
        Case::new("a_write_1_kib", |env| unchanged(env, 1024, write)),
        Case::new("a_truncate", |env| unchanged(env, 4096, truncate)),
        Case::new("a_hole", |env| unchanged(env, 4096, hole)),
        Case::new("a_read_into_a_mapping", |env| read_into(env, 4096)),
        Case::new("a_read_into_a_mapping_1_kib", |env| read_into(env, 1024)),
        Case::new("nobody_looks_without_it", without),
        Case::new("shown_and_not_to_be_changed", shown),
    ],
};

const MIB: u32 = 32;
const SECTORS: u64 = (MIB as u64) << 11;
/// Bytes of the file.
const LEN: usize = 256 << 10;
/// Of it, what is changed: not the beginning of a page, nor of a block.
const POS: usize = 5 * 4096 + 100;
const ROUNDS: u64 = 3;
/// How long somebody is waited for who is to wait himself.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the log says of a change.
const CHANGED: &str = "changed while they were written";
const BLOCKS: &str = "blocks_audited";
const MISMATCHES: &str = "audit_mismatches";
const MISSED: &str = "blocks_not_audited";

/// A mounted volume, and a file of it that is mapped.
struct Stage<'a> {
    env: &'a Env,
    mapping: SharedMapping,
    file: File,
    log: Kmsg,
    mounted: Mounted,
    dm: Dm,
}

impl<'a> Stage<'a> {
    fn new(env: &'a Env, block: u32, options: &str) -> Result<Self> {
        let dm = Dm::new(&format!("0 {SECTORS} linear {} 0", env.dev()?.display()))?;
        volume::make_small(env.fstyp, dm.path(), block, MIB)?;
        let mounted = Mounted::new(env.fstyp, dm.path(), options)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(mounted.dir().join("file"))?;
        file.write_all_at(&[b'a'; LEN], 0)?;
        Ok(Self {
            env,
            mapping: SharedMapping::new(&file, LEN)?,
            file,
            log: Kmsg::mark()?,
            mounted,
            dm,
        })
    }

    /// Has the page that is to be changed be dirty, and nothing else under way.
    fn prepare(&self, byte: u8) -> Result<()> {
        self.file.sync_all().context("fsync")?;
        self.mapping.store(POS, &[byte])
    }

    /// Has it be written, and waits for nothing.
    fn submit(&self) -> Result<()> {
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    /// What is counted.
    fn count(&self, what: &str) -> Result<u64> {
        let name = devices::kernel_name(self.dm.path())?;
        let path = Path::new("/sys/kernel/debug/stablefs")
            .join(name)
            .join(what);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        text.trim()
            .parse()
            .with_context(|| path.display().to_string())
    }

    /// The lines of the log that tell of a change.
    fn changes(&mut self) -> Result<Vec<String>> {
        let lines = self.log.lines_since()?;
        Ok(lines
            .into_iter()
            .filter(|line| line.contains(CHANGED))
            .collect())
    }

    /// Sees that the auditor was there, and found nothing.
    fn judge(mut self) -> Result<()> {
        self.file.sync_all().context("the last fsync")?;
        let (blocks, mismatches) = (self.count(BLOCKS)?, self.count(MISMATCHES)?);
        let changes = self.changes()?;
        ensure!(
            mismatches == 0 && changes.is_empty(),
            "{mismatches} of {blocks} blocks changed: {}",
            changes.join("; ")
        );
        ensure!(blocks > 0, "no block was looked at");
        let missed = self.count(MISSED)?;
        ensure!(missed == 0, "{missed} blocks were not looked at");
        drop((self.mapping, self.file));
        self.mounted.unmount()?;
        self.env.fstyp.check(self.dm.path())
    }
}

/// What is done to a file, or a mapping of it, with a byte that is another one each time.
type Change = fn(&File, &SharedMapping, u8) -> Result<()>;

fn store(_: &File, mapping: &SharedMapping, byte: u8) -> Result<()> {
    mapping.store(POS + 1, &[byte])
}

fn write(file: &File, _: &SharedMapping, byte: u8) -> Result<()> {
    file.write_all_at(&[byte], POS as u64 + 1).context("write")
}

fn truncate(file: &File, _: &SharedMapping, _: u8) -> Result<()> {
    file.set_len(POS as u64).context("ftruncate")?;
    file.set_len(LEN as u64).context("ftruncate")
}

fn hole(file: &File, _: &SharedMapping, _: u8) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, POS as u64, 10).context("fallocate")
}

/// Whether `change` was done before the device went on, in the middle of a write.
fn changed_meanwhile(stage: &Stage<'_>, byte: u8, change: Change) -> Result<bool> {
    stage.prepare(byte)?;
    let held = stage.dm.hold()?;
    stage.submit()?;
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let changing = scope.spawn(move || {
            let changed = change(&stage.file, &stage.mapping, byte);
            // Whoever listens has perhaps gone.
            let _ = done.send(());
            changed
        });
        let waited = is_done.recv_timeout(PATIENCE);
        // Before anybody is waited for.
        held.release()?;
        let changed = changing.join().ok().context("panicked")?;
        changed?;
        match waited {
            Ok(()) => Ok(true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(e) => bail!("{e}"),
        }
    })
}

fn unchanged(env: &Env, block: u32, change: Change) -> Result<()> {
    let stage = Stage::new(env, block, "audit")?;
    for round in 0..ROUNDS * env.longer {
        changed_meanwhile(&stage, round.to_le_bytes()[0], change)?;
    }
    stage.judge()
}

/// A device stores to a page that is being written: a read into the mapping has begun before, and ends meanwhile.
fn read_into(env: &Env, block: u32) -> Result<()> {
    const PAGE: usize = 4096;
    let stage = Stage::new(env, block, "audit")?;
    let table = format!("0 {SECTORS} linear {} {SECTORS}", env.dev()?.display());
    let source = Dm::new(&table)?;
    let bytes = OpenOptions::new()
        .write(true)
        .open(source.path())
        .context("the other device")?;
    let from = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(source.path())
        .context("the other device")?;
    for round in 0..ROUNDS * env.longer {
        // Everywhere another one than what is stored.
        let byte = round.to_le_bytes()[0];
        bytes.write_all_at(&[!byte; PAGE], 0)?;
        bytes.sync_all()?;
        stage.prepare(byte)?;
        let reading = source.hold()?;
        thread::scope(|scope| {
            let read = scope.spawn(|| stage.mapping.read_from(POS / PAGE * PAGE, PAGE, &from, 0));
            // There is nothing to see of its being on its way. If it is not, it waits as any store.
            thread::sleep(PATIENCE);
            let writing = stage.dm.hold()?;
            stage.submit()?;
            reading.release()?;
            thread::sleep(PATIENCE);
            writing.release()?;
            read.join().ok().context("panicked")?
        })?;
    }
    stage.judge()
}

/// A device that does not ask for it is written from pages that may change.
fn without(env: &Env) -> Result<()> {
    let mut stage = Stage::new(env, 4096, "")?;
    let mut meanwhile = false;
    // The first may wait for the journal.
    for round in 0..10 {
        meanwhile = changed_meanwhile(&stage, round, store)?;
        if meanwhile {
            break;
        }
    }
    ensure!(meanwhile, "a store waited for the device");
    let changes = stage.changes()?;
    ensure!(changes.is_empty(), "{}", changes.join("; "));
    for what in [BLOCKS, MISMATCHES, MISSED] {
        let count = stage.count(what)?;
        ensure!(count == 0, "{what}: {count}");
    }
    Ok(())
}

fn shown(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, 4096, MIB)?;
    for options in ["", "audit"] {
        let mounted = Mounted::new(env.fstyp, dev, options)?;
        let is_shown = |mounted: &Mounted| -> Result<bool> {
            Ok(mounted
                .options()?
                .split(',')
                .any(|option| option == "audit"))
        };
        ensure!(
            is_shown(&mounted)? != options.is_empty(),
            "{}",
            mounted.options()?
        );
        let context = MountContext::pick(mounted.dir())?;
        let given = context.set("audit").and_then(|()| context.reconfigure());
        let said = context.messages();
        let (wanted, says) = match options {
            "" => (Err(Errno::INVAL), "audit cannot be changed"),
            _ => (Ok(()), ""),
        };
        ensure!(
            given == wanted && said.contains(says),
            "mounted with {options:?}: {given:?}; it says: {said}"
        );
        ensure!(
            is_shown(&mounted)? != options.is_empty(),
            "{}",
            mounted.options()?
        );
        mounted.unmount()?;
    }
    Ok(())
}
