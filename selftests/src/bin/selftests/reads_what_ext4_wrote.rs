// SPDX-License-Identifier: GPL-2.0

//! A volume that the kernel's ext4 has filled says the same whether ext4 or the filesystem under test mounts it: names,
//! metadata, data, extended attributes, holes, file handles. And so does one that the filesystem under test has filled,
//! which besides says what one says that ext4 has filled in the same way.
//!
//! Promise: none of the three; what a reader and writer of the format owes. No control breaks it: that the comparison can
//! see is what test `comparison_sees_a_change` shows.
//! Filesystems: those that read, or write, ext4 volumes. What they may say differently is left out of the walk, with the
//! reason there.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Instant;

use anyhow::{ensure, Result};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::populate::{populate, Scale};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::volume;
use stablefs_selftests::walk::{view, walk, walk_as, Record};

pub(crate) const PROGRAM: Program = Program {
    name: "reads_what_ext4_wrote",
    needs: Needs {
        on: Cow::Borrowed(Kind::ALL),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[Case::new("as_mke2fs_makes_it", |env| reads(env, &DEFAULT))],
};

/// The same for volumes that are made otherwise, and for other users than root.
pub(crate) const SHAPES: Program = Program {
    name: "reads_volumes_of_other_shapes",
    needs: Needs {
        // What the blocks of a volume look like has little to do with what it is on.
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("by_an_unprivileged_user", unprivileged),
        Case::new("blocks_of_1_kib", |env| reads(env, &SMALL_BLOCKS)),
        Case::new("blocks_of_2_kib", |env| reads(env, &LARGE_INODES)),
    ],
};

/// The same for volumes that the filesystem under test has filled: with large blocks on one device, with small ones on the
/// other.
pub(crate) const WRITTEN: Program = Program {
    name: "ext4_reads_what_it_wrote",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[Case::new("names_metadata_and_data", |env| {
        match env.kind()? {
            Kind::Pmem => writes(env, &MODEST_DEFAULT),
            _ => writes(env, &MODEST_SMALL_BLOCKS),
        }
    })],
};

/// A volume to be made.
struct Shape {
    mke2fs: &'static [&'static str],
    /// Its length as mke2fs takes it; all of the device if empty.
    len: &'static str,
    /// Bytes in a block.
    block: u64,
    /// Whether it is read without the page cache where the device allows it.
    dax: bool,
    /// What is on it, on a device that is fast under emulation and on another.
    scale: [Scale; 2],
}

const MODEST: Scale = Scale {
    entries: 3_000,
    extents: 1_000,
};
const FEW: Scale = Scale {
    entries: 100,
    extents: 10,
};
const DEFAULT: Shape = Shape {
    mke2fs: &[],
    len: "",
    block: 4096,
    dax: true,
    scale: [
        Scale {
            entries: 100_000,
            ..MODEST
        },
        MODEST,
    ],
};
const MODEST_DEFAULT: Shape = Shape {
    scale: [MODEST, MODEST],
    ..DEFAULT
};
/// Of the small blocks, few entries make a tree of two levels; the inodes have no room for nanoseconds.
const SMALL_BLOCKS: Shape = Shape {
    mke2fs: &["-b", "1024", "-I", "128"],
    len: "300M",
    block: 1024,
    dax: false,
    scale: [
        Scale {
            extents: 50_000,
            ..MODEST
        },
        MODEST,
    ],
};
/// `ext4-view` takes inodes of 128 bytes for cut off.
const MODEST_SMALL_BLOCKS: Shape = Shape {
    mke2fs: &["-b", "1024"],
    scale: [MODEST, MODEST],
    ..SMALL_BLOCKS
};
const LARGE_INODES: Shape = Shape {
    mke2fs: &["-b", "2048", "-I", "1024"],
    len: "300M",
    block: 2048,
    dax: false,
    scale: [MODEST, MODEST],
};

fn reads(env: &Env, shape: &Shape) -> Result<()> {
    fill(env, Fstyp::Ext4, shape)?;
    compare(env, shape).map(drop)
}

fn writes(env: &Env, shape: &Shape) -> Result<()> {
    let dev = env.dev()?;
    fill(env, Fstyp::Ext4, shape)?;
    let wanted = what_was_written(&look(env, Fstyp::Ext4, shape)?);
    fill(env, env.fstyp, shape)?;
    env.fstyp.check(dev)?;
    let found = compare(env, shape)?;
    let differences = wanted.differences(&what_was_written(&found));
    ensure!(
        differences.is_empty(),
        "what {} has written is not what ext4 has:\n{differences}",
        env.fstyp
    );
    let mut clock = Clock::new();
    let viewed = view(dev, &found)?;
    clock.say("read by ext4-view");
    ensure!(
        viewed.differences.is_empty(),
        "{} says otherwise than ext4-view, which wants:\n{}",
        env.fstyp,
        viewed.differences
    );
    say(&format!(
        "{} facts are what was written; {} are what ext4-view says, which cannot read {} files, nor the data of {}",
        wanted.len(),
        viewed.facts,
        viewed.unread,
        viewed.without_data
    ));
    Ok(())
}

