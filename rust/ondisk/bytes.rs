// SPDX-License-Identifier: GPL-2.0

//! Little-endian fields at fixed places of a structure of fixed length. That a field lies inside
//! is checked when the code is compiled, so reading one cannot fail.

use core::ops::Range;

/// A value that fields on the disk hold.
pub(super) trait Field: Sized {
    /// The value `OFFSET` bytes into a structure of `LEN` bytes.
    fn at<const OFFSET: usize, const LEN: usize>(bytes: &[u8; LEN]) -> Self;

    /// Puts the value there.
    fn put<const OFFSET: usize, const LEN: usize>(&self, bytes: &mut [u8; LEN]);
}

/// A structure's raw form, on its way back to the disk.
pub(super) trait Put<const LEN: usize> {
    /// Puts every declared field at its place; all other bytes stay.
    fn put(&self, bytes: &mut [u8; LEN]);
}

impl<const N: usize> Field for [u8; N] {
    fn at<const OFFSET: usize, const LEN: usize>(bytes: &[u8; LEN]) -> Self {
        const { assert!(OFFSET + N <= LEN, "the field ends beyond the structure") };

        let mut field = [0; N];
        for (to, from) in field.iter_mut().zip(bytes.iter().skip(OFFSET)) {
            *to = *from;
        }
        field
    }

    fn put<const OFFSET: usize, const LEN: usize>(&self, bytes: &mut [u8; LEN]) {
        const { assert!(OFFSET + N <= LEN, "the field ends beyond the structure") };

        for (to, from) in bytes.iter_mut().skip(OFFSET).zip(self) {
            *to = *from;
        }
    }
}

macro_rules! little_endian {
    ($($int:ty)*) => { $(
        impl Field for $int {
            fn at<const OFFSET: usize, const LEN: usize>(bytes: &[u8; LEN]) -> Self {
                Self::from_le_bytes(Field::at::<OFFSET, LEN>(bytes))
            }

            fn put<const OFFSET: usize, const LEN: usize>(&self, bytes: &mut [u8; LEN]) {
                Field::put::<OFFSET, LEN>(&self.to_le_bytes(), bytes);
            }
        }
    )* };
}

little_endian!(u8 u16 u32 u64);

/// Declares a structure's raw form: where each field lies, its C name, its type.
macro_rules! raw_structure {
    (
        $(#[$attr:meta])*
        struct $name:ident [$len:expr] { $($offset:literal $field:ident: $ty:ty,)* }
    ) => {
        $(#[$attr])*
        struct $name { $($field: $ty,)* }

        impl $name {
            fn new(bytes: &[u8; $len]) -> Self {
                Self { $($field: $crate::ondisk::bytes::Field::at::<$offset, { $len }>(bytes),)* }
            }
        }

        impl $crate::ondisk::bytes::Put<{ $len }> for $name {
            fn put(&self, bytes: &mut [u8; $len]) {
                $($crate::ondisk::bytes::Field::put::<$offset, { $len }>(&self.$field, bytes);)*
            }
        }
    };
}

pub(super) use raw_structure;

/// The `N` bytes at `pos`, if there are that many.
pub(super) fn chunk<const N: usize>(bytes: &[u8], pos: usize) -> Option<&[u8; N]> {
    bytes.get(pos..)?.first_chunk()
}

/// Bytes that are filled from their beginning on.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    end: usize,
}

impl<'a> Writer<'a> {
    /// To the beginning of `bytes`.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, end: 0 }
    }

    /// Appends some bytes, if there is room for all of them.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.end.checked_add(bytes.len())?;
        self.bytes.get_mut(self.end..end)?.copy_from_slice(bytes);
        self.end = end;
        Some(())
    }

    /// What was put.
    pub(super) fn finish(self) -> &'a [u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }
}

/// Records of `N` bytes that follow each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Records<'a, const N: usize>(&'a [u8]);

