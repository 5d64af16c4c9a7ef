// SPDX-License-Identifier: GPL-2.0

//! Access control lists.

use crate::support::{
    corrupt,
    damage,
    damaged, //
};
use damage::Numbers;
use ondisk::{
    acl::{
        Acl,
        Entry,
        Tag, //
    },
    Error,
    Structure, //
};

const STRUCTURE: Structure = Structure::Acl;

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0];
    for Entry { tag, permissions } in entries {
        let (number, id): (u16, Option<u32>) = match tag {
            Tag::UserObj => (1, None),
            Tag::User(id) => (2, Some(*id)),
            Tag::GroupObj => (4, None),
            Tag::Group(id) => (8, Some(*id)),
            Tag::Mask => (16, None),
            Tag::Other => (32, None),
        };
        bytes.extend(number.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.iter().flat_map(|id| id.to_le_bytes()));
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<Option<Vec<Entry>>, Error> {
    Ok(Acl::parse(bytes)?.map(|acl| acl.iter().collect()))
}

fn entries(tags: &[Tag]) -> Vec<Entry> {
    let with_permissions = |(tag, permissions): (&Tag, u16)| Entry {
        tag: *tag,
        permissions: permissions % 8,
    };
    tags.iter().zip(4..).map(with_permissions).collect()
}

#[test]
fn lists_are_read_as_they_were_made() {
    use Tag::{
        Group,
        GroupObj,
        Mask,
        Other,
        User,
        UserObj, //
    };
    for tags in [
        [UserObj, GroupObj, Other].as_slice(),
        &[UserObj, GroupObj, Mask, Other],
        &[UserObj, User(1000), GroupObj, Mask, Other],
        &[UserObj, GroupObj, Group(7), Mask, Other],
        &[
            UserObj,
            User(0),
            User(u32::MAX),
            GroupObj,
            Group(1),
            Group(2),
            Group(3),
            Mask,
            Other,
        ],
    ] {
        let entries = entries(tags);
        assert_eq!(read(&encode(&entries)), Ok(Some(entries)));
    }
    assert_eq!(read(&[1, 0, 0, 0]), Ok(None));
}

#[test]
fn only_lists_in_order_are_encoded() {
    let mut bytes = [0; 64];
    let mut encoded = |entries: &[Entry]| {
        let entries = entries.iter().copied();
        Acl::encode(entries, &mut bytes).map(<[u8]>::to_vec)
    };
    let good = entries(&[Tag::UserObj, Tag::GroupObj, Tag::Other]);
    assert_eq!(encoded(&good), Some(encode(&good)));
    assert_eq!(encoded(&[]), None);
    assert_eq!(encoded(&good[..2]), None);
    assert_eq!(encoded(&[good[1], good[0], good[2]]), None);
    let mut wrong = good.clone();
    wrong[1].permissions = 8;
    assert_eq!(encoded(&wrong), None);
}

#[test]
fn whatever_is_encoded_is_read_back() {
    for seed in 0..20_000 {
        let numbers = &mut Numbers(seed);
        let mut tags = vec![Tag::UserObj];
        let id = |numbers: &mut Numbers| numbers.next() as u32 >> numbers.below(32);
        tags.extend((0..numbers.below(4)).map(|_| Tag::User(id(numbers))));
        tags.push(Tag::GroupObj);
        tags.extend((0..numbers.below(4)).map(|_| Tag::Group(id(numbers))));
        if tags.len() > 2 || numbers.below(2) == 0 {
            tags.push(Tag::Mask);
        }
        tags.push(Tag::Other);
        let entries: Vec<_> = tags
            .into_iter()
            .map(|tag| Entry {
                tag,
                permissions: numbers.below(8) as u16,
            })
            .collect();

        let expected = encode(&entries);
        let copy = || entries.iter().copied();
        assert_eq!(Acl::value_len(copy()), expected.len());
        let mut bytes = vec![0xff; expected.len() + numbers.below(2)];
        assert_eq!(
            Acl::encode(copy(), &mut bytes),
            Some(expected.as_slice()),
            "seed {seed}"
        );
        assert_eq!(read(&expected), Ok(Some(entries.clone())));
        bytes.truncate(numbers.below(expected.len()));
        assert_eq!(Acl::encode(copy(), &mut bytes), None);
    }
}

#[test]
fn lists_are_in_order_and_complete() {
    use Tag::{
        Group,
        GroupObj,
        Mask,
        Other,
        User,
        UserObj, //
    };
    let wrong = |tags: &[Tag], number: u64| {
        let bytes = encode(&entries(tags));
        assert_eq!(
            read(&bytes),
            corrupt(STRUCTURE, "e_tag", number),
            "{tags:?}"
        );
    };
    wrong(&[GroupObj, UserObj, Other], 4);
    wrong(&[UserObj, UserObj, GroupObj, Other], 1);
    wrong(&[UserObj, Other], 32);
    wrong(&[UserObj, GroupObj, User(1), Mask, Other], 2);
    wrong(&[UserObj, Group(1), GroupObj, Mask, Other], 8);
    wrong(&[UserObj, GroupObj, Mask, Mask, Other], 16);
    wrong(&[UserObj, Mask], 16);
    wrong(&[UserObj, GroupObj, Other, Other], 32);
    wrong(&[UserObj, GroupObj, Other, Mask], 16);
    // A user or a group takes a mask.
    wrong(&[UserObj, User(1), GroupObj, Other], 32);
    wrong(&[UserObj, GroupObj, Group(1), Other], 32);

    let short = |tags: &[Tag]| {
        let bytes = encode(&entries(tags));
        let len = bytes.len() as u64 - 4;
        assert_eq!(read(&bytes), corrupt(STRUCTURE, "e_value_size", len));
    };
    short(&[UserObj]);
    short(&[UserObj, GroupObj]);
    short(&[UserObj, GroupObj, Mask]);
}

#[test]
fn impossible_fields_are_named_with_their_value() {
    let good = encode(&entries(&[Tag::UserObj, Tag::GroupObj, Tag::Other]));
    let with = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        read(&bytes)
    };
    assert_eq!(with(0, 2), corrupt(STRUCTURE, "a_version", 2));
    assert_eq!(with(4, 3), corrupt(STRUCTURE, "e_tag", 3));
    assert_eq!(with(5, 1), corrupt(STRUCTURE, "e_tag", 0x101));
    assert_eq!(with(6, 8), corrupt(STRUCTURE, "e_perm", 8));
    for len in 0..4 {
        assert_eq!(
            read(&good[..len]),
            corrupt(STRUCTURE, "a_version", len as u64)
        );
    }
    // A part of an entry, and one that lacks its user.
    for more in 1..4_u64 {
        let bytes = [good.as_slice(), &[0; 3][..more as usize]].concat();
        assert_eq!(read(&bytes), corrupt(STRUCTURE, "e_value_size", more));
    }
    let bytes = [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 7, 0, 1, 0];
    assert_eq!(read(&bytes), corrupt(STRUCTURE, "e_tag", 2));
}

#[test]
fn damaged_lists_are_refused_or_are_in_order() {
    damaged(40_000, |numbers: &mut Numbers| {
        let mut tags = vec![Tag::UserObj];
        tags.extend((0..numbers.below(3)).map(|n| Tag::User(n as u32)));
        tags.push(Tag::GroupObj);
        tags.extend((0..numbers.below(3)).map(|n| Tag::Group(n as u32)));
        tags.extend([Tag::Mask, Tag::Other]);
        let mut bytes = encode(&entries(&tags));
        let fields: Vec<_> = (0..bytes.len()).step_by(2).collect();
        damage(numbers, &mut bytes, &fields);
        let Ok(Some(read)) = read(&bytes) else {
            return false;
        };
        assert_eq!(encode(&read), bytes);
        assert_eq!(read.first().map(|entry| entry.tag), Some(Tag::UserObj));
        assert_eq!(read.last().map(|entry| entry.tag), Some(Tag::Other));
        assert!(read.iter().all(|entry| entry.permissions < 8));
        true
    });
}
