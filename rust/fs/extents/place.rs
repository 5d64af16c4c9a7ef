// SPDX-License-Identifier: GPL-2.0

//! A place for data in the memory that a volume is in, in the steps of
//! [`protocol::initialise`](crate::protocol::initialise).

use super::{
    extent_at,
    goal,
    set,
    Nodes, //
};
use crate::{
    allocation::Who,
    fs::{
        balloc::{
            self,
            Want, //
        },
        blocks,
        map::{
            self,
            Changing,
            Mapping,
            State as Found, //
        },
        metadata,
        transaction::Transaction,
        Inode,
        Stablefs, //
    },
    kernel::{
        buffer::BdevAddr,
        control::Control,
        dax::Device,
        kiocb::ReadyWrite,
        locks::InodeExclusive, //
    },
    ondisk::{
        extent::{
            Extent,
            State, //
        },
        Blocks,
        Lblk,
        LblkRange,
        Pblk,
        PblkRange, //
    },
    protocol::initialise::{
        self as protocol,
        Fresh, //
    },
};
use ::kernel::prelude::*;
use core::num::NonZeroUsize;

/// A write, with `i_rwsem` held exclusively.
pub(in crate::fs) type Write<'a> = ReadyWrite<'a, Stablefs, InodeExclusive<'a, Stablefs>>;

/// Blocks for a part of a file that has no data.
pub(in crate::fs) struct Place<'t, 'a> {
    transaction: &'t Transaction<'a>,
    inode: &'t Inode,
    device: &'t Device,
    /// Until the map says that they are the file's.
    changing: Option<Changing<'t>>,
    start: Lblk,
    pblks: PblkRange,
    /// For whom they were taken; `None` for an unwritten part of the file.
    new: Option<Who>,
    /// Bytes in the first block before those that are to be written.
    before: u64,
}

/// Takes blocks for a part of `lblks`, from its beginning on, in which the file has no data: those that it has there, if it
/// does. `None` if it has data there. `before` bytes of the first one are not those that are to be written.
///
/// # Errors
///
/// `ENOSPC`; what reading the tree says, or the journal. The file has what it had.
///
/// # Context
///
/// Sleeps. The transaction has [`Steps::allocate`](super::Steps::allocate) left.
pub(in crate::fs) fn fresh<'t, 'a>(
    transaction: &'t Transaction<'a>,
    inode: &'t Inode,
    lblks: LblkRange,
    before: u64,
    who: Who,
) -> Result<Option<Fresh<Place<'t, 'a>>>> {
    let device = inode.sb().volume().dax().device().ok_or(EIO)?;
    let changing = map::change(inode)?;
    let start = lblks.start;
    let (pblks, new) = match changing.lookup(start)?.mapping {
        Mapping::Hole(hole) => {
            let wanted = hole.end.min(lblks.end).0.saturating_sub(start.0).into();
            let want = Want {
                goal: goal(inode, start),
                lblk: start,
                wanted: Blocks(wanted).min(State::Written.max_len()),
                who,
            };
            let pblks = balloc::new_blocks(transaction, inode, &want)?;
            (pblks, Some(who))
        }
        Mapping::Extent(extent) if extent.state() == Found::Unwritten => {
            let end = extent.lblks().end.min(lblks.end);
            let n = Blocks(end.0.saturating_sub(start.0).into()).min(State::Written.max_len());
            let first = extent.pblk(start).ok_or(EINVAL)?;
            let pblks = PblkRange {
                start: first,
                end: first.checked_add(n).ok_or(EINVAL)?,
            };
            (pblks, None)
        }
        Mapping::Extent(_) | Mapping::Reserved(_) => return Ok(None),
    };
    Ok(Some(Fresh::new(Place {
        transaction,
        inode,
        device,
        changing: Some(changing),
        start,
        pblks,
        new,
        before,
    })))
}

