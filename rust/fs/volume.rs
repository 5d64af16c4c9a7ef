// SPDX-License-Identifier: GPL-2.0

//! What is kept for a mounted volume.

use super::{
    counters::Counters,
    dax::Dax,
    groups::{
        Allocator,
        Groups, //
    },
    iomap,
    map::Maps,
    options::Options,
    orphan::Orphans,
    recovery::Settled,
    zones::Zones,
    SuperBlock, //
};
use crate::{
    kernel::{
        audit::Auditor,
        debugfs::Shown,
        integrity::Verifier,
        iomap::writeback::Completions,
        shrinker::Registration,
        super_block::OnDevice, //
    },
    ondisk::{
        self,
        Incident,
        Incidents, //
    },
};
use ::kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLock, //
    },
};
use core::{
    fmt,
    ops::Deref, //
};

/// A mounted volume.
pub(crate) struct Volume {
    superblock: ondisk::Superblock,
    options: Options,
    groups: Groups,
    maps: Registration<Maps>,
    dax: Dax,
    verifier: Option<Verifier>,
    completions: Completions<iomap::Operations>,
    auditor: Option<Auditor>,
    orphans: SetOnce<Pin<KBox<Orphans>>>,
    shared_xattrs: Pin<KBox<Mutex<()>>>,
    is_open: Atomic<bool>,
    has_errors: Atomic<bool>,
    incidents: Pin<KBox<SpinLock<Option<Incidents>>>>,
    shortages: Atomic<u32>,
    /// How often dirty data were left for when the volume is thawed.
    not_written: Atomic<u32>,
    counters: Shown<Counters>,
}

impl Volume {
    /// A volume on the device of `sb`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        sb: &OnDevice,
        settled: Settled,
        options: Options,
        groups: Groups,
        maps: Registration<Maps>,
    ) -> Result<Self> {
        let superblock = settled.into_superblock();
        let counters = Shown::new(sb, Counters::new()?)?;
        let auditor = || Auditor::new(superblock.block_size().bytes());
        Ok(Self {
            dax: Dax::new(sb, superblock.block_size(), options.dax)?,
            verifier: Verifier::new(sb, counters.mismatches())?,
            completions: Completions::new(sb)?,
            auditor: options.audit.then(auditor).transpose()?,
            orphans: SetOnce::new(),
            is_open: Atomic::new(false),
            has_errors: Atomic::new(false),
            incidents: KBox::pin_init(new_spinlock!(None, "stablefs::incidents"), GFP_KERNEL)?,
            shortages: Atomic::new(0),
            not_written: Atomic::new(0),
            counters,
            shared_xattrs: KBox::pin_init(new_mutex!((), "stablefs::shared_xattrs"), GFP_KERNEL)?,
            superblock,
            options,
            groups,
            maps,
        })
    }

    /// What it has of DAX.
    pub(super) fn dax(&self) -> &Dax {
        &self.dax
    }

    /// What verifies reads of data, on a device with protection information.
    pub(super) fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// What is done once data have been written.
    pub(super) fn completions(&self) -> &Completions<iomap::Operations> {
        &self.completions
    }

    /// What looks at data again after they were written, with the mount option for that.
    pub(super) fn auditor(&self) -> Option<&Auditor> {
        self.auditor.as_ref()
    }

    /// Blocks that hold the format's own structures.
    pub(super) fn zones(&self) -> &Zones {
        &self.groups.zones
    }

    /// What the group descriptors said together.
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What is free.
    pub(super) fn allocator(&self) -> &Arc<Allocator> {
        &self.groups.allocator
    }

    /// What is known of where the blocks of files are.
    pub(super) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The orphan file, of a volume that is or was written.
    pub(super) fn orphans(&self) -> Option<&Orphans> {
        self.orphans.as_ref().map(|orphans| &**orphans)
    }

    /// Has [`orphans`](Self::orphans) tell of the file.
    pub(super) fn set_orphans(&self, orphans: Pin<KBox<Orphans>>) {
        self.orphans.populate(orphans);
    }

    /// Held to change a block of extended attributes that several inodes have.
    pub(super) fn shared_xattrs(&self) -> &Mutex<()> {
        &self.shared_xattrs
    }

    /// Whether it is written: handles can be started, and inodes deleted. The VFS calls it read-only
    /// for a while after it was opened, and writable for a while after it was closed.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    /// Has [`is_open`](Self::is_open) say so: for [`writing`](super::writing), which sees that no handle
    /// is started meanwhile.
    pub(super) fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Relaxed);
    }

    /// Whether broken metadata have been met while it was written.
    pub(super) fn has_errors(&self) -> bool {
        self.has_errors.load(Relaxed)
    }

    /// Has [`has_errors`](Self::has_errors) say so.
    pub(super) fn set_has_errors(&self) {
        self.has_errors.store(true, Relaxed);
    }

    /// Broken metadata have been met, of which the superblock is to tell. Whether it knows of all that
    /// were met before.
    pub(super) fn add_incident(&self, incident: Incident) -> bool {
        let mut incidents = self.incidents.lock();
        let is_first = incidents.is_none();
        *incidents = Some(match *incidents {
            Some(incidents) => incidents.with(incident),
            None => Incidents::one(incident),
        });
        is_first
    }

    /// Of which broken metadata the superblock does not know yet.
    pub(super) fn incidents(&self) -> Option<Incidents> {
        *self.incidents.lock()
    }

    /// The superblock knows of those now.
    pub(super) fn forget_incidents(&self, noted: &Incidents) {
        let mut incidents = self.incidents.lock();
        *incidents = incidents.and_then(|incidents| incidents.without(noted.count));
    }

    /// How often blocks were lacking that somebody wanted to take: a number that wraps around.
    pub(super) fn shortages(&self) -> u32 {
        self.shortages.load(Relaxed)
    }

    /// Blocks are lacking that this task wanted to take.
    pub(super) fn count_shortage(&self) {
        self.shortages.fetch_add(1, Relaxed);
    }

    /// How often dirty data were left for when the volume is thawed; whoever compares it with what it was
    /// knows whether his are among them, perhaps.
    pub(super) fn not_written(&self) -> u32 {
        self.not_written.load(Relaxed)
    }

    /// Notes that dirty data are left for when the volume is thawed.
    pub(super) fn note_not_written(&self) {
        self.not_written.fetch_add(1, Relaxed);
    }

    /// What is counted.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The mount options in force.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }
}

impl Deref for Volume {
    type Target = ondisk::Superblock;

    /// What its superblock said when it was mounted.
    fn deref(&self) -> &ondisk::Superblock {
        &self.superblock
    }
}

impl SuperBlock {
    /// The volume.
    pub(super) fn volume(&self) -> &Volume {
        self.data()
    }
}

/// A volume's identity, as tools write it.
pub(super) struct Uuid(pub(super) [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
