//! `state`: the state structure of the specification, as runc prints it: two spaces of indent, no newline at the end.

use super::{Context, print};
use crate::exit::Failure;
use teu::Container;

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let state = Container::load(&context.settings.root, &context.id()?)?.state()?;
    let json = serde_json::to_string_pretty(&state)
        .map_err(|error| Failure::new(format!("encode the state: {error}")))?;
    print(&json)
}