/// Has blocks be zeroes.
///
/// # Errors
///
/// `EIO`.
///
/// # Context
///
/// Sleeps. Nobody else stores there.
pub(in crate::fs) fn zero(inode: &Inode, pblks: PblkRange) -> Result {
    let volume = inode.sb().volume();
    let device = volume.dax().device().ok_or(EIO)?;
    let n = pblks.end.0.saturating_sub(pblks.start.0);
    let len = n.saturating_mul(blocks::len(inode));
    device.zero_pages(metadata::addr(volume, pblks.start, 0)?, len)?;
    volume.counters().dax_zeroed(n);
    Ok(())
}

impl Place<'_, '_> {
    fn len(&self) -> u64 {
        let n = self.pblks.end.0.saturating_sub(self.pblks.start.0);
        n.saturating_mul(blocks::len(self.inode))
    }

    fn addr(&self, offset: u64) -> Result<BdevAddr> {
        let BdevAddr(start) = metadata::addr(self.inode.sb().volume(), self.pblks.start, 0)?;
        start.checked_add(offset).map(BdevAddr).ok_or(EIO)
    }

    fn give_back_from(&self, start: Pblk) {
        let Some(who) = self.new else {
            return;
        };
        let blocks = PblkRange {
            start,
            ..self.pblks
        };
        if blocks.start >= blocks.end {
            return;
        }
        let given = balloc::give_back(self.transaction, self.inode.ino(), blocks, who);
        if let Err(error) = given {
            self.transaction.abort(error);
        }
    }
}

impl protocol::Blocks for Place<'_, '_> {
    type Extent = Extent;
    type Error = Error;

    fn insert(&mut self) -> Result<Extent> {
        let wanted = extent_at(self.inode, self.start, self.pblks, State::Written)?;
        let mut nodes = Nodes::new(self.transaction, self.inode)?;
        let extent = if self.new.is_some() {
            nodes.step(|tree| tree.insert(wanted))?;
            nodes.count.taken(wanted.len());
            wanted
        } else {
            let converted = nodes.step(|tree| tree.convert(wanted.lblks(), State::Written))?;
            converted.extent.ok_or(EINVAL)?
        };
        // From here on the journal is given up if it fails.
        self.new = None;
        nodes.finish()?;
        let changing = self.changing.take().ok_or(EINVAL)?;
        set(self.transaction, changing, Mapping::Extent(extent.into()))?;
        Ok(extent)
    }

    fn give_back(&mut self) {
        if Control::SkipGiveBack.is_on() {
            return;
        }
        self.give_back_from(self.pblks.start);
    }
}

impl protocol::Zero for Place<'_, '_> {
    fn zero(&mut self) -> Result {
        if Control::LateZero.is_on() {
            return Ok(());
        }
        zero(self.inode, self.pblks)
    }
}

impl<'w> protocol::Fill<&mut Write<'w>> for Place<'_, '_> {
    fn copy(&mut self, data: &mut Write<'w>) -> Result<usize> {
        let len = self
            .len()
            .saturating_sub(self.before)
            .min(blocks::to_u64(data.len()));
        let at = self.addr(self.before)?;
        match self.device.copy_from_iter(at, len, data) {
            Err(error) if error == EIO => {
                // Memory that has lost what was in it is well again when it is written to as a whole.
                protocol::Zero::zero(self)?;
                self.device.copy_from_iter(at, len, data)
            }
            copied => copied,
        }
    }

    fn shorten(&mut self, copied: NonZeroUsize) {
        let used = self.before.saturating_add(blocks::to_u64(copied.get()));
        let n = Blocks(used.div_ceil(blocks::len(self.inode)));
        let end = self.pblks.start.checked_add(n);
        if let Some(end) = end.filter(|end| *end < self.pblks.end) {
            self.give_back_from(end);
            self.pblks.end = end;
        }
    }

    fn zero_rest(&mut self, copied: NonZeroUsize) -> Result {
        if Control::SkipZeroRest.is_on() {
            return Ok(());
        }
        let used = self.before.saturating_add(blocks::to_u64(copied.get()));
        let behind = self.len().saturating_sub(used);
        for (offset, len) in [(0, self.before), (used, behind)] {
            if len > 0 {
                self.device.zero_in_page(self.addr(offset)?, len)?;
            }
        }
        Ok(())
    }
}
