// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and access control lists: what is set is there, of any length that has room, wherever that is;
//! what is refused changes nothing; and ext4 sees the same.
//!
//! Promise: none of the three; what a writer of the format owes. No control breaks it: the model is the control.
//! Filesystems: those that write ext4 volumes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{lgetxattr, llistxattr, lremovexattr, lsetxattr, Mode, XattrFlags};
use rustix::io::Errno;
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::ioctl::{flag, getflags, setflags};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::populate::{acl, tag, NOBODY};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;
use stablefs_selftests::volume;
use stablefs_selftests::walk::walk;

pub(crate) const PROGRAM: Program = Program {
    name: "sets_attributes",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4]),
    },
    cases: &[
        Case::new("of_any_length", |env| tries(env, &DEFAULT, lengths)),
        Case::new("of_any_length_in_inodes_of_128_bytes", |env| {
            tries(env, &SMALL_INODES, lengths)
        }),
        Case::new("from_inode_to_block_and_back", |env| {
            tries(env, &DEFAULT, moves)
        }),
        Case::new("in_inodes_of_1_kib", |env| tries(env, &LARGE_INODES, moves)),
        Case::new("refused", |env| tries(env, &DEFAULT, refused)),
        Case::new("flags_of_directories", |env| tries(env, &DEFAULT, flags)),
        Case::new("lists_of_access", |env| tries(env, &DEFAULT, lists)),
        Case::new("blocks_that_ext4_shares", |env| shared(env, &DEFAULT)),
        Case::new("blocks_of_1_kib_that_ext4_shares", |env| {
            shared(env, &SMALL_INODES)
        }),
    ],
};

/// A volume to be made.
struct Shape {
    mke2fs: &'static [&'static str],
    /// Bytes in a block.
    block: usize,
    /// Bytes in an inode.
    inode: usize,
}

const DEFAULT: Shape = Shape {
    mke2fs: &["-b", "4096"],
    block: 4096,
    inode: 256,
};
const SMALL_INODES: Shape = Shape {
    mke2fs: &["-b", "1024", "-I", "128"],
    block: 1024,
    inode: 128,
};
const LARGE_INODES: Shape = Shape {
    mke2fs: &["-b", "2048", "-I", "1024"],
    block: 2048,
    inode: 1024,
};

const LEN: &str = "64M";
/// `XATTR_NAME_MAX`
const LONGEST_NAME: usize = 255;
/// What a block or an inode has beside values, at most, when one attribute with a short name is in it.
const OVERHEAD: usize = 64;

/// A volume on which attributes are set.
struct Place<'a> {
    root: &'a Path,
    shape: &'a Shape,
    seed: u64,
}

