// SPDX-License-Identifier: GPL-2.0

//! Random operations on a tree, each done on the volume and in memory, those that must fail among them.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{
    chmod, chownat, fdatasync, fsync, ftruncate, linkat, lremovexattr, lsetxattr, mkdir, mknodat,
    openat, renameat_with, rmdir, symlink, syncfs, unlink, utimensat, AtFlags, FileType, Gid, Mode,
    OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags, CWD,
};
use rustix::io::{pwrite, Errno};

use super::acl::Acl;
use super::tree::{Held, Id, Kind, Node, Slot, Tree, ACCESS, DEFAULT};
use crate::filesystem::Fstyp;

/// Files in a tree; if there are more, some are removed.
const MANY: usize = 250;
/// Directories below one another, at most: a path of long names stays shorter than the kernel takes.
const DEEP: usize = 10;
/// Longest content of a file.
const LONG: u64 = 60_000;
/// Files that are held open at once.
const HELD: usize = 4;

impl Tree {
    /// Does `n` operations.
    ///
    /// # Errors
    /// The filesystem does not do one of them as it must; with what was done before.
    pub fn run(&mut self, n: u64) -> Result<()> {
        for _ in 0..n {
            let done = self.operation();
            done.with_context(|| self.history.show())?;
            if core::mem::take(&mut self.in_doubt) {
                self.check().context("neither done nor not")?;
            }
        }
        Ok(())
    }

    fn operation(&mut self) -> Result<()> {
        let choice = match self.nodes.len() {
            ..=MANY => self.random.below(100),
            _ => 20 + self.random.below(10),
        };
        match choice {
            0..=7 => self.create(),
            8..=12 => self.mkdir(),
            13..=15 => self.mknod(),
            16..=19 => self.symlink(),
            20..=26 => self.unlink(),
            27..=29 => self.rmdir(),
            30..=35 => self.link(),
            36..=47 => self.rename(),
            48..=51 => self.tmpfile(),
            52..=54 => self.hold(),
            55..=58 => self.use_held(),
            59..=60 => self.release(),
            61..=70 => self.write(),
            71..=74 => self.truncate(),
            75..=77 => self.chmod(),
            78..=79 => self.chown(),
            80..=82 => self.utimes(),
            83..=90 => self.set_xattr(),
            91..=93 => self.remove_xattr(),
            94..=96 => self.set_list(),
            _ => self.sync(),
        }
    }

    /// Compares what came of an operation with what must come of it: success if there is no reason to the contrary,
    /// otherwise one of them. Says whether it was done.
    fn outcome<T>(&mut self, reasons: &[Errno], found: Result<T, Errno>) -> Result<Option<T>> {
        let shown = found
            .as_ref()
            .map_or_else(Errno::to_string, |_| "ok".into());
        self.history.outcome(&shown);
        match found {
            Ok(value) if reasons.is_empty() => Ok(Some(value)),
            Err(errno) if self.failing.is_reason_of(&errno) => Ok(None),
            Err(errno) if reasons.contains(&errno) => Ok(None),
            _ => {
                bail!("this came to: {shown}; want one of {reasons:?}, or success if that is empty")
            }
        }
    }

    /// Compares as [`outcome`](Self::outcome), of an operation that changes the tree. One that has failed for want of
    /// memory was done or it was not.
    fn is_done(&mut self, reasons: &[Errno], found: Result<(), Errno>) -> Result<bool> {
        let failed = found.is_err_and(|errno| self.failing.is_reason_of(&errno));
        let done = self.outcome(reasons, found)?.is_some();
        if failed && reasons.is_empty() && self.check().is_err() {
            self.history.outcome("but done");
            self.in_doubt = true;
            return Ok(true);
        }
        Ok(done)
    }

    /// Does `call`, perhaps so that it fails.
    fn call<T>(&mut self, call: impl FnOnce() -> Result<T, Errno>) -> Result<Result<T, Errno>> {
        self.failing.call(&mut self.random, call)
    }

