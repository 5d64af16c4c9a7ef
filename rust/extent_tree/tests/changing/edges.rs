// SPDX-License-Identifier: GPL-2.0

//! The first and the last of everything.

use crate::{
    extent,
    range,
    store::{
        volume,
        Calls,
        Store, //
    },
    ALL, //
    UNWRITTEN,
    WRITTEN,
};
use damage::Crc;
use extent_tree::{
    Converted,
    Error, //
};
use ondisk::{
    extent::{
        Child,
        Entries,
        Extent,
        State, //
    },
    Blocks,
    Crc32c,
    Lblk,
    LblkRange,
    Pblk,
    Structure, //
};

/// A file as a list of `(first block, first behind, place, state)`.
type List<'a> = &'a [(u32, u32, u64, State)];

const FAR: u64 = (1 << 34) - (1 << 20);

fn store(extents: List<'_>) -> Store {
    let mut store = Store::new(&volume(true), 1000);
    for extent in list(&store, extents) {
        store.step(|tree| tree.insert(extent)).unwrap();
    }
    store
}

fn list(store: &Store, extents: List<'_>) -> Vec<Extent> {
    extents
        .iter()
        .map(|(start, end, pblk, state)| extent(&store.volume, *start, *end, *pblk, *state))
        .collect()
}

fn insert(store: &mut Store, new: (u32, u32, u64, State)) -> Result<(), Error<crate::store::Told>> {
    let new = list(store, &[new])[0];
    store.step(|tree| tree.insert(new))
}

#[track_caller]
fn check(store: &Store, expected: List<'_>) {
    assert_eq!(store.extents(), list(store, expected));
}

/// Every second block, so that there are `count` extents.
fn scattered(count: u32) -> Store {
    let mut store = store(&[]);
    for n in 0..count {
        insert(
            &mut store,
            (2 * n, 2 * n + 1, FAR + u64::from(2 * n), WRITTEN),
        )
        .unwrap();
    }
    store
}

#[test]
fn neighbours_become_one() {
    let (a, c) = ((10, 20, FAR, WRITTEN), (30, 40, FAR + 20, WRITTEN));
    let mut both = store(&[a, c]);
    insert(&mut both, (20, 30, FAR + 10, WRITTEN)).unwrap();
    check(&both, &[(10, 40, FAR, WRITTEN)]);
    let mut left = store(&[a, c]);
    insert(&mut left, (20, 29, FAR + 10, WRITTEN)).unwrap();
    check(&left, &[(10, 29, FAR, WRITTEN), c]);
    let mut right = store(&[a, c]);
    insert(&mut right, (21, 30, FAR + 11, WRITTEN)).unwrap();
    check(&right, &[a, (21, 40, FAR + 11, WRITTEN)]);
    // Of another state, or elsewhere.
    for b in [
        (20, 30, FAR + 10, UNWRITTEN),
        (20, 30, FAR + 11, WRITTEN),
        (20, 30, 7, WRITTEN),
    ] {
        let mut none = store(&[a, c]);
        insert(&mut none, b).unwrap();
        check(&none, &[a, b, c]);
    }
}

#[test]
fn extents_do_not_get_too_long() {
    for (state, max) in [(WRITTEN, 32768), (UNWRITTEN, 32767)] {
        let half = max / 2;
        let far = |lblk: u32| FAR + u64::from(lblk);
        let mut store = store(&[(0, half, FAR, state)]);
        insert(&mut store, (half, max, far(half), state)).unwrap();
        check(&store, &[(0, max, FAR, state)]);
        // One more is a second one, which then grows to the left of a third.
        insert(&mut store, (max, max + 1, far(max), state)).unwrap();
        check(
            &store,
            &[(0, max, FAR, state), (max, max + 1, far(max), state)],
        );
        let third = (max + 3, 2 * max + 1, far(max + 3), state);
        insert(&mut store, third).unwrap();
        insert(&mut store, (max + 1, max + 3, far(max + 1), state)).unwrap();
        // Longer than both would be: it goes to the left.
        let second = (max, max + 3, far(max), state);
        check(&store, &[(0, max, FAR, state), second, third]);
    }
}

