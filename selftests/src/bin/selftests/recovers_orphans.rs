// SPDX-License-Identifier: GPL-2.0

//! Files that were being deleted, or cut, when the machine stopped are gone, or as short as they were to be, once the
//! volume is mounted to be written, or was mounted to be read and then is written; and what is broken among them keeps
//! nobody from writing. What is written before a volume is only read is kept.
//!
//! Promise: none of the three; room does not get lost. No control breaks it: each case that begins with a mount for reading
//! sees there that the room is still taken.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::fs::{open, statvfs, syncfs, Mode, OFlags};
use stablefs_selftests::blockdev::Faulty;
use stablefs_selftests::command::succeed;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "recovers_orphans",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("of_the_file", |env| deletes(env, FILE, Way::Mount)),
        Case::new("of_the_file_by_a_remount", |env| {
            deletes(env, FILE, Way::Remount)
        }),
        Case::new("of_the_list", |env| deletes(env, LIST, Way::Mount)),
        Case::new("of_the_list_by_a_remount", |env| {
            deletes(env, LIST, Way::Remount)
        }),
        Case::new("and_cuts_files", |env| cuts(env, Way::Mount)),
        Case::new("and_cuts_files_by_a_remount", |env| cuts(env, Way::Remount)),
        Case::new("but_not_what_is_broken", broken),
        Case::new("remounted_to_be_read_only", read_only),
    ],
};

const LIMIT: Duration = Duration::from_secs(60);
const LEN: &str = "64M";
const SECTORS: u64 = (64 << 20) / 512;
/// Files without a name, of each sort.
const FILES: u64 = 20;
const BLOCK: u64 = 4096;

/// How mke2fs makes volumes with an orphan file, and without.
const FILE: &[&str] = &["-b", "4096", "-O", "orphan_file"];
const LIST: &[&str] = &["-b", "4096", "-O", "^orphan_file"];

/// How the volume comes to be written.
#[derive(Clone, Copy)]
enum Way {
    /// It is mounted so.
    Mount,
    /// It is mounted to be read, and remounted.
    Remount,
}

/// What is free: blocks, and inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    blocks: u64,
    inodes: u64,
}

impl Free {
    fn of(root: &Path) -> Result<Self> {
        syncfs(File::open(root)?)?;
        let said = statvfs(root)?;
        Ok(Self {
            blocks: said.f_bfree,
            inodes: said.f_ffree,
        })
    }
}

fn content(env: &Env, number: u64, len: u64) -> Vec<u8> {
    Bytes::new(env.seed, number).take(len as usize)
}

/// mount(8), as not only the volume but the place where it is mounted is read-only.
fn remount(mounted: &Mounted, options: &str) -> Result<()> {
    let mut mount = Command::new("mount");
    succeed(mount.args(["-o", options]).arg(mounted.dir()), LIMIT).map(drop)
}

/// Leaves a volume behind as a machine does that stops while files without a name are open, and returns what was free
/// before there were any.
fn unclosed(env: &Env, options: &[&str]) -> Result<Free> {
    let dev = env.dev()?;
    volume::make(dev, options, LEN)?;
    let losing = Faulty::new(dev, SECTORS)?;
    let mounted = Mounted::new(env.fstyp, losing.path(), "")?;
    let root = mounted.dir();
    for number in 0..FILES {
        fs::write(root.join(number.to_string()), content(env, number, 10_000))?;
    }
    let free = Free::of(root)?;
    let mut used = Vec::new();
    for number in 0..FILES {
        let path = root.join(format!("orphan {number}"));
        fs::write(&path, content(env, number, 1 << 17))?;
        let mut options = OpenOptions::new();
        used.push(options.read(true).write(true).open(&path)?);
        fs::remove_file(&path)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let file = File::from(open(root, flags, Mode::RWXU).context("O_TMPFILE")?);
        std::io::Write::write_all(&mut &file, &content(env, number, 1 << 14))?;
        used.push(file);
    }
    // One that is neither the first of the list nor the last is gone in time.
    drop(used.remove(FILES as usize));
    syncfs(File::open(root)?)?;
    losing.lose_writes()?;
    drop(used);
    mounted.unmount()?;
    let features = volume::says(dev, "Filesystem features")?;
    ensure!(features.contains("needs_recovery"), "{features}");
    Ok(free)
}

/// Has the volume be written, in a way that first sees that less is free than `wanted`, if it is the longer one.
fn written(env: &Env, way: Way, wanted: Free) -> Result<Mounted> {
    let dev = env.dev()?;
    match way {
        Way::Mount => Mounted::new(env.fstyp, dev, ""),
        Way::Remount => {
            let mounted = Mounted::new(env.fstyp, dev, "ro")?;
            let free = Free::of(mounted.dir())?;
            // ext4 writes to the device of a volume that is mounted to be read.
            ensure!(
                free.blocks < wanted.blocks || env.fstyp == Fstyp::Ext4,
                "{free:?} is free before anybody writes, {wanted:?} without the files"
            );
            remount(&mounted, "remount,rw")?;
            Ok(mounted)
        }
    }
}

