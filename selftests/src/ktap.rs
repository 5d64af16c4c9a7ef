// SPDX-License-Identifier: GPL-2.0

//! KTAP, version 1: lines written, lines read, and the tally of one program's output.
//!
//! Format: `Documentation/dev-tools/ktap.rst`; the Totals line is that of `tools/testing/selftests/kselftest.h`.

use std::fmt;

/// First line of every KTAP output.
pub const VERSION: &str = "KTAP version 1";

/// Exit status of a program all of whose results are passes, skips or expected failures.
pub const EXIT_PASS: u8 = 0;
/// Exit status of a program with a failure.
pub const EXIT_FAIL: u8 = 1;
/// Exit status of a program that could not run for want of a device.
pub const EXIT_SKIP: u8 = 4;

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `ok`
    Pass,
    /// `not ok`
    Fail,
    /// `ok … # XFAIL`: failed, as it was known to.
    XFail,
    /// `ok … # XPASS`: passed, though a failure was expected; counts as a failure.
    XPass,
    /// `ok … # SKIP`: a device is missing.
    Skip,
    /// `not ok … # error`: the test itself could not be carried out.
    Error,
}

impl Outcome {
    /// Whether a run with this outcome in it has failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Fail | Self::XPass | Self::Error)
    }
}

/// Results counted by outcome; displays as kselftest's Totals line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pass: u32,
    fail: u32,
    xfail: u32,
    xpass: u32,
    skip: u32,
    error: u32,
}

impl Totals {
    /// Counts one result.
    pub fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Pass => &mut self.pass,
            Outcome::Fail => &mut self.fail,
            Outcome::XFail => &mut self.xfail,
            Outcome::XPass => &mut self.xpass,
            Outcome::Skip => &mut self.skip,
            Outcome::Error => &mut self.error,
        } += 1;
    }

    /// Counts all results of `other`.
    pub fn merge(&mut self, other: &Totals) {
        self.pass += other.pass;
        self.fail += other.fail;
        self.xfail += other.xfail;
        self.xpass += other.xpass;
        self.skip += other.skip;
        self.error += other.error;
    }

    /// How many results were counted.
    pub fn count(&self) -> u32 {
        self.pass + self.xfail + self.skip + self.failures()
    }

    /// How many of them are failures.
    pub fn failures(&self) -> u32 {
        self.fail + self.xpass + self.error
    }

    /// Whether everything was skipped, and there was something.
    pub fn all_skipped(&self) -> bool {
        self.skip > 0 && self.skip == self.count()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pass,
            fail,
            xfail,
            xpass,
            skip,
            error,
        } = self;
        write!(f, "# Totals: pass:{pass} fail:{fail} xfail:{xfail} xpass:{xpass} skip:{skip} error:{error}")
    }
}

/// The plan line for `count` tests.
pub fn plan(count: usize) -> String {
    format!("1..{count}")
}

/// The result line of test `number`; `note` is the reason behind a directive or free diagnostic data.
pub fn result(outcome: Outcome, number: usize, name: &str, note: Option<&str>) -> String {
    let (word, directive) = match outcome {
        Outcome::Pass => ("ok", ""),
        Outcome::Fail => ("not ok", ""),
        Outcome::XFail => ("ok", "XFAIL"),
        Outcome::XPass => ("ok", "XPASS"),
        Outcome::Skip => ("ok", "SKIP"),
        Outcome::Error => ("not ok", "error"),
    };
    let data = [directive, note.unwrap_or_default()]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if data.is_empty() {
        format!("{word} {number} {name}")
    } else {
        format!("{word} {number} {name} # {data}")
    }
}

/// `text` as diagnostic lines, one for each of its lines.
///
/// ```
/// assert_eq!(stablefs_selftests::ktap::diagnostics("a\nb"), ["# a", "# b"]);
/// ```
pub fn diagnostics(text: &str) -> Vec<String> {
    text.lines().map(|line| format!("# {line}")).collect()
}