/// Has `set` do something with a new volume, which is then checked, and seen by ext4 as it was before.
fn tries(env: &Env, shape: &Shape, set: fn(&Place<'_>) -> Result<()>) -> Result<()> {
    // Modes are to be what they are asked to be.
    rustix::process::umask(Mode::empty());
    let dev = env.dev()?;
    volume::make(dev, shape.mke2fs, LEN)?;
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    set(&Place {
        root: mounted.dir(),
        shape,
        seed: env.seed,
    })?;
    mounted.unmount()?;
    agrees(env)
}

/// Some flags are directories' only.
fn flags(place: &Place<'_>) -> Result<()> {
    let (file, dir) = (place.root.join("file"), place.root.join("dir"));
    File::create_new(&file)?;
    fs::create_dir(&dir)?;
    let (file, dir) = (File::open(file)?, File::open(dir)?);
    for flag in [flag::DIRSYNC, flag::TOPDIR] {
        let refused = setflags(&file, getflags(&file)? | flag);
        ensure!(
            refused == Err(Errno::OPNOTSUPP),
            "{flag:#x} of a file: {refused:?}"
        );
        let before = getflags(&dir)?;
        for flags in [before | flag, before, before | flag] {
            setflags(&dir, flags).with_context(|| format!("{flags:#x}"))?;
            ensure!(getflags(&dir)? == flags, "{flags:#x} is not there");
        }
    }
    Ok(())
}

/// The unmounted volume is sound, and says the same to ext4.
fn agrees(env: &Env) -> Result<()> {
    let dev = env.dev()?;
    volume::check(dev)?;
    let look = |fstyp| {
        let mounted = Mounted::new(fstyp, dev, "ro")?;
        let record = walk(mounted.dir(), env.seed)?;
        mounted.unmount()?;
        Ok::<_, anyhow::Error>(record)
    };
    let differences = look(Fstyp::Ext4)?.differences(&look(env.fstyp)?);
    ensure!(
        differences.is_empty(),
        "{} says otherwise than ext4:\n{differences}",
        env.fstyp
    );
    Ok(())
}

/// A file, and which attributes it is to have.
struct Attributes {
    path: PathBuf,
    values: BTreeMap<String, Vec<u8>>,
    block: usize,
}

impl Attributes {
    fn new(place: &Place<'_>, name: &str) -> Result<Self> {
        let path = place.root.join(name);
        File::create_new(&path).with_context(|| name.to_owned())?;
        Ok(Self {
            path,
            values: BTreeMap::new(),
            block: place.shape.block,
        })
    }

    /// Sets an attribute, unless it is refused.
    fn set(&mut self, name: &str, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        lsetxattr(&self.path, name, value, flags)?;
        self.values.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    /// Removes an attribute, unless it is refused.
    fn remove(&mut self, name: &str) -> Result<(), Errno> {
        lremovexattr(&self.path, name)?;
        self.values.remove(name);
        Ok(())
    }

    /// That the file has what it is to have, and a block for it at most.
    fn check(&self) -> Result<()> {
        let mut found = BTreeMap::new();
        let mut names = Vec::with_capacity(1 << 16);
        llistxattr(&self.path, spare_capacity(&mut names)).context("list")?;
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let name = std::str::from_utf8(name)?;
            found.insert(name.to_owned(), get(&self.path, name).context("get")?);
        }
        if found != self.values {
            let lengths = |values: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
                let pairs = values.iter();
                pairs
                    .map(|(name, v)| format!("{name}: {}", v.len()))
                    .collect()
            };
            bail!(
                "{:?} are there, {:?} were set",
                lengths(&found),
                lengths(&self.values)
            );
        }
        let blocks = fs::symlink_metadata(&self.path)?.st_blocks();
        let one = self.block as u64 / 512;
        let may_be_one = !self.values.is_empty();
        ensure!(
            blocks == 0 || may_be_one && blocks == one,
            "{blocks} sectors for {} attributes",
            self.values.len()
        );
        Ok(())
    }
}

fn get(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = Vec::with_capacity(1 << 16);
    lgetxattr(path, name, spare_capacity(&mut value))?;
    Ok(value)
}

/// When the inode was changed last.
fn ctime(path: &Path) -> Result<(i64, i64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.st_ctime(), metadata.st_ctime_nsec()))
}

/// One attribute of each length: set, given a value of another length, and removed.
fn lengths(place: &Place<'_>) -> Result<()> {
    let bytes = &mut Bytes::new(place.seed, 1);
    let most = place.shape.block - OVERHEAD;
    let mut file = Attributes::new(place, "file")?;
    for len in (0..130).chain((130..most).step_by(61)).chain([most]) {
        let other = bytes.below(most as u64) as usize;
        for (len, flags) in [
            (len, XattrFlags::CREATE),
            (len, XattrFlags::REPLACE),
            (other, XattrFlags::empty()),
            (len, XattrFlags::REPLACE),
        ] {
            let set = file.set("user.one", &bytes.take(len), flags);
            set.with_context(|| format!("{len} bytes"))?;
            file.check().with_context(|| format!("{len} bytes"))?;
        }
        file.remove("user.one").context("remove")?;
        file.check()
            .with_context(|| format!("without {len} bytes"))?;
        if len % 10 == 0 {
            // Something is left to be seen when the volume is mounted again.
            let mut kept = Attributes::new(place, &format!("of {len}"))?;
            kept.set("trusted.kept", &bytes.take(len), XattrFlags::empty())?;
            kept.check()?;
        }
    }
    Ok(())
}

