//! The second reading of a configuration that the types refuse: what the specification tolerates is mended, the rest is explained.

use super::Loaded;
use super::position::pointer_at;
use crate::error::PlanError;
use oci_spec::runtime::{Capability, Spec};
use serde_json::{Map, Value, json};

/// Mends and parses a document, or says what is wrong with it and where.
pub(super) fn parse(bytes: &[u8]) -> Result<Loaded, PlanError> {
    let mut document: Value = serde_json::from_slice(bytes)
        .map_err(|error| PlanError::invalid("", format!("config.json is not JSON: {error}")))?;
    if !document.is_object() {
        return Err(PlanError::invalid("", "config.json must be a JSON object"));
    }
    let mut warnings = Vec::new();
    drop_other_platforms(&mut document);
    if let Some(process) = document.get_mut("process").and_then(Value::as_object_mut) {
        fill_defaults(process);
        drop_unknown_capabilities(process, &mut warnings);
        rename_scheduler_flags(process);
    }
    rename_rdt_flags(&mut document);
    let text = document.to_string();
    serde_json::from_slice::<Spec>(text.as_bytes())
        .map(|spec| Loaded { spec, warnings })
        .map_err(|error| explain(&document, text.as_bytes(), &error))
}

/// Sections for other platforms (spec.md#platforms), which nobody reads on Linux: what is wrong in one is not wrong here.
const OTHER_PLATFORMS: &[&str] = &["solaris", "windows", "vm", "zos", "freebsd"];

fn drop_other_platforms(document: &mut Value) {
    if let Some(members) = document.as_object_mut() {
        members.retain(|name, _| !OTHER_PLATFORMS.contains(&name.as_str()));
    }
}

/// Fields that runc's types leave at zero when absent. The planner refuses an empty `cwd` by its own rule.
fn fill_defaults(process: &mut Map<String, Value>) {
    process.entry("cwd").or_insert_with(|| json!(""));
    let user = process.entry("user").or_insert_with(|| json!({}));
    if let Some(user) = user.as_object_mut() {
        user.entry("uid").or_insert_with(|| json!(0));
        user.entry("gid").or_insert_with(|| json!(0));
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface [...] MUST be logged as a warning" (config.md, capabilities).
fn drop_unknown_capabilities(process: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else {
        return;
    };
    for (set, names) in sets.iter_mut() {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            // What is not a string stays, for the parser to refuse.
            if !known && name.is_string() {
                warnings.push(format!("ignoring unknown or unavailable capability {name} in process.capabilities.{set}"));
            }
            known || !name.is_string()
        });
    }
}

/// Two flags of the specification that the types spell differently.
fn rename_scheduler_flags(process: &mut Map<String, Value>) {
    let Some(flags) = process
        .get_mut("scheduler")
        .and_then(|scheduler| scheduler.get_mut("flags"))
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    for flag in flags {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
}

/// Whether the document may have members that the types overlook because they spell them differently.
pub(super) fn may_be_overlooked(spec: &Spec) -> bool {
    spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some())
}

/// Two members of earlier specifications that the types spell differently.
fn rename_rdt_flags(document: &mut Value) {
    let Some(rdt) = document.pointer_mut("/linux/intelRdt").and_then(Value::as_object_mut) else {
        return;
    };
    for (theirs, ours) in [("enableCMT", "enableCmt"), ("enableMBM", "enableMbm")] {
        if let Some(value) = rdt.remove(theirs) {
            rdt.insert(ours.to_owned(), value);
        }
    }
}

/// The parser's complaint with the place as a JSON pointer and the value that stands there.
fn explain(document: &Value, text: &[u8], error: &serde_json::Error) -> PlanError {
    let mut pointer = pointer_at(text, error.line(), error.column());
    // At the opening bracket of an empty array there is no first element to complain of.
    if let Some((list, _)) = pointer.rsplit_once('/')
        && document.pointer(&pointer).is_none()
        && document.pointer(list).is_some_and(Value::is_array)
    {
        pointer = list.to_owned();
    }
    let whole = error.to_string();
    // The position is in the mended text, which nobody but this function has seen; the pointer says it better.
    let rule = whole.split(" at line ").next().unwrap_or(&whole);
    let refusal = PlanError::invalid(pointer.clone(), words(&pointer, rule));
    match document.pointer(&pointer) {
        Some(Value::String(text)) => refusal.value(text),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => refusal.value(value),
        _ => refusal,
    }
}

