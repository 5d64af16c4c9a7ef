// SPDX-License-Identifier: GPL-2.0

//! Mount options: given by the mounter, beside the volume's own defaults → in force → shown.
//!
//! Names and meanings are ext4's, but for `audit`, which ext4 has not. What this version could only ignore is refused, so that nobody
//! believes it to be in force.

use super::dax::DaxMode;
use crate::{
    kernel::fs_parser::{
        Parameter,
        Spec,
        Table,
        Words, //
    },
    ondisk::{
        Errors,
        Superblock, //
    },
};
use ::kernel::{
    prelude::*,
    seq_file::{
        seq_print,
        SeqFile, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// One option, parsed.
#[derive(Clone, Copy)]
enum Setting {
    Acl(bool),
    Audit,
    Dax(DaxMode),
    Errors(Errors),
    NoLoad,
    UserXattr(bool),
}

static DAX: Words<Setting, 3> = Words::new([
    (c"always", Setting::Dax(DaxMode::Always)),
    (c"inode", Setting::Dax(DaxMode::Inode)),
    (c"never", Setting::Dax(DaxMode::Never)),
]);

static ERRORS: Words<Setting, 3> = Words::new([
    (c"continue", Setting::Errors(Errors::Continue)),
    (c"panic", Setting::Errors(Errors::Panic)),
    (c"remount-ro", Setting::Errors(Errors::RemountRo)),
]);

static OPTIONS: Table<Setting, 10> = Table::new([
    Spec::flag(c"acl", Setting::Acl(true)),
    Spec::flag(c"audit", Setting::Audit),
    Spec::flag(c"dax", Setting::Dax(DaxMode::Always)),
    Spec::flag(c"noacl", Setting::Acl(false)),
    Spec::flag(c"noload", Setting::NoLoad),
    Spec::flag(c"norecovery", Setting::NoLoad),
    Spec::flag(c"nouser_xattr", Setting::UserXattr(false)),
    Spec::flag(c"user_xattr", Setting::UserXattr(true)),
    Spec::words(c"dax", &DAX),
    Spec::words(c"errors", &ERRORS),
]);

/// What a mounter has given; the default is nothing.
#[derive(Default)]
pub(crate) struct Given {
    acl: Option<bool>,
    audit: bool,
    dax: Option<DaxMode>,
    errors: Option<Errors>,
    noload: bool,
    user_xattr: Option<bool>,
}

impl Given {
    /// Takes one more option; of two that contradict each other the later one counts.
    pub(super) fn parse(&mut self, parameter: Parameter<'_>) -> Result {
        match parameter.parse(&OPTIONS)? {
            Setting::Acl(acl) => self.acl = Some(acl),
            Setting::Audit => self.audit = true,
            Setting::Dax(dax) => self.dax = Some(dax),
            Setting::Errors(errors) => self.errors = Some(errors),
            Setting::NoLoad => self.noload = true,
            Setting::UserXattr(user_xattr) => self.user_xattr = Some(user_xattr),
        }
        Ok(())
    }

    /// Whether data shall be looked at again after they were written.
    pub(super) fn audit(&self) -> bool {
        self.audit
    }

    /// Whether the journal shall be left alone.
    pub(super) fn noload(&self) -> bool {
        self.noload
    }
}

/// What is in force for a mounted volume. What remounting can change is read without a lock.
pub(super) struct Options {
    /// Whether data are looked at again after they were written.
    pub(super) audit: bool,
    /// Which files are accessed without the page cache.
    pub(super) dax: DaxMode,
    is_dax_given: bool,
    noload: bool,
    acl: Atomic<bool>,
    user_xattr: Atomic<bool>,
    errors: Atomic<u32>,
    /// Whether `errors` is what a mounter has said.
    is_errors_given: Atomic<bool>,
}

impl Options {
    /// What is given, beside the defaults of the volume.
    pub(super) fn new(given: &Given, volume: &Superblock) -> Self {
        let errors = given.errors.unwrap_or(volume.settings().errors());
        Self {
            audit: given.audit,
            dax: given.dax.unwrap_or_default(),
            is_dax_given: given.dax.is_some(),
            noload: given.noload,
            // The volume's own defaults for these two were for kernels that could do without.
            acl: Atomic::new(given.acl.unwrap_or(true)),
            user_xattr: Atomic::new(given.user_xattr.unwrap_or(true)),
            errors: Atomic::new(to_number(errors)),
            is_errors_given: Atomic::new(given.errors.is_some()),
        }
    }

    /// Changes what remounting can change. What was not given stays.
    ///
    /// # Errors
    ///
    /// [`Fixed`]; nothing is changed then.
    pub(super) fn change(&self, given: &Given) -> Result<(), Fixed> {
        // Pages of files that are open would have to move. As with ext4, what was not given when the
        // volume was mounted cannot be given now, not even when it would be the same.
        let mounted = self.is_dax_given.then_some(self.dax);
        if given.dax.is_some() && given.dax != mounted {
            return Err(Fixed { option: "dax" });
        }
        // Inodes that are there already would go on without.
        if given.audit && !self.audit {
            return Err(Fixed { option: "audit" });
        }
        // Whether the journal is replayed was decided before anything was read.
        if given.noload && !self.noload {
            return Err(Fixed { option: "noload" });
        }
        if let Some(acl) = given.acl {
            self.acl.store(acl, Relaxed);
        }
        if let Some(user_xattr) = given.user_xattr {
            self.user_xattr.store(user_xattr, Relaxed);
        }
        if let Some(errors) = given.errors {
            self.errors.store(to_number(errors), Relaxed);
            self.is_errors_given.store(true, Relaxed);
        }
        Ok(())
    }

    /// Whether access control lists are obeyed.
    pub(super) fn acl(&self) -> bool {
        self.acl.load(Relaxed)
    }

    /// Whether attributes of the `user` namespace are there.
    pub(super) fn user_xattr(&self) -> bool {
        self.user_xattr.load(Relaxed)
    }

    /// Whether the kernel is to stop when a structure turns out to be corrupt. A mounter has to have
    /// said so: a disk that somebody found shall not be able to.
    pub(super) fn may_panic(&self) -> bool {
        self.errors() == Errors::Panic && self.is_errors_given.load(Relaxed)
    }

    /// What to do when a structure turns out to be corrupt, as the mounter or the volume says.
    pub(super) fn errors(&self) -> Errors {
        from_number(self.errors.load(Relaxed))
    }

    /// Shows, as ext4 does, what is not the default of the volume or of every volume; of `dax=always`
    /// only where `has_dax`, since nothing of it is in force elsewhere. `is_given_up`: nothing is
    /// written any more, though the VFS would have it.
    pub(super) fn show(
        &self,
        volume: &Superblock,
        has_dax: bool,
        is_given_up: bool,
        seq: &SeqFile,
    ) {
        if self.noload {
            seq_print!(seq, ",norecovery");
        }
        if !self.user_xattr() {
            seq_print!(seq, ",nouser_xattr");
        }
        if !self.acl() {
            seq_print!(seq, ",noacl");
        }
        let errors = self.errors();
        if errors != volume.settings().errors() {
            let errors = match errors {
                Errors::Continue => "continue",
                Errors::RemountRo => "remount-ro",
                Errors::Panic => "panic",
            };
            seq_print!(seq, ",errors={errors}");
        }
        if self.is_dax_given && (has_dax || self.dax != DaxMode::Always) {
            let dax = match self.dax {
                DaxMode::Always => "always",
                DaxMode::Never => "never",
                DaxMode::Inode => "inode",
            };
            seq_print!(seq, ",dax={dax}");
        }
        if self.audit {
            seq_print!(seq, ",audit");
        }
        if is_given_up {
            seq_print!(seq, ",emergency_ro");
        }
    }
}

/// Remounting cannot change an option.
pub(super) struct Fixed {
    /// Its name.
    pub(super) option: &'static str,
}

const CONTINUE: u32 = 0;
const REMOUNT_RO: u32 = 1;
const PANIC: u32 = 2;

fn to_number(errors: Errors) -> u32 {
    match errors {
        Errors::Continue => CONTINUE,
        Errors::RemountRo => REMOUNT_RO,
        Errors::Panic => PANIC,
    }
}

fn from_number(number: u32) -> Errors {
    match number {
        CONTINUE => Errors::Continue,
        PANIC => Errors::Panic,
        _ => Errors::RemountRo,
    }
}