    /// A directory, any of them.
    fn dir(&mut self) -> Id {
        let dirs = self.nodes.iter().filter(|(_, node)| node.kind.is_dir());
        let ids: Vec<Id> = dirs.map(|(&id, _)| id).collect();
        self.random.pick(&ids).copied().unwrap_or_default()
    }

    /// A place for a name, taken or not.
    fn slot(&mut self) -> Slot {
        let dir = self.dir();
        let taken: Vec<Vec<u8>> = self.names(dir).map(|(name, _)| name.clone()).collect();
        let random = &mut self.random;
        if !taken.is_empty() && !random.one_in(3) {
            let name = random.pick(&taken).cloned().unwrap_or_default();
            return Slot { dir, name };
        }
        let number = random.below(24);
        let name = match number {
            0..=17 => format!("name{number}").into_bytes(),
            18..=20 => format!("{number}{}", "long".repeat(63)).into_bytes(),
            21 => format!("{number}{}", "x".repeat(100 + random.below(150) as usize)).into_bytes(),
            _ => [0xff, b'\n', 0x80, b' ', number as u8].into(),
        };
        Slot { dir, name }
    }

    /// A place with a name, if one is found soon.
    fn taken(&mut self) -> Option<(Slot, Id)> {
        (0..10).find_map(|_| {
            let slot = self.slot();
            let id = self.lookup(&slot)?;
            Some((slot, id))
        })
    }

    /// A place with the name of a regular file, if one is found soon.
    fn file(&mut self) -> Option<(Slot, Id)> {
        (0..10).find_map(|_| {
            let (slot, id) = self.taken()?;
            matches!(self.nodes.get(&id)?.kind, Kind::File(_)).then_some((slot, id))
        })
    }

    /// A new file of `mode` in directory `dir`, with what it inherits.
    fn child(&self, dir: Id, kind: Kind, mode: u32) -> Node {
        let mut node = Node::new(kind, mode);
        let default = self.nodes.get(&dir).and_then(|node| node.default);
        if let (Some(list), false) = (default, matches!(node.kind, Kind::Link(_))) {
            let access = list.inherited(mode);
            node.mode = access.mode();
            node.access = Some(access);
            node.default = Some(list).filter(|_| node.kind.is_dir());
        }
        node
    }

    fn mode(&mut self) -> u32 {
        self.random.below(0o1000) as u32
    }

    /// Does `make` for a new name, and if the name is free adds a file of what it gives.
    fn make(
        &mut self,
        what: &str,
        mode: u32,
        kind: impl FnOnce(Id) -> Kind,
        make: impl FnOnce(&Path, Mode) -> Result<(), Errno>,
    ) -> Result<()> {
        let slot = self.slot();
        self.history
            .add(format!("{what} {} mode {mode:o}", self.show(&slot)));
        let reasons = self.lookup(&slot).map(|_| Errno::EXIST);
        let path = self.path_of(&slot);
        let found = self.call(|| make(&path, Mode::from_raw_mode(mode)))?;
        if self.is_done(reasons.as_slice(), found)? {
            let node = self.child(slot.dir, kind(slot.dir), mode);
            let id = self.add(node);
            self.set(&slot, Some(id))?;
        }
        Ok(())
    }

    fn create(&mut self) -> Result<()> {
        let mode = self.mode();
        self.make(
            "create",
            mode,
            |_| Kind::File(Vec::new()),
            |path, mode| {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                openat(CWD, path, flags, mode).map(drop)
            },
        )
    }

    fn mkdir(&mut self) -> Result<()> {
        let mode = self.mode();
        let slot = self.slot();
        if self.depth(slot.dir) >= DEEP {
            return Ok(());
        }
        self.make("mkdir", mode, Kind::new_dir, |path, mode| mkdir(path, mode))
    }