#[test]
fn the_longest_written_extent_is_two_unwritten_ones() {
    let mut store = store(&[(5, 5 + 32768, FAR, WRITTEN)]);
    let mut lblks = range(0, 50_000);
    for expected in [5 + 32767, 5 + 32768, 50_000] {
        // The last one finds nothing more: what is left of the range is a hole.
        lblks.start = store
            .step(|tree| tree.convert(lblks, UNWRITTEN))
            .unwrap()
            .next;
        assert_eq!(lblks.start.0.min(expected), expected);
        if lblks.start == lblks.end {
            break;
        }
    }
    let two = [
        (5, 5 + 32767, FAR, UNWRITTEN),
        (5 + 32767, 5 + 32768, FAR + 32767, UNWRITTEN),
    ];
    check(&store, &two);
    // And back, when the second one joins the first.
    let mut lblks = range(0, 50_000);
    while lblks.start < lblks.end {
        lblks.start = store
            .step(|tree| tree.convert(lblks, WRITTEN))
            .unwrap()
            .next;
    }
    check(&store, &[(5, 5 + 32768, FAR, WRITTEN)]);
}

#[test]
fn a_part_gets_another_state() {
    let whole = (10, 20, FAR, UNWRITTEN);
    let convert = |extents: List<'_>, lblks: LblkRange| {
        let mut store = store(extents);
        let converted = store.step(|tree| tree.convert(lblks, WRITTEN)).unwrap();
        (store, converted.next.0)
    };
    let (store, end) = convert(&[whole], range(12, 15));
    assert_eq!(end, 15);
    let three = [
        (10, 12, FAR, UNWRITTEN),
        (12, 15, FAR + 2, WRITTEN),
        (15, 20, FAR + 5, UNWRITTEN),
    ];
    check(&store, &three);
    let (store, _) = convert(&[whole], range(0, 15));
    check(&store, &[(10, 15, FAR, WRITTEN), three[2]]);
    let (store, end) = convert(&[whole], range(12, 100));
    assert_eq!(end, 20);
    check(&store, &[three[0], (12, 20, FAR + 2, WRITTEN)]);
    let (store, _) = convert(&[whole], range(0, 100));
    check(&store, &[(10, 20, FAR, WRITTEN)]);

    // With the neighbours that it goes on from and to.
    let before = (5, 10, FAR - 5, WRITTEN);
    let after = (20, 25, FAR + 10, WRITTEN);
    let (store, _) = convert(&[before, whole, after], range(10, 20));
    check(&store, &[(5, 25, FAR - 5, WRITTEN)]);
    let (store, _) = convert(&[before, whole, after], range(10, 12));
    check(
        &store,
        &[
            (5, 12, FAR - 5, WRITTEN),
            (12, 20, FAR + 2, UNWRITTEN),
            after,
        ],
    );
    let (store, _) = convert(&[before, whole, after], range(18, 20));
    check(
        &store,
        &[before, (10, 18, FAR, UNWRITTEN), (18, 25, FAR + 8, WRITTEN)],
    );
    let (store, _) = convert(&[before, whole, after], range(12, 15));
    check(&store, &[before, three[0], three[1], three[2], after]);

    // Nothing to do, in an empty file as well.
    let (store, end) = convert(&[before, after], range(0, 100));
    assert_eq!((end, store.calls.done), (100, 0));
    assert_eq!(convert(&[], range(3, 7)).1, 7);
    assert_eq!(convert(&[], range(7, 7)).1, 7);
}

#[test]
fn a_part_goes() {
    let whole = (10, 20, FAR, UNWRITTEN);
    let remove = |lblks: LblkRange| {
        let mut store = store(&[whole]);
        let removed = store.step(|tree| tree.remove(lblks, ALL)).unwrap();
        (
            store,
            removed.map(|extent| (extent.lblks(), extent.start())),
        )
    };
    for (lblks, gone, left) in [
        (range(0, 100), range(10, 20), vec![]),
        (range(10, 20), range(10, 20), vec![]),
        (
            range(0, 12),
            range(10, 12),
            vec![(12, 20, FAR + 2, UNWRITTEN)],
        ),
        (range(19, 21), range(19, 20), vec![(10, 19, FAR, UNWRITTEN)]),
        (
            range(11, 19),
            range(11, 19),
            vec![(10, 11, FAR, UNWRITTEN), (19, 20, FAR + 9, UNWRITTEN)],
        ),
    ] {
        let (store, removed) = remove(lblks);
        let pblk = FAR + u64::from(gone.start.0 - 10);
        assert_eq!(removed, Some((gone, Pblk(pblk))));
        check(&store, &left);
    }
    for lblks in [
        range(0, 10),
        range(20, 30),
        range(15, 15),
        range(0, 0),
        range(15, 12),
    ] {
        let (store, removed) = remove(lblks);
        assert_eq!((removed, store.calls.done), (None, 0));
        check(&store, &[whole]);
    }
}