/// runc's words for values that are not one of those the specification has, in front of the parser's, which lists them.
fn words(pointer: &str, rule: &str) -> String {
    let index = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let place: Vec<_> = pointer.split('/').filter(|part| !index(part)).collect();
    let words = match place.as_slice() {
        ["linux", "memoryPolicy", "mode"] => "invalid memory policy mode",
        ["linux", "memoryPolicy", "flags"] => "invalid memory policy flag",
        ["linux", "personality", "domain"] => "invalid personality domain",
        ["linux", "devices", "type"] => "invalid device type",
        ["process", "rlimits", "type"] => "wrong rlimit value",
        ["process", "ioPriority", "class"] => "invalid ioPriority.Class",
        ["process", "scheduler", "policy"] => "invalid scheduler policy",
        ["process", "scheduler", "flags"] => "invalid scheduler flag",
        ["process", "scheduler"] if rule.contains("`policy`") => "scheduler policy is required",
        _ => return rule.to_owned(),
    };
    format!("{words}: {rule}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Loaded {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn unknown_capabilities_are_warned_of_and_dropped() {
        let loaded = loaded(
            r#"{"ociVersion":"1.3.0","process":{"cwd":"/","user":{"uid":0,"gid":0},
               "capabilities":{"bounding":["CAP_KILL","CAP_TO_FLY"]}}}"#,
        );
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].contains("CAP_TO_FLY"));
        let process = loaded.spec.process().clone().unwrap();
        let bounding = process.capabilities().clone().unwrap().bounding().clone().unwrap();
        assert_eq!(bounding.len(), 1);
    }

    #[test]
    fn scheduler_flags_of_the_specification_are_understood() {
        let loaded = loaded(
            r#"{"ociVersion":"1.3.0","process":{"cwd":"/","user":{"uid":0,"gid":0},
               "scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"]}}}"#,
        );
        assert!(loaded.spec.process().clone().unwrap().scheduler().is_some());
    }

    #[test]
    fn values_that_there_are_not_are_refused_in_runcs_words() {
        let wrong = [
            (r#""linux":{"memoryPolicy":{"mode":"MPOL_X"}}"#, "invalid memory policy mode: "),
            (
                r#""linux":{"memoryPolicy":{"mode":"MPOL_BIND","flags":["MPOL_F_X"]}}"#,
                "invalid memory policy flag: ",
            ),
            (r#""linux":{"personality":{"domain":"VMS"}}"#, "invalid personality domain: "),
            (
                r#""process":{"scheduler":{"nice":1}}"#,
                "scheduler policy is required: missing field `policy`",
            ),
            (
                r#""process":{"rlimits":[{"type":"RLIMIT_X","soft":1,"hard":1}]}"#,
                "wrong rlimit value: ",
            ),
        ];
        for (fields, words) in wrong {
            let text = format!(r#"{{"ociVersion":"1.3.0",{fields}}}"#);
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.rule.starts_with(words), "{fields}: {error}");
        }
    }

    #[test]
    fn sections_for_other_platforms_are_not_read() {
        for section in OTHER_PLATFORMS {
            let text = format!(r#"{{"ociVersion":"1.3.0","{section}":{{"kernel":7}}}}"#);
            assert_eq!(loaded(&text).spec.version(), "1.3.0", "{section}");
        }
    }

    #[test]
    fn a_process_without_user_is_root() {
        let loaded = loaded(r#"{"ociVersion":"1.3.0","process":{"cwd":"/"}}"#);
        assert_eq!(loaded.spec.process().clone().unwrap().user().uid(), 0);
    }

    #[test]
    fn an_unknown_namespace_is_named_with_its_value() {
        let error = parse(
            br#"{"ociVersion":"1.3.0","linux":{"namespaces":[{"type":"pid"},{"type":"astral"}]}}"#,
        )
        .unwrap_err();
        assert_eq!(error.pointer, "/linux/namespaces/1/type");
        assert!(error.to_string().contains("astral"), "{error}");
    }
}
