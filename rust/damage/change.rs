// SPDX-License-Identifier: GPL-2.0

//! Other values for some fields of a structure: those at the edges of what is allowed, those that
//! would be right elsewhere, and those that make a circle.

use crate::{
    fields::{
        fields,
        get,
        put,
        Field,
        Means, //
    },
    image::{
        Image,
        Kind,
        Structure, //
    },
    Numbers, //
};

/// Changes some fields of a structure, and says which.
pub(crate) fn change(
    image: &Image<'_>,
    structure: &Structure,
    numbers: &mut Numbers,
    bytes: &mut [u8],
) -> String {
    let fields = fields(structure.kind, bytes);
    let wanted = numbers.pick(&[1, 1, 1, 2, 3]);
    let before = bytes.to_vec();
    let mut what = vec![];
    // Some that are picked make no difference.
    while what.len() < wanted || bytes == before && what.len() < 8 {
        what.push(if fields.is_empty() || numbers.below(32) == 0 {
            change_bytes(numbers, bytes)
        } else {
            change_field(image, structure, &fields, numbers, bytes)
        });
    }
    what.join(", ")
}

/// Changes bytes whatever they mean: those of a bitmap, of names and values, and reserved ones.
fn change_bytes(numbers: &mut Numbers, bytes: &mut [u8]) -> String {
    let start = numbers.below(bytes.len());
    let most = numbers.pick(&[1, 4, 64, bytes.len()]);
    let end = start + most.min(bytes.len() - start);
    let value = numbers.pick(&[0, 0xff, 0x55]);
    bytes[start..end].fill(value);
    format!("bytes {start}..{end} all {value:#x}")
}

fn change_field(
    image: &Image<'_>,
    structure: &Structure,
    fields: &[Field],
    numbers: &mut Numbers,
    bytes: &mut [u8],
) -> String {
    let field = &fields[numbers.below(fields.len())];
    let old = get(bytes, field.pos, field.len);
    if numbers.below(10) == 0 {
        let others: Vec<_> = fields.iter().filter(|f| f.len == field.len).collect();
        let other = numbers.pick(&others);
        let value = get(bytes, other.pos, other.len);
        put(bytes, other.pos, other.len, old);
        put(bytes, field.pos, field.len, value);
        return format!("{} and {} swapped", field.name, other.name);
    }
    let value = match numbers.below(14) {
        0 => 0,
        1 => u32::MAX,
        2 => old.wrapping_add(1),
        3 => old.wrapping_sub(1),
        4 | 5 => old ^ (1 << numbers.below(8 * field.len)),
        6 => numbers.next() as u32,
        _ => meant(image, structure, field, fields, bytes, numbers),
    };
    let mask = u32::MAX >> (u32::BITS as usize - 8 * field.len);
    put(bytes, field.pos, field.len, value);
    format!("{} {old:#x} -> {:#x}", field.name, value & mask)
}

/// A value that fits what the field means, and not what the volume is.
fn meant(
    image: &Image<'_>,
    structure: &Structure,
    field: &Field,
    fields: &[Field],
    bytes: &[u8],
    numbers: &mut Numbers,
) -> u32 {
    let block_len = image.superblock.block_size().bytes().get();
    let near = [0, 1, u32::MAX][numbers.below(3)];
    match field.means {
        Means::Pblk => {
            let own = structure.pos as u32 / block_len;
            let end = image.superblock.blocks_count().0 as u32;
            match numbers.below(6) {
                0 => own,
                // Another node of the same tree, be it above, below or beside.
                1 | 2 => block_of(image, block_len, numbers, |s| s.kind == structure.kind),
                3 => block_of(image, block_len, numbers, |_| true),
                4 => end.wrapping_add(near),
                _ => numbers.below(8) as u32,
            }
        }
        Means::Lblk | Means::Number => {
            // That of an entry before or behind, or close to it.
            let others: Vec<_> = fields.iter().filter(|f| f.means == field.means).collect();
            let other = numbers.pick(&others);
            match numbers.below(5) {
                0 => numbers.pick(&[0x7fff_ffff, 0x8000_0000, 0x0fff_ffff, 0xffff_fffe]),
                1 => numbers.below(64) as u32,
                _ => get(bytes, other.pos, other.len).wrapping_add(near),
            }
        }
        Means::Ino => {
            let own = match structure.kind {
                Kind::Inode(ino)
                | Kind::ExtentNode(ino)
                | Kind::DirLeaf(ino)
                | Kind::HashRoot(ino)
                | Kind::HashNode(ino) => ino,
                _ => 2,
            };
            let others: Vec<_> = fields.iter().filter(|f| f.means == Means::Ino).collect();
            let other = numbers.pick(&others);
            match numbers.below(6) {
                0 | 1 => own,
                // Also that of the directory above.
                2 => get(bytes, other.pos, other.len),
                3 => image.superblock.inodes_count().wrapping_add(near),
                4 => 1 + numbers.below(image.superblock.inodes_count() as usize) as u32,
                _ => numbers.below(13) as u32,
            }
        }
        Means::Len => match numbers.below(5) {
            0 => numbers.pick(&[2, 4, 7, 8, 9, 11, 12, 16, 0x7fff, 0x8000, 0x8001, 0xfffc]),
            1 => block_len.wrapping_add(near),
            // To the end of the structure.
            2 => ((structure.len - field.pos) as u32 & !3).wrapping_add(near),
            3 => numbers.below(structure.len) as u32 & !3,
            _ => {
                let others: Vec<_> = fields.iter().filter(|f| f.means == Means::Len).collect();
                let other = numbers.pick(&others);
                get(bytes, other.pos, other.len)
            }
        },
        Means::Size => {
            let bit = numbers.below(u32::BITS as usize);
            (1_u32 << bit).wrapping_add([0, u32::MAX, block_len][numbers.below(3)])
        }
        Means::Type if field.len == 1 => numbers.below(9) as u32,
        Means::Type => ((numbers.below(16) as u32) << 12) | 0o755,
        Means::Flags => {
            let bits = (0..3).map(|_| 1 << numbers.below(8 * field.len));
            bits.fold(get(bytes, field.pos, field.len), |flags, bit| flags ^ bit)
        }
    }
}

/// The block of one of the structures that are wanted; that of the superblock if there is none.
fn block_of(
    image: &Image<'_>,
    block_len: u32,
    numbers: &mut Numbers,
    wanted: impl Fn(&Structure) -> bool,
) -> u32 {
    let places: Vec<_> = image.structures.iter().filter(|s| wanted(s)).collect();
    match places.as_slice() {
        [] => 1024 / block_len,
        places => numbers.pick(places).pos as u32 / block_len,
    }
}