#[test]
fn a_file_ends_where_numbers_do() {
    let end = Lblk::END.0;
    let mut store = store(&[(end - 5, end, FAR, UNWRITTEN), (0, 1, 7, WRITTEN)]);
    insert(&mut store, (end - 7, end - 5, FAR - 2, UNWRITTEN)).unwrap();
    let all = range(0, end);
    let converted = store.step(|tree| tree.convert(range(end - 1, end), WRITTEN));
    let part = extent(&store.volume, end - 1, end, FAR + 4, WRITTEN);
    assert_eq!(
        converted,
        Ok(Converted {
            next: Lblk::END,
            extent: Some(part),
        })
    );
    check(
        &store,
        &[
            (0, 1, 7, WRITTEN),
            (end - 7, end - 1, FAR - 2, UNWRITTEN),
            (end - 1, end, FAR + 4, WRITTEN),
        ],
    );
    for expected in [3, 2, 1] {
        assert_eq!(store.extents().len(), expected);
        assert!(store.step(|tree| tree.remove(all, ALL)).unwrap().is_some());
    }
    check(&store, &[]);
}

#[test]
fn holes_have_to_be_holes() {
    let mut store = store(&[(10, 20, FAR, WRITTEN), (30, 40, FAR + 1000, WRITTEN)]);
    let before = store.contents();
    for (start, end) in [
        (10, 20),
        (5, 11),
        (19, 20),
        (19, 25),
        (25, 31),
        (20, 45),
        (0, 100),
    ] {
        assert_eq!(
            insert(&mut store, (start, end, 7, WRITTEN)),
            Err(Error::Occupied)
        );
    }
    assert!(store.contents() == before);

    // The next extent may be in the next leaf.
    let mut store = scattered(84 + 10);
    assert_eq!(store.leaves().len(), 2);
    let next = store.leaves()[1][0].lblks().start.0;
    assert_eq!(
        insert(&mut store, (next - 1, next + 1, 7, WRITTEN)),
        Err(Error::Occupied)
    );
    insert(&mut store, (next - 1, next, 7, WRITTEN)).unwrap();
}

#[test]
fn what_is_appended_touches_little() {
    let mut store = scattered(84);
    let touched = |changed, created, set_root, asked| Calls {
        asked,
        changed,
        created,
        freed: 0,
        done: usize::from(changed + created) + usize::from(set_root),
        set_root,
    };
    // To the last extent: one leaf is read and changed.
    insert(&mut store, (167, 170, FAR + 167, WRITTEN)).unwrap();
    assert_eq!(store.calls, touched(1, 0, false, 2));
    // To a full leaf: that stays.
    insert(&mut store, (200, 201, 7, WRITTEN)).unwrap();
    assert_eq!(store.calls, touched(0, 1, true, 2));
    assert_eq!(store.leaves()[1].len(), 1);
    // Elsewhere in a full leaf: both halves are written, and the root.
    insert(&mut store, (1, 2, 7, WRITTEN)).unwrap();
    assert_eq!(store.calls, touched(1, 1, true, 3));
    assert_eq!(
        store.leaves().iter().map(Vec::len).collect::<Vec<_>>(),
        [43, 42, 1]
    );
}

#[test]
fn a_hole_behind_a_full_leaf_does_not_take_a_leaf_each_time() {
    let mut store = scattered(84);
    insert(&mut store, (2000, 2001, FAR, WRITTEN)).unwrap();
    assert_eq!(
        store.leaves().iter().map(Vec::len).collect::<Vec<_>>(),
        [84, 1]
    );
    for n in (100..140).rev() {
        insert(&mut store, (10 * n, 10 * n + 1, FAR, WRITTEN)).unwrap();
    }
    assert_eq!(
        store.leaves().iter().map(Vec::len).collect::<Vec<_>>(),
        [42, 82, 1]
    );
}

