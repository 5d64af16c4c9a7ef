// SPDX-License-Identifier: GPL-2.0

//! Bitmaps, summaries and held ranges of a volume, and what the kernel's side does with them.

use allocation::{
    ahead,
    hold,
    huge::Cut,
    overlap,
    seize,
    sweep,
    unclaim,
    usage,
    Bitmap,
    Geometry,
    Goal,
    Held,
    Look,
    Ranges,
    Request,
    Run,
    Search,
    Summary,
    Why,
    Window, //
};
use damage::{
    Crc,
    Numbers, //
};
use ondisk::{
    group::{
        Flags,
        Usage, //
    },
    Blocks,
    GroupNumber,
    Ino,
    Lblk,
    Pblk,
    PblkRange,
    Superblock, //
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};

/// How a volume is made.
#[derive(Clone, Copy)]
pub struct Form {
    /// The block size is 2^(10 + this).
    pub log_block_size: u32,
    pub blocks: u32,
    pub per_group: u32,
    pub inodes_per_group: u32,
    pub log_per_flex: u8,
}

pub const SMALL: Form = Form {
    log_block_size: 0,
    blocks: 1 + 20 * 512 + 100,
    per_group: 512,
    inodes_per_group: 64,
    log_per_flex: 2,
};

/// Groups in which huge pages have room.
pub const MIDDLE: Form = Form {
    log_block_size: 2,
    blocks: 14 * 2048 + 600,
    per_group: 2048,
    inodes_per_group: 128,
    log_per_flex: 2,
};

/// Groups of 128 MiB.
pub const LARGE: Form = Form {
    log_block_size: 2,
    blocks: 12 * 32768 + 5000,
    per_group: 32768,
    inodes_per_group: 8192,
    log_per_flex: 2,
};

/// A superblock of that form, made from that of a real volume, which has 4 KiB blocks.
pub fn superblock(form: Form) -> &'static Superblock {
    let Ok(volume) = try_superblock(form, 0) else {
        panic!("no such volume");
    };
    Box::leak(Box::new(volume))
}

/// The same with clusters of 2^`log_cluster` blocks.
pub fn try_superblock(form: Form, log_cluster: u32) -> ondisk::Result<Superblock> {
    let mut bytes = *include_bytes!("../../../ondisk/tests/default.superblock");
    let mut put = |at: usize, number: u32| {
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    };
    let first = u32::from(form.log_block_size == 0);
    let groups = (form.blocks - first).div_ceil(form.per_group << log_cluster);
    put(0x00, groups * form.inodes_per_group);
    put(0x04, form.blocks);
    put(0x14, first);
    put(0x18, form.log_block_size);
    put(0x1c, form.log_block_size + log_cluster);
    put(0x20, form.per_group << log_cluster);
    put(0x24, form.per_group);
    put(0x28, form.inodes_per_group);
    if log_cluster > 0 {
        let ro_compat = u32::from_le_bytes(bytes[0x64..0x68].try_into().unwrap());
        let ro_compat = ro_compat | ondisk::RoCompat::BIGALLOC.bits();
        bytes[0x64..0x68].copy_from_slice(&ro_compat.to_le_bytes());
    }
    bytes[0x174] = form.log_per_flex;
    let sum = <Crc as ondisk::Crc32c>::crc32c(!0, &bytes[..0x3fc]);
    bytes[0x3fc..].copy_from_slice(&sum.to_le_bytes());
    Superblock::parse::<Crc>(&bytes)
}

/// Held ranges: where each begins, and why, by where it ends.
#[derive(Clone, Default)]
pub struct Tree(pub BTreeMap<u64, (Pblk, Why)>);

/// Memory that was lent, which is counted by hand.
pub struct Spare;

impl Ranges for Tree {
    type Spare = Spare;

    fn first_behind(&self, pblk: Pblk) -> Option<Held> {
        let (end, (start, why)) = self.0.range(pblk.0 + 1..).next()?;
        let (start, end) = (*start, Pblk(*end));
        Some(Held {
            blocks: PblkRange { start, end },
            why: *why,
        })
    }

    fn insert(&mut self, held: Held, _: Spare) {
        let old = self
            .0
            .insert(held.blocks.end.0, (held.blocks.start, held.why));
        assert_eq!(old, None);
    }

    fn set_start(&mut self, end: Pblk, start: Pblk) {
        self.0.get_mut(&end.0).unwrap().0 = start;
    }