/// Some attributes grow, shrink, come and go, of which inode and block together do not always have room for all.
fn moves(place: &Place<'_>) -> Result<()> {
    const NAMES: [&str; 5] = [
        "user.a",
        "user.much longer name",
        "trusted.b",
        "security.c",
        "user.d",
    ];
    const FILES: u64 = 20;
    const STEPS: u64 = 100;

    let bytes = &mut Bytes::new(place.seed, 2);
    let (mut done, mut refused, mut in_block) = (0, 0, 0);
    for number in 0..FILES {
        let mut file = Attributes::new(place, &format!("file {number}"))?;
        for step in 0..STEPS {
            let name = *bytes.pick(&NAMES).context("names")?;
            let most = *bytes.pick(&[10, 60, 100, 1000, 3000]).context("lengths")?;
            let len = bytes.below(most) as usize;
            let value = bytes.take(len);
            let is_there = file.values.contains_key(name);
            let result = match bytes.below(5) {
                0 => file.remove(name),
                1 => file.set(name, &value, XattrFlags::CREATE),
                2 => file.set(name, &value, XattrFlags::REPLACE),
                _ => file.set(name, &value, XattrFlags::empty()),
            };
            match result {
                Ok(()) => done += 1,
                Err(Errno::NOSPC) => refused += 1,
                Err(Errno::EXIST) if is_there => {}
                Err(Errno::NODATA) if !is_there => {}
                Err(e) => return Err(e).with_context(|| format!("step {step}: {name}")),
            }
            file.check()
                .with_context(|| format!("step {step} of file {number}: {name}"))?;
            in_block += fs::symlink_metadata(&file.path)?.st_blocks();
        }
    }
    ensure!(
        done > 500 && refused > 20 && in_block > 100,
        "{done} done, {refused} refused, {in_block} sectors"
    );
    Ok(())
}

/// What cannot be is refused with the right error, and nothing has changed then.
fn refused(place: &Place<'_>) -> Result<()> {
    let mut file = Attributes::new(place, "file")?;
    let room = place.shape.block + place.shape.inode;
    file.set("user.there", b"value", XattrFlags::empty())?;
    file.set("user.large", &vec![1; 2000], XattrFlags::empty())?;
    let long = |len: usize| format!("user.{}", "n".repeat(len - "user.".len()));
    let (longest, too_long) = (long(LONGEST_NAME), long(LONGEST_NAME + 1));
    file.set(&longest, b"v", XattrFlags::empty())?;
    let before = ctime(&file.path)?;
    for (name, len, flags, wanted) in [
        ("user.there", 5, XattrFlags::CREATE, Errno::EXIST),
        ("user.large", 5, XattrFlags::CREATE, Errno::EXIST),
        ("user.not there", 5, XattrFlags::REPLACE, Errno::NODATA),
        (&too_long, 5, XattrFlags::empty(), Errno::RANGE),
        ("user.", 5, XattrFlags::empty(), Errno::INVAL),
        ("nonsense.a", 5, XattrFlags::empty(), Errno::OPNOTSUPP),
        ("user.there", room, XattrFlags::empty(), Errno::NOSPC),
        ("user.there", 1 << 16, XattrFlags::REPLACE, Errno::NOSPC),
        ("user.new", room, XattrFlags::CREATE, Errno::NOSPC),
        (
            "user.new",
            place.shape.block - 1000,
            XattrFlags::empty(),
            Errno::NOSPC,
        ),
        (
            "user.there",
            (1 << 16) + 1,
            XattrFlags::empty(),
            Errno::TOOBIG,
        ),
    ] {
        let set = file.set(name, &vec![2; len], flags);
        ensure!(
            set == Err(wanted),
            "{name} of {len} bytes, {flags:?}: {set:?}, and not {wanted:?}"
        );
        file.check()
            .with_context(|| format!("{name} was refused"))?;
    }
    let removed = file.remove("user.not there");
    ensure!(removed == Err(Errno::NODATA), "{removed:?}");
    let set = lsetxattr(
        &file.path,
        DEFAULT_LIST,
        &list(7, 7, 7),
        XattrFlags::empty(),
    );
    ensure!(set == Err(Errno::ACCESS), "a list for new files: {set:?}");
    file.check()?;
    ensure!(
        ctime(&file.path)? == before,
        "what was refused changed the file"
    );
    Ok(())
}

