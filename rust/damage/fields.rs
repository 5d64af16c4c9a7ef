// SPDX-License-Identifier: GPL-2.0

//! Where the fields of a structure are, by their C names, and what their values mean.
//!
//! What the bytes say is followed as far as they go and no further: the fields of a structure that
//! is damaged already can be found, too.

use crate::Kind;

/// What the value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// A number of no special kind.
    Number,
    /// Flags.
    Flags,
    /// A block of the volume, or the lower half of its number.
    Pblk,
    /// A block of a file.
    Lblk,
    /// The number of an inode.
    Ino,
    /// A place or a length in the structure, in bytes or in elements.
    Len,
    /// Bytes of a file, or blocks or sectors of it.
    Size,
    /// What a file is: an `i_mode`, or the number of a type in a directory.
    Type,
}

/// A field.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Its C name, with a number where there are several.
    pub(crate) name: String,
    /// Where it begins in its structure, in bytes.
    pub(crate) pos: usize,
    /// How many bytes it has, 1 to 4.
    pub(crate) len: usize,
    pub(crate) means: Means,
}

type Table = &'static [(&'static str, usize, usize, Means)];

use Means::{
    Flags,
    Ino,
    Lblk,
    Len,
    Number,
    Pblk,
    Size,
    Type, //
};

const SUPERBLOCK: Table = &[
    ("s_inodes_count", 0x00, 4, Number),
    ("s_blocks_count_lo", 0x04, 4, Pblk),
    ("s_r_blocks_count_lo", 0x08, 4, Number),
    ("s_free_blocks_count_lo", 0x0c, 4, Number),
    ("s_free_inodes_count", 0x10, 4, Number),
    ("s_first_data_block", 0x14, 4, Pblk),
    ("s_log_block_size", 0x18, 4, Number),
    ("s_log_cluster_size", 0x1c, 4, Number),
    ("s_blocks_per_group", 0x20, 4, Number),
    ("s_clusters_per_group", 0x24, 4, Number),
    ("s_inodes_per_group", 0x28, 4, Number),
    ("s_magic", 0x38, 2, Number),
    ("s_state", 0x3a, 2, Flags),
    ("s_errors", 0x3c, 2, Number),
    ("s_creator_os", 0x48, 4, Number),
    ("s_rev_level", 0x4c, 4, Number),
    ("s_first_ino", 0x54, 4, Ino),
    ("s_inode_size", 0x58, 2, Len),
    ("s_feature_compat", 0x5c, 4, Flags),
    ("s_feature_incompat", 0x60, 4, Flags),
    ("s_feature_ro_compat", 0x64, 4, Flags),
    ("s_uuid", 0x68, 4, Number),
    ("s_reserved_gdt_blocks", 0xce, 2, Number),
    ("s_journal_inum", 0xe0, 4, Ino),
    ("s_journal_dev", 0xe4, 4, Number),
    ("s_last_orphan", 0xe8, 4, Ino),
    ("s_hash_seed", 0xec, 4, Number),
    ("s_def_hash_version", 0xfc, 1, Number),
    ("s_desc_size", 0xfe, 2, Len),
    ("s_default_mount_opts", 0x100, 4, Flags),
    ("s_blocks_count_hi", 0x150, 4, Number),
    ("s_free_blocks_count_hi", 0x158, 4, Number),
    ("s_min_extra_isize", 0x15c, 2, Len),
    ("s_want_extra_isize", 0x15e, 2, Len),
    ("s_flags", 0x160, 4, Flags),
    ("s_log_groups_per_flex", 0x174, 1, Number),
    ("s_checksum_type", 0x175, 1, Number),
    ("s_overhead_clusters", 0x248, 4, Number),
    ("s_backup_bgs", 0x24c, 4, Number),
    ("s_checksum_seed", 0x270, 4, Number),
    ("s_orphan_file_inum", 0x280, 4, Ino),
];

const DESCRIPTOR: Table = &[
    ("bg_block_bitmap_lo", 0x00, 4, Pblk),
    ("bg_inode_bitmap_lo", 0x04, 4, Pblk),
    ("bg_inode_table_lo", 0x08, 4, Pblk),
    ("bg_free_blocks_count_lo", 0x0c, 2, Number),
    ("bg_free_inodes_count_lo", 0x0e, 2, Number),
    ("bg_used_dirs_count_lo", 0x10, 2, Number),
    ("bg_flags", 0x12, 2, Flags),
    ("bg_itable_unused_lo", 0x1c, 2, Number),
];

