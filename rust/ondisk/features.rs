// SPDX-License-Identifier: GPL-2.0

//! The feature flags of a volume: three words, because there are three answers to a flag that one
//! does not know.
//!
//! | word | a flag that is not known |
//! | --- | --- |
//! | [`Compat`] | harms nobody |
//! | [`RoCompat`] | forbids writing |
//! | [`Incompat`] | forbids even reading |
//!
//! The journal has words of its own; [`JournalIncompat`] is the one that matters.
//!
//! Names are those that e2fsprogs prints, so that a message can be fed to `tune2fs -O`.
//!
//! Format: [Documentation/filesystems/ext4/super.rst](srctree/Documentation/filesystems/ext4/super.rst).

use core::fmt;

/// All feature flags of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Those to ignore when unknown.
    pub compat: Compat,
    /// Those that forbid writing when unknown.
    pub ro_compat: RoCompat,
    /// Those that forbid reading when unknown.
    pub incompat: Incompat,
}

/// Declares one word of flags: its type, the letter that e2fsprogs has for flags without a name,
/// the flags.
macro_rules! feature_word {
    (
        $(#[$attr:meta])*
        $word:ident $letter:literal {
            $($flag:ident = $bit:literal $name:literal,)*
        }
        supported { $($supported:ident,)* }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $word(u32);

        impl $word {
            $(
                #[doc = concat!("`", $name, "`")]
                pub const $flag: Self = Self(1 << $bit);
            )*

            /// The flags that this implementation knows how to keep.
            pub const SUPPORTED: Self = Self(0 $(| Self::$supported.0)*);

            /// The flags of a word from the disk.
            pub const fn from_bits(bits: u32) -> Self {
                Self(bits)
            }

            /// The word as on the disk.
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// Whether no flag is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether all of `flags` are set.
            pub const fn contains(self, flags: Self) -> bool {
                self.0 & flags.0 == flags.0
            }

            /// The flags outside [`Self::SUPPORTED`].
            pub const fn unsupported(self) -> Self {
                Self(self.0 & !Self::SUPPORTED.0)
            }
        }

        /// The names, separated by blanks.
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut separator = "";
                for bit in (0..u32::BITS).filter(|bit| self.0.wrapping_shr(*bit) & 1 == 1) {
                    f.write_str(separator)?;
                    separator = " ";
                    match bit {
                        $($bit => f.write_str($name)?,)*
                        _ => write!(f, concat!("FEATURE_", $letter, "{}"), bit)?,
                    }
                }
                Ok(())
            }
        }
    };
}

feature_word! {
    /// Features that even a driver which does not know them may write beside.
    Compat "C" {
        DIR_PREALLOC = 0 "dir_prealloc",
        IMAGIC_INODES = 1 "imagic_inodes",
        HAS_JOURNAL = 2 "has_journal",
        EXT_ATTR = 3 "ext_attr",
        RESIZE_INODE = 4 "resize_inode",
        DIR_INDEX = 5 "dir_index",
        LAZY_BG = 6 "lazy_bg",
        SNAPSHOT_BITMAP = 8 "snapshot_bitmap",
        SPARSE_SUPER2 = 9 "sparse_super2",
        FAST_COMMIT = 10 "fast_commit",
        STABLE_INODES = 11 "stable_inodes",
        ORPHAN_FILE = 12 "orphan_file",
    }
    supported {
        HAS_JOURNAL,
        EXT_ATTR,
        RESIZE_INODE,
        DIR_INDEX,
        ORPHAN_FILE,
    }
}

