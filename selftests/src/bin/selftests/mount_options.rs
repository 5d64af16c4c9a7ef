// SPDX-License-Identifier: GPL-2.0

//! Mount options have ext4's names, are shown as ext4 shows them and can be changed where ext4 lets them be changed;
//! what is no option is refused by its name.
//!
//! Promise: none of the three. No control breaks it. Filesystems: those that read ext4 volumes; ext4 itself is what
//! they are compared with.

use std::borrow::Cow;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;
use stablefs_selftests::command::succeed;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::mount_context::MountContext;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "mount_options",
    needs: Needs {
        // One with DAX: elsewhere ext4 refuses some of the options.
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("shown_as_ext4_shows_them", shown),
        Case::new("defaults_of_the_volume", defaults_of_the_volume),
        Case::new("remounted", remounted),
        Case::new("remounted_with_noload", remounted_with_noload),
        Case::new("unknown_option", |env| {
            refused_option(env, "no_such_option", "no_such_option")
        }),
        Case::new("unknown_option_with_a_value", |env| {
            refused_option(env, "no_such_option=3", "no_such_option")
        }),
        Case::new("bad_value_of_errors", |env| {
            refused_option(env, "errors=ignore", "errors")
        }),
        Case::new("bad_value_of_dax", |env| {
            refused_option(env, "dax=sometimes", "dax")
        }),
        Case::new("value_where_none_belongs", |env| {
            refused_option(env, "noload=yes", "noload")
        }),
        Case::new("for_writing", for_writing),
        Case::new("remounted_for_writing", remounted_for_writing),
        Case::new("errors_are_noted_when_met", errors_met),
        Case::new("mounted_twice", mounted_twice),
        Case::new("not_while_another_holds_the_device", held_by_another),
    ],
};

const LEN: &str = "64M";
const LIMIT: Duration = Duration::from_secs(60);
/// What mount(8) takes after `-o`, besides `ro`.
const OPTIONS: &[&str] = &[
    "",
    "dax=always",
    "dax=inode",
    "dax=never",
    "dax",
    "errors=continue",
    "errors=remount-ro",
    "errors=panic",
    "noload",
    "norecovery",
    "acl",
    "user_xattr",
    "acl,user_xattr,errors=panic,dax=never,noload",
    "errors=panic,errors=continue",
    "noatime,nosuid",
];

fn new_volume(env: &Env, options: &[&str]) -> Result<()> {
    // Blocks of a page: DAX needs them, and mke2fs makes smaller ones on a small volume.
    volume::make(env.dev()?, &[&["-b", "4096"], options].concat(), LEN)
}

/// What `/proc/mounts` says of the volume mounted read-only with `options`.
fn shows(env: &Env, fstyp: Fstyp, options: &str) -> Result<String> {
    let options = ["ro", options].join(",");
    let mounted = Mounted::new(fstyp, env.dev()?, options.trim_end_matches(','))?;
    let shown = mounted.options()?;
    mounted.unmount()?;
    Ok(shown)
}

fn shown(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    for options in OPTIONS {
        let wanted = shows(env, Fstyp::Ext4, options)?;
        let found = shows(env, env.fstyp, options)?;
        ensure!(
            wanted == found,
            "{options}: ext4 shows {wanted}, found {found}"
        );
    }
    Ok(())
}

/// What is an option's default is not shown, and the volume can have defaults of its own.
fn defaults_of_the_volume(env: &Env) -> Result<()> {
    for default in ["continue", "remount-ro", "panic"] {
        new_volume(env, &["-e", default])?;
        for options in ["", "errors=continue", "errors=remount-ro", "errors=panic"] {
            let wanted = shows(env, Fstyp::Ext4, options)?;
            let found = shows(env, env.fstyp, options)?;
            ensure!(
                wanted == found,
                "{options} where errors={default} is the default: ext4 shows {wanted}, found {found}"
            );
        }
    }
    Ok(())
}