    fn mknod(&mut self) -> Result<()> {
        let (mode, dev) = (self.mode(), self.random.below(500));
        let kinds = [
            FileType::Fifo,
            FileType::Socket,
            FileType::CharacterDevice,
            FileType::BlockDevice,
        ];
        let kind = *self.random.pick(&kinds).unwrap_or(&FileType::Fifo);
        // Some with a number that the old form of `i_block` cannot hold, and none that xfs does not take.
        let dev = match kind {
            FileType::Fifo | FileType::Socket => 0,
            _ => rustix::fs::makedev(dev as u32, (dev * 500) as u32),
        };
        self.make(
            "mknod",
            mode,
            |_| Kind::Special { kind, dev },
            |path, mode| mknodat(CWD, path, kind, mode, dev),
        )
    }

    fn symlink(&mut self) -> Result<()> {
        let len = match self.random.below(3) {
            0 => 1 + self.random.below(58),
            // Around the length that an inode can hold.
            1 => 58 + self.random.below(4),
            _ => 62 + self.random.below(800),
        };
        let target = vec![b'a' + (len % 26) as u8; len as usize];
        let made = target.clone();
        self.make(
            &format!("symlink of {len} bytes"),
            0o777,
            |_| Kind::Link(made),
            |path, _| symlink(&target, path),
        )
    }

    fn unlink(&mut self) -> Result<()> {
        let slot = self.slot();
        self.history.add(format!("unlink {}", self.show(&slot)));
        let id = self.lookup(&slot);
        let reasons: &[Errno] = match id {
            None => &[Errno::NOENT],
            Some(id) if self.node(id)?.kind.is_dir() => &[Errno::ISDIR],
            Some(_) => &[],
        };
        let path = self.path_of(&slot);
        let found = self.call(|| unlink(path))?;
        match (self.is_done(reasons, found)?, id) {
            (true, Some(id)) => {
                self.set(&slot, None)?;
                self.drop_link(id)
            }
            _ => Ok(()),
        }
    }

    /// File `id` has a name less.
    fn drop_link(&mut self, id: Id) -> Result<()> {
        self.node_mut(id)?.links -= 1;
        self.forget_unnamed(id);
        Ok(())
    }

    fn rmdir(&mut self) -> Result<()> {
        let slot = self.slot();
        self.history.add(format!("rmdir {}", self.show(&slot)));
        let id = self.lookup(&slot);
        let reasons: &[Errno] = match id {
            None => &[Errno::NOENT],
            Some(id) if !self.node(id)?.kind.is_dir() => &[Errno::NOTDIR],
            Some(id) if self.names(id).next().is_some() => &[Errno::NOTEMPTY],
            Some(_) => &[],
        };
        let path = self.path_of(&slot);
        let found = self.call(|| rmdir(path))?;
        match (self.is_done(reasons, found)?, id) {
            (true, Some(id)) => {
                self.set(&slot, None)?;
                self.drop_link(id)
            }
            _ => Ok(()),
        }
    }

    fn link(&mut self) -> Result<()> {
        let (Some((from, id)), to) = (self.taken(), self.slot()) else {
            return Ok(());
        };
        self.history
            .add(format!("link {} {}", self.show(&from), self.show(&to)));
        let mut reasons = Vec::new();
        reasons.extend(self.lookup(&to).map(|_| Errno::EXIST));
        if self.node(id)?.kind.is_dir() {
            reasons.push(Errno::PERM);
        }
        let (old, new) = (self.path_of(&from), self.path_of(&to));
        let found = self.call(|| linkat(CWD, old, CWD, new, AtFlags::empty()))?;
        if self.is_done(&reasons, found)? {
            self.node_mut(id)?.links += 1;
            self.set(&to, Some(id))?;
        }
        Ok(())
    }

