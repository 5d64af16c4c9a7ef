// SPDX-License-Identifier: GPL-2.0

//! Whatever is done to a file, and in whatever order, it holds what was written: to `read`, to a mapping, to direct I/O,
//! after the caches are dropped, after a remount, and to ext4.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it: the model is the control.
//! Filesystems that fail it: none.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{File, Start};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "random_file_operations",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| tries(env, 4096, Start::Beginning)),
        Case::new("blocks_of_1_kib", |env| tries(env, 1024, Start::Beginning)),
        Case::new("at_the_end_of_the_longest_file", |env| {
            tries(env, 4096, Start::OfLongest(4096))
        }),
    ],
};

const MIB: u32 = 64;
/// How often the volume is mounted, and how much is done each time.
const MOUNTS: u64 = 5;
const OPERATIONS: u64 = 300;

fn tries(env: &Env, block: u32, start: Start) -> Result<()> {
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, block, MIB)?;
    let mut file = File::new(Path::new("file"), start, env.seed);
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, dev, "")?;
        let done = file
            .open(mounted.dir())
            .and_then(|()| file.run(OPERATIONS))
            .and_then(|()| file.check());
        file.close();
        done.with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        env.fstyp.check(dev)?;
    }
    if env.fstyp == Fstyp::Xfs {
        return Ok(());
    }
    let mounted = Mounted::new(Fstyp::Ext4, dev, "")?;
    let seen = file.open(mounted.dir());
    file.close();
    seen.context("as ext4 sees it")?;
    mounted.unmount()
}
