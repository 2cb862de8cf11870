//! `delete`: nothing of the container stays on the host.

use super::Context;
use crate::exit::Failure;
use crate::flags;
use teu::Container;

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let (root, id) = (&context.settings.root, context.id()?);
    let warnings = if context.values.switch(&flags::FORCE) {
        teu::force_delete(root, &id)?
    } else {
        Container::load(root, &id)?.delete(false)?
    };
    context.warn(&warnings);
    Ok(())
}
