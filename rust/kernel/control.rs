// SPDX-License-Identifier: GPL-2.0

//! Controls: protocols without one of their steps, or with one at a wrong time, so that the test of
//! the step is seen to fail. They are in a module that is built with `STABLEFS_CONTROLS=1` only, and
//! one is chosen when that is inserted: `control=skip_fault_wait`.
//!
//! C header: [include/linux/moduleparam.h](srctree/include/linux/moduleparam.h)

#[cfg(stablefs_controls)]
use crate::bindings;
#[cfg(stablefs_controls)]
use ::kernel::prelude::*;

macro_rules! controls {
    ($($(#[$doc:meta])* $control:ident = $name:literal,)*) => {
        /// What is done wrongly on purpose.
        #[derive(Clone, Copy)]
        #[cfg_attr(
            not(stablefs_controls),
            expect(dead_code, reason = "some are asked for in such a module only")
        )]
        pub(crate) enum Control { $($(#[$doc])* $control,)* }

        #[cfg(stablefs_controls)]
        impl Control {
            const ALL: &[Self] = &[$(Self::$control,)*];

            fn name(self) -> &'static CStr {
                match self { $(Self::$control => $name,)* }
            }
        }
    };
}

// `qemu/parts/payload.py` reads the names here.
controls! {
    /// 64 KiB are lost when the module is removed.
    LeakOnExit = c"leak_on_exit",
    /// One small object is lost when the module is removed.
    LeakObjectOnExit = c"leak_object_on_exit",
    /// Nobody looks at the protection information of what is read.
    SkipReadVerify = c"skip_read_verify",
    /// A block may be mapped with DAX for two places.
    SkipDaxClaim = c"skip_dax_claim",
    /// Blocks are allocated as written before they are.
    SkipUnwritten = c"skip_unwritten",
    /// `fsync` does not wait for the transaction.
    SkipFsyncCommit = c"skip_fsync_commit",
    /// What is being deleted is not noted.
    SkipOrphan = c"skip_orphan",
    /// A folio is not write-protected before it is written.
    SkipProtect = c"skip_protect",
    /// A folio is write-protected after its checksums are computed.
    EarlyChecksum = c"early_checksum",
    /// Nobody looks for pins, nor for other references, of what is written.
    SkipPinCheck = c"skip_pin_check",
    /// Pins are looked for before the folio is write-protected.
    EarlyPinCheck = c"early_pin_check",
    /// Nobody looks for other references than pins of what is written.
    SkipReferenceCheck = c"skip_reference_check",
    /// A pinned folio is clean once it is written.
    SkipKeepDirty = c"skip_keep_dirty",
    /// A store does not wait for the page to be written.
    SkipFaultWait = c"skip_fault_wait",
    /// Memory is zeroed after it has become a file's.
    LateZero = c"late_zero",
    /// What is around the data in a block that is filled is left as it is.
    SkipZeroRest = c"skip_zero_rest",
    /// Blocks that could not be initialised do not go back.
    SkipGiveBack = c"skip_give_back",
    /// Zeroes stay mapped where a write has filled a hole.
    SkipForgetZeroes = c"skip_forget_zeroes",
    /// Zeroes stay mapped until a fault has inserted blocks.
    LateUnmapZeroes = c"late_unmap_zeroes",
    /// A fault on a `MAP_SYNC` mapping does not wait for the transaction.
    SkipSyncFault = c"skip_sync_fault",
    /// Pages of a DAX file are taken away while a device uses them.
    SkipPinWait = c"skip_pin_wait",
    /// A direct write is not copied, whoever may write to its memory.
    SkipDioCopy = c"skip_dio_copy",
}

#[cfg(stablefs_controls)]
impl Control {
    /// Whether this is the one chosen.
    pub(crate) fn is_on(self) -> bool {
        // SAFETY: The name is a C string.
        unsafe { bindings::control_is(self.name().as_char_ptr()) }
    }

    /// Looks that one is chosen.
    ///
    /// # Errors
    ///
    /// `EINVAL` if none is, or there is none of that name.
    pub(crate) fn check() -> Result {
        if Self::ALL.iter().any(|control| control.is_on()) {
            return Ok(());
        }
        pr_err!("this module is for tests, and wants control=NAME, one of those in rust/kernel/control.rs\n");
        Err(EINVAL)
    }
}

#[cfg(not(stablefs_controls))]
impl Control {
    /// Whether this is the one chosen: never.
    pub(crate) const fn is_on(self) -> bool {
        false
    }
}
