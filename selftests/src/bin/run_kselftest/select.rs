// SPDX-License-Identifier: GPL-2.0

//! Which tests to run, and on which devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use stablefs_selftests::command::succeed;
use stablefs_selftests::devices::{Device, Kind};
use stablefs_selftests::filesystem::Fstyp;
use stablefs_selftests::needs::{Needs, Volume};

/// The one collection of this suite; its folder, and what stands before each name in the list.
const COLLECTION: &str = "stablefs";
const LIST: &str = "kselftest-list.txt";
/// Time for a program to say what it needs.
const LIMIT: Duration = Duration::from_secs(30);

/// One run of one program: one result of the whole.
pub(crate) struct Entry {
    /// `test`, or `test:device`.
    pub(crate) label: String,
    test: String,
    pub(crate) program: PathBuf,
    pub(crate) state: State,
}

/// Whether it can run.
pub(crate) enum State {
    /// It needs no device.
    Ready,
    /// It has its device, which is to be in this state.
    ReadyOn(Device, Volume),
    /// The machine has no device of this kind.
    Missing(Kind),
    /// It does not say what it needs; why.
    Broken(String),
}

/// The tests in the list of `suite`, as `stablefs:NAME`.
pub(crate) fn read_list(suite: &Path) -> Result<Vec<String>> {
    let path = suite.join(LIST);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let names: Vec<String> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    ensure!(!names.is_empty(), "{}: lists no test", path.display());
    Ok(names)
}

/// The runs of test `name`: one for each kind of device that it asks for; none if it is not about `fstyp`.
pub(crate) fn entries(suite: &Path, name: &str, devices: &[Device], fstyp: Fstyp) -> Vec<Entry> {
    let test = name.split_once(':').map_or(name, |(_, test)| test);
    let program = suite.join(COLLECTION).join(test);
    let entry = |label: String, state| Entry {
        label,
        test: test.to_owned(),
        program: program.clone(),
        state,
    };
    let needs = match ask(&program) {
        Ok(needs) => needs,
        Err(e) => return vec![entry(test.to_owned(), State::Broken(format!("{e:#}")))],
    };
    if !needs.only.is_empty() && !needs.only.contains(&fstyp) {
        return Vec::new();
    }
    if needs.on.is_empty() {
        return vec![entry(test.to_owned(), State::Ready)];
    }
    let on_kind = |kind: &Kind| match devices.iter().find(|device| device.kind == *kind) {
        Some(device) => entry(
            format!("{test}:{}", device.name),
            State::ReadyOn(device.clone(), needs.volume),
        ),
        None => entry(format!("{test}:{kind}"), State::Missing(*kind)),
    };
    needs.on.iter().map(on_kind).collect()
}

fn ask(program: &Path) -> Result<Needs> {
    succeed(Command::new(program).arg("--needs"), LIMIT)?
        .parse()
        .context("its needs")
}

/// Whether `patterns` name this run: none, or one that matches.
pub(crate) fn selected(patterns: &[String], entry: &Entry) -> bool {
    let names = [
        entry.test.clone(),
        entry.label.clone(),
        format!("{COLLECTION}:{}", entry.test),
    ];
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| names.iter().any(|name| matches(pattern, name)))
}

/// A pattern with `*` or `?` is for the whole name, another for any part of it.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains(['*', '?']) {
        glob(pattern.as_bytes(), name.as_bytes())
    } else {
        name.contains(pattern)
    }
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| glob(rest, &name[skipped..])),
        (Some((b'?', pattern)), Some((_, name))) => glob(pattern, name),
        (Some((p, pattern)), Some((n, name))) => p == n && glob(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_parts_or_as_globs() {
        for (pattern, name, want) in [
            ("refuses", "mount_refuses", true),
            ("mount_*", "mount_refuses", true),
            ("mount", "mount_refuses:dif0", true),
            ("*:dif0", "mount_refuses:dif0", true),
            ("mount_refuse?", "mount_refuses", true),
            ("refuse?", "mount_refuses", false),
            ("*roundtrip", "mount_refuses", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
