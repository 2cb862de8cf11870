//! What a row says about its samples.

/// Order statistics of a set of samples, in the samples' unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) median: u64,
    pub(crate) min: u64,
    /// The smallest sample that nine in ten do not exceed (nearest rank).
    pub(crate) p90: u64,
    pub(crate) count: usize,
}

impl Summary {
    /// `None` without samples.
    pub(crate) fn of(samples: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = samples.into_iter().collect();
        sorted.sort_unstable();
        let count = sorted.len();
        let low = *sorted.get(count.checked_sub(1)? / 2)?;
        let high = *sorted.get(count / 2)?;
        let rank = (count * 9).div_ceil(10);
        Some(Self {
            median: low.midpoint(high),
            min: *sorted.first()?,
            p90: *sorted.get(rank - 1)?,
            count,
        })
    }

    /// How many times the other median this one is.
    pub(crate) fn ratio_to(self, other: Self) -> f64 {
        self.median as f64 / other.median as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn one_sample_is_all_of_them() {
        assert_eq!(Summary::of([7]), Some(Summary { median: 7, min: 7, p90: 7, count: 1 }));
    }

    #[test]
    fn an_even_count_has_its_median_between_two() {
        let summary = Summary::of([40, 10, 30, 20]).expect("four samples");
        assert_eq!((summary.median, summary.min, summary.p90), (25, 10, 40));
    }

    #[test]
    fn the_slowest_tenth_does_not_move_p90() {
        let summary = Summary::of((1..=9).chain([1_000_000])).expect("ten samples");
        assert_eq!((summary.median, summary.p90), (5, 9));
    }

    #[test]
    fn ratios_are_of_medians() {
        let fast = Summary::of([1, 2, 9]).expect("three samples");
        let slow = Summary::of([3, 3, 3]).expect("three samples");
        assert!((slow.ratio_to(fast) - 1.5).abs() < f64::EPSILON);
    }
}
