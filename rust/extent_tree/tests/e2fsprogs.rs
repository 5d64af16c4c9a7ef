// SPDX-License-Identifier: GPL-2.0

//! The tree of a file on a real volume is changed at random, and e2fsck has nothing to say. The test
//! needs `mke2fs` and `e2fsck` in the path, and is ignored unless asked for:
//! `cargo test -- --include-ignored`.
//!
//! No bitmap has to change for that: there are two files, and what one does not have of their blocks
//! the other one has.

#[path = "../../ondisk/tests/common/image.rs"]
mod image;
#[path = "common/store.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
mod store;

use damage::{
    walk::Volume,
    Crc,
    Numbers, //
};
use image::{
    Image,
    DEFAULT, //
};
use ondisk::{
    extent::{
        Extent,
        State, //
    },
    inode::Content,
    Blocks,
    Ino,
    Inode,
    Lblk,
    LblkRange,
    Pblk,
    Superblock, //
};
use std::{
    env, fs,
    path::PathBuf,
    process::{
        self,
        Command, //
    },
};
use store::Store;

/// Blocks that both files have.
const BLOCKS: usize = 3000;
/// The last of them, of which the first file gets none, so that the second one can always be made to
/// have what is left.
const RESERVE: usize = 20;
const BLOCK: usize = 1024;

/// A directory that goes away with the value.
struct Source(PathBuf);

