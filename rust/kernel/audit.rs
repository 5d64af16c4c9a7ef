// SPDX-License-Identifier: GPL-2.0

//! Whether bytes change while a device writes them: on devices, too, that would not notice.
//!
//! sealed (a checksum of each block is remembered) → written by the device → compared
//!
//! What differs then was changed after the filesystem took it for stable. On a device with
//! protection information it would have been a guard error, or not, depending on who was faster;
//! here it is seen whenever it happens before the end.
//!
//! C header: [include/linux/bio.h](srctree/include/linux/bio.h)

use super::{
    current,
    gfp::GFP_SPARE,
    inode::Inode,
    iomap,
    super_block::SuperBlock, //
};
use crate::bindings;
use ::kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::SpinLock, //
};
use core::num::NonZeroU32;

/// What a filesystem has to say to the auditing of its data.
pub(crate) trait Operations: iomap::Operations {
    /// What audits those of a volume, if anything does.
    fn auditor(sb: &SuperBlock<Self::FileSystem>) -> Option<&Auditor>;

    /// So many blocks are compared now.
    fn audited(sb: &SuperBlock<Self::FileSystem>, blocks: u64);

    /// So many blocks of the file, from `pos` on, were changed while the device wrote them. They are
    /// still under writeback. The file may end within the last one, or before it.
    ///
    /// # Context
    ///
    /// A worker. Sleeps; no lock is held, and allocations do not call into filesystems. Writeback
    /// waits for this.
    fn changed(inode: &Inode<Self::FileSystem>, pos: u64, blocks: u64);

    /// So many blocks of the file, from `pos` on, are written without being audited, for want of
    /// memory.
    ///
    /// # Context
    ///
    /// Sleeps. A folio may be locked.
    fn not_audited(inode: &Inode<Self::FileSystem>, pos: u64, blocks: u64);
}

/// The auditor of a volume.
pub(crate) struct Auditor {
    /// The size of what is compared at a time.
    block_size: NonZeroU32,
    /// What is being written: checksums of all its blocks, by the address of its bio. Nothing is
    /// there longer than the bio.
    sealed: Pin<KBox<SpinLock<Sealed>>>,
}

type Sealed = RBTree<usize, KVVec<u32>>;

impl Auditor {
    /// One that compares blocks of that size.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(block_size: NonZeroU32) -> Result<Self> {
        let sealed = new_spinlock!(RBTree::new(), "stablefs::sealed");
        Ok(Self {
            block_size,
            sealed: KBox::pin_init(sealed, GFP_KERNEL)?,
        })
    }

    /// Remembers checksums of what is in a bio.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; nothing is remembered then.
    ///
    /// # Safety
    ///
    /// `bio` has to be valid, and the caller's alone, with pages that stay.
    unsafe fn seal(&self, bio: *const bindings::bio) -> Result {
        // SAFETY: By the contract of this function.
        let len = unsafe { (*bio).bi_iter.bi_size };
        // CAST: to a type of more bits.
        let blocks = len.div_ceil(self.block_size.get()) as usize;
        let mut checksums = KVVec::with_capacity(blocks, GFP_SPARE)?;
        // SAFETY: As above.
        unsafe {
            for_each_block(bio, self.block_size, |checksum| {
                // There is room, as nobody has advanced the bio so far.
                let _ = checksums.push_within_capacity(checksum);
            })
        };
        let node = RBTreeNode::new(bio.addr(), checksums, GFP_SPARE)?;
        let old = self.sealed.lock().insert(node);
        // Freed where memory may be.
        drop(old);
        Ok(())
    }

    /// Calls `changed` with the number of the first block and that behind the last one of what
    /// differs now, and forgets the checksums. Of how many blocks there were any.
    ///
    /// # Safety
    ///
    /// As for [`seal`](Self::seal).
    unsafe fn compare(&self, bio: *const bindings::bio, mut changed: impl FnMut(u64, u64)) -> u64 {
        let sealed = self.sealed.lock().remove_node(&bio.addr());
        let Some((_, checksums)) = sealed.map(RBTreeNode::to_key_value) else {
            return 0;
        };
        let mut checksums = checksums.iter();
        let mut number = 0u64;
        let mut first = None;
        // SAFETY: By the contract of this function.
        unsafe {
            for_each_block(bio, self.block_size, |checksum| {
                let differs = checksums.next().is_some_and(|sealed| *sealed != checksum);
                match first {
                    None if differs => first = Some(number),
                    Some(block) if !differs => {
                        changed(block, number);
                        first = None;
                    }
                    _ => (),
                }
                number = number.saturating_add(1);
            })
        };
        if let Some(block) = first {
            changed(block, number);
        }
        number
    }
}

