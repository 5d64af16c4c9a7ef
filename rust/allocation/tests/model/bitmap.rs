// SPDX-License-Identifier: GPL-2.0

//! Bitmaps beside vectors of bits.

use allocation::{
    Bitmap,
    Run,
    WrongBit, //
};
use damage::Numbers;

/// Bytes with runs of all lengths, and what a bitmap of `len` bits makes of them.
fn random(numbers: &mut Numbers, bytes: usize, len: usize) -> (Vec<u8>, Vec<bool>) {
    let mut bits = vec![];
    let longest = numbers.pick(&[1, 3, 40, 300]);
    let mut set = numbers.below(2) == 0;
    while bits.len() < bytes * 8 {
        let run = 1 + numbers.below(longest);
        bits.extend(std::iter::repeat_n(set, run));
        set = !set;
    }
    bits.truncate(bytes * 8);
    let bytes = to_bytes(&bits);
    bits.truncate(len);
    (bytes, bits)
}

fn to_bytes(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8)
        .map(|bits| (0..).zip(bits).map(|(n, set)| u8::from(*set) << n).sum())
        .collect()
}

fn some_run(numbers: &mut Numbers, len: u32) -> Run {
    let start = numbers.below(len as usize) as u32;
    let end = len.min(start + 1 + numbers.below(200) as u32);
    Run { start, end }
}

#[test]
fn everything_is_as_bit_by_bit() {
    let mut numbers = Numbers(1);
    for _ in 0..500 {
        let bytes = 1 + numbers.below(100);
        let len = bytes * 8 - numbers.below(bytes * 8);
        let (bytes, bits) = random(&mut numbers, bytes, len);
        let bitmap = Bitmap::new(&bytes[..], len as u32).unwrap();
        let at = |bit: u32| bits.get(bit as usize).copied();

        assert_eq!(
            bitmap.count_clear() as usize,
            bits.iter().filter(|set| !**set).count()
        );
        for bit in 0..len as u32 + 130 {
            assert_eq!(bitmap.is_set(bit), at(bit).unwrap_or(true));
            let clear = (bit..len as u32).find(|bit| at(*bit) == Some(false));
            assert_eq!(bitmap.next_clear(bit), clear);
            let set = (bit..len as u32).find(|bit| at(*bit) == Some(true));
            assert_eq!(bitmap.next_set(bit), set.unwrap_or(len as u32));
        }

        let mut seen = vec![true; len];
        let mut last = None;
        for run in bitmap.runs() {
            assert!(!run.is_empty() && last.is_none_or(|last| last < run.start));
            last = Some(run.end);
            seen[run.start as usize..run.end as usize].fill(false);
            let inner = Run {
                start: run.start + run.len() / 3,
                end: run.end - run.len() / 3,
            };
            assert_eq!(bitmap.around(inner), run);
        }
        assert_eq!(seen, bits);
    }
}

#[test]
fn bits_are_set_and_cleared_together_or_not_at_all() {
    let mut numbers = Numbers(2);
    let mut done = 0;
    for _ in 0..4000 {
        let len = 8 * (1 + numbers.below(60));
        let (mut bytes, mut bits) = random(&mut numbers, 64, len);
        let before = bytes.clone();
        let run = some_run(&mut numbers, len as u32);
        let to = numbers.below(2) == 0;
        let slice = &mut bits[run.start as usize..run.end as usize];
        let wrong = slice.iter().position(|set| *set == to);
        if wrong.is_none() {
            slice.fill(to);
            done += 1;
        }
        let mut bitmap = Bitmap::new(&mut bytes[..], len as u32).unwrap();
        let result = if to {
            bitmap.set(run)
        } else {
            bitmap.clear(run)
        };
        let wrong = wrong.map(|at| WrongBit(run.start + at as u32));
        assert_eq!(result.err(), wrong);
        assert_eq!(bytes[..len / 8], to_bytes(&bits));
        assert_eq!(bytes[len / 8..], before[len / 8..]);
    }
    assert!(done > 300, "{done}");
}

#[test]
fn bits_beyond_the_end_are_neither_set_nor_cleared() {
    for fill in [0, 0xff] {
        let mut bytes = [fill; 16];
        let mut bitmap = Bitmap::new(&mut bytes[..], 100).unwrap();
        let run = Run {
            start: 90,
            end: 101,
        };
        let wrong = match fill {
            0 => bitmap.set(run),
            _ => bitmap.clear(run),
        };
        assert_eq!(wrong, Err(WrongBit(100)));
        assert_eq!(bytes, [fill; 16]);
    }
    assert!(Bitmap::new(&[0; 12][..], 97).is_none());
    assert!(Bitmap::new(&[0; 13][..], 97).is_some());
}

#[test]
fn a_new_bitmap_has_what_is_used_and_the_padding() {
    let mut bytes = [0xaa; 32];
    let mut bitmap = Bitmap::new(&mut bytes[..], 104).unwrap();
    let used = [
        Run { start: 0, end: 3 },
        Run { start: 9, end: 33 },
        Run {
            start: 103,
            end: 500,
        },
    ];
    bitmap.initialise(used.into_iter());
    assert_eq!(bitmap.count_clear(), 6 + 70);
    let mut expected = [0; 32];
    expected[..5].copy_from_slice(&[0b111, 0xfe, 0xff, 0xff, 1]);
    expected[12] = 0x80;
    expected[13..].fill(0xff);
    assert_eq!(bytes, expected);
}