/// A list that names a user.
fn list(owner: u16, user: u16, mask: u16) -> Vec<u8> {
    acl(&[
        (tag::USER_OBJ, owner, NOBODY),
        (tag::USER, user, 1000),
        (tag::GROUP_OBJ, 5, NOBODY),
        (tag::MASK, mask, NOBODY),
        (tag::OTHER, 1, NOBODY),
    ])
}

/// A list of many users.
fn long_list(users: u32) -> Vec<u8> {
    let mut entries = vec![(tag::USER_OBJ, 7, NOBODY)];
    entries.extend((0..users).map(|number| (tag::USER, 5, 2000 + number)));
    entries.extend([
        (tag::GROUP_OBJ, 5, NOBODY),
        (tag::MASK, 7, NOBODY),
        (tag::OTHER, 1, NOBODY),
    ]);
    acl(&entries)
}

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT_LIST: &str = "system.posix_acl_default";

/// Lists of access, which modes, new files and changes of mode agree with.
fn lists(place: &Place<'_>) -> Result<()> {
    let set = |path: &Path, name: &str, value: &[u8]| {
        lsetxattr(path, name, value, XattrFlags::empty())
            .with_context(|| format!("{name} of {}", path.display()))
    };
    let has_mode = |path: &Path, wanted: u32| -> Result<()> {
        let mode = fs::symlink_metadata(path)?.st_mode() & 0o7777;
        ensure!(
            mode == wanted,
            "{} has mode {mode:o}, and not {wanted:o}",
            path.display()
        );
        Ok(())
    };
    let has_list = |path: &Path, name: &str, wanted: Option<&[u8]>| -> Result<()> {
        let found = match get(path, name) {
            Err(Errno::NODATA) => None,
            found => Some(found.with_context(|| name.to_owned())?),
        };
        ensure!(
            found.as_deref() == wanted,
            "{name} of {}: {found:?}, and not {wanted:?}",
            path.display()
        );
        Ok(())
    };

    let file = place.root.join("file");
    File::create_new(&file)?;
    set(&file, ACCESS, &list(6, 4, 6))?;
    has_mode(&file, 0o661)?;
    fs::set_permissions(&file, Permissions::from_mode(0o740))?;
    let changed = acl(&[
        (tag::USER_OBJ, 7, NOBODY),
        (tag::USER, 4, 1000),
        (tag::GROUP_OBJ, 5, NOBODY),
        (tag::MASK, 4, NOBODY),
        (tag::OTHER, 0, NOBODY),
    ]);
    has_list(&file, ACCESS, Some(&changed))?;
    // To a block, and back.
    for users in [1, 40, 400, 3, 40] {
        set(&file, ACCESS, &long_list(users))?;
        has_list(&file, ACCESS, Some(&long_list(users)))?;
        has_mode(&file, 0o771)?;
    }
    let too_long = lsetxattr(&file, ACCESS, &long_list(1000), XattrFlags::empty());
    ensure!(too_long == Err(Errno::NOSPC), "{too_long:?}");
    has_list(&file, ACCESS, Some(&long_list(40)))?;
    has_mode(&file, 0o771)?;
    // One that says what a mode can say becomes one.
    let plain = acl(&[
        (tag::USER_OBJ, 6, NOBODY),
        (tag::GROUP_OBJ, 4, NOBODY),
        (tag::OTHER, 0, NOBODY),
    ]);
    set(&file, ACCESS, &plain)?;
    has_list(&file, ACCESS, None)?;
    has_mode(&file, 0o640)?;

    let dir = place.root.join("directory");
    fs::create_dir(&dir)?;
    set(&dir, ACCESS, &list(7, 5, 5))?;
    set(&dir, DEFAULT_LIST, &list(7, 6, 7))?;
    has_list(&dir, ACCESS, Some(&list(7, 5, 5)))?;
    let (below, inner) = (dir.join("below"), dir.join("inner"));
    fs::create_dir(&below)?;
    File::create_new(&inner)?;
    has_list(&below, DEFAULT_LIST, Some(&list(7, 6, 7)))?;
    has_list(&below, ACCESS, Some(&list(7, 6, 7)))?;
    has_mode(&below, 0o771)?;
    has_list(&inner, DEFAULT_LIST, None)?;
    // It was made without leave to be run.
    has_mode(&inner, 0o660)?;
    // With a list that has no room in the inode.
    set(&below, DEFAULT_LIST, &long_list(100))?;
    let (deep, deepest) = (below.join("deep"), below.join("deep/deepest"));
    fs::create_dir(&deep)?;
    fs::create_dir(&deepest)?;
    File::create_new(deepest.join("file"))?;
    has_list(&deepest, DEFAULT_LIST, Some(&long_list(100)))?;
    has_list(&deepest, ACCESS, Some(&long_list(100)))?;
    lremovexattr(&below, DEFAULT_LIST).context("remove")?;
    lremovexattr(&below, ACCESS).context("remove")?;
    has_list(&below, DEFAULT_LIST, None)?;
    has_list(&below, ACCESS, None)?;
    has_mode(&below, 0o771)?;
    File::create_new(below.join("after"))?;
    has_list(&below.join("after"), ACCESS, None)
}

