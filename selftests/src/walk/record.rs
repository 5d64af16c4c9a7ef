// SPDX-License-Identifier: GPL-2.0

//! What a walk found, as facts that can be compared one by one.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use anyhow::{bail, Error, Result};

/// Examples shown of each sort of difference.
const EXAMPLES: usize = 3;
/// Longest value that is shown whole, and how much is shown of a longer one, in characters.
const SHOWN: usize = 200;

/// One thing found about one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fact {
    path: Rc<str>,
    /// What the value is of: a word for the sort of fact, and after a blank what tells it from others of that sort.
    what: Cow<'static, str>,
    value: String,
}

impl Fact {
    fn key(&self) -> (&str, &str) {
        (&self.path, &self.what)
    }

    /// The sort of fact.
    fn sort(&self) -> &str {
        self.what.split(' ').next().unwrap_or_default()
    }
}

/// All facts of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    facts: Vec<Fact>,
}

impl Record {
    /// Adds a fact about `path`: its `what` is `value`.
    pub fn add(
        &mut self,
        path: &Rc<str>,
        what: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
    ) {
        self.facts.push(Fact {
            path: Rc::clone(path),
            what: what.into(),
            value: value.to_string(),
        });
    }

    /// Adds a fact that may be an error.
    pub fn add_result<T: fmt::Display, E: fmt::Display>(
        &mut self,
        path: &Rc<str>,
        what: impl Into<Cow<'static, str>>,
        value: std::result::Result<T, E>,
    ) {
        match value {
            Ok(value) => self.add(path, what, value),
            Err(e) => self.add(path, what, format_args!("error: {e}")),
        }
    }

    /// Puts the facts into the order in which they are compared.
    pub fn sort(&mut self) {
        self.facts.sort_unstable();
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// How many facts of each sort there are.
    pub fn sorts(&self) -> BTreeMap<&str, usize> {
        let mut sorts = BTreeMap::new();
        for fact in &self.facts {
            *sorts.entry(fact.sort()).or_insert(0) += 1;
        }
        sorts
    }

    /// Every fact, as [`Self::sort`] has put them: the path, what the value is of, the value.
    pub fn facts(&self) -> impl Iterator<Item = (&Rc<str>, &str, &str)> {
        self.facts
            .iter()
            .map(|fact| (&fact.path, &*fact.what, &*fact.value))
    }

    /// The facts of which `keep` leaves something: given the path, what the value is of and the value, it returns as much
    /// of the value as counts.
    #[must_use]
    pub fn reduced(&self, keep: impl Fn(&str, &str, &str) -> Option<String>) -> Self {
        let fact = |fact: &Fact| {
            let value = keep(&fact.path, &fact.what, &fact.value)?;
            Some(Fact {
                value,
                ..fact.clone()
            })
        };
        Self {
            facts: self.facts.iter().filter_map(fact).collect(),
        }
    }

    /// Where `found` differs from this record. Both are [sorted](Self::sort).
    pub fn differences(&self, found: &Record) -> Differences {
        let mut differences = Differences::default();
        let (mut wanted, mut found) = (&self.facts[..], &found.facts[..]);
        loop {
            let order = match (wanted.first(), found.first()) {
                (None, None) => return differences,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(want), Some(got)) => want.key().cmp(&got.key()),
            };
            let take = |side: &mut &[Fact]| {
                let (fact, rest) = side.split_first()?;
                *side = rest;
                Some(fact.clone())
            };
            let pair = match order {
                Ordering::Less => (take(&mut wanted), None),
                Ordering::Greater => (None, take(&mut found)),
                Ordering::Equal => (take(&mut wanted), take(&mut found)),
            };
            if pair.0 != pair.1 {
                differences.add(pair.0, pair.1);
            }
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.iter().try_for_each(|fact| {
            let Fact { path, what, value } = fact;
            writeln!(f, "{path}\t{what}\t{value}")
        })
    }
}

impl FromStr for Record {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self> {
        let mut record = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.splitn(3, '\t').collect();
            let [path, what, value] = fields[..] else {
                bail!("no fact: {line}")
            };
            record.add(&path.into(), what.to_owned(), value);
        }
        record.sort();
        Ok(record)
    }
}

/// Where two records differ; displays as a few examples of each sort.
#[derive(Debug, Default)]
pub struct Differences {
    sorts: BTreeMap<String, Examples>,
}

#[derive(Debug, Default)]
struct Examples {
    count: usize,
    shown: Vec<String>,
}

