// SPDX-License-Identifier: GPL-2.0

//! What a mounted volume does.

use super::{
    Stablefs,
    SuperBlock, //
};
use crate::kernel::super_block;
use ::kernel::{
    prelude::*,
    seq_file::SeqFile, //
};

#[vtable]
impl super_block::Operations for Stablefs {
    fn show_options(sb: &SuperBlock, seq: &SeqFile) {
        sb.volume().options().show(sb.volume(), seq);
    }
}