const DESCRIPTOR_HI: Table = &[
    ("bg_block_bitmap_hi", 0x20, 4, Number),
    ("bg_inode_bitmap_hi", 0x24, 4, Number),
    ("bg_inode_table_hi", 0x28, 4, Number),
    ("bg_free_blocks_count_hi", 0x2c, 2, Number),
    ("bg_free_inodes_count_hi", 0x2e, 2, Number),
    ("bg_used_dirs_count_hi", 0x30, 2, Number),
    ("bg_itable_unused_hi", 0x32, 2, Number),
];

const INODE: Table = &[
    ("i_mode", 0x00, 2, Type),
    ("i_uid", 0x02, 2, Number),
    ("i_size_lo", 0x04, 4, Size),
    ("i_atime", 0x08, 4, Number),
    ("i_dtime", 0x14, 4, Ino),
    ("i_links_count", 0x1a, 2, Number),
    ("i_blocks_lo", 0x1c, 4, Size),
    ("i_flags", 0x20, 4, Flags),
    ("i_block[0]", 0x28, 4, Number),
    ("i_generation", 0x64, 4, Number),
    ("i_file_acl_lo", 0x68, 4, Pblk),
    ("i_size_high", 0x6c, 4, Size),
    ("i_blocks_high", 0x74, 2, Number),
    ("i_file_acl_high", 0x76, 2, Number),
];

const INODE_EXTRA: Table = &[
    ("i_extra_isize", 0x80, 2, Len),
    ("i_ctime_extra", 0x84, 4, Number),
    ("i_mtime_extra", 0x88, 4, Number),
    ("i_atime_extra", 0x8c, 4, Number),
    ("i_crtime_extra", 0x94, 4, Number),
];

const EXTENT_HEADER: Table = &[
    ("eh_magic", 0x0, 2, Number),
    ("eh_entries", 0x2, 2, Len),
    ("eh_max", 0x4, 2, Len),
    ("eh_depth", 0x6, 2, Number),
];

const EXTENT: Table = &[
    ("ee_block", 0x0, 4, Lblk),
    ("ee_len", 0x4, 2, Len),
    ("ee_start_hi", 0x6, 2, Number),
    ("ee_start_lo", 0x8, 4, Pblk),
];

const INDEX: Table = &[
    ("ei_block", 0x0, 4, Lblk),
    ("ei_leaf_lo", 0x4, 4, Pblk),
    ("ei_leaf_hi", 0x8, 2, Number),
];

const DIRENT: Table = &[
    ("inode", 0x0, 4, Ino),
    ("rec_len", 0x4, 2, Len),
    ("name_len", 0x6, 1, Len),
    ("file_type", 0x7, 1, Type),
    ("name", 0x8, 1, Number),
];

const HASH_ROOT: Table = &[
    ("dot.inode", 0x00, 4, Ino),
    ("dot.rec_len", 0x04, 2, Len),
    ("dot.name_len", 0x06, 1, Len),
    ("dotdot.inode", 0x0c, 4, Ino),
    ("dotdot.rec_len", 0x10, 2, Len),
    ("dotdot.name_len", 0x12, 1, Len),
    ("reserved_zero", 0x18, 4, Number),
    ("hash_version", 0x1c, 1, Number),
    ("info_length", 0x1d, 1, Len),
    ("indirect_levels", 0x1e, 1, Number),
    ("unused_flags", 0x1f, 1, Flags),
    ("limit", 0x20, 2, Len),
    ("count", 0x22, 2, Len),
    ("block[0]", 0x24, 4, Lblk),
];

const HASH_NODE: Table = &[
    ("fake.inode", 0x0, 4, Ino),
    ("fake.rec_len", 0x4, 2, Len),
    ("fake.name_len", 0x6, 1, Len),
    ("limit", 0x8, 2, Len),
    ("count", 0xa, 2, Len),
    ("block[0]", 0xc, 4, Lblk),
];

const HASH_ENTRY: Table = &[("hash", 0x0, 4, Number), ("block", 0x4, 4, Lblk)];

const XATTR_HEADER: Table = &[
    ("h_magic", 0x0, 4, Number),
    ("h_refcount", 0x4, 4, Number),
    ("h_blocks", 0x8, 4, Number),
];

const XATTR: Table = &[
    ("e_name_len", 0x0, 1, Len),
    ("e_name_index", 0x1, 1, Number),
    ("e_value_offs", 0x2, 2, Len),
    ("e_value_inum", 0x4, 4, Ino),
    ("e_value_size", 0x8, 4, Len),
];

/// `h_magic` of every area with attributes.
const XATTR_MAGIC: u32 = 0xea02_0000;
/// `eh_magic` of every node of extents.
const EXTENT_MAGIC: u16 = 0xf30a;

