// SPDX-License-Identifier: GPL-2.0

//! Nothing is written to a device that is read-only, to a file that is immutable, or over what an append-only file has;
//! and the last blocks of a volume are for those only for whom they are reserved.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it: each case sees that the same succeeds
//! where it may. Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::fs::{
    chmod, fallocate, ftruncate, link, lremovexattr, lsetxattr, mkdir, mknodat, rename, rmdir,
    statvfs, symlink, unlink, utimensat, AtFlags, FallocateFlags, FileType, Mode, OFlags, Timespec,
    Timestamps, XattrFlags, CWD,
};
use rustix::io::{pwrite, write, Errno};
use rustix::mount::{mount, mount_remount, unmount, MountFlags, UnmountFlags};
use stablefs_selftests::command::{run, succeed};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{flag, getflags, setflags};
use stablefs_selftests::mapping::SharedMapping;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::scratch::Scratch;
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "refuses_what_may_not_be_written",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("read_only_device", read_only_device),
        Case::new("immutable_file", |env| flagged(env, immutable_file)),
        Case::new("append_only_file", |env| flagged(env, append_only_file)),
        Case::new("immutable_directory", |env| flagged(env, immutable_dir)),
        Case::new("append_only_directory", |env| flagged(env, append_only_dir)),
        Case::new("blocks_reserved_for_root", |env| reserved(env, None, None)),
        Case::new("blocks_reserved_for_a_user", |env| {
            reserved(env, Some(FAVOURED), None)
        }),
        Case::new("blocks_reserved_for_a_group", |env| {
            reserved(env, None, Some(FAVOURED))
        }),
    ],
};

const LIMIT: Duration = Duration::from_secs(60);

/// A device, read-only until this is dropped.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn new(dev: &'a Path) -> Result<Self> {
        succeed(Command::new("blockdev").arg("--setro").arg(dev), LIMIT)?;
        Ok(Self(dev))
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        // Nothing to do about a failure: the next test cannot make a volume.
        let _ = run(Command::new("blockdev").arg("--setrw").arg(self.0), LIMIT);
    }
}

fn read_only_device(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &[], "16M")?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    fs::write(mounted.dir().join("file"), "content")?;
    mounted.unmount()?;
    let read_only = ReadOnly::new(dev)?;
    let dir = Scratch::dir()?;
    let mount_it = |flags| mount(dev, dir.path(), env.fstyp.to_string(), flags, None);
    let refused = mount_it(MountFlags::empty());
    ensure!(
        refused == Err(Errno::ACCESS),
        "mounting it to be written: {refused:?}"
    );
    mount_it(MountFlags::RDONLY).context("mounting it")?;
    let look = || -> Result<()> {
        let path = dir.path().join("file");
        ensure!(fs::read(&path)? == b"content", "other content");
        let refused = mount_remount(dir.path(), MountFlags::empty(), "");
        ensure!(
            matches!(refused, Err(Errno::ACCESS | Errno::ROFS)),
            "remounting it: {refused:?}"
        );
        let refused = unlink(&path);
        ensure!(refused == Err(Errno::ROFS), "unlink: {refused:?}");
        Ok(())
    };
    let seen = look();
    unmount(dir.path(), UnmountFlags::empty())?;
    seen?;
    drop(read_only);
    volume::check(dev)
}

/// Where a case about flags does what it does.
struct Place {
    root: PathBuf,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Sets one of the flags of a file or directory, or clears all.
    fn set(&self, name: &str, flag: Option<u32>) -> Result<()> {
        let file = File::open(self.path(name))?;
        let other = getflags(&file)? & !(flag::IMMUTABLE | flag::APPEND);
        setflags(&file, other | flag.unwrap_or(0)).with_context(|| format!("flags of {name}"))
    }
}

/// Each is refused, with EPERM.
fn refused(outcomes: &[(&str, Result<(), Errno>)]) -> Result<()> {
    let all: Vec<_> = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome != Err(Errno::PERM))
        .collect();
    ensure!(all.is_empty(), "want EPERM: {all:?}");
    Ok(())
}

/// Each is done.
fn done(outcomes: &[(&str, Result<(), Errno>)]) -> Result<()> {
    let all: Vec<_> = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_err())
        .collect();
    ensure!(all.is_empty(), "want success: {all:?}");
    Ok(())
}

fn errno<T>(result: io::Result<T>) -> Result<(), Errno> {
    result
        .map(drop)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))
}