    fn rename(&mut self) -> Result<()> {
        let (from, to) = (self.slot(), self.slot());
        let flags = match self.random.below(8) {
            0 => RenameFlags::NOREPLACE,
            1 => RenameFlags::EXCHANGE,
            2 => RenameFlags::WHITEOUT,
            _ => RenameFlags::empty(),
        };
        let (old, new) = (self.lookup(&from), self.lookup(&to));
        if self.depth(to.dir) + old.map_or(0, |id| self.height(id)) >= DEEP
            || self.depth(from.dir) + new.map_or(0, |id| self.height(id)) >= DEEP
            // Whether what is left behind inherits a list is each filesystem's own affair.
            || flags == RenameFlags::WHITEOUT && self.node(from.dir)?.default.is_some()
        {
            return Ok(());
        }
        let (from_shown, to_shown) = (self.show(&from), self.show(&to));
        self.history
            .add(format!("rename {flags:?} {from_shown} {to_shown}"));
        let (from_path, to_path) = (self.path_of(&from), self.path_of(&to));
        let found = self.call(|| renameat_with(CWD, from_path, CWD, to_path, flags))?;
        let rare = RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
        if self.fstyp == Fstyp::Stablefs && flags.intersects(rare) && found == Err(Errno::INVAL) {
            self.unknown += 1;
            return Ok(());
        }
        let reasons = self.reasons_against_rename(&from, &to, flags)?;
        let done = self.is_done(&reasons, found)?;
        let Some(old) = old.filter(|_| done && old != new) else {
            return Ok(());
        };
        let left = match (flags, new) {
            (RenameFlags::EXCHANGE, new) => new,
            (RenameFlags::WHITEOUT, _) => {
                let kind = Kind::Special {
                    kind: FileType::CharacterDevice,
                    dev: 0,
                };
                Some(self.add(Node::new(kind, 0)))
            }
            _ => None,
        };
        self.set(&from, left)?;
        self.set(&to, Some(old))?;
        if let (RenameFlags::EXCHANGE, Fstyp::Xfs, Some(new)) = (flags, self.fstyp, new) {
            // It takes a change of `..` for one of the directory's content.
            self.node_mut(old)?.mtime = None;
            self.node_mut(new)?.mtime = None;
        }
        match new.filter(|_| flags != RenameFlags::EXCHANGE) {
            Some(replaced) => self.drop_link(replaced),
            None => Ok(()),
        }
    }

    /// Why a rename must fail, if it must.
    fn reasons_against_rename(
        &self,
        from: &Slot,
        to: &Slot,
        flags: RenameFlags,
    ) -> Result<Vec<Errno>> {
        let exchange = flags == RenameFlags::EXCHANGE;
        let mut reasons = Vec::new();
        let (old, new) = (self.lookup(from), self.lookup(to));
        let Some(old) = old else {
            // What is in the way may be found first.
            reasons.push(Errno::NOENT);
            return Ok(reasons);
        };
        let moves_dir = self.node(old)?.kind.is_dir();
        if moves_dir && self.is_within(to.dir, old) {
            reasons.push(Errno::INVAL);
        }
        let Some(new) = new else {
            reasons.extend(exchange.then_some(Errno::NOENT));
            return Ok(reasons);
        };
        if flags == RenameFlags::NOREPLACE {
            reasons.push(Errno::EXIST);
        }
        let onto_dir = self.node(new)?.kind.is_dir();
        if onto_dir && self.is_within(from.dir, new) {
            reasons.push(if exchange {
                Errno::INVAL
            } else {
                Errno::NOTEMPTY
            });
        }
        if old != new && !exchange {
            match (moves_dir, onto_dir) {
                (true, false) => reasons.push(Errno::NOTDIR),
                (false, true) => reasons.push(Errno::ISDIR),
                (true, true) if self.names(new).next().is_some() => {
                    reasons.push(Errno::NOTEMPTY);
                    // POSIX allows both.
                    reasons.extend((self.fstyp == Fstyp::Xfs).then_some(Errno::EXIST));
                }
                _ => {}
            }
        }
        Ok(reasons)
    }

