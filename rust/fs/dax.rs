// SPDX-License-Identifier: GPL-2.0

//! Which files are accessed without the page cache.

/// What the mounter wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DaxMode {
    /// All files.
    Always,
    /// None.
    Never,
    /// Those whose own flag says so.
    #[default]
    Inode,
}