fn now(path: &Path) -> Result<(), Errno> {
    let time = Timespec {
        tv_sec: 1000,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::empty())
}

fn flagged(env: &Env, case: fn(&Place) -> Result<()>) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &[], "16M")?;
    for _ in 0..2 {
        let mounted = Mounted::new(env.fstyp, dev, "")?;
        let place = Place {
            root: mounted.dir().to_owned(),
        };
        // What has a flag keeps it over a remount.
        if place.path("file").exists() {
            refused(&[("unlink", unlink(place.path("file")))])?;
            place.set("file", None)?;
            place.set("dir", None)?;
            fs::remove_dir_all(place.path("dir"))?;
        }
        fs::create_dir(place.path("dir"))?;
        fs::write(place.path("dir/name"), "")?;
        fs::create_dir(place.path("dir/below"))?;
        fs::write(place.path("file"), vec![1; 10_000])?;
        lsetxattr(place.path("file"), "user.a", b"a", XattrFlags::empty())?;
        case(&place)?;
        place.set("file", Some(flag::APPEND))?;
        mounted.unmount()?;
        volume::check(dev)?;
    }
    Ok(())
}

fn immutable_file(place: &Place) -> Result<()> {
    let path = place.path("file");
    let open = OpenOptions::new().read(true).write(true).open(&path)?;
    done(&[("write", pwrite(&open, b"x", 0).map(drop))])?;
    place.set("file", Some(flag::IMMUTABLE))?;
    all_refused(place, &open)?;
    refused(&[
        ("append", errno(OpenOptions::new().append(true).open(&path))),
        ("write", pwrite(&open, b"x", 0).map(drop)),
        (
            "fallocate",
            fallocate(&open, FallocateFlags::empty(), 0, 20_000),
        ),
    ])?;
    ensure!(fs::read(&path)?.len() == 10_000, "it has changed");
    place.set("file", None)?;
    done(&[
        ("write", pwrite(&open, b"x", 0).map(drop)),
        ("truncate", ftruncate(&open, 10_000)),
        ("chmod", chmod(&path, Mode::RWXU)),
    ])
}

/// What neither an immutable nor an append-only file lets be done to it.
fn all_refused(place: &Place, open: &File) -> Result<()> {
    let path = place.path("file");
    let truncating = OpenOptions::new().write(true).truncate(true).open(&path);
    let (mode, no_flags) = (Mode::RWXU, XattrFlags::empty());
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    refused(&[
        ("open", errno(OpenOptions::new().write(true).open(&path))),
        ("O_TRUNC", errno(truncating)),
        ("ftruncate", ftruncate(open, 5)),
        ("punch", fallocate(open, punch, 0, 4096)),
        (
            "collapse",
            fallocate(open, FallocateFlags::COLLAPSE_RANGE, 0, 4096),
        ),
        (
            "insert",
            fallocate(open, FallocateFlags::INSERT_RANGE, 0, 4096),
        ),
        ("unlink", unlink(&path)),
        ("rename", rename(&path, place.path("other"))),
        ("rename onto", rename(place.path("dir/name"), &path)),
        ("link", link(&path, place.path("other"))),
        ("chmod", chmod(&path, mode)),
        ("setxattr", lsetxattr(&path, "user.b", b"b", no_flags)),
        ("removexattr", lremovexattr(&path, "user.a")),
        ("utimes", now(&path)),
    ])
}

fn append_only_file(place: &Place) -> Result<()> {
    let path = place.path("file");
    let open = OpenOptions::new().read(true).append(true).open(&path)?;
    let written = OpenOptions::new().read(true).write(true).open(&path)?;
    place.set("file", Some(flag::APPEND))?;
    all_refused(place, &open)?;
    let mapped = SharedMapping::new(&written, 4096);
    ensure!(mapped.is_err(), "it can be mapped to be stored to");
    let appending = OpenOptions::new().append(true).open(&path)?;
    done(&[
        ("append", write(&appending, b"more").map(drop)),
        ("append", write(&open, b"more").map(drop)),
    ])?;
    let content = fs::read(&path)?;
    ensure!(content.ends_with(b"moremore"), "it was not appended to");
    ensure!(content[..10_000] == [1; 10_000], "it has changed");
    let without = OpenOptions::new()
        .custom_flags(OFlags::TRUNC.bits() as i32)
        .append(true)
        .open(&path);
    refused(&[("O_TRUNC and O_APPEND", errno(without))])
}

