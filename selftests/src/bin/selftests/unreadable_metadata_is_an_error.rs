// SPDX-License-Identifier: GPL-2.0

//! A block of metadata that the device cannot read is EIO for whoever needs it, once in the log, and for nobody else;
//! then `errors=` is obeyed, and the volume is sound.
//!
//! Promise 3, honest failure. No control breaks it: each case sees the operations succeed when the block can be read.
//! Filesystems: those that write ext4 volumes. ext4's words in the log are others, and so are not looked for. ext4 of
//! 7.2 fails it: a truncate that cannot read a node of the extent tree has the file be shorter than its blocks.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use stablefs_selftests::blockdev::Dm;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::kmsg::Kmsg;
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "unreadable_metadata_is_an_error",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("inode_table", |env| unreadable(env, &INODE_TABLE)),
        Case::new("directory", |env| unreadable(env, &DIRECTORY)),
        Case::new("extent_node", |env| unreadable(env, &EXTENT_NODE)),
        Case::new("block_bitmap", |env| unreadable(env, &BLOCK_BITMAP)),
        Case::new("inode_bitmap", |env| unreadable(env, &INODE_BITMAP)),
    ],
};

/// Blocks of 1 KiB: the volume has groups enough for one of them to be unusable.
const OPTIONS: &[&str] = &["-b", "1024"];
const LEN: &str = "64M";
const SECTORS: u64 = 64 << 11;
const BLOCK_SECTORS: u64 = 2;

