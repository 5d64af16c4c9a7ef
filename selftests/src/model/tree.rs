// SPDX-License-Identifier: GPL-2.0

//! A tree of files in memory: what must be found below one directory of a volume.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{mkdir, FileType, Mode};

use super::acl::Acl;
use super::failing::Failing;
use super::history::History;
use crate::filesystem::Fstyp;
use crate::seed::Bytes;

/// A file, whatever its names.
pub(super) type Id = u64;

/// The top of a tree.
pub(super) const TOP: Id = 0;

const TOP_MODE: u32 = 0o755;

/// A directory of a volume, under random operations.
pub struct Tree {
    /// What does the operations.
    pub(super) fstyp: Fstyp,
    /// Bytes in a block of the volume.
    pub(super) block: usize,
    pub(super) nodes: BTreeMap<Id, Node>,
    pub(super) random: Bytes,
    pub(super) history: History,
    /// Files that are open, with or without a name.
    pub(super) held: Vec<Held>,
    /// Forms of rename(2) that the filesystem does not know, how often they were tried.
    pub(super) unknown: u64,
    /// What makes operations fail.
    pub(super) failing: Failing,
    /// The last operation failed, and has been done all the same.
    pub(super) in_doubt: bool,
    next: Id,
    /// Path of the top in the volume.
    name: PathBuf,
    /// Path of the top now.
    top: PathBuf,
}

/// A file that is open.
pub(super) struct Held {
    pub(super) file: fs::File,
    pub(super) id: Id,
}

/// What a file is, but for its names.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names, of anything but a directory.
    pub(super) links: u64,
    /// Extended attributes but for the lists.
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) access: Option<Acl>,
    pub(super) default: Option<Acl>,
    /// When it was last changed, if it was said when that was: seconds and nanoseconds.
    pub(super) mtime: Option<(i64, i64)>,
}

/// What sort of file it is.
#[derive(Debug)]
pub(super) enum Kind {
    File(Vec<u8>),
    Dir {
        parent: Id,
        names: BTreeMap<Vec<u8>, Id>,
    },
    Link(Vec<u8>),
    /// A pipe, a socket or a device.
    Special {
        kind: FileType,
        dev: u64,
    },
}

/// A place for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) dir: Id,
    pub(super) name: Vec<u8>,
}

impl Kind {
    pub(super) fn new_dir(parent: Id) -> Self {
        Self::Dir {
            parent,
            names: BTreeMap::new(),
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }

    pub(super) fn file_type(&self) -> FileType {
        match self {
            Self::File(_) => FileType::RegularFile,
            Self::Dir { .. } => FileType::Directory,
            Self::Link(_) => FileType::Symlink,
            Self::Special { kind, .. } => *kind,
        }
    }
}

impl Tree {
    /// A tree that is to be at `name` in a volume with blocks of `block` bytes, which `fstyp` changes.
    pub fn new(fstyp: Fstyp, block: u32, name: &Path, seed: u64) -> Self {
        let top = Node::new(Kind::new_dir(TOP), TOP_MODE);
        Self {
            fstyp,
            block: block as usize,
            nodes: BTreeMap::from([(TOP, top)]),
            random: Bytes::new(seed, 0x7ee),
            history: History::default(),
            held: Vec::new(),
            unknown: 0,
            failing: Failing::default(),
            in_doubt: false,
            next: TOP + 1,
            name: name.to_owned(),
            top: PathBuf::new(),
        }
    }

    /// Opens it below `root`, where the volume is mounted now; its top is made if nothing was done with it yet.
    ///
    /// # Errors
    /// The filesystem refuses it.
    pub fn open(&mut self, root: &Path) -> Result<()> {
        self.top = root.join(&self.name);
        if self.history.next() == 1 {
            self.history.add("mkdir of the top");
            let made = mkdir(&self.top, Mode::from_raw_mode(TOP_MODE));
            made.with_context(|| self.top.display().to_string())?;
        }
        Ok(())
    }

    /// Until it is closed, has memory be short now and then in the middle of an operation of this thread.
    ///
    /// # Errors
    /// This kernel cannot do that.
    pub fn fail_allocations(&mut self) -> Result<()> {
        self.failing.begin()
    }

    /// How many operations came to nothing for want of memory, and how many did not although some was missing.
    pub fn failed(&self) -> (u64, u64) {
        self.failing.failed()
    }

    /// Closes what is open, so that the volume can be unmounted.
    pub fn close(&mut self) {
        self.failing.end();
        self.held.clear();
        self.nodes.retain(|_, node| node.links > 0);
    }

    /// The filesystem now is `fstyp`.
    pub fn hand_to(&mut self, fstyp: Fstyp) {
        self.fstyp = fstyp;
    }

    /// How often a form of rename(2) was tried that the filesystem does not know.
    pub fn unknown_renames(&self) -> u64 {
        self.unknown
    }