fn immutable_dir(place: &Place) -> Result<()> {
    place.set("dir", Some(flag::IMMUTABLE))?;
    let new = place.path("dir/new");
    refused(&[
        ("create", errno(File::create_new(&new))),
        ("mkdir", mkdir(&new, Mode::RWXU)),
        ("symlink", symlink("target", &new)),
        ("mknod", mknodat(CWD, &new, FileType::Fifo, Mode::RWXU, 0)),
        ("link", link(place.path("file"), &new)),
        ("rename into", rename(place.path("file"), &new)),
        ("O_TMPFILE", tmpfile(&place.path("dir"))),
    ])?;
    dir_refused(place)?;
    done(&[("write", errno(fs::write(place.path("dir/name"), "new")))])
}

/// What neither an immutable nor an append-only directory lets be done.
fn dir_refused(place: &Place) -> Result<()> {
    let [name, dir, other] = ["dir/name", "dir", "other"].map(|name| place.path(name));
    refused(&[
        ("unlink", unlink(&name)),
        ("rmdir", rmdir(place.path("dir/below"))),
        ("rename out", rename(&name, &other)),
        ("rename within", rename(&name, place.path("dir/other"))),
        ("rename of itself", rename(&dir, &other)),
        ("chmod", chmod(&dir, Mode::RWXU)),
        (
            "setxattr",
            lsetxattr(&dir, "user.b", b"b", XattrFlags::empty()),
        ),
    ])
}

fn append_only_dir(place: &Place) -> Result<()> {
    place.set("dir", Some(flag::APPEND))?;
    let new = |number: u32| place.path(&format!("dir/new {number}"));
    done(&[
        ("create", errno(File::create_new(new(0)))),
        ("mkdir", mkdir(new(1), Mode::RWXU)),
        ("symlink", symlink("target", new(2))),
        ("link", link(place.path("dir/name"), new(3))),
    ])?;
    refused(&[("unlink of a new name", unlink(new(0)))])?;
    dir_refused(place)
}

fn tmpfile(dir: &Path) -> Result<(), Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dir, flags, Mode::RWXU).map(drop)
}

/// Of whom blocks are reserved.
const FAVOURED: u32 = 2000;
/// Somebody else.
const ANYONE: u32 = 1000;

/// Blocks that are reserved.
const RESERVED: u64 = 1000;

fn reserved(env: &Env, user: Option<u32>, group: Option<u32>) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, &["-b", "4096"], "24M")?;
    volume::tune(dev, &["-r", &RESERVED.to_string()])?;
    if let Some(user) = user {
        volume::tune(dev, &["-u", &user.to_string()])?;
    }
    if let Some(group) = group {
        volume::tune(dev, &["-g", &group.to_string()])?;
    }
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let root = mounted.dir();
    chmod(root, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
    let free = || statvfs(root).map(|stat| stat.f_bfree);
    let fill = |name: &str, uid: u32, gid: u32| -> Result<()> {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=64k", "status=none", "conv=fsync"])
            .arg(format!("of={}", root.join(name).display()))
            .uid(uid)
            .gid(gid);
        let output = run(&mut dd, LIMIT)?;
        ensure!(
            output.text.contains("No space left"),
            "{name}: {}",
            output.text
        );
        Ok(())
    };
    fill("of anyone", ANYONE, ANYONE)?;
    let left = free()?;
    ensure!(
        left >= RESERVED,
        "{left} blocks are left, {RESERVED} are reserved"
    );
    let available = statvfs(root)?.f_bavail;
    ensure!(
        available < RESERVED / 4,
        "{available} are said to be left for anyone"
    );
    let refused = errno(File::create(root.join("dir")).and_then(|file| file.write_all_at(b"x", 0)));
    ensure!(refused.is_ok(), "root is refused: {refused:?}");
    let before = free()?;
    match (user, group) {
        (None, None) => fill("of root", 0, 0)?,
        (uid, gid) => fill(
            "of the favoured",
            uid.unwrap_or(ANYONE),
            gid.unwrap_or(ANYONE),
        )?,
    }
    let after = free()?;
    ensure!(
        before >= after + RESERVED * 3 / 4,
        "{before} blocks were left, then {after}"
    );
    fill("once more", ANYONE, ANYONE)?;
    mounted.unmount()?;
    volume::check(dev)
}
