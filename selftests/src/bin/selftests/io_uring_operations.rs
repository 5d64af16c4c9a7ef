// SPDX-License-Identifier: GPL-2.0

//! Whatever io_uring does to a file, and however much of it at once, it holds what was written: through the page cache and
//! past it, with memory that was registered and that was not, tried without waiting or left to a worker. What is told not
//! to wait is done rightly or refused. So it is with preadv2(2) and pwritev2(2) and their flags; and ext4 reads the same.
//!
//! Promise: none of the three; what every filesystem owes. It needs no control of its own: without unwritten extents
//! (`skip_unwritten`) what is read beside a write is what the blocks held before.
//! Filesystems that fail it: none.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::model::{Counts, InFlight};
use stablefs_selftests::mounted::Mounted;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{say, Case, Env, Program};
use stablefs_selftests::volume;

pub(crate) const PROGRAM: Program = Program {
    name: "io_uring_operations",
    needs: Needs {
        on: Cow::Borrowed(&[Kind::Pmem, Kind::Dif, Kind::Plain]),
        volume: Volume::Raw,
        only: Cow::Borrowed(&[Fstyp::Stablefs, Fstyp::Ext4, Fstyp::Xfs]),
    },
    cases: &[
        Case::new("blocks_of_4_kib", |env| tries(env, 4096)),
        Case::new("blocks_of_1_kib", |env| tries(env, 1024)),
    ],
};

const MIB: u32 = 64;
const MOUNTS: u64 = 2;
/// Each of up to eight requests.
const OPERATIONS: u64 = 150;

fn tries(env: &Env, block: u32) -> Result<()> {
    let dev = env.dev()?;
    volume::make_small(env.fstyp, dev, block, MIB)?;
    let mut file = InFlight::new(env.fstyp, Path::new("file"), env.seed ^ u64::from(block));
    for number in 1..=MOUNTS * env.longer {
        let mounted = Mounted::new(env.fstyp, dev, "")?;
        let done = file.run(mounted.dir(), OPERATIONS);
        done.and_then(|()| file.check(mounted.dir()))
            .with_context(|| format!("mount {number}"))?;
        mounted.unmount()?;
        env.fstyp.check(dev)?;
    }
    let ext4 = Some(Fstyp::Ext4).filter(|_| env.fstyp == Fstyp::Stablefs);
    for fstyp in [env.fstyp].into_iter().chain(ext4) {
        let mounted = Mounted::new(fstyp, dev, "ro")?;
        let seen = file.check(mounted.dir());
        seen.with_context(|| format!("as {fstyp} sees it"))?;
        mounted.unmount()?;
    }
    let Counts {
        requests,
        contested,
        done,
        refused,
    } = file.counts();
    say(&format!(
        "{requests} requests; {contested} bytes were written by several at once; of those that were told not to wait {done} \
         did something, {refused} were refused"
    ));
    ensure!(
        contested > 0 && done > 0 && refused > 0,
        "something has not been tried"
    );
    Ok(())
}