#[test]
fn the_first_block_of_a_tree_changes_all_keys() {
    let mut store = store(&[]);
    for n in (100..100 + 800).rev() {
        insert(&mut store, (2 * n, 2 * n + 1, FAR + u64::from(n), WRITTEN)).unwrap();
    }
    assert_eq!(store.depth(), 2);
    insert(&mut store, (7, 8, 7, WRITTEN)).unwrap();
    assert_eq!(store.extents()[0].lblks(), range(7, 8));
    assert!(store.calls.set_root && store.calls.changed == 2);
    store.step(|tree| tree.remove(range(0, 8), ALL)).unwrap();
    assert_eq!(store.extents()[0].lblks(), range(200, 201));
    assert!(store.calls.set_root && store.calls.changed == 2);
}

#[test]
fn trees_become_flat_again() {
    // One leaf, until it fits into the root.
    let mut store = scattered(6);
    assert_eq!(store.depth(), 1);
    store.step(|tree| tree.remove(range(10, 11), ALL)).unwrap();
    assert_eq!((store.depth(), store.blocks.len()), (1, 1));
    store.step(|tree| tree.remove(range(0, 1), ALL)).unwrap();
    assert_eq!((store.depth(), store.blocks.len()), (0, 0));
    assert_eq!(store.extents().len(), 4);
    // The same when extents become one.
    let mut store = scattered(5);
    insert(&mut store, (1, 2, FAR + 1, WRITTEN)).unwrap();
    assert_eq!((store.depth(), store.extents().len()), (0, 4));

    // Two leaves, the other one of which fits.
    let mut store = scattered(84 + 2);
    for n in (2..84).rev() {
        store
            .step(|tree| tree.remove(range(2 * n, 2 * n + 1), ALL))
            .unwrap();
    }
    assert_eq!((store.depth(), store.blocks.len()), (1, 2));
    store
        .step(|tree| tree.remove(range(160, 1000), ALL))
        .unwrap();
    store
        .step(|tree| tree.remove(range(160, 1000), ALL))
        .unwrap();
    assert_eq!((store.depth(), store.blocks.len()), (0, 0));
    assert_eq!((store.extents().len(), store.calls.freed), (2, 2));
}

