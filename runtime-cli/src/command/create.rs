//! `create`: a container whose process waits for `start`.

use super::Context;
use crate::exit::Failure;
use teu::Container;

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.id()?;
    let options = context.create_options()?;
    context.settings.prepare_root()?;
    let container = Container::create(&id, &options)?;
    context.warn(container.warnings());
    Ok(())
}