/// Each option in turn, to a volume that stays mounted: what becomes of it, and what is shown then.
fn remounted(env: &Env) -> Result<()> {
    const TRIED: &[&str] = &[
        "errors=panic",
        "errors=remount-ro",
        "errors=continue",
        "acl",
        "dax=always",
        "dax=never",
        "dax=inode",
        "no_such_option",
        "errors=ignore",
    ];
    // Said at the mount: ext4 refuses to be told later that dax=inode, the default, is to stay in force.
    const MOUNTED: &str = "ro,dax=inode";
    new_volume(env, &[])?;
    let outcomes = |fstyp| -> Result<Vec<String>> {
        let mounted = Mounted::new(fstyp, env.dev()?, MOUNTED)?;
        let mut outcomes = Vec::new();
        for option in TRIED {
            let context = MountContext::pick(mounted.dir())?;
            let outcome = context
                .set("ro")
                .and_then(|()| context.set(option))
                .and_then(|()| context.reconfigure())
                .map_err(Errno::raw_os_error);
            outcomes.push(format!("{option}: {outcome:?}, {}", mounted.options()?));
        }
        mounted.unmount()?;
        Ok(outcomes)
    };
    let (wanted, found) = (outcomes(Fstyp::Ext4)?, outcomes(env.fstyp)?);
    ensure!(wanted == found, "ext4: {wanted:#?}, found {found:#?}");
    Ok(())
}

/// Whether the journal is replayed was decided at the mount: noload is too late then, unless it was given already, as
/// by whoever remounts with what `/proc/mounts` shows. ext4 takes it, and shows it.
fn remounted_with_noload(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    for (mounted_with, too_late) in [("ro", env.fstyp != Fstyp::Ext4), ("ro,noload", false)] {
        let mounted = Mounted::new(env.fstyp, env.dev()?, mounted_with)?;
        for option in ["noload", "norecovery"] {
            let context = MountContext::pick(mounted.dir())?;
            let outcome = context
                .set("ro")
                .and_then(|()| context.set(option))
                .and_then(|()| context.reconfigure());
            let (said, shown) = (context.messages(), mounted.options()?);
            let wanted = if too_late { Err(Errno::INVAL) } else { Ok(()) };
            ensure!(
                outcome == wanted && said.contains("noload") == too_late,
                "{option}, mounted with {mounted_with}: want {wanted:?}, got {outcome:?}; it says: {said}"
            );
            ensure!(
                shown.contains("norecovery") != too_late,
                "{option}, mounted with {mounted_with}: then it is mounted with {shown}"
            );
        }
        mounted.unmount()?;
    }
    Ok(())
}

fn refused_option(env: &Env, option: &str, name: &str) -> Result<()> {
    new_volume(env, &[])?;
    let context = MountContext::open(env.fstyp, env.dev()?)?;
    let set = context.set("ro").and_then(|()| context.set(option));
    let said = context.messages();
    ensure!(
        set == Err(Errno::INVAL),
        "{option}: want EINVAL, got {set:?}; it says: {said}"
    );
    ensure!(said.contains(name), "want {name} named, it says: {said}");
    Ok(())
}

fn for_writing(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    let context = MountContext::open(env.fstyp, env.dev()?)?;
    let created = context.create();
    let said = context.messages();
    ensure!(created == Ok(()), "got {created:?}; it says: {said}");
    Ok(())
}

fn remounted_for_writing(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, "ro")?;
    // mount(8), as not only the volume but the place where it is mounted is read-only.
    let remount = |options| {
        let mut mount = Command::new("mount");
        succeed(mount.args(["-o", options]).arg(mounted.dir()), LIMIT)
    };
    remount("remount,rw")?;
    let file = mounted.dir().join("file");
    fs::write(&file, "content")?;
    remount("remount,ro")?;
    let options = mounted.options()?;
    ensure!(is_read_only(&options), "it is mounted with {options}");
    let written = fs::write(&file, "other").map_err(|e| e.raw_os_error());
    ensure!(
        written == Err(Some(Errno::ROFS.raw_os_error())),
        "write: want EROFS, got {written:?}"
    );
    ensure!(fs::read(&file)? == b"content");
    mounted.unmount()?;
    env.fstyp.check(env.dev()?)
}