/// One line of KTAP, as far as it changes a verdict.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The version line.
    Version,
    /// The plan.
    Plan {
        /// How many results are to come.
        count: u32,
        /// The reason, when the plan says that everything is skipped.
        skip: Option<&'a str>,
    },
    /// A result line.
    Result {
        /// How the test ended.
        outcome: Outcome,
        /// Its name; may be empty.
        name: &'a str,
    },
    /// The program gave up.
    BailOut(&'a str),
    /// Diagnostics, a nested test's line, or anything else.
    Other,
}

impl<'a> Line<'a> {
    /// Reads one line without its newline.
    pub fn parse(line: &'a str) -> Self {
        if line.starts_with("KTAP version ") || line.starts_with("TAP version ") {
            return Self::Version;
        }
        if let Some(reason) = line.strip_prefix("Bail out!") {
            return Self::BailOut(reason.trim());
        }
        if let Some(plan) = line.strip_prefix("1..") {
            let (count, data) = split_data(plan);
            let Ok(count) = count.parse() else {
                return Self::Other;
            };
            return Self::Plan {
                count,
                skip: data.and_then(|d| directive(d, "SKIP")),
            };
        }
        let (ok, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Self::Other,
        };
        let (head, data) = split_data(rest);
        let (number, name) = head.split_once(' ').unwrap_or((head, ""));
        if number.parse::<u32>().is_err() {
            return Self::Other;
        }
        let says = |word| data.is_some_and(|d| directive(d, word).is_some());
        let outcome = match ok {
            _ if says("SKIP") => Outcome::Skip,
            _ if says("XFAIL") => Outcome::XFail,
            _ if says("XPASS") => Outcome::XPass,
            false if says("ERROR") => Outcome::Error,
            true => Outcome::Pass,
            false => Outcome::Fail,
        };
        Self::Result {
            outcome,
            name: name.trim_start_matches("- ").trim(),
        }
    }
}

/// Splits `… # data`.
fn split_data(text: &str) -> (&str, Option<&str>) {
    match text.split_once('#') {
        Some((head, data)) => (head.trim(), Some(data.trim())),
        None => (text.trim(), None),
    }
}

/// What follows directive `word` in `data`, if it opens with it.
fn directive<'a>(data: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = data.split_once(' ').unwrap_or((data, ""));
    head.eq_ignore_ascii_case(word).then_some(rest.trim())
}

/// What one program's output amounts to. Results of tests nested inside it belong to their parent's line.
#[derive(Debug, Default)]
pub struct Tally {
    version: bool,
    plan: Option<u32>,
    skip: Option<String>,
    bail: Option<String>,
    totals: Totals,
}

impl Tally {
    /// Takes in the next line of the output.
    pub fn line(&mut self, line: &str) {
        match Line::parse(line) {
            Line::Version => self.version = true,
            Line::Plan { count, skip } => {
                self.plan = Some(count);
                self.skip = skip.map(str::to_owned);
            }
            Line::Result { outcome, .. } => self.totals.add(outcome),
            Line::BailOut(reason) => self.bail = Some(reason.to_owned()),
            Line::Other => {}
        }
    }

    /// Its results.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The reason given by a plan of nothing, `1..0 # SKIP reason`.
    pub fn skipped(&self) -> Option<&str> {
        self.skip.as_deref().filter(|_| self.plan == Some(0))
    }

