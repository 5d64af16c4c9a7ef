// SPDX-License-Identifier: GPL-2.0

//! What the steps of one task do to one thing.

/// Its values, each from a step on.
#[derive(Clone, Debug)]
pub(super) struct Story<T>(Vec<(u32, T)>);

impl<T: Copy + PartialEq> Story<T> {
    /// It begins with `value`.
    pub(super) fn new(value: T) -> Self {
        Self(vec![(0, value)])
    }

    /// It is `value` from `step` on.
    pub(super) fn add(&mut self, step: u32, value: T) {
        self.0.push((step, value));
    }

    pub(super) fn last(&self) -> Option<T> {
        self.0.last().map(|&(_, value)| value)
    }

    /// The value that it has after `step`, and those that it gets later.
    pub(super) fn possible(&self, step: u32) -> impl Iterator<Item = T> + '_ {
        let first = self.0.iter().rposition(|&(since, _)| since <= step);
        let rest = self.0.iter().skip(first.unwrap_or(0));
        rest.map(|&(_, value)| value)
    }

    /// The last step up to `step` that made it `value`, or something else of it.
    pub(super) fn touched(&self, value: T, step: u32) -> Option<u32> {
        let mut before = None;
        let mut last = None;
        for &(since, now) in self.0.iter().take_while(|&&(since, _)| since <= step) {
            if now == value || before == Some(value) {
                last = Some(since);
            }
            before = Some(now);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Story<u32> {
        let mut story = Story::new(0);
        story.add(3, 30);
        story.add(7, 70);
        story
    }

    #[test]
    fn what_is_durable_is_the_last_value_and_later_ones() {
        let story = story();
        let possible = |step| story.possible(step).collect::<Vec<_>>();
        assert_eq!(possible(0), [0, 30, 70]);
        assert_eq!(possible(3), [30, 70]);
        assert_eq!(possible(6), [30, 70]);
        assert_eq!(possible(7), [70]);
    }

    #[test]
    fn a_value_is_touched_when_it_comes_and_when_it_goes() {
        let story = story();
        let touched = |step| story.touched(30, step);
        assert_eq!(
            [2, 3, 6, 7, 9].map(touched),
            [None, Some(3), Some(3), Some(7), Some(7)]
        );
        assert_eq!(story.touched(50, 9), None);
    }
}
