//! `resources.unified`: files of the cgroup v2 hierarchy by name.

use std::collections::HashMap;

use super::RESOURCES;
use super::limits::{Home, Limits};
use crate::error::PlanError;

pub(super) fn plan(
    limits: &mut Limits<'_>,
    properties: &HashMap<String, String>,
) -> Result<(), PlanError> {
    if properties.is_empty() {
        return Ok(());
    }
    if !limits.is_v2() {
        let rule = "cannot use unified on cgroup v1";
        return Err(PlanError::invalid(format!("{RESOURCES}/unified"), rule));
    }
    // The map has no order of its own; the names give one that is the same every time.
    let mut properties: Vec<(&String, &String)> = properties.iter().collect();
    properties.sort();
    for (file, value) in properties {
        let pointer = format!("{RESOURCES}/unified/{}", escape(file));
        let home = home(limits, file, &pointer)?;
        // Files with one entry for each device take one line for each `write`.
        for line in value.trim_end_matches('\n').split('\n') {
            limits.write(home, file, line, &pointer);
        }
    }
    Ok(())
}

fn home(limits: &mut Limits<'_>, file: &str, pointer: &str) -> Result<Home, PlanError> {
    if file.contains(['/', '\0']) {
        let rule = "unified resource must be a file name (no slashes)";
        return Err(PlanError::invalid(pointer, rule).value(file));
    }
    let Some((controller, _)) =
        file.split_once('.').filter(|(controller, _)| !controller.is_empty())
    else {
        let rule = "unified resource must be in the form CONTROLLER.PARAMETER";
        return Err(PlanError::invalid(pointer, rule).value(file));
    };
    // The files of the cgroup core are always there.
    if controller == "cgroup"
        && let Some(hierarchy) = limits.v2_hierarchy()
    {
        return Ok(Home { hierarchy, version: super::Version::V2 });
    }
    if limits.find(controller).is_none() {
        let why = limits.missing(controller, pointer).rule;
        let why = why.split_once(": ").map_or("", |(_, why)| why);
        let rule = format!("unified resource {file:?} can't be set: {why}");
        return Err(PlanError::unsupported(pointer, rule));
    }
    limits.home(controller, pointer)
}

/// A key as one token of a JSON pointer, RFC 6901 section 3.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{hybrid, plan_resources, refusal, v2, v2_with, writes};

    #[test]
    fn the_last_writes_in_the_order_of_their_names() {
        let resources = json!({
            "unified": {"pids.max": "9", "memory.high": "1000\n", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
            "pids": {"limit": 5},
        });
        let expected = [
            "pids.max=5",
            "io.max=8:0 rbps=1",
            "io.max=8:16 rbps=2",
            "memory.high=1000",
            "pids.max=9",
        ];
        assert_eq!(writes(&resources, &v2()), expected);
    }

    #[test]
    fn the_files_of_the_core_need_no_controller() {
        let resources = json!({"unified": {"cgroup.max.depth": "3"}});
        assert_eq!(writes(&resources, &v2_with(&[], &[])), ["cgroup.max.depth=3"]);
    }

    #[test]
    fn a_unified_property_needs_its_controller() {
        let resources = json!({"unified": {"memory.high": "1"}});
        let plan = plan_resources(&resources, &v2()).unwrap();
        assert_eq!(plan.hierarchies[0].needs[0].controller, "memory");
        let error = refusal(&resources, &v2_with(&["cpu"], &["memory"]));
        assert!(error.unsupported);
        let words =
            "unified resource \"memory.high\" can't be set: controller \"memory\" is not available";
        assert!(error.rule.starts_with(words), "{}", error.rule);
    }

    #[test]
    fn refusals() {
        for (name, pointer) in [
            ("a/b.c", "/linux/resources/unified/a~1b.c"),
            ("nodot", "/linux/resources/unified/nodot"),
            (".x", "/linux/resources/unified/.x"),
        ] {
            assert_eq!(refusal(&json!({"unified": {name: "1"}}), &v2()).pointer, pointer);
        }
        let error = refusal(&json!({"unified": {"memory.high": "1"}}), &hybrid());
        assert_eq!(error.rule, "cannot use unified on cgroup v1");
        assert_eq!(writes(&json!({"unified": {}}), &hybrid()), [""; 0]);
    }
}