/// Something that is done below the top of the volume, by its name.
type Operation = (&'static str, fn(&Path) -> io::Result<()>);

/// A block, and who needs it.
struct Unreadable {
    /// Finds it on the volume on a device: what debugfs is asked, and the word behind which the answer is.
    ask: &'static str,
    behind: &'static str,
    /// What needs it, and whether nothing else does as well.
    operations: &'static [Operation],
    /// Whether they fail; else they may find what they want in another group.
    fails: bool,
}

const INODE_TABLE: Unreadable = Unreadable {
    ask: "imap /pad/victim",
    behind: "located at block",
    operations: &[
        ("stat", |root| {
            fs::metadata(root.join("pad/victim")).map(drop)
        }),
        ("unlink", |root| fs::remove_file(root.join("pad/victim"))),
        ("rename", |root| {
            fs::rename(root.join("pad/victim"), root.join("other"))
        }),
    ],
    fails: true,
};

const DIRECTORY: Unreadable = Unreadable {
    ask: "blocks /dir",
    behind: "",
    operations: &[
        ("readdir", |root| {
            fs::read_dir(root.join("dir"))?.try_for_each(|entry| entry.map(drop))
        }),
        ("lookup", |root| {
            fs::metadata(root.join("dir/name")).map(drop)
        }),
        ("create", |root| {
            File::create(root.join("dir/new")).map(drop)
        }),
        ("mkdir", |root| fs::create_dir(root.join("dir/new"))),
        ("rename", |root| {
            fs::rename(root.join("file"), root.join("dir/file"))
        }),
        ("rmdir", |root| fs::remove_dir(root.join("dir"))),
    ],
    fails: true,
};

const EXTENT_NODE: Unreadable = Unreadable {
    ask: "stat /pieces",
    behind: "(ETB0):",
    operations: &[
        ("read", |root| fs::read(root.join("pieces")).map(drop)),
        ("write", |root| {
            let file = OpenOptions::new().write(true).open(root.join("pieces"))?;
            file.write_all_at(b"other", 1024)?;
            file.sync_all()
        }),
        ("truncate", |root| {
            let file = OpenOptions::new().write(true).open(root.join("pieces"))?;
            file.set_len(3000)
        }),
    ],
    fails: true,
};

const BLOCK_BITMAP: Unreadable = Unreadable {
    ask: "show_super_stats",
    behind: "Group  0: block bitmap at",
    operations: &[("write", |root| {
        let file = File::create(root.join("new"))?;
        file.write_all_at(&[7; 30_000], 0)?;
        file.sync_all()
    })],
    fails: false,
};

const INODE_BITMAP: Unreadable = Unreadable {
    ask: "show_super_stats",
    behind: "inode bitmap at",
    operations: &[("create", |root| File::create(root.join("new")).map(drop))],
    fails: false,
};

/// A volume with what the operations need.
fn make(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::make(dev, OPTIONS, LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    let root = mounted.dir();
    fs::create_dir(root.join("dir"))?;
    fs::write(root.join("dir/name"), "")?;
    fs::write(root.join("file"), "file")?;
    let pieces = File::create(root.join("pieces"))?;
    for piece in 0..40 {
        pieces.write_all_at(&[piece; 1024], u64::from(piece) * 2048)?;
    }
    drop(pieces);
    // The inode is to be in a block with none that is needed otherwise.
    fs::create_dir(root.join("pad"))?;
    let inodes_per_block = 1024 / 256;
    for number in 0..2 * inodes_per_block {
        fs::write(root.join(format!("pad/{number}")), "")?;
    }
    fs::write(root.join("pad/victim"), "victim")?;
    for number in 0..2 * inodes_per_block {
        fs::write(root.join(format!("pad/behind {number}")), "")?;
    }
    mounted.unmount()?;
    volume::check(dev)
}

impl Unreadable {
    fn block(&self, dev: &Path) -> Result<u64> {
        let said = volume::debugfs(dev, self.ask)?;
        // What debugfs says of itself comes first.
        let said = match said.split_once('\n') {
            Some((first, rest)) if first.starts_with("debugfs ") => rest,
            _ => &said,
        };
        let (_, behind) = said
            .split_once(self.behind)
            .with_context(|| format!("{}: {said}", self.ask))?;
        let number: String = behind
            .trim_start()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        number
            .parse()
            .with_context(|| format!("{}: {said}", self.ask))
    }
}

fn unreadable(env: &Env, what: &Unreadable) -> Result<()> {
    for errors in ["continue", "remount-ro"] {
        tried(env, what, errors).with_context(|| format!("errors={errors}"))?;
    }
    Ok(())
}

/// Times that one operation looks at a block, at most: ahead, and when it comes to it.
const READS: usize = 2;

fn tried(env: &Env, what: &Unreadable, errors: &str) -> Result<()> {
    make(env)?;
    let dev = env.dev()?;
    let start = what.block(dev)? * BLOCK_SECTORS;
    let (end, name) = (start + BLOCK_SECTORS, dev.display());
    let rest = SECTORS - end;
    let disk = Dm::new(&format!(
        "0 {start} linear {name} 0\n{start} {BLOCK_SECTORS} error\n{end} {rest} linear {name} {end}"
    ))?;
    let mounted = Mounted::new(env.fstyp, disk.path(), &format!("errors={errors}"))?;
    let root = mounted.dir();
    let mut is_stopped = false;
    for (name, operation) in what.operations {
        let mut log = Kmsg::mark()?;
        let outcome = operation(root).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL));
        let lines = log.lines_since()?;
        let seen = lines.iter().filter(|line| line.contains("cannot be read"));
        let seen = seen.count();
        say(&format!(
            "{}, errors={errors}: {name} comes to {outcome:?}, {seen} lines",
            env.fstyp
        ));
        match outcome {
            Err(Errno::IO) => ensure!(
                env.fstyp != Fstyp::Stablefs || (1..=READS).contains(&seen),
                "{name}: {seen} lines: {lines:#?}"
            ),
            Err(Errno::ROFS) if is_stopped => {}
            Ok(()) if !what.fails => {}
            Err(Errno::ROFS) if !what.fails && errors == "remount-ro" => {}
            Err(Errno::NOTEMPTY) if env.fstyp == Fstyp::Ext4 => {}
            other => anyhow::bail!("{name} comes to {other:?}"),
        }
        is_stopped |= errors == "remount-ro" && (seen > 0 || outcome.is_err());
    }
    // Nobody else is concerned, but that nothing may be written any more.
    ensure!(fs::read(root.join("file"))? == b"file", "another file");
    ensure!(fs::metadata(root)?.nlink() > 2, "the root");
    let write = || {
        let file = OpenOptions::new().write(true).open(root.join("file"))?;
        file.write_all_at(b"other", 0)?;
        file.sync_all()
    };
    let written = write();
    let written = written.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL));
    say(&format!("another file is then written: {written:?}"));
    match written {
        Ok(()) => ensure!(!is_stopped, "errors=remount-ro is not obeyed"),
        Err(Errno::ROFS | Errno::IO) if is_stopped => {}
        other => anyhow::bail!("a write to another file comes to {other:?}"),
    }
    mounted.unmount()?;
    drop(disk);
    volume::replay(dev)?;
    volume::check(dev)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    for (name, operation) in what.operations.iter().take(1) {
        operation(mounted.dir()).with_context(|| format!("{name}, once it can be read"))?;
    }
    mounted.unmount()?;
    volume::check(dev)
}
