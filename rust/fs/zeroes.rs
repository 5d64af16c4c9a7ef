// SPDX-License-Identifier: GPL-2.0

//! Zeroes where a block has other data as well: in the page cache, or in the memory that the file is in.

use super::{
    blocks,
    iomap::Operations,
    Stablefs, //
};
use crate::kernel::{
    dax,
    iomap::write,
    locks::InvalidateExclusive,
    truncate::ByteRange, //
};
use ::kernel::prelude::*;

/// Writes zeroes to `range`, where there are not zeroes already. Returns whether anything became dirty in the page cache.
///
/// # Errors
///
/// What the system call shall return.
///
/// # Context
///
/// As of [`write::zero_range`].
pub(super) fn zero_range(
    pages: &InvalidateExclusive<'_, Stablefs>,
    range: ByteRange,
) -> Result<bool> {
    if pages.inode().is_dax() {
        return dax::zero_range::<Operations>(pages, range).and(Ok(false));
    }
    write::zero_range::<Operations>(pages, range)
}

/// Writes zeroes from `pos` to the end of its block, unless it is one. Returns whether anything became dirty in the page
/// cache.
///
/// # Errors
///
/// What the system call shall return; `EFBIG` if no file has that position.
///
/// # Context
///
/// As of [`zero_range`].
pub(super) fn truncate_page(pages: &InvalidateExclusive<'_, Stablefs>, pos: u64) -> Result<bool> {
    if !pages.inode().is_dax() {
        return write::truncate_page::<Operations>(pages, pos);
    }
    let inode = pages.inode();
    let end = blocks::pos(inode, blocks::behind(inode, pos)?);
    match end
        .checked_sub(pos)
        .and_then(|len| ByteRange::new(pos, len))
    {
        Some(range) => zero_range(pages, range),
        None => Ok(false),
    }
}