fn deletes(env: &Env, options: &[&str], way: Way) -> Result<()> {
    let wanted = unclosed(env, options)?;
    let mounted = written(env, way, wanted)?;
    let free = Free::of(mounted.dir())?;
    ensure!(
        free == wanted,
        "{free:?} is free, {wanted:?} before the files"
    );
    for number in 0..FILES {
        let found = fs::read(mounted.dir().join(number.to_string()))?;
        ensure!(found == content(env, number, 10_000), "file {number}");
    }
    mounted.unmount()?;
    volume::check(env.dev()?)
}

/// A file that is shorter than what it holds, and one without a name, in the list.
fn cuts(env: &Env, way: Way) -> Result<()> {
    let dev = env.dev()?;
    let (keeps, has) = (3 * BLOCK, 40 * BLOCK);
    volume::make(dev, FILE, LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let mut wanted = Free::of(mounted.dir())?;
    let mut inos = Vec::new();
    for name in ["cut", "gone"] {
        let path = mounted.dir().join(name);
        fs::write(&path, content(env, 0, has))?;
        inos.push(fs::metadata(&path)?.ino());
    }
    mounted.unmount()?;
    let (cut, gone) = (inos[0], inos[1]);
    for request in [
        format!("set_inode_field <{cut}> size {keeps}"),
        format!("set_inode_field <{cut}> dtime {gone}"),
        "unlink gone".to_owned(),
        format!("set_inode_field <{gone}> links_count 0"),
        format!("set_super_value last_orphan {cut}"),
    ] {
        volume::debugfs(dev, &request)?;
    }
    wanted.blocks -= keeps / BLOCK;
    wanted.inodes -= 1;

    let mounted = written(env, way, wanted)?;
    let free = Free::of(mounted.dir())?;
    let path = mounted.dir().join("cut");
    let blocks = fs::metadata(&path)?.blocks() * 512 / BLOCK;
    ensure!(
        blocks == keeps / BLOCK,
        "the file that was cut has {blocks} blocks"
    );
    ensure!(fs::read(&path)? == content(env, 0, keeps), "what it keeps");
    ensure!(
        free == wanted,
        "{free:?} is free, want {wanted:?} with the file that was cut"
    );
    // It is longer again, with nothing of what was cut.
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(has)?;
    drop(file);
    let mut again = content(env, 0, keeps);
    again.resize(has as usize, 0);
    ensure!(fs::read(&path)? == again, "what was cut is there again");
    mounted.unmount()?;
    volume::check(dev)
}

/// The list begins with an inode that is free, and the file names one.
fn broken(env: &Env) -> Result<()> {
    /// Of no file.
    const NUMBER: u32 = 100;
    let dev = env.dev()?;
    // Without checksums, so that the file can be written to.
    volume::make(
        dev,
        &["-b", "4096", "-O", "orphan_file,^metadata_csum"],
        LEN,
    )?;
    volume::debugfs(dev, &format!("set_super_value last_orphan {NUMBER}"))?;
    let ino = volume::says(dev, "Orphan file inode")?;
    let blocks = volume::debugfs(dev, &format!("blocks <{ino}>"))?;
    let mut numbers = blocks.split_whitespace().map(str::parse::<u64>);
    let block = numbers.find_map(Result::ok).context("no blocks")?;
    let pos = block * BLOCK;
    let device = OpenOptions::new().write(true).open(dev)?;
    device.write_all_at(&NUMBER.to_le_bytes(), pos)?;
    device.sync_all()?;
    drop(device);

    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let path = mounted.dir().join("file");
    fs::write(&path, content(env, 1, 1 << 20))?;
    fs::remove_file(&path)?;
    fs::write(&path, "content")?;
    mounted.unmount()?;
    // Whoever writes the volume takes the list as empty, or leaves it to e2fsck, which says so by its exit status.
    let _ = succeed(Command::new("e2fsck").arg("-fy").arg(dev), LIMIT);
    volume::check(dev)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    ensure!(fs::read(mounted.dir().join("file"))? == b"content");
    mounted.unmount()
}

fn read_only(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, FILE, LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let len = 5 << 20;
    fs::write(mounted.dir().join("file"), content(env, 1, len))?;
    remount(&mounted, "remount,ro")?;
    // The device has all of it, in its place: as one sees who does not replay the journal.
    volume::check(dev)?;
    let features = volume::says(dev, "Filesystem features")?;
    ensure!(!features.contains("needs_recovery"), "{features}");
    mounted.unmount()?;
    for fstyp in [env.fstyp, Fstyp::Ext4] {
        let mounted = Mounted::new(fstyp, dev, "ro")?;
        let found = fs::read(mounted.dir().join("file"))?;
        ensure!(found == content(env, 1, len), "as {fstyp} sees it");
        mounted.unmount()?;
    }
    volume::check(dev)
}
