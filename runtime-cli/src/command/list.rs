//! `list`: the containers below the state root, as runc lists them.

use super::{Context, print};
use crate::exit::Failure;
use crate::flags;
use teu::{ErrorKind, State};

/// The columns of the table.
const HEADER: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];

/// runc's tab writer: a column is at least this wide,
const MIN_WIDTH: usize = 12;
/// and has this much room behind it.
const PADDING: usize = 3;

pub(super) fn execute(context: &Context<'_>) -> Result<(), Failure> {
    let states = match teu::list(&context.settings.root) {
        // Nobody has made a container yet. A root that was asked for by name is another matter.
        Err(error) if error.kind() == ErrorKind::NotFound && !context.settings.root_is_chosen => {
            Vec::new()
        }
        states => states?,
    };
    if context.values.switch(&flags::QUIET) {
        return print(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
    }
    match context.values.text(&flags::FORMAT).map(|format| format.to_string_lossy()).as_deref() {
        None | Some("table") => print(&table(&states)),
        Some("json") => print(&json(&states)?),
        Some(format) => {
            Err(Failure::new(format!("invalid format option {format:?}: use table or json")))
        }
    }
}

/// One line; nothing at all is `null`, as Go writes it.
fn json(states: &[State]) -> Result<String, Failure> {
    if states.is_empty() {
        return Ok("null".to_owned());
    }
    serde_json::to_string(states).map_err(|error| Failure::new(format!("encode the list: {error}")))
}

fn table(states: &[State]) -> String {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(states.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + PADDING).max(MIN_WIDTH);
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn row(state: &State) -> [String; 6] {
    [
        state.id.clone(),
        state.pid.to_string(),
        state.status.to_string(),
        state.bundle.display().to_string(),
        state.created.clone(),
        state.owner.clone(),
    ]
}

/// Every cell but the last is filled up to its column's width.
fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let [filled @ .., last] = cells;
    let filled: String =
        filled.iter().zip(widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
    format!("{filled}{last}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_at_least_twelve() {
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let cells = ["a-rather-long-id", "7", "running", "/b", "now", "root"].map(str::to_owned);
        assert_eq!(
            line(&cells, &[19, 12, 12, 12, 12, 12]),
            "a-rather-long-id   7           running     /b          now         root\n"
        );
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(json(&[]).expect("json"), "null");
    }
}