/// Files whose attributes are in one block, as ext4 has them, change: each for itself.
fn shared(env: &Env, shape: &Shape) -> Result<()> {
    const FILES: usize = 12;
    const NAMES: [&str; 3] = ["user.a", "trusted.b", "user.c"];

    let dev = env.dev()?;
    volume::make(dev, shape.mke2fs, LEN)?;
    let bytes = &mut Bytes::new(env.seed, 3);
    let len = shape.block / 5;
    let values = NAMES.map(|_| bytes.take(len));
    let ext4 = Mounted::new(Fstyp::Ext4, dev, "noinit_itable")?;
    let mut files = Vec::new();
    for number in 0..FILES {
        let place = Place {
            root: ext4.dir(),
            shape,
            seed: env.seed,
        };
        let mut file = Attributes::new(&place, &number.to_string())?;
        for (name, value) in NAMES.iter().zip(&values) {
            file.set(name, value, XattrFlags::empty())?;
        }
        files.push(file);
    }
    ext4.unmount()?;
    let blocks = |dev: &Path| -> Result<Vec<String>> {
        (0..FILES)
            .map(|number| {
                let said = volume::debugfs(dev, &format!("stat /{number}"))?;
                let (_, acl) = said.split_once("File ACL: ").unwrap_or_default();
                Ok(acl.split_whitespace().next().unwrap_or("").to_owned())
            })
            .collect()
    };
    let before = blocks(dev)?;
    ensure!(
        before
            .iter()
            .all(|block| *block == before[0] && block != "0"),
        "ext4 shares no block: {before:?}"
    );

    let mounted = Mounted::new(env.fstyp, dev, "")?;
    for file in &mut files {
        let name = file.path.file_name().context("name")?;
        file.path = mounted.dir().join(name);
    }
    for (number, file) in files.iter_mut().enumerate() {
        match number {
            0 => {}
            1 => file.set(NAMES[0], b"short", XattrFlags::REPLACE)?,
            2 => file.set(NAMES[1], &bytes.take(len), XattrFlags::empty())?,
            3 => file.remove(NAMES[2])?,
            4 => NAMES.iter().try_for_each(|name| file.remove(name))?,
            5 => file.set("user.more", &bytes.take(len), XattrFlags::CREATE)?,
            6 => {
                let set = file.set("user.more", &bytes.take(shape.block), XattrFlags::CREATE);
                ensure!(set == Err(Errno::NOSPC), "{set:?}");
            }
            7 => fs::remove_file(&file.path)?,
            8 => fs::set_permissions(&file.path, Permissions::from_mode(0o600))?,
            9 => file.set(NAMES[0], &values[0], XattrFlags::REPLACE)?,
            _ => file.set("user.small", b"", XattrFlags::empty())?,
        }
    }
    files.remove(7);
    let check = |files: &[Attributes]| {
        files.iter().try_for_each(|file| {
            let name = file.path.display().to_string();
            file.check().context(name)
        })
    };
    check(&files)?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
    check(&files)?;
    mounted.unmount()?;
    agrees(env)?;

    // The last ones of the block.
    let mounted = Mounted::new(env.fstyp, dev, "")?;
    for file in &files {
        let name = file.path.file_name().context("name")?;
        fs::remove_file(mounted.dir().join(name))?;
    }
    mounted.unmount()?;
    volume::check(dev)
}