    /// A file without a name, that is given one, or held, or nothing.
    fn tmpfile(&mut self) -> Result<()> {
        let (slot, mode) = (self.slot(), self.mode());
        self.history
            .add(format!("O_TMPFILE for {} mode {mode:o}", self.show(&slot)));
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let dir = self.path(slot.dir);
        let found = self.call(|| openat(CWD, dir, flags, Mode::from_raw_mode(mode)))?;
        let Some(fd) = self.outcome(&[], found)? else {
            return Ok(());
        };
        let file = fs::File::from(fd);
        let content = self.random.take(3000);
        file.write_all_at(&content, 0).context("write")?;
        let mut node = self.child(slot.dir, Kind::File(content), mode);
        node.links = 0;
        let id = self.add(node);
        match self.random.below(3) {
            0 => {}
            1 if self.held.len() < HELD => self.held.push(Held { file, id }),
            _ => {
                self.history.add(format!("link it to {}", self.show(&slot)));
                let reasons = self.lookup(&slot).map(|_| Errno::EXIST);
                let old = format!("/proc/self/fd/{}", file.as_raw_fd());
                let new = self.path_of(&slot);
                let found = self.call(|| linkat(CWD, old, CWD, new, AtFlags::SYMLINK_FOLLOW))?;
                if self.is_done(reasons.as_slice(), found)? {
                    self.node_mut(id)?.links = 1;
                    self.set(&slot, Some(id))?;
                }
            }
        }
        self.forget_unnamed(id);
        Ok(())
    }

    /// Opens a file, to be used whatever becomes of its name.
    fn hold(&mut self) -> Result<()> {
        let Some((slot, id)) = self.file().filter(|_| self.held.len() < HELD) else {
            return Ok(());
        };
        self.history.add(format!("open {}", self.show(&slot)));
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let path = self.path_of(&slot);
        let found = self.call(|| openat(CWD, path, flags, Mode::empty()))?;
        if let Some(fd) = self.outcome(&[], found)? {
            let file = fs::File::from(fd);
            self.held.push(Held { file, id });
        }
        Ok(())
    }

    fn use_held(&mut self) -> Result<()> {
        let Some(index) = self.held_index() else {
            return Ok(());
        };
        let (file, id) = (self.held[index].file.try_clone()?, self.held[index].id);
        let links = self.node(id)?.links;
        self.history.add(format!("use what is open, {links} links"));
        let found = file.metadata().context("fstat")?.nlink();
        ensure!(found == links, "it has {found} links instead of {links}");
        self.write_to(&file, id)?;
        let Kind::File(content) = &self.node(id)?.kind else {
            bail!("a file that is open is no file")
        };
        let mut found = vec![0; content.len()];
        file.read_exact_at(&mut found, 0).context("read")?;
        ensure!(found == *content, "it holds something else");
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        if let Some(index) = self.held_index() {
            self.history.add("close what is open");
            let id = self.held.swap_remove(index).id;
            self.forget_unnamed(id);
        }
        Ok(())
    }

    fn held_index(&mut self) -> Option<usize> {
        let indices: Vec<usize> = (0..self.held.len()).collect();
        self.random.pick(&indices).copied()
    }

    fn write(&mut self) -> Result<()> {
        let Some((slot, id)) = self.file() else {
            return Ok(());
        };
        self.history.add(format!("write {}", self.show(&slot)));
        let path = self.path_of(&slot);
        let file = fs::OpenOptions::new().write(true).open(path)?;
        self.write_to(&file, id)
    }