/// Remembers what is in a bio, if the volume is audited. Whether it is to be [`compare`]d.
///
/// # Safety
///
/// `bio` has to be valid, and the caller's alone, with pages that stay; what is in it belongs to the
/// file from `pos` on.
///
/// # Context
///
/// Sleeps.
pub(super) unsafe fn seal<U: Operations>(
    inode: &Inode<U::FileSystem>,
    pos: u64,
    bio: *const bindings::bio,
) -> bool {
    let Some(auditor) = U::auditor(inode.sb()) else {
        return false;
    };
    // SAFETY: By the contract of this function.
    let sealed = unsafe { auditor.seal(bio) };
    if sealed.is_err() {
        // SAFETY: As above.
        let len = unsafe { (*bio).bi_iter.bi_size };
        U::not_audited(inode, pos, len.div_ceil(auditor.block_size.get()).into());
    }
    sealed.is_ok()
}

/// Has the filesystem know of what has changed since it was [`seal`]ed, if it was. To be called before
/// writeback ends.
///
/// # Safety
///
/// As for [`seal`]: the device has finished the bio.
///
/// # Context
///
/// Sleeps.
pub(super) unsafe fn compare<U: Operations>(
    inode: &Inode<U::FileSystem>,
    pos: u64,
    bio: *const bindings::bio,
) {
    let Some(auditor) = U::auditor(inode.sb()) else {
        return;
    };
    // SAFETY: By the contract of this function.
    let blocks = unsafe {
        auditor.compare(bio, |first, end| {
            let skipped = first.saturating_mul(auditor.block_size.get().into());
            U::changed(
                inode,
                pos.saturating_add(skipped),
                end.saturating_sub(first),
            );
        })
    };
    U::audited(inode.sb(), blocks);
}

/// Calls `each` with the checksum of each block of a bio: of all that it was made of, whether the
/// device has been through it or not.
///
/// # Safety
///
/// `bio` has to be valid, and nobody may add to it, with pages that stay until this returns.
unsafe fn for_each_block(
    bio: *const bindings::bio,
    block_size: NonZeroU32,
    mut each: impl FnMut(u32),
) {
    // SAFETY: By the contract of this function. Both are constant once the bio is made: it is
    // `bi_iter` that devices advance.
    let (bvecs, n) = unsafe { ((*bio).bi_io_vec, (*bio).bi_vcnt) };
    let (mut checksum, mut summed) = (0, 0);
    for i in 0..n {
        // SAFETY: The bio has that many.
        let bvec = unsafe { bvecs.add(i.into()) };
        // SAFETY: As above.
        let bv_len = unsafe { (*bvec).bv_len };
        let mut offset = 0;
        while offset < bv_len {
            // OVERFLOW: `summed` is less than a block, and `offset` less than the length.
            let len = (block_size.get() - summed).min(bv_len - offset);
            // SAFETY: The segment has that part; its pages stay. What changes meanwhile is read by
            // C, and has another checksum or not.
            checksum = unsafe { bindings::bvec_crc32c(checksum, bvec, offset, len) };
            // OVERFLOW: As above.
            offset += len;
            summed += len;
            if summed == block_size.get() {
                each(checksum);
                (checksum, summed) = (0, 0);
            }
        }
        current::cond_resched();
    }
    if summed != 0 {
        each(checksum);
    }
}
