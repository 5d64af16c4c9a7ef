// SPDX-License-Identifier: GPL-2.0

//! What was measured: rows of operations, each with a cell a column, each with a time a round.

/// What one operation took, on average, in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Which operation: the row.
    pub(crate) what: &'static str,
    /// Microseconds.
    pub(crate) us: f64,
    /// Calls that failed.
    pub(crate) failed: u64,
}

/// All rounds of a column and a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    us: Vec<f64>,
    /// Calls that failed, in all rounds.
    pub(crate) failed: u64,
}

impl Cell {
    /// What the round in the middle took.
    pub(crate) fn median(&self) -> Option<f64> {
        median(&self.us)
    }

    /// What the slowest round took, as a multiple of the fastest.
    pub(crate) fn spread(&self) -> Option<f64> {
        let most = self.us.iter().copied().max_by(f64::total_cmp);
        let least = self.us.iter().copied().min_by(f64::total_cmp);
        most.zip(least).map(|(most, least)| most / least)
    }
}

/// The value in the middle, of an even number the lesser one; none, if there are none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// A row.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    /// A cell a column.
    pub(crate) cells: Vec<Cell>,
}

/// All rows.
pub(crate) struct Results {
    columns: usize,
    rows: Vec<Row>,
}

impl Results {
    /// Nothing yet, of so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// One more round of a cell. A row that is new becomes the last one.
    ///
    /// # Panics
    /// There is no such column.
    pub(crate) fn add(&mut self, column: usize, measured: Measured) {
        let Measured { what, us, failed } = measured;
        let known = self.rows.iter().position(|row| row.what == what);
        let index = known.unwrap_or_else(|| {
            let cells = vec![Cell::default(); self.columns];
            self.rows.push(Row { what, cells });
            self.rows.len() - 1
        });
        let cell = &mut self.rows[index].cells[column];
        cell.us.push(us);
        cell.failed += failed;
    }

    /// In the order in which they came.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[900.0, 2.0, 1.0]), Some(2.0));
        assert_eq!(median(&[4.0, 2.0, 1.0, 3.0]), Some(2.0));
        assert_eq!(median(&[5.0, 4.0, 2.0, 1.0, 3.0]), Some(3.0));
    }

    #[test]
    fn spread_is_from_fastest_to_slowest() {
        let cell = |us: &[f64]| Cell {
            us: us.to_vec(),
            failed: 0,
        };
        assert_eq!(cell(&[]).spread(), None);
        assert_eq!(cell(&[2.0]).spread(), Some(1.0));
        assert_eq!(cell(&[3.0, 2.0, 5.0]).spread(), Some(2.5));
    }

    #[test]
    fn rounds_meet_in_their_cell() {
        let mut results = Results::new(2);
        for (column, what, us) in [(0, "a", 1.0), (0, "b", 2.0), (1, "a", 3.0), (0, "a", 5.0)] {
            let failed = u64::from(us > 2.5);
            results.add(column, Measured { what, us, failed });
        }
        let [a, b] = results.rows() else {
            panic!("{} rows", results.rows().len())
        };
        assert_eq!((a.what, b.what), ("a", "b"));
        assert_eq!((a.cells[0].us.len(), a.cells[0].failed), (2, 1));
        assert_eq!(
            (a.cells[1].median(), b.cells[1].median()),
            (Some(3.0), None)
        );
    }
}
