// SPDX-License-Identifier: GPL-2.0

//! Files found by their handles. A handle is not the volume's: any number may be in it.

use super::{
    inode::{
        descriptor,
        iget, //
    },
    metadata::{
        self,
        At, //
    },
    namei, Inode, Stablefs, SuperBlock,
};
use crate::kernel::{
    errno,
    exportfs, //
};
use ::kernel::{
    prelude::*,
    sync::aref::ARef, //
};

impl exportfs::Operations for Stablefs {
    /// A generation of 0 is that of any inode, as for ext4: handles that hold the number of a
    /// directory alone have none for it.
    fn get_inode(sb: &SuperBlock, ino: u64, generation: u32) -> Result<ARef<Inode>> {
        let volume = sb.volume();
        let ino = u32::try_from(ino)
            .ok()
            .and_then(|number| volume.ino(number))
            .filter(|ino| volume.is_ordinary(*ino))
            .ok_or(errno::estale())?;
        // What is in the table there was never written, and is not to be blamed for what it is.
        if descriptor(sb, ino)?.is_never_used(volume, ino) {
            return Err(errno::estale());
        }
        let inode = iget(sb, ino)?;
        if generation != 0 && generation != inode.disk().generation() {
            return Err(errno::estale());
        }
        Ok(inode)
    }

    fn get_parent(child: &Inode) -> Result<ARef<Inode>> {
        let at = At::inode(child.ino());
        let parent = namei::find(child, b"..")?.ok_or(ENOENT)?;
        let parent = namei::iget_named(child, parent)?;
        if !parent.is_dir() {
            let number = parent.ino().get();
            return Err(metadata::corrupt(
                child.sb(),
                at,
                format_args!("inode {number} above is no directory"),
            ));
        }
        Ok(parent)
    }
}
