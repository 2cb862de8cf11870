//! `start`: the process of a created container executes its program.

use super::Context;
use crate::exit::Failure;
use teu::Container;

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    context.warn(&Container::load(&context.settings.root, &context.id()?)?.start()?);
    Ok(())
}