    /// What is wrong with the output as a whole, apart from results that are failures.
    pub fn fault(&self) -> Option<String> {
        let seen = self.totals.count();
        match (self.version, &self.bail, self.plan) {
            (false, ..) => Some("no KTAP version line".into()),
            (_, Some(reason), _) => Some(format!("bailed out: {reason}")),
            (_, _, None) => Some("no plan".into()),
            (_, _, Some(0)) if self.skip.is_none() => Some("planned no test".into()),
            (_, _, Some(planned)) if planned != seen => {
                Some(format!("planned {planned} results, gave {seen}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Outcome; 6] = [
        Outcome::Pass,
        Outcome::Fail,
        Outcome::XFail,
        Outcome::XPass,
        Outcome::Skip,
        Outcome::Error,
    ];

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn every_outcome_is_read_back_as_written() {
        for outcome in ALL {
            for note in [None, Some("because of this")] {
                let line = result(outcome, 3, "some name", note);
                assert_eq!(
                    Line::parse(&line),
                    Line::Result {
                        outcome,
                        name: "some name"
                    },
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn result_lines_look_as_kselftest_writes_them() {
        assert_eq!(result(Outcome::Pass, 1, "a", None), "ok 1 a");
        assert_eq!(
            result(Outcome::Skip, 2, "b", Some("no pmem device")),
            "ok 2 b # SKIP no pmem device"
        );
        assert_eq!(
            result(Outcome::Fail, 3, "c", Some("TIMEOUT 30 seconds")),
            "not ok 3 c # TIMEOUT 30 seconds"
        );
    }

    #[test]
    fn lines_of_other_programs_are_understood() {
        let read = |line| match Line::parse(line) {
            Line::Result { outcome, name } => (outcome, name),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(read("ok 1 - dashed"), (Outcome::Pass, "dashed"));
        assert_eq!(read("not ok 2 c # SKIP gone"), (Outcome::Skip, "c"));
        assert_eq!(read("ok 3 # SKIP nameless"), (Outcome::Skip, ""));
        assert_eq!(
            read("ok 5 check return code # rcode=0"),
            (Outcome::Pass, "check return code")
        );
        assert_eq!(
            read("ok 6 x # SKIPPED is another word"),
            (Outcome::Pass, "x")
        );
        for other in [
            "okay 1 x",
            "ok",
            "ok one",
            "  ok 1 nested",
            "# ok 1 x",
            "1..many",
            "random: crng init done",
        ] {
            assert_eq!(Line::parse(other), Line::Other, "{other}");
        }
    }

    #[test]
    fn totals_line_has_kselftests_form() {
        let mut totals = Totals::default();
        ALL.into_iter()
            .chain([Outcome::Pass])
            .for_each(|outcome| totals.add(outcome));
        assert_eq!(
            totals.to_string(),
            "# Totals: pass:2 fail:1 xfail:1 xpass:1 skip:1 error:1"
        );
        assert_eq!((totals.count(), totals.failures()), (7, 3));
        assert!(!totals.all_skipped());
    }

    #[test]
    fn complete_output_has_no_fault() {
        let t = tally("KTAP version 1\n1..2\n# x\nok 1 a\n  KTAP version 1\n  1..1\n  not ok 1 z\nnot ok 2 b\n");
        assert_eq!(t.fault(), None);
        assert_eq!(
            t.totals().to_string(),
            "# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0"
        );
    }

    #[test]
    fn incomplete_output_has_a_fault() {
        let fault = |text| tally(text).fault().unwrap_or_default();
        assert_eq!(fault(""), "no KTAP version line");
        assert_eq!(fault("KTAP version 1\nok 1 a\n"), "no plan");
        assert_eq!(fault("KTAP version 1\n1..0\n"), "planned no test");
        assert_eq!(
            fault("KTAP version 1\n1..3\nok 1 a\n"),
            "planned 3 results, gave 1"
        );
        assert_eq!(
            fault("KTAP version 1\n1..1\nok 1 a\nok 2 b\n"),
            "planned 1 results, gave 2"
        );
        assert_eq!(
            fault("KTAP version 1\n1..2\nok 1 a\nBail out! no memory\n"),
            "bailed out: no memory"
        );
    }

    #[test]
    fn a_plan_of_nothing_with_a_reason_is_a_skip() {
        let t = tally("KTAP version 1\n1..0 # SKIP no pmem device\n");
        assert_eq!((t.skipped(), t.fault()), (Some("no pmem device"), None));
    }
}