/// The number at a place, 0 beyond the end.
pub(crate) fn get(bytes: &[u8], pos: usize, len: usize) -> u32 {
    let field = bytes.get(pos..pos + len).unwrap_or_default();
    let bytes = field.iter().rev();
    bytes.fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

/// Puts as much of a number as the field takes.
pub(crate) fn put(bytes: &mut [u8], pos: usize, len: usize, value: u32) {
    bytes[pos..pos + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

/// The fields of a structure; none of bitmaps.
pub(crate) fn fields(kind: Kind, bytes: &[u8]) -> Vec<Field> {
    let mut fields = vec![];
    let mut add = |table: Table, pos: usize, number: Option<usize>| {
        for (name, offset, len, means) in table {
            if pos + offset + len <= bytes.len() {
                fields.push(Field {
                    name: number.map_or(name.to_string(), |number| format!("{name}[{number}]")),
                    pos: pos + offset,
                    len: *len,
                    means: *means,
                });
            }
        }
    };
    match kind {
        Kind::Superblock => add(SUPERBLOCK, 0, None),
        Kind::Descriptor(_) => {
            add(DESCRIPTOR, 0, None);
            add(DESCRIPTOR_HI, 0, None);
        }
        Kind::BlockBitmap(_) | Kind::InodeBitmap(_) => (),
        Kind::Inode(_) => {
            add(INODE, 0, None);
            if get(bytes, 0x28, 2) == EXTENT_MAGIC.into() {
                extents(bytes, 0x28, 0x64, &mut add);
            }
            add(INODE_EXTRA, 0, None);
            let area = 0x80 + get(bytes, 0x80, 2) as usize;
            if get(bytes, area, 4) == XATTR_MAGIC {
                xattrs(bytes, area + 4, &mut add);
            }
        }
        Kind::ExtentNode(_) => extents(bytes, 0, bytes.len(), &mut add),
        Kind::DirLeaf(_) => {
            let mut pos = 0;
            for number in 0.. {
                add(DIRENT, pos, Some(number));
                let rec_len = get(bytes, pos + 4, 2) as usize;
                pos += rec_len;
                if rec_len == 0 || pos >= bytes.len() {
                    break;
                }
            }
        }
        Kind::HashRoot(_) => {
            add(HASH_ROOT, 0, None);
            hashes(bytes, 0x20, &mut add);
        }
        Kind::HashNode(_) => {
            add(HASH_NODE, 0, None);
            hashes(bytes, 0x8, &mut add);
        }
        Kind::XattrBlock => {
            add(XATTR_HEADER, 0, None);
            xattrs(bytes, 0x20, &mut add);
        }
    }
    fields
}

type Add<'a> = dyn FnMut(Table, usize, Option<usize>) + 'a;

fn extents(bytes: &[u8], start: usize, end: usize, add: &mut Add<'_>) {
    add(EXTENT_HEADER, start, None);
    let entries = get(bytes, start + 2, 2) as usize;
    let table = if get(bytes, start + 6, 2) == 0 {
        EXTENT
    } else {
        INDEX
    };
    for number in 0..entries.min((end - start) / 12 - 1) {
        add(table, start + 12 + 12 * number, Some(number));
    }
}

fn hashes(bytes: &[u8], start: usize, add: &mut Add<'_>) {
    let count = get(bytes, start + 2, 2) as usize;
    for number in 1..count.min((bytes.len() - start) / 8) {
        add(HASH_ENTRY, start + 8 * number, Some(number));
    }
}

fn xattrs(bytes: &[u8], start: usize, add: &mut Add<'_>) {
    for (number, pos) in xattr_entries(bytes, start).into_iter().enumerate() {
        add(XATTR, pos, Some(number));
    }
}

/// Where the entries of a list of attributes are.
fn xattr_entries(bytes: &[u8], start: usize) -> Vec<usize> {
    let mut entries = vec![];
    let mut pos = start;
    while pos + 16 <= bytes.len() && get(bytes, pos, 4) != 0 {
        entries.push(pos);
        pos += 16 + (get(bytes, pos, 1) as usize).next_multiple_of(4);
    }
    entries
}

/// Where the hashes of attributes are, each of which is a checksum of name and value.
pub(crate) fn xattr_hashes(kind: Kind, bytes: &[u8]) -> Vec<usize> {
    let start = match kind {
        Kind::XattrBlock => 0x20,
        Kind::Inode(_) => {
            let area = 0x80 + get(bytes, 0x80, 2) as usize;
            if get(bytes, area, 4) != XATTR_MAGIC {
                return vec![];
            }
            area + 4
        }
        _ => return vec![],
    };
    let entries = xattr_entries(bytes, start).into_iter();
    entries.map(|entry| entry + 0xc).collect()
}