    fn write_to(&mut self, file: &fs::File, id: Id) -> Result<()> {
        let pos = self.random.below(LONG / 2);
        let most = match self.random.below(3) {
            0 => 100,
            _ => LONG / 2,
        };
        let len = 1 + self.random.below(most);
        let bytes = self.random.take(len as usize);
        let mut done = 0;
        while done < bytes.len() {
            let at = pos + done as u64;
            let found = self.call(|| pwrite(file, &bytes[done..], at))?;
            match found {
                Ok(count) if count > 0 => done += count,
                // The next one may have memory.
                Err(errno) if self.failing.is_reason_of(&errno) => {
                    self.history.outcome("no memory")
                }
                other => bail!("write {pos:#x}+{len:#x}: {other:?} at {at:#x}"),
            }
        }
        let node = self.node_mut(id)?;
        node.mtime = None;
        if let Kind::File(content) = &mut node.kind {
            let range = pos as usize..(pos + len) as usize;
            content.resize(content.len().max(range.end), 0);
            content[range].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        let Some((slot, id)) = self.file() else {
            return Ok(());
        };
        let size = self.random.below(LONG);
        self.history
            .add(format!("truncate {} to {size:#x}", self.show(&slot)));
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.path_of(&slot))?;
        let found = self.call(|| ftruncate(&file, size))?;
        if self.is_done(&[], found)? {
            let node = self.node_mut(id)?;
            node.mtime = None;
            if let Kind::File(content) = &mut node.kind {
                content.resize(size as usize, 0);
            }
        }
        Ok(())
    }

    fn chmod(&mut self) -> Result<()> {
        let (Some((slot, id)), mode) = (self.taken(), self.mode()) else {
            return Ok(());
        };
        if let Kind::Link(_) = self.node(id)?.kind {
            return Ok(());
        }
        self.history
            .add(format!("chmod {mode:o} {}", self.show(&slot)));
        let path = self.path_of(&slot);
        let found = self.call(|| chmod(path, Mode::from_raw_mode(mode)))?;
        if self.is_done(&[], found)? {
            let node = self.node_mut(id)?;
            node.mode = mode;
            node.access = node.access.map(|list| list.with_mode(mode));
        }
        Ok(())
    }

    fn chown(&mut self) -> Result<()> {
        let Some((slot, id)) = self.taken() else {
            return Ok(());
        };
        let (uid, gid) = (self.random.below(80_000), self.random.below(80_000));
        let (uid, gid) = (uid as u32, gid as u32);
        self.history
            .add(format!("chown {uid}:{gid} {}", self.show(&slot)));
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let path = self.path_of(&slot);
        let found = self.call(|| chownat(CWD, path, owner, group, AtFlags::SYMLINK_NOFOLLOW))?;
        if self.is_done(&[], found)? {
            let node = self.node_mut(id)?;
            (node.uid, node.gid) = (uid, gid);
        }
        Ok(())
    }

