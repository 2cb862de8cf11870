//! config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle": the hooks that run in the runtime's namespaces.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests: they report by panicking, and their paths are their own"
)]

use serde_json::{Value, json};
use teu_conformance::Container;

/// A hook that appends its name and its input to a file of the test.
fn recorder(c: &Container, name: &str) -> Value {
    let file = c.bundle.outside("hooks").join("record");
    let script = format!(
        "printf '%s ' {name} >> {file}; cat >> {file}; echo >> {file}",
        file = file.display()
    );
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

/// What the hooks recorded: name and state.
fn recorded(c: &Container) -> Vec<(String, Value)> {
    let text =
        std::fs::read_to_string(c.bundle.outside("hooks").join("record")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (name, state) = line.split_once(' ').expect("a name");
            (name.to_owned(), serde_json::from_str(state).expect("a state"))
        })
        .collect()
}

/// Each runs once, in order, with the state of the container on its standard input.
#[test]
fn hooks_run_in_order_with_the_state_on_standard_input() {
    let mut c = Container::new();
    let one = |name| json!([recorder(&c, name)]);
    let hooks = json!({
        "prestart": one("prestart"), "createRuntime": one("createRuntime"),
        "poststart": one("poststart"), "poststop": one("poststop"),
    });
    c.bundle.set("/hooks", hooks);
    let _created = c.launch("create", &[]).run().ok();
    let early = recorded(&c);
    // runc < 1.5.1 and later run poststart hooks at create; the specification wants them at start.
    let at_create = c.runtime().differs("runc", "runs poststart hooks within create")
        && early.iter().any(|(name, _)| name == "poststart");
    assert_eq!(early.len(), if at_create { 3 } else { 2 });
    let _started = c.command(["start", c.id()]).run().ok();
    let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
    let all = recorded(&c);
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["prestart", "createRuntime", "poststart", "poststop"]);
    for (name, state) in &all {
        assert_eq!(state["id"], c.id(), "{name}");
        assert!(state["bundle"].is_string() && state["ociVersion"].is_string(), "{name}: {state}");
    }
    if !c.runtime().differs("crun", "1.8: says created while it creates") {
        assert_eq!(all[0].1["status"], "creating");
    }
    assert!(all[1].1["pid"].as_i64().expect("a pid") > 1);
}

/// Environment and arguments are what the configuration says.
#[test]
fn hooks_have_their_own_environment_and_arguments() {
    let mut c = Container::new();
    let file = c.bundle.outside("hooks").join("record");
    let script = format!("printf '%s %s %s' \"$0\" \"$1\" \"$A\" > {}", file.display());
    let hook =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["A=b=c"] });
    c.bundle.set("/hooks", json!({ "createRuntime": [hook] }));
    let _created = c.launch("create", &[]).run().ok();
    assert_eq!(std::fs::read_to_string(file).expect("written"), "zero one b=c");
}

/// A hook that takes longer than it may is ended, and fails.
#[test]
fn hooks_are_ended_at_their_timeout() {
    let mut c = Container::new();
    let hook = json!({ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 });
    c.bundle.set("/hooks", json!({ "createRuntime": [hook] }));
    let failed = c.refused();
    if !c.runtime().differs("crun", "1.8: says `Timer expired`") {
        let _said = failed.saying("hook ran past specified timeout of 1");
    }
}

/// runtime.md: a poststop hook that fails is logged, and the others still run.
#[test]
fn hooks_poststop_failure_stops_nothing() {
    let mut c = Container::new();
    let hooks = json!({ "poststop": [{ "path": "/bin/false" }, recorder(&c, "poststop")] });
    c.bundle.set("/hooks", hooks);
    let _created = c.launch("create", &[]).run().ok();
    let deleted = c.command(["delete", "--force", c.id()]).run();
    if c.runtime().differs("runc", "the first poststop hook that fails aborts the others") {
        return;
    }
    let _deleted = deleted.ok();
    assert_eq!(recorded(&c).len(), 1);
}

/// runtime.md: when a createRuntime hook fails, the container is stopped and the poststop hooks run.
#[test]
fn hooks_poststop_runs_after_a_failed_create() {
    let mut c = Container::new();
    let hooks = json!({ "createRuntime": [{ "path": "/bin/false" }], "poststop": [recorder(&c, "poststop")] });
    c.bundle.set("/hooks", hooks);
    let _failed = c.refused();
    if c.runtime().differs("crun", "1.8: runs no poststop hooks then") {
        return;
    }
    assert_eq!(recorded(&c).len(), 1);
}
