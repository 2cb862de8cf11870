//! `resources.pids`.

use super::limits::Limits;
use crate::error::PlanError;

const LIMIT: &str = "/linux/resources/pids/limit";

/// A negative limit is none; zero is one, because the container's first process is a task as well.
pub(super) fn plan(limits: &mut Limits<'_>, limit: i64) -> Result<(), PlanError> {
    let value = match limit {
        ..=-1 => "max".to_owned(),
        0 => "1".to_owned(),
        tasks => tasks.to_string(),
    };
    if limit < 0 && limits.find("pids").is_none() {
        return Ok(());
    }
    let home = limits.home("pids", LIMIT)?;
    limits.write(home, "pids.max", value, LIMIT);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{hybrid, refusal, v2, v2_with, writes};
    use super::*;

    #[test]
    fn both_versions() {
        for facts in [v2(), hybrid()] {
            assert_eq!(writes(&json!({}), &facts), [""; 0]);
            for (limit, expected) in [
                (0, "pids.max=1"),
                (1, "pids.max=1"),
                (512, "pids.max=512"),
                (-1, "pids.max=max"),
                (-7, "pids.max=max"),
            ] {
                assert_eq!(writes(&json!({"pids": {"limit": limit}}), &facts), [expected]);
            }
        }
    }

    #[test]
    fn without_the_controller() {
        let facts = v2_with(&[], &["pids"]);
        assert_eq!(writes(&json!({"pids": {"limit": -1}}), &facts), [""; 0]);
        let error = refusal(&json!({"pids": {"limit": 5}}), &facts);
        assert!(error.unsupported && error.pointer == LIMIT);
    }
}