    fn utimes(&mut self) -> Result<()> {
        let Some((slot, id)) = self.taken() else {
            return Ok(());
        };
        // All that an inode with room for it holds: 1901 to 2446.
        let seconds = self.random.below((4 << 32) - 1) as i64 - (1 << 31);
        let nanoseconds = self.random.below(1_000_000_000) as i64;
        self.history.add(format!(
            "utimes {seconds}.{nanoseconds} {}",
            self.show(&slot)
        ));
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds as _,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let path = self.path_of(&slot);
        let found = self.call(|| utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW))?;
        if self.is_done(&[], found)? {
            self.node_mut(id)?.mtime = Some((seconds, nanoseconds));
        }
        Ok(())
    }

    fn set_xattr(&mut self) -> Result<()> {
        let Some((slot, id)) = self.taken() else {
            return Ok(());
        };
        let user = matches!(self.node(id)?.kind, Kind::File(_) | Kind::Dir { .. });
        let number = self.random.below(8);
        let name = match self.random.below(3) {
            0 | 1 if user => format!("user.{number}"),
            0 => format!("security.{number}"),
            _ => format!("trusted.x{}", "long".repeat(number as usize)),
        };
        let len = match self.random.below(4) {
            0 => self.random.below(self.block as u64 / 2),
            _ => self.random.below(100),
        };
        let value = self.random.take(len as usize);
        let flags = match self.random.below(4) {
            0 => XattrFlags::CREATE,
            1 => XattrFlags::REPLACE,
            _ => XattrFlags::empty(),
        };
        self.history.add(format!(
            "setxattr {flags:?} {name} of {len} bytes {}",
            self.show(&slot)
        ));
        let node = self.node(id)?;
        let reasons: &[Errno] = match (node.xattrs.contains_key(&name), flags) {
            (true, XattrFlags::CREATE) => &[Errno::EXIST],
            (false, XattrFlags::REPLACE) => &[Errno::NODATA],
            _ => &[],
        };
        let path = self.path_of(&slot);
        let found = self.call(|| lsetxattr(path, &*name, &value, flags))?;
        if reasons.is_empty() && self.is_full(id, name.len() + value.len(), found)? {
            return Ok(());
        }
        if self.is_done(reasons, found)? {
            self.node_mut(id)?.xattrs.insert(name, value);
        }
        Ok(())
    }

    /// Whether `len` bytes more of attributes were refused because there is no room for them in an inode and a block.
    fn is_full(&mut self, id: Id, len: usize, found: Result<(), Errno>) -> Result<bool> {
        if found != Err(Errno::NOSPC) || self.fstyp == Fstyp::Xfs {
            return Ok(false);
        }
        /// Of an entry in a block; and what a value may take besides.
        const HEAD: usize = 20;
        let held: usize = self
            .node(id)?
            .all_xattrs()
            .iter()
            .fold(0, |sum, (name, value)| {
                sum + HEAD + name.len() + value.len()
            });
        self.history.outcome("no room");
        ensure!(
            held + len + HEAD > self.block * 3 / 4,
            "no room for {len} bytes, of the {} of a block {held} are in use",
            self.block
        );
        Ok(true)
    }

    fn remove_xattr(&mut self) -> Result<()> {
        let Some((slot, id)) = self.taken() else {
            return Ok(());
        };
        let names: Vec<String> = self.node(id)?.all_xattrs().into_keys().collect();
        let name = self.random.pick(&names).map_or("trusted.none", |name| name);
        let name = name.to_owned();
        self.history
            .add(format!("removexattr {name} {}", self.show(&slot)));
        let reasons: &[Errno] = match names.is_empty() {
            true => &[Errno::NODATA],
            false => &[],
        };
        let path = self.path_of(&slot);
        let found = self.call(|| lremovexattr(path, &*name))?;
        if self.is_done(reasons, found)? {
            let node = self.node_mut(id)?;
            match &*name {
                ACCESS => node.access = None,
                DEFAULT => node.default = None,
                name => drop(node.xattrs.remove(name)),
            }
        }
        Ok(())
    }

    fn set_list(&mut self) -> Result<()> {
        let Some((slot, id)) = self.taken() else {
            return Ok(());
        };
        let list = Acl::new(self.random.below(1 << 15) as u32);
        let default = self.random.one_in(2);
        let name = match self.node(id)?.kind {
            Kind::Link(_) => return Ok(()),
            Kind::Dir { .. } if default => DEFAULT,
            _ => ACCESS,
        };
        self.history
            .add(format!("set {name} to {list:?} {}", self.show(&slot)));
        let value = list.bytes();
        let path = self.path_of(&slot);
        let found = self.call(|| lsetxattr(path, name, &value, XattrFlags::empty()))?;
        if self.is_full(id, value.len(), found)? {
            return Ok(());
        }
        if self.is_done(&[], found)? {
            let node = self.node_mut(id)?;
            if name == DEFAULT {
                node.default = Some(list);
            } else {
                node.access = Some(list);
                node.mode = list.mode();
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let Some((slot, id)) = self.taken() else {
            return Ok(());
        };
        if !matches!(self.node(id)?.kind, Kind::File(_) | Kind::Dir { .. }) {
            return Ok(());
        }
        self.history.add(format!("sync {}", self.show(&slot)));
        let file = fs::File::open(self.path_of(&slot)).context("open")?;
        let choice = self.random.below(3);
        let found = self.call(|| match choice {
            0 => fsync(&file),
            1 => fdatasync(&file),
            _ => syncfs(&file),
        })?;
        self.outcome(&[], found).map(drop)
    }
}
