//! The numbers of the descriptors that teu-init inherits.

use super::step::{Descriptor, DescriptorKind};
use std::path::PathBuf;
use teu_init::program::Slot;

/// Descriptors 0 to 2 are the container's standard streams.
const FIRST_FREE: i32 = 3;

/// Hands out numbers: first the streams, then what the caller preserves, then teu-init's own.
#[derive(Debug)]
pub(super) struct Descriptors {
    base: i32,
    /// The number of the way back to `start`.
    answer: Option<i32>,
    list: Vec<Descriptor>,
}

impl Descriptors {
    /// Numbers above `preserved` descriptors of the caller.
    pub(super) fn new(preserved: u32) -> Self {
        Self { base: FIRST_FREE.saturating_add_unsigned(preserved), answer: None, list: Vec::new() }
    }

    /// The number of slot zero, which is also the first one that the container's program must not see.
    pub(super) fn base(&self) -> i32 {
        self.base
    }

    /// The first number that nobody uses.
    pub(super) fn end(&self) -> i32 {
        let used = self.list.len() + usize::from(self.answer.is_some());
        let used = i32::try_from(used).unwrap_or(i32::MAX);
        self.base.saturating_add(Slot::First as i32).saturating_add(used)
    }

    /// A number for one more file.
    pub(super) fn add(&mut self, kind: DescriptorKind, path: PathBuf, pointer: String) -> i32 {
        let number = self.end();
        self.list.push(Descriptor { number, kind, path, pointer });
        number
    }

    /// Everything to open, so far.
    pub(super) fn list(&self) -> &[Descriptor] {
        &self.list
    }

    /// A number for the end of answer.fifo, of which there is one.
    pub(super) fn add_answer(&mut self) -> i32 {
        let number = self.end();
        *self.answer.get_or_insert(number)
    }

    /// Everything to open.
    pub(super) fn into_list(self) -> Vec<Descriptor> {
        self.list
    }
}
