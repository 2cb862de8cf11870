//! `plan`: what `create` would do. The host is not touched.

use super::{Context, print};
use crate::exit::Failure;
use crate::flags;
use teu::ContainerId;

/// The id that is planned for where none is given.
const EXAMPLE_ID: &str = "example";

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let id = if context.values.positionals.is_empty() {
        ContainerId::new(EXAMPLE_ID)?
    } else {
        context.id()?
    };
    let mut options = context.create_options()?;
    // Who takes the terminal is said when the container is made.
    options.keep_console = options.console_socket.is_none();
    let plan = teu::plan_bundle(&id, &options)?;
    context.warn(plan.warnings());
    if !context.values.switch(&flags::JSON) {
        return print(&plan.to_string());
    }
    let json = serde_json::to_string_pretty(&plan)
        .map_err(|error| Failure::new(format!("encode the plan: {error}")))?;
    print(&format!("{json}\n"))
}