/// What is broken is said by the superblock while the volume is mounted, or the volume is not written any more and
/// shows that.
fn errors_met(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    let mounted = Mounted::new(env.fstyp, env.dev()?, "")?;
    fs::write(mounted.dir().join("broken"), "content")?;
    mounted.unmount()?;
    // The magic number of its extents.
    volume::debugfs(env.dev()?, "set_inode_field /broken block[0] 0x1234")?;
    let meet = |options| -> Result<Mounted> {
        let mounted = Mounted::new(env.fstyp, env.dev()?, options)?;
        ensure!(fs::read(mounted.dir().join("broken")).is_err());
        Ok(mounted)
    };
    let says = |name| volume::says(env.dev()?, name).context(name);

    let mounted = meet("errors=continue")?;
    let mut state = says("Filesystem state")?;
    // Of ext4 nothing waits for the worker that notes them.
    for _ in 0..LIMIT.as_secs() {
        succeed(Command::new("sync").arg("-f").arg(mounted.dir()), LIMIT)?;
        state = says("Filesystem state")?;
        if state.contains("errors") || env.fstyp == Fstyp::Stablefs {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    ensure!(state.contains("errors"), "the superblock says: {state}");
    let count = says("FS Error count")?;
    ensure!(count.parse::<u32>()? > 0, "noted are {count}");
    ensure!(!mounted.options()?.contains("emergency_ro"));
    fs::write(mounted.dir().join("other"), "content")?;
    mounted.unmount()?;

    let mounted = meet("errors=remount-ro")?;
    let options = mounted.options()?;
    ensure!(
        options.contains("emergency_ro"),
        "it is mounted with {options}"
    );
    let written = fs::write(mounted.dir().join("another"), "").map_err(|e| e.raw_os_error());
    ensure!(
        written == Err(Some(Errno::ROFS.raw_os_error())),
        "write: want EROFS, got {written:?}"
    );
    mounted.unmount()
}

/// Both mounts are of one filesystem in memory, which lives as long as either.
fn mounted_twice(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    let list = |dir: &Path| fs::read_dir(dir).map(Iterator::count).context("read_dir");
    let first = Mounted::new(env.fstyp, env.dev()?, "ro")?;
    let second = Mounted::new(env.fstyp, env.dev()?, "ro")?;
    let entries = list(first.dir())?;
    first.unmount()?;
    let left = list(second.dir())?;
    ensure!(
        entries == left && left > 0,
        "{entries} entries, then {left}"
    );
    second.unmount()
}

fn held_by_another(env: &Env) -> Result<()> {
    new_volume(env, &[])?;
    let refused = || -> Result<()> {
        let context = MountContext::open(env.fstyp, env.dev()?)?;
        let created = context.set("ro").and_then(|()| context.create());
        ensure!(
            created == Err(Errno::BUSY),
            "want EBUSY, got {created:?}; it says: {}",
            context.messages()
        );
        Ok(())
    };
    let claimed = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::EXCL.bits() as i32)
        .open(env.dev()?)
        .context("O_EXCL")?;
    refused().context("claimed with O_EXCL")?;
    drop(claimed);
    if env.fstyp == Fstyp::Ext4 {
        return Ok(());
    }
    let mounted = Mounted::new(Fstyp::Ext4, env.dev()?, "")?;
    refused().context("mounted by ext4")?;
    mounted.unmount()
}

fn is_read_only(options: &str) -> bool {
    options.split(',').any(|option| option == "ro")
}