    /// What has no name at all, and is not known by its id any more, is forgotten.
    pub(super) fn forget_unnamed(&mut self, id: Id) {
        if self.nodes.get(&id).is_some_and(|node| node.links == 0)
            && !self.held.iter().any(|held| held.id == id)
        {
            self.nodes.remove(&id);
        }
    }

    pub(super) fn add(&mut self, node: Node) -> Id {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    pub(super) fn node(&self, id: Id) -> Result<&Node> {
        self.nodes.get(&id).context("a file of the model")
    }

    pub(super) fn node_mut(&mut self, id: Id) -> Result<&mut Node> {
        self.nodes.get_mut(&id).context("a file of the model")
    }

    /// The names in directory `id`; none if it is something else.
    pub(super) fn names(&self, id: Id) -> impl Iterator<Item = (&Vec<u8>, Id)> {
        let names = match self.nodes.get(&id).map(|node| &node.kind) {
            Some(Kind::Dir { names, .. }) => Some(names),
            _ => None,
        };
        names
            .into_iter()
            .flat_map(|names| names.iter().map(|(name, &id)| (name, id)))
    }

    pub(super) fn lookup(&self, slot: &Slot) -> Option<Id> {
        match &self.nodes.get(&slot.dir)?.kind {
            Kind::Dir { names, .. } => names.get(&slot.name).copied(),
            _ => None,
        }
    }

    /// Gives file `id` the name `slot`, or with none takes the name away. Directory entries are all that changes.
    pub(super) fn set(&mut self, slot: &Slot, id: Option<Id>) -> Result<()> {
        let dir = self.node_mut(slot.dir)?;
        dir.mtime = None;
        if let Kind::Dir { names, .. } = &mut dir.kind {
            match id {
                Some(id) => names.insert(slot.name.clone(), id),
                None => names.remove(&slot.name),
            };
        }
        if let Some(Kind::Dir { parent, .. }) = id
            .and_then(|id| self.nodes.get_mut(&id))
            .map(|node| &mut node.kind)
        {
            *parent = slot.dir;
        }
        Ok(())
    }

    /// The directory that directory `id` is in; the top is in itself.
    fn parent(&self, id: Id) -> Id {
        match self.nodes.get(&id).map(|node| &node.kind) {
            Some(Kind::Dir { parent, .. }) => *parent,
            _ => TOP,
        }
    }

    /// Whether directory `id` is `dir` or lies below it.
    pub(super) fn is_within(&self, mut id: Id, dir: Id) -> bool {
        while id != dir && id != TOP {
            id = self.parent(id);
        }
        id == dir
    }

    /// How many directories are above directory `id`.
    pub(super) fn depth(&self, mut id: Id) -> usize {
        let mut depth = 0;
        while id != TOP {
            id = self.parent(id);
            depth += 1;
        }
        depth
    }

    /// How many directories are below one another in `id`.
    pub(super) fn height(&self, id: Id) -> usize {
        let below = self.names(id).map(|(_, id)| 1 + self.height(id));
        below.max().unwrap_or(0)
    }

    /// Where directory `id` is now.
    pub(super) fn path(&self, id: Id) -> PathBuf {
        if id == TOP {
            return self.top.clone();
        }
        let parent = self.parent(id);
        let name = self.names(parent).find(|&(_, other)| other == id);
        let name = name.map_or(&b"?"[..], |(name, _)| name);
        self.path(parent).join(OsStr::from_bytes(name))
    }

    /// Where a name is now.
    pub(super) fn path_of(&self, slot: &Slot) -> PathBuf {
        self.path(slot.dir).join(OsStr::from_bytes(&slot.name))
    }

    /// A name for people: its path below the top, long names cut.
    pub(super) fn show(&self, slot: &Slot) -> String {
        const SHOWN: usize = 12;
        let path = self.path_of(slot);
        let below = path.strip_prefix(&self.top).unwrap_or(&path);
        let words = below.iter().map(|name| {
            let name = name.as_bytes();
            match name.len() {
                ..=SHOWN => name.escape_ascii().to_string(),
                len => format!("{}..{len}", name[..SHOWN].escape_ascii()),
            }
        });
        words.collect::<Vec<_>>().join("/")
    }
}

impl Node {
    /// A new file, of root, with a name.
    pub(super) fn new(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            links: 1,
            xattrs: BTreeMap::new(),
            access: None,
            default: None,
            mtime: None,
        }
    }

    /// All its extended attributes.
    pub(super) fn all_xattrs(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = self.xattrs.clone();
        let lists = [(ACCESS, &self.access), (DEFAULT, &self.default)];
        for (name, list) in lists {
            all.extend(list.as_ref().map(|list| (name.to_owned(), list.bytes())));
        }
        all
    }
}

/// Names of the extended attributes that are lists.
pub(super) const ACCESS: &str = "system.posix_acl_access";
pub(super) const DEFAULT: &str = "system.posix_acl_default";
