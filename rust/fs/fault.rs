// SPDX-License-Identifier: GPL-2.0

//! Stores to mapped pages of the page cache, in the order that [`protocol::fault`](crate::protocol::fault)
//! has: to a page that is mapped for reading, or is under writeback → blocks for what the file has of it
//! → dirty.

use super::{
    iomap,
    promise,
    writing,
    Inode,
    Stablefs, //
};
use crate::{
    kernel::{
        truncate::ByteRange,
        vm, //
    },
    protocol::fault::Faulted,
};
use ::kernel::{
    prelude::*,
    time::Delta, //
};

/// Operations on mappings of files.
pub(super) struct VmOperations;

#[vtable]
impl vm::Operations for VmOperations {
    type FileSystem = Stablefs;

    fn page_mkwrite(fault: Faulted<vm::WriteFault<'_, Self>>) -> vm::Stored<'_> {
        fault
            .page_mkwrite()
            .unwrap_or_else(vm::Stored::vmf_fs_error)
    }
}

impl vm::StoreOperations for VmOperations {
    type Mappings = iomap::Operations;

    fn prepare(inode: &Inode, range: ByteRange) -> Result {
        writing::check_data(inode)?;
        promise::before_store(inode, range)
    }

    fn waited(inode: &Inode, time: Delta) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(0);
        inode.sb().volume().counters().waited(ns);
    }
}
