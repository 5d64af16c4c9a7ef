// SPDX-License-Identifier: GPL-2.0

//! Results as text: numbers below each other.

use crate::column::Column;
use crate::results::{median, Cell, Results, Row};

/// Stands behind a number if calls have failed.
const FAILED: &str = "*";

/// Times in microseconds.
pub(crate) fn of_times(columns: &[Column], results: &Results) -> String {
    let shown: Vec<&Column> = columns.iter().collect();
    let mut lines = head(&shown);
    for row in results.rows() {
        let cells = row.cells.iter();
        let times = cells.map(|cell| marked(cell.median().map(time), cell.failed));
        lines.push(line(row.what, times));
    }
    text(&lines)
}

/// Each column with the promise, as a multiple of its like without, where there is one. The last column is how far the
/// rounds are apart, of all columns the one in the middle.
pub(crate) fn of_ratios(columns: &[Column], results: &Results) -> String {
    let pairs: Vec<(usize, usize)> = (0..columns.len())
        .filter_map(|with| {
            let mut all = columns.iter();
            Some((with, all.position(|c| c.is_base_of(&columns[with]))?))
        })
        .collect();
    let shown: Vec<&Column> = pairs.iter().map(|&(with, _)| &columns[with]).collect();
    let mut lines = head(&shown);
    for (line, word) in lines.iter_mut().zip(["", "slowest/", "fastest"]) {
        line.push(word.to_owned());
    }
    for row in results.rows() {
        let spreads: Vec<f64> = row.cells.iter().filter_map(Cell::spread).collect();
        let spread = median(&spreads).map(ratio);
        let ratios = pairs.iter().map(|&(with, without)| {
            let (with, without) = (&row.cells[with], &row.cells[without]);
            let both = with.median().zip(without.median());
            let ratio = both.map(|(with, without)| ratio(with / without));
            marked(ratio, with.failed + without.failed)
        });
        lines.push(line(row.what, ratios.chain([marked(spread, 0)])));
    }
    text(&lines)
}

/// A line for each cell of which calls have failed.
pub(crate) fn failures<'a>(
    columns: &'a [Column],
    results: &'a Results,
) -> impl Iterator<Item = String> + 'a {
    let cells = results.rows().iter().flat_map(|row: &Row| {
        let cells = columns.iter().zip(&row.cells);
        cells.map(|(column, cell)| (row.what, column, cell))
    });
    let failed = cells.filter(|(_, _, Cell { failed, .. })| *failed != 0);
    failed.map(|(what, column, cell)| format!("{FAILED} {column}: {what}: {} failed", cell.failed))
}

fn head(columns: &[&Column]) -> Vec<Vec<String>> {
    vec![
        line("disk", columns.iter().map(|c| c.disk.name.clone())),
        line(
            "stable pages",
            columns.iter().map(|c| c.promise.to_string()),
        ),
        line("filesystem", columns.iter().map(|c| c.fstyp.to_string())),
    ]
}

fn line(what: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    [what.to_owned()].into_iter().chain(cells).collect()
}

fn marked(number: Option<String>, failed: u64) -> String {
    let number = number.unwrap_or_else(|| "-".to_owned());
    let mark = if failed == 0 { "" } else { FAILED };
    number + mark
}

fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// Three digits, or all that are before the point.
fn time(us: f64) -> String {
    let digits = match us {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{us:.digits$}")
}

/// Columns as wide as they have to be, the first one flush left, the others right.
fn text(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        let cells = lines.iter().filter_map(move |line| line.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
            match index {
                0 => text += &format!("{cell:width$}"),
                _ => text += &format!("  {cell:>width$}"),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::tests::columns;
    use crate::results::Measured;

    fn results() -> Results {
        let mut results = Results::new(columns().len());
        for (column, us, failed) in [(0, 2.0, 0), (1, 10.0, 0), (3, 2.5, 0), (4, 1000.0, 7)] {
            let what = "store";
            results.add(column, Measured { what, us, failed });
        }
        results
    }

    #[test]
    fn numbers_have_three_digits_or_more() {
        let numbers = [0.0123, 9.876, 14.84, 99.94, 100.0, 35_083.4].map(time);
        assert_eq!(numbers, ["0.01", "9.88", "14.8", "99.9", "100", "35083"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [["a", "bcd"], ["ef", "g"]].map(|line| line.map(str::to_owned).to_vec());
        assert_eq!(text(&lines), "a   bcd\nef    g\n");
    }

    #[test]
    fn times_stand_below_their_columns() {
        let text = of_times(&columns(), &results());
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[2][..4], ["filesystem", "stablefs", "ext4", "xfs"]);
        assert_eq!(
            lines[3][..6],
            ["store", "2.00", "10.0", "-", "2.50", "1000*"]
        );
    }

    #[test]
    fn ratios_are_to_the_same_without() {
        let text = of_ratios(&columns(), &results());
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        // stablefs, ext4, xfs, and stablefs with `audit`.
        assert_eq!(last, ["store", "1.25", "100.00*", "-", "-", "1.00"]);
    }

    #[test]
    fn failures_are_told() {
        let lines: Vec<String> = failures(&columns(), &results()).collect();
        assert_eq!(
            lines,
            ["* ext4 on plain0, stable pages: yes: store: 7 failed"]
        );
    }
}