    fn remove(&mut self, end: Pblk) -> Option<Spare> {
        self.0.remove(&end.0).map(|_| Spare)
    }
}

/// A file that grows.
pub struct File {
    pub ino: Ino,
    pub window: Window,
    /// Its blocks, each with its neighbour.
    pub extents: Vec<PblkRange>,
    /// Whether huge pages are to map it.
    pub huge: bool,
}

impl File {
    pub fn new(ino: Ino) -> Self {
        Self {
            ino,
            window: Window::default(),
            extents: vec![],
            huge: false,
        }
    }

    pub fn len(&self) -> u64 {
        self.extents.iter().map(|blocks| len(*blocks)).sum()
    }

    fn add(&mut self, blocks: PblkRange) {
        match self.extents.last_mut() {
            Some(last) if last.end == blocks.start => last.end = blocks.end,
            _ => self.extents.push(blocks),
        }
    }
}

pub fn len(blocks: PblkRange) -> u64 {
    blocks.end.0 - blocks.start.0
}

pub struct Volume {
    pub geometry: Geometry<'static>,
    pub bitmaps: Vec<Vec<u8>>,
    pub usages: Vec<Usage>,
    pub summaries: Vec<Summary>,
    pub held: Tree,
    /// Groups whose bitmap cannot be read.
    pub broken: BTreeSet<u32>,
    /// Bitmaps that were looked at.
    pub looks: Vec<GroupNumber>,
    /// The transaction that runs.
    pub tid: u32,
}

impl Volume {
    /// A volume on which only `used` says what is in use.
    pub fn new(form: Form, mut used: impl FnMut(GroupNumber, u32) -> bool) -> Self {
        let geometry = Geometry::new(superblock(form)).unwrap();
        let block_len = geometry.volume().block_size().bytes().get() as usize;
        let mut bitmaps = vec![];
        let mut usages = vec![];
        for group in geometry.volume().groups() {
            let mut bytes = vec![0xaa; block_len];
            let mut bitmap = Bitmap::new(&mut bytes[..], geometry.len(group)).unwrap();
            let bits = (0..geometry.len(group)).filter(|bit| used(group, *bit));
            bitmap.initialise(bits.map(|bit| Run {
                start: bit,
                end: bit + 1,
            }));
            usages.push(Usage {
                free_clusters: bitmap.count_clear(),
                free_inodes: form.inodes_per_group,
                used_dirs: 0,
                itable_unused: form.inodes_per_group,
                flags: Flags::INODE_ZEROED,
            });
            bitmaps.push(bytes);
        }
        Self {
            geometry,
            bitmaps,
            summaries: usages.iter().map(Summary::new).collect(),
            usages,
            held: Tree::default(),
            broken: BTreeSet::new(),
            looks: vec![],
            tid: 1,
        }
    }

    /// A volume that has been in use: stretches of it are full, others half.
    pub fn random(form: Form, numbers: &mut Numbers) -> Self {
        let longest = numbers.pick(&[300, 4000]);
        let mut left = 0;
        let mut density = 0;
        Self::new(form, |_, _| {
            if left == 0 {
                left = 1 + numbers.below(longest);
                density = numbers.pick(&[0, 0, 3, 50, 90, 100, 100]);
            }
            left -= 1;
            numbers.below(100) < density
        })
    }

    pub fn bitmap(&self, group: GroupNumber) -> Bitmap<&[u8]> {
        let bytes = &self.bitmaps[group.get() as usize][..];
        Bitmap::new(bytes, self.geometry.len(group)).unwrap()
    }

    pub fn free(&self) -> u64 {
        self.usages
            .iter()
            .map(|usage| u64::from(usage.free_clusters))
            .sum()
    }

    /// Whether a block can be taken.
    pub fn is_free(&self, pblk: Pblk) -> bool {
        let Some(place) = self.geometry.place(pblk) else {
            return false;
        };
        let block = PblkRange {
            start: pblk,
            end: Pblk(pblk.0 + 1),
        };
        !self.bitmap(place.group).is_set(place.bit) && overlap(&self.held, block).is_none()
    }

