// SPDX-License-Identifier: GPL-2.0

//! The runner, tried on small shell scripts in the place of tests: whatever a program does, it gets its result.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

const RUNNER: &str = env!("CARGO_BIN_EXE_run_kselftest");
const HEAD: &str = "echo KTAP version 1; echo 1..2;";

/// An installed suite of scripts in a folder of its own, gone when dropped.
struct Suite {
    dir: PathBuf,
    /// A script can be executed only while no other thread is about to start a program with the script's file open.
    _one_at_a_time: MutexGuard<'static, ()>,
}

/// What the runner printed, and its exit status.
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Suite {
    /// One with these tests: name, what it answers to `--needs`, and what it does.
    fn new(tests: &[(&str, &str, &str)]) -> Self {
        static LOCK: Mutex<()> = Mutex::new(());
        let one_at_a_time = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = std::env::temp_dir().join(format!("stablefs-suite.{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("stablefs")).unwrap();
        fs::copy(RUNNER, dir.join("run_kselftest")).unwrap();
        let mut list = File::create(dir.join("kselftest-list.txt")).unwrap();
        for (name, needs, body) in tests {
            writeln!(list, "stablefs:{name}").unwrap();
            let path = dir.join("stablefs").join(name);
            let mut script = File::options()
                .write(true)
                .create_new(true)
                .mode(0o755)
                .open(path)
                .unwrap();
            writeln!(
                script,
                "#!/bin/sh\nif [ \"$1\" = --needs ]; then echo '{needs}'; exit; fi\n{body}"
            )
            .unwrap();
        }
        Self {
            dir,
            _one_at_a_time: one_at_a_time,
        }
    }

    /// One with a single test that needs nothing, `only`.
    fn of(body: &str) -> Self {
        Self::new(&[("only", "on= volume=raw", body)])
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(self.dir.join("run_kselftest"));
        for variable in ["T", "FSTYP", "SEED", "TEST_DEV", "TEST_DIR"] {
            command.env_remove(variable);
        }
        let output = command.arg("--no-kernel-log").args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            status: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Ran {
    /// Ended with `status`, and printed each of `lines` as a whole line, in this order.
    fn expect(&self, status: i32, lines: &[&str]) {
        let mut rest = self.out.lines();
        for line in lines {
            assert!(
                rest.any(|found| found == *line),
                "want {line:?} in\n{}{}",
                self.out,
                self.err
            );
        }
        assert_eq!(self.status, Some(status), "\n{}{}", self.out, self.err);
    }
}

/// A program that does `body` fails, for a reason that contains `why`.
fn fails(body: &str, why: &str, totals: &str) {
    let ran = Suite::of(body).run(&[]);
    ran.expect(1, &["not ok 1 only", totals]);
    assert!(ran.out.contains(why), "want {why:?} in\n{}", ran.out);
}

#[test]
fn a_good_program_passes_and_is_shown_nested() {
    let body = format!("{HEAD} echo '# about a'; echo ok 1 a; echo ok 2 b; echo careful >&2");
    let ran = Suite::of(&body).run(&[]);
    let lines = [
        "KTAP version 1",
        "1..1",
        "  KTAP version 1",
        "  1..2",
        "  # about a",
        "  ok 1 a",
        "  ok 2 b",
    ];
    ran.expect(0, &lines);
    ran.expect(
        0,
        &[
            "ok 1 only",
            "# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0",
        ],
    );
    ran.expect(0, &["  # careful"]);
}

#[test]
fn environment_of_the_program_is_the_runners_choice() {
    let body = format!("{HEAD} echo \"ok 1 $FSTYP\"; echo \"ok 2 $SEED${{TEST_DEV-none}}\"");
    let ran = Suite::of(&body).run(&["--fstyp", "xfs"]);
    ran.expect(0, &["  ok 1 xfs"]);
    assert!(ran.out.contains("none"), "{}", ran.out);
}

#[test]
fn a_failed_result_fails_its_program() {
    let body = format!("{HEAD} echo ok 1 a; echo not ok 2 b; exit 1");
    Suite::of(&body).run(&[]).expect(
        1,
        &[
            "not ok 1 only",
            "# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0",
        ],
    );
}

#[test]
fn programs_that_end_wrongly_fail() {
    let one_more = "# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0";
    let alone = "# Totals: pass:0 fail:1 xfail:0 xpass:0 skip:0 error:0";
    fails(
        &format!("{HEAD} echo ok 1 a; kill -SEGV $$"),
        "killed by signal 11",
        one_more,
    );
    fails(
        &format!("{HEAD} echo ok 1 a"),
        "planned 2 results, gave 1",
        one_more,
    );
    fails(
        &format!("{HEAD} echo ok 1 a; echo Bail out! no memory"),
        "bailed out: no memory",
        one_more,
    );
    fails("echo hello", "no KTAP version line", alone);
    fails("exit 4", "no KTAP version line", alone);
    let both = "# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:0 error:0";
    fails(
        &format!("{HEAD} echo ok 1 a; echo ok 2 b; exit 3"),
        "exit status: 3",
        both,
    );
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let body = format!("{HEAD} echo ok 1 a; sleep 1000 & sleep 1000");
    let ran = Suite::of(&body).run(&["-o", "1"]);
    let totals = "# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0";
    ran.expect(
        1,
        &["  ok 1 a", "not ok 1 only # TIMEOUT 1 seconds", totals],
    );
}

#[test]
fn a_program_that_closes_its_output_is_still_waited_for() {
    let body = format!("{HEAD} echo ok 1 a; echo not ok 2 b; exec >&- 2>&-; sleep 1; exit 1");
    Suite::of(&body)
        .run(&[])
        .expect(1, &["  not ok 2 b", "not ok 1 only"]);
}

#[test]
fn what_a_program_leaves_running_is_killed() {
    let body = format!("{HEAD} echo ok 1 a; echo ok 2 b; sleep 1000 &");
    Suite::of(&body).run(&[]).expect(0, &["ok 1 only"]);
}

#[test]
fn a_missing_device_is_a_skip() {
    let suite = Suite::new(&[("on_disk", "on=pmem,dif volume=writable", "exit 1")]);
    let ran = suite.run(&["-f", "ext4"]);
    ran.expect(
        0,
        &[
            "1..2",
            "ok 1 on_disk:pmem # SKIP no pmem device",
            "ok 2 on_disk:dif # SKIP no dif device",
        ],
    );
    ran.expect(
        0,
        &["# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:2 error:0"],
    );
}

#[test]
fn a_program_may_skip_all_of_itself() {
    let ran = Suite::of("echo KTAP version 1; echo '1..0 # SKIP no such disk'; exit 4").run(&[]);
    ran.expect(
        0,
        &[
            "ok 1 only # SKIP no such disk",
            "# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:1 error:0",
        ],
    );
}

#[test]
fn a_program_that_does_not_say_its_needs_fails() {
    Suite::new(&[("mute", "what?", "exit 0")])
        .run(&[])
        .expect(1, &["not ok 1 mute"]);
}

#[test]
fn patterns_select_and_others_filesystems_tests_are_left_out() {
    let body = "echo KTAP version 1; echo 1..1; echo ok 1 x";
    let suite = Suite::new(&[
        ("one", "on= volume=raw", body),
        ("two", "on= volume=raw only=stablefs", body),
    ]);
    suite
        .run(&["-l"])
        .expect(0, &["stablefs:one", "stablefs:two"]);
    suite.run(&[]).expect(0, &["1..2", "ok 1 one", "ok 2 two"]);
    suite.run(&["-t", "tw"]).expect(0, &["1..1", "ok 1 two"]);
    suite
        .run(&["-t", "stablefs:one"])
        .expect(0, &["1..1", "ok 1 one"]);
    suite.run(&["-f", "ext4"]).expect(0, &["1..1", "ok 1 one"]);
    let ran = suite.run(&["-t", "three"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(3), ""));
    assert!(ran.err.contains("no test matches \"three\""), "{}", ran.err);
}

#[test]
fn wrong_options_are_named() {
    for args in [
        &["--frobnicate"][..],
        &["-f", "ext2"],
        &["word"],
        &["-o", "soon"],
    ] {
        let ran = Suite::of("exit 0").run(args);
        assert_eq!(ran.status, Some(2), "{args:?}: {}", ran.err);
        assert!(
            ran.err.starts_with("run_kselftest: "),
            "{args:?}: {}",
            ran.err
        );
    }
}