/// What is the same whoever writes it, and when: no numbers of inodes, nothing of where data lies or how large a directory
/// became, and only the times that were set.
fn what_was_written(record: &Record) -> Record {
    let directories: HashSet<&str> = record
        .facts()
        .filter(|&(_, what, _)| what == "entries")
        .map(|(path, ..)| &**path)
        .collect();
    record.reduced(|path, what, value| {
        let is_wanted = match what.split(' ').next().unwrap_or(what) {
            "entry" => return value.split(' ').nth(1).map(str::to_owned),
            "atime" | "mtime" => path.starts_with("/inodes/time"),
            "size" => !directories.contains(path),
            "mode" | "nlink" | "uid" | "gid" | "rdev" | "attributes" | "flags" | "fsxattr" => true,
            "data" | "end" | "target" | "entries" | "absent" | "resume" => true,
            "xattrs" | "xattr" | "xattr_short" | "xattrs_short" | "xattrs_absent" => true,
            _ => false,
        };
        is_wanted.then(|| value.to_owned())
    })
}

/// Has `fstyp` fill a new volume.
fn fill(env: &Env, fstyp: Fstyp, shape: &Shape) -> Result<()> {
    let dev = env.dev()?;
    let mut clock = Clock::new();
    volume::make(dev, shape.mke2fs, shape.len)?;
    let scale = shape.scale[usize::from(env.kind()? != Kind::Pmem)];
    let options = match fstyp {
        Fstyp::Ext4 => "noinit_itable",
        _ => "",
    };
    let mounted = Mounted::new(fstyp, dev, options)?;
    populate(mounted.dir(), shape.block, env.seed, scale)?;
    mounted.unmount()?;
    clock.say(&format!("filled by {fstyp}"));
    Ok(())
}

/// Compares what ext4 and what the filesystem under test says of the volume, and returns it.
fn compare(env: &Env, shape: &Shape) -> Result<Record> {
    let mut clock = Clock::new();
    let wanted = look(env, Fstyp::Ext4, shape)?;
    clock.say("walked by ext4");
    say(&format!(
        "{} facts of {} sorts",
        wanted.len(),
        wanted.sorts().len()
    ));
    let found = look(env, env.fstyp, shape)?;
    clock.say(&format!("walked by {}", env.fstyp));
    let differences = wanted.differences(&found);
    ensure!(
        differences.is_empty(),
        "{} says otherwise than ext4:\n{differences}",
        env.fstyp
    );
    Ok(found)
}

/// What a process may do and see that is of a user or a group which lists of access name, and of one that they do not.
fn unprivileged(env: &Env) -> Result<()> {
    const USERS: &[(u32, u32)] = &[(1000, 1000), (2005, 7), (65_534, 4_000_000_000)];
    let dev = env.dev()?;
    volume::make(dev, &["-b", "4096"], "64M")?;
    let mounted = Mounted::new(Fstyp::Ext4, dev, "noinit_itable")?;
    populate(mounted.dir(), 4096, env.seed, FEW)?;
    mounted.unmount()?;
    let look = |fstyp| -> Result<Vec<Record>> {
        let mounted = Mounted::new(fstyp, dev, "ro")?;
        let walks = USERS
            .iter()
            .map(|&(uid, gid)| walk_as(uid, gid, mounted.dir(), env.seed));
        let records = walks.collect::<Result<_>>()?;
        mounted.unmount()?;
        Ok(records)
    };
    let (wanted, found) = (look(Fstyp::Ext4)?, look(env.fstyp)?);
    for ((wanted, found), (uid, gid)) in wanted.iter().zip(&found).zip(USERS) {
        let differences = wanted.differences(found);
        ensure!(
            differences.is_empty(),
            "to user {uid} of group {gid} {} says otherwise than ext4:\n{differences}",
            env.fstyp
        );
    }
    ensure!(
        !wanted[0].differences(&wanted[1]).is_empty(),
        "all users see the same: nothing is shown about permissions"
    );
    Ok(())
}

/// All that `fstyp` says about the volume.
fn look(env: &Env, fstyp: Fstyp, shape: &Shape) -> Result<Record> {
    let dax = shape.dax && env.kind()? == Kind::Pmem;
    let options = if dax { "ro,dax=always" } else { "ro" };
    let mounted = Mounted::new(fstyp, env.dev()?, options)?;
    let record = walk(mounted.dir(), env.seed)?;
    mounted.unmount()?;
    Ok(record)
}

/// Says how long steps took.
struct Clock {
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    fn say(&mut self, what: &str) {
        say(&format!(
            "{what} in {:.1} s",
            self.since.elapsed().as_secs_f32()
        ));
        self.since = Instant::now();
    }
}