#[test]
fn what_others_made_is_taken_or_refused() {
    let mut store = store(&[]);
    let volume = store.volume.clone();
    let leaf = |pblk, start, end| Child::new(&volume, Pblk(pblk), 0, range(start, end)).unwrap();
    let one = |start| extent(&volume, start, start + 1, FAR, WRITTEN);
    let end = Lblk::END.0;

    // A root that begins with no more than its first leaf has, and a hole before it.
    let children = [leaf(2000, 50, 90), leaf(2001, 90, end)];
    store.root = Entries::Children(&children).root(&volume).unwrap();
    store.put(children[0], Entries::Extents(&[one(50), one(60)]));
    store.put(children[1], Entries::Extents(&[one(90)]));
    insert(&mut store, (3, 4, 7, WRITTEN)).unwrap();
    assert_eq!(store.extents().len(), 4);

    // A leaf without extents.
    store.put(children[1], Entries::Extents(&[]));
    let before = store.contents();
    let refused = store.step(|tree| tree.remove(range(0, 1000), ALL));
    let error = ondisk::Error::Corrupt {
        structure: Structure::ExtentNode,
        field: "eh_entries",
        value: 0,
    };
    let pblk = Some(Pblk(2001));
    assert_eq!(refused, Err(Error::Format { pblk, error }));
    assert!(store.contents() == before);

    // A leaf with room for few in a block for many.
    let mut narrow = store.clone();
    narrow.put(children[1], Entries::Extents(&[one(90)]));
    let bytes = narrow.blocks.get_mut(&2001).unwrap();
    bytes[4] = 81;
    let end = 12 + 81 * 12;
    let sum = Crc::crc32c(volume.checksum_seed(), &bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
    let refused = narrow.step(|tree| tree.remove(range(0, 1000), ALL));
    let error = ondisk::Error::Corrupt {
        structure: Structure::ExtentNode,
        field: "eh_max",
        value: 81,
    };
    assert_eq!(refused, Err(Error::Format { pblk, error }));

    // A root that is none.
    store.root[0] = 0;
    let refused = insert(&mut store, (700, 701, 7, WRITTEN));
    assert!(matches!(refused, Err(Error::Format { pblk: None, .. })));
}

#[test]
fn only_holes_are_closed() {
    let extents = [(10, 20, FAR, WRITTEN), (30, 40, FAR + 1000, UNWRITTEN)];
    let mut closed = store(&extents);
    let before = closed.contents();
    for (start, end) in [
        (19, 22),
        (9, 11),
        (5, 12),
        (10, 12),
        (12, 15),
        (29, 31),
        (0, 100),
    ] {
        let refused = closed.step(|tree| tree.shift_left(range(start, end)));
        assert_eq!(refused, Err(Error::Occupied), "{start}..{end}");
        assert!(closed.contents() == before);
    }
    for (start, end) in [(40, 50), (100, Lblk::END.0), (Lblk::END.0, Lblk::END.0)] {
        assert_eq!(
            closed.step(|tree| tree.shift_left(range(start, end))),
            Ok(None)
        );
    }
    let next = closed.step(|tree| tree.shift_left(range(20, 30)));
    assert_eq!(next, Ok(Some(range(30, 40))));
    check(
        &closed,
        &[(10, 20, FAR, WRITTEN), (20, 30, FAR + 1000, UNWRITTEN)],
    );
    let next = closed.step(|tree| tree.shift_left(range(0, 10)));
    assert_eq!(next, Ok(Some(range(20, 30))));
    check(
        &closed,
        &[(0, 10, FAR, WRITTEN), (10, 20, FAR + 1000, UNWRITTEN)],
    );
    assert_eq!(
        store(&[]).step(|tree| tree.shift_left(range(0, 9))),
        Ok(None)
    );
}

#[test]
fn there_has_to_be_room_to_the_right() {
    let end = Lblk::END.0;
    let extents = [
        (10, 20, FAR, WRITTEN),
        (end - 9, end - 5, FAR + 1000, WRITTEN),
    ];
    let mut moved = store(&extents);
    let before = moved.contents();
    let mut shift =
        |start, end, by| moved.step(|tree| tree.shift_right(range(start, end), Blocks(by)));
    for (start, end, by) in [
        // Behind what a file can have, or where numbers end.
        (0, end, 6),
        (0, end, 1 << 32),
        (0, end, u64::MAX),
        // Over the next.
        (0, 21, u64::from(end)),
        // An extent is cut.
        (11, end - 9, 1),
        (0, 15, 1),
    ] {
        assert_eq!(
            shift(start, end, by),
            Err(Error::Occupied),
            "{start}..{end}"
        );
    }
    assert_eq!(shift(21, end - 9, 1), Ok(None));
    assert_eq!(shift(0, 0, 1), Ok(None));
    assert!(moved.contents() == before);
    let rest = moved.step(|tree| tree.shift_right(range(15, end), Blocks(5)));
    assert_eq!(rest, Err(Error::Occupied));
    moved.step(|tree| tree.split(Lblk(15))).unwrap();
    let rest = moved.step(|tree| tree.shift_right(range(15, end), Blocks(5)));
    assert_eq!(rest, Ok(Some(range(15, 15))));
    check(
        &moved,
        &[
            (10, 15, FAR, WRITTEN),
            (20, 25, FAR + 5, WRITTEN),
            (end - 4, end, FAR + 1000, WRITTEN),
        ],
    );
}

#[test]
fn extents_are_cut_and_put_together() {
    let whole = (10, 20, FAR, UNWRITTEN);
    let mut cut = store(&[whole]);
    for at in [0, 9, 10, 20, 21] {
        cut.step(|tree| tree.split(Lblk(at))).unwrap();
        cut.step(|tree| tree.join(Lblk(at))).unwrap();
        assert_eq!(cut.calls.done, 0);
    }
    cut.step(|tree| tree.split(Lblk(13))).unwrap();
    let two = [(10, 13, FAR, UNWRITTEN), (13, 20, FAR + 3, UNWRITTEN)];
    check(&cut, &two);
    cut.step(|tree| tree.join(Lblk(13))).unwrap();
    check(&cut, &[whole]);
    let apart = [(10, 13, FAR, UNWRITTEN), (13, 20, FAR + 4, UNWRITTEN)];
    let mut none = store(&apart);
    none.step(|tree| tree.join(Lblk(13))).unwrap();
    check(&none, &apart);
    // Into the root, if that has room.
    let mut many = scattered(5);
    assert_eq!(many.depth(), 1);
    insert(&mut many, (10, 11, FAR + 10, UNWRITTEN)).unwrap();
    many.step(|tree| tree.remove(range(10, 11), ALL)).unwrap();
    insert(&mut many, (9, 10, FAR + 9, UNWRITTEN)).unwrap();
    many.step(|tree| tree.join(Lblk(9))).unwrap();
    assert_eq!(many.extents().len(), 6);
}