impl Differences {
    fn add(&mut self, wanted: Option<Fact>, found: Option<Fact>) {
        let Some(either) = wanted.as_ref().or(found.as_ref()) else {
            return;
        };
        let examples = self.sorts.entry(either.sort().to_owned()).or_default();
        examples.count += 1;
        if examples.shown.len() < EXAMPLES {
            let values = [&wanted, &found].map(|fact| fact.as_ref().map(|fact| &*fact.value));
            let place = match values {
                [Some(want), Some(found)] => first_difference(want, found),
                _ => 0,
            };
            let [want, found] = values.map(|value| match value {
                Some(value) => excerpt(value, place),
                None => "nothing".to_owned(),
            });
            let path = excerpt(&either.path, 0);
            examples.shown.push(format!(
                "{path}: {}: want {want}, found {found}",
                either.what
            ));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorts.is_empty()
    }

    /// The sorts of fact that differ.
    pub fn sorts(&self) -> impl Iterator<Item = &str> {
        self.sorts.keys().map(String::as_str)
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sort, examples) in &self.sorts {
            writeln!(f, "{} of sort `{sort}` differ:", examples.count)?;
            for line in &examples.shown {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// The first character of which two texts differ, counted from 0.
fn first_difference(one: &str, other: &str) -> usize {
    one.chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .count()
}

/// `text`, or if it is long the part around character `place`.
fn excerpt(text: &str, place: usize) -> String {
    let total = text.chars().count();
    if total <= SHOWN {
        return text.to_owned();
    }
    let start = place.saturating_sub(SHOWN / 4).min(total - SHOWN);
    let part: String = text.chars().skip(start).take(SHOWN).collect();
    let before = if start == 0 { "" } else { "... " };
    let behind = if start + SHOWN == total { "" } else { " ..." };
    format!("{before}{part}{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(facts: &[(&str, &'static str, &str)]) -> Record {
        let mut record = Record::default();
        for (path, what, value) in facts {
            record.add(&Rc::from(*path), *what, value);
        }
        record.sort();
        record
    }

    #[test]
    fn equal_records_have_no_differences() {
        let one = record(&[("/", "mode", "755"), ("/a", "mode", "644")]);
        let two = record(&[("/a", "mode", "644"), ("/", "mode", "755")]);
        assert!(one.differences(&two).is_empty());
    }

    #[test]
    fn a_fact_that_is_other_missing_or_new_is_named() {
        let want = record(&[
            ("/a", "mode", "644"),
            ("/b", "size", "1"),
            ("/c", "ino", "3"),
        ]);
        let found = record(&[
            ("/a", "mode", "600"),
            ("/c", "ino", "3"),
            ("/d", "entry x", "4"),
        ]);
        let differences = want.differences(&found);
        assert_eq!(
            differences.sorts().collect::<Vec<_>>(),
            ["entry", "mode", "size"]
        );
        let shown = differences.to_string();
        for line in [
            "/a: mode: want 644, found 600",
            "/b: size: want 1, found nothing",
            "/d: entry x: want nothing, found 4",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = record(&[("/a b", "entry c: d", "12 File: x"), ("/", "mode", "")]);
        assert_eq!(written.to_string().parse::<Record>().unwrap(), written);
        assert!("no tabs".parse::<Record>().is_err());
    }

    #[test]
    fn many_differences_of_one_sort_are_counted_and_few_are_shown() {
        let facts = |value: &str| {
            let mut record = Record::default();
            for number in 0..100 {
                record.add(&Rc::from(format!("/{number}")), "mode", value);
            }
            record.sort();
            record
        };
        let shown = facts("1").differences(&facts("2")).to_string();
        assert!(shown.starts_with("100 of sort `mode`"), "{shown}");
        assert_eq!(shown.lines().count(), 1 + EXAMPLES);
    }

    #[test]
    fn long_values_are_shown_where_they_differ() {
        let value = |byte| format!("{}{byte}{}", "x".repeat(1000), "y".repeat(1000));
        let (one, other) = (value('1'), value('2'));
        let place = first_difference(&one, &other);
        assert_eq!(place, 1000);
        let shown = excerpt(&one, place);
        assert!(
            shown.contains("x1y") && shown.chars().count() < SHOWN + 10,
            "{shown}"
        );
        assert!(excerpt(&one, 0).starts_with('x') && excerpt(&one, 2000).ends_with('y'));
        assert_eq!(excerpt("short", 3), "short");
    }
}
