// SPDX-License-Identifier: GPL-2.0

//! Little-endian fields at fixed places of a structure of fixed length. That a field lies inside
//! is checked when the code is compiled, so reading one cannot fail.

/// A value that fields on the disk hold.
pub(super) trait Field: Sized {
    /// The value `OFFSET` bytes into a structure of `LEN` bytes.
    fn at<const OFFSET: usize, const LEN: usize>(bytes: &[u8; LEN]) -> Self;
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
}

macro_rules! little_endian {
    ($($int:ty)*) => { $(
        impl Field for $int {
            fn at<const OFFSET: usize, const LEN: usize>(bytes: &[u8; LEN]) -> Self {
                Self::from_le_bytes(Field::at::<OFFSET, LEN>(bytes))
            }
        }
    )* };
}

little_endian!(u8 u16 u32);

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
    };
}

pub(super) use raw_structure;

#[cfg(test)]
mod tests {
    use super::Field;

    #[test]
    fn fields_are_little_endian_and_at_their_place() {
        let bytes = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4];
        assert_eq!(u8::at::<4, 5>(&bytes), 0xa4);
        assert_eq!(u16::at::<1, 5>(&bytes), 0xa2a1);
        assert_eq!(u32::at::<1, 5>(&bytes), 0xa4a3_a2a1);
        assert_eq!(<[u8; 2]>::at::<0, 5>(&bytes), [0xa0, 0xa1]);
    }
}