impl Source {
    fn new() -> Self {
        let source = Self(env::temp_dir().join(format!("stablefs-{}-source", process::id())));
        fs::create_dir_all(&source.0).unwrap();
        fs::write(source.0.join("first"), "").unwrap();
        fs::write(source.0.join("second"), vec![b'2'; BLOCKS * BLOCK]).unwrap();
        source
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A directory that stays behind among the temporary ones fails no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn inode(bytes: &[u8], name: &str) -> Inode {
    let volume = Volume::open(bytes).unwrap();
    let root = volume.inode(Ino::ROOT).unwrap();
    let ino = volume.find(&root, name.as_bytes()).unwrap().unwrap();
    volume.inode(ino).unwrap()
}

/// An empty tree of a file, with `free` for what it is to have.
fn store(volume: &Superblock, inode: &Inode, free: Vec<u64>) -> Store {
    let mut store = Store::new(volume, 0);
    store.seed = inode.seed();
    store.free = free;
    store
}

/// Takes up to `most` blocks that follow each other out of the sorted list, from place `at` on.
fn take(free: &mut Vec<u64>, at: usize, most: usize) -> (u64, u32) {
    let start = free[at];
    let run = free[at..].iter().zip(start..);
    let len = run.take_while(|(a, b)| **a == *b).count().min(most);
    free.drain(at..at + len);
    (start, len as u32)
}

fn extent(volume: &Superblock, lblk: u32, start: u64, len: u32, state: State) -> Extent {
    let lblks = LblkRange {
        start: Lblk(lblk),
        end: Lblk(lblk + len),
    };
    Extent::new(volume, lblks, Pblk(start), state).unwrap()
}

/// Changes the tree of the first file once.
fn change(store: &mut Store, numbers: &mut Numbers, shrinks: bool) {
    let volume = store.volume.clone();
    let lblk = numbers.below(20_000) as u32;
    let mut longest = 1 + numbers.below(1 << numbers.clone().below(7)) as u32;
    if shrinks {
        longest *= 300;
    }
    let lblks = LblkRange {
        start: Lblk(lblk),
        end: Lblk(lblk + longest),
    };
    let state = numbers.pick(&[State::Written, State::Unwritten]);
    match numbers.below(if shrinks { 20 } else { 8 }) {
        0..4 => {
            let have = store.free.len().saturating_sub(RESERVE);
            if have > 50 {
                let at = numbers.below(have - 40);
                let most = longest.min(40) as usize;
                let before = store.free.clone();
                let (start, len) = take(&mut store.free, at, most);
                let new = extent(&volume, lblk, start, len, state);
                if store.step(|tree| tree.insert(new)).is_err() {
                    store.free = before;
                }
            }
        }
        // What moves must not get too far: e2fsck has something to say of files that are too large.
        6 if store
            .extents()
            .last()
            .is_none_or(|last| last.lblks().end.0 < 100_000) =>
        {
            if store.step(|tree| tree.split(lblks.start)).is_ok() {
                let mut rest = LblkRange::all_from(lblks.start);
                let by = Blocks(1 + u64::from(lblk % 7));
                while let Some(next) = store.step(|tree| tree.shift_right(rest, by)).unwrap() {
                    rest = next;
                }
            }
        }
        7 => {
            while let Some(removed) = store.step(|tree| tree.remove(lblks, Blocks(7))).unwrap() {
                let pblks = removed.pblks();
                store.free.extend(pblks.start.0..pblks.end.0);
            }
            let mut hole = lblks;
            while let Some(next) = store.step(|tree| tree.shift_left(hole)).unwrap() {
                hole = next;
            }
            store.step(|tree| tree.join(lblks.start)).unwrap();
        }
        4..7 => {
            let mut lblks = lblks;
            while lblks.start < lblks.end {
                lblks.start = store.step(|tree| tree.convert(lblks, state)).unwrap().next;
            }
        }
        _ => {
            while let Some(removed) = store.step(|tree| tree.remove(lblks, Blocks(7))).unwrap() {
                let pblks = removed.pblks();
                store.free.extend(pblks.start.0..pblks.end.0);
            }
        }
    }
    store.free.sort_unstable();
}

/// The second file with all that the first one does not have.
fn rest(volume: &Superblock, inode: &Inode, free: &[u64]) -> Store {
    let mut store = store(volume, inode, free.to_vec());
    let mut lblk = 0;
    while !store.free.is_empty() {
        for spare in 0.. {
            let before = store.free.clone();
            let most = (store.free.len() - spare).min(100);
            let (start, len) = take(&mut store.free, 0, most);
            let new = extent(volume, lblk, start, len, State::Written);
            match store.step(|tree| tree.insert(new)) {
                Ok(()) => {
                    lblk += len;
                    break;
                }
                // Nodes need some of them.
                Err(_) => store.free = before,
            }
        }
    }
    store
}

/// Puts a tree into the image.
fn write(bytes: &mut [u8], inode: &Inode, store: &Store) {
    for (pblk, block) in &store.blocks {
        bytes[*pblk as usize * BLOCK..][..BLOCK].copy_from_slice(block);
    }
    let extents = store.extents();
    let data: u64 = extents.iter().map(|extent| extent.len().0).sum();
    let mut fields = inode.fields();
    fields.content = Content::Extents(store.root);
    fields.sectors = 2 * (data + store.blocks.len() as u64);
    fields.size = extents
        .last()
        .map_or(0, |extent| u64::from(extent.lblks().end.0) * BLOCK as u64);

    let volume = store.volume.clone();
    let old = bytes.to_vec();
    let group = Volume::open(&old).unwrap();
    let group = group.descriptor(volume.group_of(inode.ino())).unwrap();
    let place = group.inode_place(&volume, inode.ino()).unwrap();
    let start = place.pblk.0 as usize * BLOCK + place.start as usize;
    let slot = &mut bytes[start..][..place.len as usize];
    fields.encode::<Crc>(&volume, inode.ino(), slot).unwrap();
}

#[test]
#[ignore = "needs mke2fs and e2fsck"]
fn e2fsck_accepts_what_is_changed() {
    let source = Source::new();
    let plain = "none,extent,dir_index,filetype,ext_attr,large_file,extra_isize";
    let mut depths = [0; 6];
    for (seed, features) in [(1, DEFAULT), (2, plain), (3, DEFAULT)] {
        let from = source.0.to_str().unwrap();
        let options = ["-O", features, "-b", "1024", "-d", from];
        let image = Image::new("trees", 16 << 20, &options);
        let old = fs::read(&image.0).unwrap();
        let [first, second] = ["first", "second"].map(|name| inode(&old, name));
        let volume = Volume::open(&old).unwrap();
        let superblock = volume.superblock();
        let extents = volume.extents(&second).unwrap();
        let pool: Vec<u64> = extents
            .iter()
            .flat_map(|extent| extent.pblks().start.0..extent.pblks().end.0)
            .collect();
        // None of the blocks is a node.
        assert_eq!((pool.len(), second.sectors()), (BLOCKS, 2 * BLOCKS as u64));

        let numbers = &mut Numbers(seed);
        let mut tree = store(superblock, &first, pool);
        for round in 0..24 {
            let shrinks = round % 6 > 3;
            for _ in 0..if shrinks { 100 } else { 200 } {
                change(&mut tree, numbers, shrinks);
            }
            let other = rest(superblock, &second, &tree.free);
            let mut new = old.clone();
            write(&mut new, &first, &tree);
            write(&mut new, &second, &other);
            fs::write(&image.0, &new).unwrap();
            // It would offer to make trees narrower that are not full, as ext4's are not either.
            let e2fsck = Command::new("e2fsck")
                .args(["-fn", "-E", "fixes_only"])
                .arg(&image.0)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&e2fsck.stdout);
            assert!(
                e2fsck.status.success() && !said.contains('?'),
                "seed {seed}, round {round}: {e2fsck:?}"
            );
            depths[usize::from(tree.depth())] += 1;
            let read = Volume::open(&new).unwrap();
            assert_eq!(read.extents(&inode(&new, "first")).unwrap(), tree.extents());
        }
    }
    println!("depths: {depths:?}");
    assert!(depths[0] > 0 && depths[1] > 5 && depths[2] > 5);
}
