//! What was measured, before it is text.

use serde_json::{Value, json};

use crate::stats::Summary;
use crate::subject::Phase;

/// The label of the floor program.
pub(crate) const FLOOR: &str = "floor";

/// Wall time of one command of one subject.
#[derive(Debug)]
pub(crate) struct Time {
    pub(crate) phase: Phase,
    pub(crate) subject: String,
    /// In nanoseconds; `None` when the command failed or was not reached.
    pub(crate) spent: Option<Summary>,
}

/// Numbers by row and subject, all of one unit or with the unit in the row's name.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) subjects: Vec<String>,
    /// A name, and a value for each subject: a number, a text, or null for "does not apply".
    pub(crate) rows: Vec<(String, Vec<Value>)>,
}

/// Everything that is printed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// On what, and how, it was measured.
    pub(crate) notes: Vec<String>,
    pub(crate) times: Vec<Time>,
    pub(crate) tables: Vec<Table>,
    /// What did not work, with the runtime's words.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// How many times the floor's, and the first runtime's, median a command took.
    pub(crate) fn ratios(&self, time: &Time) -> [Option<f64>; 2] {
        let floor = self.spent(time.phase, |subject| subject == FLOOR);
        let first = self.spent(time.phase, |subject| subject != FLOOR);
        [floor, first].map(|other| Some(time.spent?.ratio_to(other?)))
    }

    fn spent(&self, phase: Phase, is_it: impl Fn(&str) -> bool) -> Option<Summary> {
        self.times.iter().find(|time| time.phase == phase && is_it(&time.subject))?.spent
    }

    pub(crate) fn to_json(&self) -> Value {
        let times = self.times.iter().map(|time| {
            let [to_floor, to_first] = self.ratios(time);
            json!({
                "phase": time.phase.to_string(),
                "subject": time.subject,
                "median_ns": time.spent.map(|spent| spent.median),
                "min_ns": time.spent.map(|spent| spent.min),
                "p90_ns": time.spent.map(|spent| spent.p90),
                "rounds": time.spent.map(|spent| spent.count),
                "times_floor": to_floor,
                "times_first": to_first,
            })
        });
        json!({
            "notes": self.notes,
            "times": times.collect::<Vec<_>>(),
            "tables": self.tables.iter().map(Table::to_json).collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }
}

impl Table {
    fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, values)| {
            let cells = self.subjects.iter().cloned().zip(values.iter().cloned());
            (name.clone(), cells.collect())
        });
        json!({"title": self.title, "rows": rows.collect::<serde_json::Map<_, Value>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(subject: &str, median: u64) -> Time {
        Time { phase: Phase::Run, subject: subject.to_owned(), spent: Summary::of([median]) }
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_the_first_runtime() {
        let times = vec![time("floor", 10), time("a", 40), time("b", 20)];
        let report = Report { times, ..Report::default() };
        let json = report.to_json();
        assert_eq!(json["times"][2]["times_floor"], 2.0);
        assert_eq!(json["times"][2]["times_first"], 0.5);
    }

    #[test]
    fn a_failed_command_has_no_ratio() {
        let failed = Time { spent: None, ..time("a", 1) };
        let report = Report { times: vec![time("floor", 10), failed], ..Report::default() };
        assert!(report.to_json()["times"][1]["times_floor"].is_null());
    }

    #[test]
    fn tables_are_keyed_by_row_and_subject() {
        let table = Table {
            title: "t".to_owned(),
            subjects: vec!["a".to_owned(), "b".to_owned()],
            rows: vec![("r".to_owned(), vec![json!(1), Value::Null])],
        };
        assert_eq!(table.to_json()["rows"]["r"], json!({"a": 1, "b": null}));
    }
}