impl<'a, const N: usize> Records<'a, N> {
    /// The first `count` records from `pos` on, if there are that many.
    pub(super) fn new(bytes: &'a [u8], pos: usize, count: u16) -> Option<Self> {
        let end = pos.checked_add(usize::from(count).checked_mul(N)?)?;
        bytes.get(pos..end).map(Self)
    }

    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.0.chunks_exact(N).len()
    }

    /// The record of that number, from 0.
    pub(super) fn get(self, n: usize) -> Option<&'a [u8; N]> {
        chunk(self.0, n.checked_mul(N)?)
    }

    /// Some of them, if there are those.
    pub(super) fn slice(self, at: Range<usize>) -> Option<Self> {
        let (start, end) = (at.start.checked_mul(N)?, at.end.checked_mul(N)?);
        self.0.get(start..end).map(Self)
    }

    /// Their bytes.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// All of them, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = &'a [u8; N]> + Clone {
        self.0
            .chunks_exact(N)
            .filter_map(|record| record.first_chunk())
    }

    /// How many come first for which `before` holds, where it holds for none after the first for
    /// which it does not; some number of records if it does.
    pub(super) fn partition_point(self, before: impl Fn(&[u8; N]) -> bool) -> usize {
        let (mut start, mut end) = (0, self.len());
        while start < end {
            let middle = usize::midpoint(start, end);
            if self.get(middle).is_some_and(&before) {
                start = middle.saturating_add(1);
            } else {
                end = middle;
            }
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::{
        chunk,
        Field,
        Records,
        Writer, //
    };

    #[test]
    fn fields_are_little_endian_and_at_their_place() {
        let bytes = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4];
        assert_eq!(u8::at::<4, 5>(&bytes), 0xa4);
        assert_eq!(u16::at::<1, 5>(&bytes), 0xa2a1);
        assert_eq!(u32::at::<1, 5>(&bytes), 0xa4a3_a2a1);
        assert_eq!(<[u8; 2]>::at::<0, 5>(&bytes), [0xa0, 0xa1]);
    }

    #[test]
    fn fields_are_put_where_they_are_read() {
        let mut bytes = [0xff; 8];
        0xa4_u8.put::<7, 8>(&mut bytes);
        0xa2a1_u16.put::<0, 8>(&mut bytes);
        0xa4a3_a2a1_u32.put::<3, 8>(&mut bytes);
        assert_eq!(bytes, [0xa1, 0xa2, 0xff, 0xa1, 0xa2, 0xa3, 0xa4, 0xa4]);
    }

    #[test]
    fn writers_put_all_or_nothing() {
        let mut bytes = [0xff; 4];
        let mut writer = Writer::new(&mut bytes);
        assert_eq!(writer.put(&[1, 2, 3]), Some(()));
        assert_eq!(writer.put(&[4, 5]), None);
        assert_eq!(writer.put(&[]), Some(()));
        assert_eq!(writer.finish(), [1, 2, 3]);
        assert_eq!(bytes, [1, 2, 3, 0xff]);
    }

    #[test]
    fn chunks_end_with_the_bytes() {
        let bytes = [0, 1, 2, 3];
        assert_eq!(chunk::<2>(&bytes, 2), Some(&[2, 3]));
        assert_eq!(chunk::<2>(&bytes, 3), None);
        assert_eq!(chunk::<2>(&bytes, usize::MAX), None);
    }

    #[test]
    fn records_are_found_in_every_position() {
        let bytes: [u8; 1 + 2 * 9] = core::array::from_fn(|i| i as u8);
        for count in 0..=9_u16 {
            let records = Records::<2>::new(&bytes, 1, count).unwrap();
            assert_eq!(records.len(), usize::from(count));
            assert_eq!(records.iter().count(), usize::from(count));
            assert_eq!(records.get(usize::from(count)), None);
            for before in 0..=count {
                let found = records.partition_point(|record| u16::from(record[0]) < 1 + 2 * before);
                assert_eq!(found, usize::from(before));
            }
        }
        let records = Records::<2>::new(&bytes, 1, 9).unwrap();
        assert_eq!(records.slice(2..4).map(Records::bytes), Some(&bytes[5..9]));
        assert_eq!(records.slice(9..9).map(Records::len), Some(0));
        assert!(records.slice(8..10).is_none() && records.slice(10..10).is_none());
        assert!(Records::<2>::new(&bytes, 1, 10).is_none());
        assert!(Records::<2>::new(&bytes, usize::MAX, 1).is_none());
    }
}
