//! The report as text, Markdown or JSON.

use std::time::Duration;

use serde_json::Value;

use crate::options::Format;
use crate::report::{Report, Table, Time};
use crate::stats::Summary;

/// A title, and rows of equal length of which the first is the header.
struct Grid {
    title: String,
    rows: Vec<Vec<String>>,
}

pub(crate) fn render(report: &Report, format: Format) -> String {
    if format == Format::Json {
        return format!("{:#}\n", report.to_json());
    }
    let mut out = String::new();
    list(&mut out, "", &report.notes);
    let grids = std::iter::once(time_grid(report)).chain(report.tables.iter().map(table_grid));
    for grid in grids {
        match format {
            Format::Markdown => markdown(&mut out, &grid),
            Format::Text | Format::Json => text(&mut out, &grid),
        }
    }
    list(&mut out, "\nFailures:\n", &report.failures);
    out
}

fn list(out: &mut String, title: &str, items: &[String]) {
    if !items.is_empty() {
        out.push_str(title);
    }
    for item in items {
        push_line(out, format_args!("- {item}"));
    }
}

fn time_grid(report: &Report) -> Grid {
    let header = ["command", "subject", "median", "min", "p90", "× floor", "× first"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(report.times.iter().map(|time| time_row(report, time)));
    Grid { title: "Time (ms)".to_owned(), rows }
}

fn time_row(report: &Report, time: &Time) -> Vec<String> {
    let part = |of: fn(Summary) -> u64| time.spent.map_or_else(failed, |spent| ms(of(spent)));
    let ratio = |ratio: Option<f64>| ratio.map_or_else(absent, |ratio| format!("{ratio:.2}"));
    let mut row = vec![time.phase.to_string(), time.subject.clone()];
    row.extend([part(|s| s.median), part(|s| s.min), part(|s| s.p90)]);
    row.extend(report.ratios(time).map(ratio));
    row
}

fn ms(nanoseconds: u64) -> String {
    format!("{:.2}", Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3)
}

fn failed() -> String {
    "failed".to_owned()
}

fn absent() -> String {
    "–".to_owned()
}

fn table_grid(table: &Table) -> Grid {
    let mut rows = vec![[&[String::new()], table.subjects.as_slice()].concat()];
    for (name, values) in &table.rows {
        let mut row = vec![name.clone()];
        row.extend(values.iter().map(cell));
        rows.push(row);
    }
    Grid { title: table.title.clone(), rows }
}

fn cell(value: &Value) -> String {
    if value.is_null() {
        return absent();
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(out: &mut String, grid: &Grid) {
    push_line(out, format_args!("\n{}\n", grid.title));
    let widths = widths(&grid.rows);
    for row in &grid.rows {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        push_line(out, format_args!("  {}", padded.collect::<Vec<_>>().join("  ")));
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let length =
        |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let width = |column| rows.iter().map(|row| length(row, column)).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

fn markdown(out: &mut String, grid: &Grid) {
    push_line(out, format_args!("\n### {}\n", grid.title));
    for (index, row) in grid.rows.iter().enumerate() {
        push_line(out, format_args!("| {} |", row.join(" | ")));
        if index == 0 {
            let rules =
                row.iter().enumerate().map(|(column, _)| if column == 0 { "--" } else { "-:" });
            push_line(out, format_args!("| {} |", rules.collect::<Vec<_>>().join(" | ")));
        }
    }
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.push_str(&line.to_string());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::subject::Phase;

    fn report() -> Report {
        let time = |subject: &str, spent| Time {
            phase: Phase::Run,
            subject: subject.to_owned(),
            spent: Summary::of(spent),
        };
        Report {
            notes: vec!["a note".to_owned()],
            times: vec![time("floor", vec![1_000_000]), time("runc", vec![2_500_000])],
            tables: vec![Table {
                title: "Faults".to_owned(),
                subjects: vec!["floor".to_owned(), "runc".to_owned()],
                rows: vec![("run".to_owned(), vec![json!(85), Value::Null])],
            }],
            failures: vec!["runc exec: no".to_owned()],
        }
    }

    #[test]
    fn text_is_aligned_and_complete() {
        let text = render(&report(), Format::Text);
        assert!(text.starts_with("- a note\n"), "{text}");
        assert!(
            text.contains("  run         runc    2.50  2.50  2.50     2.50     1.00\n"),
            "{text}"
        );
        assert!(text.contains("  run     85     –\n"), "{text}");
        assert!(text.ends_with("Failures:\n- runc exec: no\n"), "{text}");
    }

    #[test]
    fn markdown_has_tables() {
        let text = render(&report(), Format::Markdown);
        assert!(
            text.contains(
                "\n### Faults\n\n|  | floor | runc |\n| -- | -: | -: |\n| run | 85 | – |\n"
            )
        );
    }

    #[test]
    fn a_failed_command_says_so_in_its_row() {
        let mut report = report();
        report.times[1].spent = None;
        let text = render(&report, Format::Markdown);
        assert!(text.contains("| run | runc | failed | failed | failed | – | – |"), "{text}");
    }
}