    /// Looks for blocks, and claims up to `claimed` of them.
    pub fn search(&mut self, request: &Request) -> Option<PblkRange> {
        let mut search = Search::new(self.geometry, request);
        while let Some(probe) = search.next(|group| self.summaries[group.get() as usize]) {
            let n = probe.group().get();
            if self.broken.contains(&n) {
                self.summaries[n as usize].set_bad();
                continue;
            }
            self.looks.push(probe.group());
            let bitmap = self.bitmap(probe.group());
            let Look { blocks, longest } = probe.look(self.geometry, &bitmap, &self.held);
            if let Some(longest) = longest {
                self.summaries[n as usize].scanned(longest);
            }
            if let Some(blocks) = blocks {
                return Some(blocks);
            }
        }
        None
    }

    pub fn hold(&mut self, blocks: PblkRange, why: Why) {
        assert_eq!(hold(&mut self.held, Held { blocks, why }, Spare), Ok(()));
    }

    /// Sets the bits of blocks that are claimed, and gives up the claim.
    pub fn set(&mut self, blocks: PblkRange) {
        let group = self.geometry.place(blocks.start).unwrap().group;
        let n = group.get() as usize;
        let run = self.geometry.run(group, blocks);
        let mut bitmap = Bitmap::new(&mut self.bitmaps[n][..], self.geometry.len(group)).unwrap();
        assert_eq!(bitmap.set(run), Ok(()));
        assert!(unclaim(&mut self.held, blocks));
        self.usages[n] = usage::without_blocks(&self.usages[n], run.len()).unwrap();
        self.summaries[n].update(&self.usages[n]);
    }

    /// Clears the bits of blocks, which are free after the commit.
    pub fn clear(&mut self, blocks: PblkRange) {
        let group = self.geometry.place(blocks.start).unwrap().group;
        let n = group.get() as usize;
        let run = self.geometry.run(group, blocks);
        let mut bitmap = Bitmap::new(&mut self.bitmaps[n][..], self.geometry.len(group)).unwrap();
        assert_eq!(bitmap.clear(run), Ok(()));
        let around = bitmap.around(run);
        self.usages[n] = usage::with_blocks(&self.usages[n], run.len()).unwrap();
        self.summaries[n].update(&self.usages[n]);
        self.summaries[n].freed(around.len());
        self.hold(blocks, Why::Freed(self.tid));
    }

    /// Commits the running transaction.
    pub fn commit(&mut self) -> u64 {
        let (mut pblk, mut freed) = (Pblk(0), 0);
        while let Some(swept) = sweep(&mut self.held, pblk, self.tid) {
            pblk = swept.next;
            freed += swept.freed.map_or(0, |n| n.0);
        }
        self.tid = self.tid.wrapping_add(1);
        freed
    }

    /// Gives a file up to `n` more blocks, next to each other; none if nothing is free.
    pub fn append(&mut self, file: &mut File, n: u64, windows: bool) -> Option<PblkRange> {
        let end = file.extents.last().map(|blocks| blocks.end);
        let (len, lblk) = (file.len(), Lblk(file.len() as u32));
        let block_size = self.geometry.volume().block_size();
        let ahead = match windows {
            true if file.huge => ahead(block_size, Blocks(len + n)),
            true => ahead(block_size, Blocks(len)),
            false => Blocks(0),
        };
        let cut = match file.huge {
            true => Cut::new(self.geometry, end, lblk, Blocks(n), ahead),
            false => Cut {
                n: Blocks(n),
                ahead,
                in_window: true,
            },
        };
        let n = cut.n.0;
        let claimed = end.filter(|_| cut.in_window).and_then(|end| {
            file.window
                .claim(&mut self.held, file.ino, end, Blocks(n), Spare)
        });
        let blocks = claimed.or_else(|| {
            file.window.close(&mut self.held, file.ino);
            let group = self.geometry.volume().group_of(file.ino);
            let near = self.geometry.volume().group_blocks(group).start;
            let found = self.search(&Request {
                goal: end.map_or(Goal::Near(near), Goal::At),
                lblk,
                n: Blocks(n + cut.ahead.0),
                huge: file.huge,
            })?;
            seize(&mut self.held, found);
            let end = Pblk(found.end.0.min(found.start.0 + n));
            let blocks = PblkRange { end, ..found };
            self.hold(blocks, Why::Claimed);
            if end < found.end {
                let rest = PblkRange {
                    start: end,
                    ..found
                };
                let opened = file.window.open(&mut self.held, file.ino, rest, Spare);
                assert_eq!(opened, Ok(()));
            }
            Some(blocks)
        })?;
        self.set(blocks);
        file.add(blocks);
        Some(blocks)
    }
}