feature_word! {
    /// Features beside which a driver that does not know them may read, but not write.
    RoCompat "R" {
        SPARSE_SUPER = 0 "sparse_super",
        LARGE_FILE = 1 "large_file",
        HUGE_FILE = 3 "huge_file",
        GDT_CSUM = 4 "uninit_bg",
        DIR_NLINK = 5 "dir_nlink",
        EXTRA_ISIZE = 6 "extra_isize",
        QUOTA = 8 "quota",
        BIGALLOC = 9 "bigalloc",
        METADATA_CSUM = 10 "metadata_csum",
        REPLICA = 11 "replica",
        READONLY = 12 "read-only",
        PROJECT = 13 "project",
        SHARED_BLOCKS = 14 "shared_blocks",
        VERITY = 15 "verity",
        ORPHAN_PRESENT = 16 "orphan_present",
    }
    supported {
        SPARSE_SUPER,
        LARGE_FILE,
        HUGE_FILE,
        DIR_NLINK,
        EXTRA_ISIZE,
        METADATA_CSUM,
        ORPHAN_PRESENT,
    }
}

feature_word! {
    /// Features that a driver has to know to make sense of the volume.
    Incompat "I" {
        COMPRESSION = 0 "compression",
        FILETYPE = 1 "filetype",
        RECOVER = 2 "needs_recovery",
        JOURNAL_DEV = 3 "journal_dev",
        META_BG = 4 "meta_bg",
        EXTENTS = 6 "extent",
        BIT64 = 7 "64bit",
        MMP = 8 "mmp",
        FLEX_BG = 9 "flex_bg",
        EA_INODE = 10 "ea_inode",
        DIRDATA = 12 "dirdata",
        CSUM_SEED = 13 "metadata_csum_seed",
        LARGEDIR = 14 "large_dir",
        INLINE_DATA = 15 "inline_data",
        ENCRYPT = 16 "encrypt",
        CASEFOLD = 17 "casefold",
    }
    supported {
        FILETYPE,
        RECOVER,
        EXTENTS,
        BIT64,
        FLEX_BG,
        CSUM_SEED,
    }
}

feature_word! {
    /// Features of the journal that a driver has to know to replay it.
    JournalIncompat "I" {
        REVOKE = 0 "journal_incompat_revoke",
        BIT64 = 1 "journal_64bit",
        ASYNC_COMMIT = 2 "journal_async_commit",
        CSUM_V2 = 3 "journal_checksum_v2",
        CSUM_V3 = 4 "journal_checksum_v3",
        FAST_COMMIT = 5 "fast_commit",
    }
    supported {
        REVOKE,
        BIT64,
        ASYNC_COMMIT,
        CSUM_V2,
        CSUM_V3,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Compat,
        Incompat,
        JournalIncompat,
        RoCompat, //
    };
    extern crate std;
    use std::string::ToString;

    #[test]
    fn names_are_listed_in_order_of_their_bits() {
        let some = Incompat::from_bits(0x8002_00a0);
        assert_eq!(some.to_string(), "FEATURE_I5 64bit casefold FEATURE_I31");
        assert_eq!(Compat::from_bits(1 << 7).to_string(), "FEATURE_C7");
        assert_eq!(RoCompat::from_bits(1 << 2).to_string(), "FEATURE_R2");
        assert_eq!(RoCompat::from_bits(0).to_string(), "");
    }

    #[test]
    fn unsupported_takes_away_exactly_the_supported() {
        let all = Incompat::from_bits(u32::MAX);
        assert_eq!(all.unsupported().bits(), !Incompat::SUPPORTED.bits());
        assert!(Incompat::SUPPORTED.unsupported().is_empty());
        assert_eq!(Incompat::SUPPORTED.bits(), 0x22c6);
        assert_eq!(RoCompat::SUPPORTED.bits(), 0x1046b);
        assert_eq!(Compat::SUPPORTED.bits(), 0x103c);
        assert_eq!(JournalIncompat::SUPPORTED.bits(), 0x1f);
    }

    #[test]
    fn contains_wants_every_flag() {
        let two = Compat::from_bits(0b10100);
        assert!(two.contains(Compat::HAS_JOURNAL));
        assert!(two.contains(two));
        assert!(!two.contains(Compat::from_bits(0b10110)));
    }
}
