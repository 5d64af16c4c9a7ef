// SPDX-License-Identifier: GPL-2.0

//! Stores to mapped pages of the page cache: to a page that is mapped for reading, or is under
//! writeback → blocks for what the file has of it → dirty.

use super::{
    iomap,
    promise,
    writing,
    Stablefs, //
};
use crate::kernel::{
    iomap::write::page_mkwrite,
    vm, //
};
use ::kernel::prelude::*;

/// Operations on mappings of files.
pub(super) struct VmOperations;

#[vtable]
impl vm::Operations for VmOperations {
    type FileSystem = Stablefs;

    fn page_mkwrite(fault: vm::WriteFault<'_, Stablefs>) -> vm::FaultResult {
        let fault = fault.sb_start_pagefault();
        let checked = writing::check_data(fault.inode())
            .and_then(|()| fault.file_update_time())
            .and_then(|()| match fault.range() {
                Some(range) => promise::before_store(fault.inode(), range),
                None => Ok(()),
            });
        match checked {
            Ok(()) => page_mkwrite::<iomap::Operations>(fault.filemap_invalidate_lock_shared()),
            Err(error) => vm::FaultResult::vmf_fs_error(error),
        }
    }
}
