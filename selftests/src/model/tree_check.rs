// SPDX-License-Identifier: GPL-2.0

//! What is below a directory of a volume, compared with what must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{bail, Context, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{lgetxattr, llistxattr, lstat, readlink, FileType, Stat};

use super::tree::{Id, Kind, Node, Slot, Tree, TOP};

/// `XATTR_LIST_MAX`, which is also the longest value.
const MOST: usize = 64 << 10;
/// Complaints that are shown.
const SHOWN: usize = 8;

impl Tree {
    /// Compares all that can be seen of each file with what must be there.
    ///
    /// # Errors
    /// Something is otherwise; with what was done before.
    pub fn check(&self) -> Result<()> {
        let mut check = Check {
            tree: self,
            inodes: BTreeMap::new(),
            complaints: Vec::new(),
        };
        check.all()?;
        if check.complaints.is_empty() {
            return Ok(());
        }
        let n = check.complaints.len();
        check.complaints.truncate(SHOWN);
        bail!(
            "{n} things are wrong:\n{}\n{}",
            check.complaints.join("\n"),
            self.history.show()
        )
    }
}

struct Check<'a> {
    tree: &'a Tree,
    /// The inodes of the files: a file of several names is one.
    inodes: BTreeMap<Id, u64>,
    complaints: Vec<String>,
}

impl Check<'_> {
    fn all(&mut self) -> Result<()> {
        let mut dirs = vec![TOP];
        while let Some(dir) = dirs.pop() {
            let path = self.tree.path(dir);
            if dir == TOP {
                self.file(&path, "the top", TOP)?;
            }
            let wanted: BTreeSet<&[u8]> = self.tree.names(dir).map(|(name, _)| &name[..]).collect();
            let mut found = BTreeSet::new();
            for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
                let entry = entry.with_context(|| path.display().to_string())?;
                let name = entry.file_name().as_bytes().to_vec();
                if !wanted.contains(&name[..]) || !found.insert(name.clone()) {
                    let shown = self.tree.show(&Slot { dir, name });
                    self.complaints
                        .push(format!("{shown}: listed, or listed twice"));
                }
            }
            for (name, id) in self.tree.names(dir) {
                let name = name.clone();
                let slot = Slot { dir, name };
                let shown = self.tree.show(&slot);
                if !found.contains(&slot.name) {
                    self.complaints.push(format!("{shown}: not listed"));
                    continue;
                }
                self.file(&self.tree.path_of(&slot), &shown, id)
                    .with_context(|| shown)?;
                if self.tree.node(id)?.kind.is_dir() {
                    dirs.push(id);
                }
            }
        }
        let inodes: BTreeSet<u64> = self.inodes.values().copied().collect();
        self.same("all", "inodes", self.inodes.len(), inodes.len());
        Ok(())
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, what: &str, want: T, found: T) {
        if want != found {
            self.complaints
                .push(format!("{path}: {what} is {found:?} instead of {want:?}"));
        }
    }

    fn file(&mut self, path: &Path, shown: &str, id: Id) -> Result<()> {
        let tree = self.tree;
        let node = tree.node(id)?;
        let stat = lstat(path).context("lstat")?;
        let first = *self.inodes.entry(id).or_insert(stat.st_ino);
        self.same(shown, "inode", first, stat.st_ino);
        let kind = FileType::from_raw_mode(stat.st_mode);
        self.same(shown, "kind", node.kind.file_type(), kind);
        if kind != node.kind.file_type() {
            return Ok(());
        }
        self.stat(shown, node, &stat);
        self.xattrs(path, shown, node)?;
        match &node.kind {
            Kind::File(content) => {
                let found = fs::read(path).context("read")?;
                if *content != found {
                    let place = content.iter().zip(&found).position(|(a, b)| a != b);
                    self.same(shown, "the first wrong byte", None, place);
                    self.same(shown, "length", content.len(), found.len());
                }
            }
            Kind::Link(target) => {
                let found = readlink(path, Vec::new()).context("readlink")?;
                self.same(shown, "target", &target[..], found.as_bytes());
            }
            Kind::Special { dev, .. } => self.same(shown, "rdev", *dev, stat.st_rdev),
            Kind::Dir { .. } => {}
        }
        Ok(())
    }

    fn stat(&mut self, shown: &str, node: &Node, stat: &Stat) {
        let dirs = |id: Id| self.tree.node(id).is_ok_and(|node| node.kind.is_dir());
        let links = match &node.kind {
            Kind::Dir { names, .. } => 2 + names.values().filter(|&&id| dirs(id)).count() as u64,
            _ => node.links,
        };
        self.same(shown, "link count", links, stat.st_nlink);
        self.same(shown, "mode", node.mode, stat.st_mode & 0o7777);
        self.same(shown, "uid", node.uid, stat.st_uid);
        self.same(shown, "gid", node.gid, stat.st_gid);
        if let Kind::File(content) = &node.kind {
            self.same(shown, "size", content.len() as i64, stat.st_size);
        }
        if let Some(mtime) = node.mtime {
            let found = (stat.st_mtime, stat.st_mtime_nsec as i64);
            self.same(shown, "mtime", mtime, found);
        }
    }

    fn xattrs(&mut self, path: &Path, shown: &str, node: &Node) -> Result<()> {
        let mut names = Vec::with_capacity(MOST);
        llistxattr(path, spare_capacity(&mut names)).context("llistxattr")?;
        let mut found = BTreeMap::new();
        for name in names.split_inclusive(|&byte| byte == 0) {
            let name = CStr::from_bytes_with_nul(name).context("name of an attribute")?;
            // By these xfs shows its lists once more.
            if name.to_bytes().starts_with(b"trusted.SGI_ACL_") {
                continue;
            }
            let mut value = Vec::with_capacity(MOST);
            lgetxattr(path, name, spare_capacity(&mut value)).context("lgetxattr")?;
            found.insert(name.to_string_lossy().into_owned(), value);
        }
        let wanted = node.all_xattrs();
        let lists = |all: &BTreeMap<String, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        self.same(shown, "attributes", lists(&wanted), lists(&found));
        for (name, value) in &wanted {
            if let Some(found) = found.get(name) {
                self.same(shown, name, value, found);
            }
        }
        Ok(())
    }
}
