//! Lists of numbers as the kernel writes them: `0-3,7` (cpuset(7), "List format").

/// A set of small numbers, bit *n* of word *n* / 64 for number *n*, as the kernel takes masks of CPUs and of memory nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mask(Vec<u64>);

impl Mask {
    /// Reads a list of numbers up to `last`, or says what is wrong with it. Blanks around numbers are tolerated, as in runc.
    pub(super) fn parse(text: &str, last: usize) -> Result<Self, String> {
        let mut words = vec![0_u64; last / 64 + 1];
        for part in text.split(',').map(str::trim) {
            let (first, end) = part.split_once('-').unwrap_or((part, part));
            let (first, end) = (number(first, last)?, number(end, last)?);
            if first > end {
                return Err(format!("the range {part:?} runs backwards"));
            }
            for number in first..=end {
                if let Some(word) = words.get_mut(number / 64) {
                    *word |= 1 << (number % 64);
                }
            }
        }
        Ok(Self(words))
    }

    /// No number.
    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// How many numbers are in it.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The words, without empty ones at the end.
    pub(super) fn words(&self) -> Vec<u64> {
        let len = self.0.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        self.0.iter().take(len).copied().collect()
    }
}

fn number(text: &str, last: usize) -> Result<usize, String> {
    // Rust's parser takes a sign; the kernel's does not.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<usize>() {
        Ok(number) if digits && number <= last => Ok(number),
        Ok(number) if digits => Err(format!("{number} is above {last}")),
        _ if digits => Err(format!("{text} is above {last}")),
        _ => Err(format!("{text:?} is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<u64>, String> {
        Mask::parse(text, 1023).map(|mask| mask.words())
    }

    #[test]
    fn numbers_and_ranges_become_bits() {
        assert_eq!(words("0-3, 7").unwrap(), [0b1000_1111]);
        assert_eq!(words("64,1").unwrap(), [2, 1]);
        assert_eq!(words("1023").unwrap().len(), 16);
        assert_eq!(Mask::parse("0-3,2", 1023).unwrap().count(), 4);
        assert_eq!((Mask::empty().count(), Mask::empty().words()), (0, Vec::new()));
    }

    #[test]
    fn what_is_no_list_is_explained() {
        for (text, why) in [
            ("", "\"\" is not a number"),
            ("1,,2", "\"\" is not a number"),
            ("1-2-3", "\"2-3\" is not a number"),
            ("+1", "\"+1\" is not a number"),
            ("3-1", "the range \"3-1\" runs backwards"),
            ("1024", "1024 is above 1023"),
            ("99999999999999999999999", "99999999999999999999999 is above 1023"),
        ] {
            assert_eq!(words(text).unwrap_err(), why);
        }
    }
}
