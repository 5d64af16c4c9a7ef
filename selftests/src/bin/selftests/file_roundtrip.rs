// SPDX-License-Identifier: GPL-2.0

//! What was written to a file and synced is read back, from the device and not from memory.
//!
//! Promise: none of the three; what every filesystem owes. No control breaks it. Filesystems that fail it: none.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use stablefs_selftests::devices::Kind;
use stablefs_selftests::mapping::SharedMapping;
use stablefs_selftests::needs::{Needs, Volume};
use stablefs_selftests::program::{Case, Env, Program};
use stablefs_selftests::seed::Bytes;

pub(crate) const PROGRAM: Program = Program {
    name: "file_roundtrip",
    needs: Needs {
        on: Cow::Borrowed(Kind::ALL),
        volume: Volume::Writable,
        only: Cow::Borrowed(&[]),
    },
    cases: &[
        Case::new("written_by_write", |env| roundtrip(env, "write", write)),
        Case::new("written_through_a_mapping", |env| {
            roundtrip(env, "mapping", store)
        }),
    ],
};

/// Lengths in bytes: nothing, both sides of a block and of a page, many blocks with a rest.
const LENGTHS: &[usize] = &[
    0,
    1,
    1023,
    1024,
    1025,
    4095,
    4096,
    4097,
    65_536,
    100_001,
    1 << 20,
    (3 << 20) + 5,
];

fn roundtrip(env: &Env, name: &str, put: fn(&File, &[u8]) -> Result<()>) -> Result<()> {
    let path = |len: usize| -> Result<PathBuf> { Ok(env.dir()?.join(format!("{name}.{len}"))) };
    let content = |len: usize| Bytes::new(env.seed, len as u64).take(len);
    for &len in LENGTHS {
        let step = || format!("file of {len} bytes");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path(len)?)
            .with_context(step)?;
        put(&file, &content(len)).with_context(step)?;
        file.sync_all().context("fsync").with_context(step)?;
    }
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
    for &len in LENGTHS {
        let found = fs::read(path(len)?).with_context(|| format!("file of {len} bytes"))?;
        same(&content(len), &found).with_context(|| format!("file of {len} bytes"))?;
    }
    Ok(())
}

fn write(mut file: &File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).context("write")
}

fn store(file: &File, bytes: &[u8]) -> Result<()> {
    file.set_len(bytes.len() as u64).context("ftruncate")?;
    if bytes.is_empty() {
        return Ok(());
    }
    SharedMapping::new(file, bytes.len())?.store(0, bytes)
}

fn same(want: &[u8], found: &[u8]) -> Result<()> {
    ensure!(
        want.len() == found.len(),
        "want {} bytes, found {}",
        want.len(),
        found.len()
    );
    if let Some(pos) = want.iter().zip(found).position(|(w, f)| w != f) {
        anyhow::bail!(
            "pos {pos:#x}: want {:#04x}, found {:#04x}",
            want[pos],
            found[pos]
        );
    }
    Ok(())
}
