//! What is refused, how it is said, and that nothing of it stays behind: config.json that is no
//! configuration, and the exit codes and words of runtime-compatible errors.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use teu_conformance::{ConfigFile, Container, json, skip};

/// Every refusal here must leave nothing; [`Container::refused`] looks.
fn with_config(bytes: impl Into<Vec<u8>>) -> Container {
    let mut c = Container::new();
    c.bundle.file = ConfigFile::Bytes(bytes.into());
    c
}

/// bundle.md: "config.json … MUST reside in the root of the bundle directory"; runc's words.
#[test]
fn errors_config_missing() {
    let mut c = Container::new();
    c.bundle.file = ConfigFile::Absent;
    let outcome = c.refused().exits(1);
    let crun = c.runtime().differs("crun", "1.8: says `cannot stat `config.json``");
    let words = if crun { "config.json" } else { "config.json not found" };
    let _said = outcome.saying(words);
}

/// bundle.md: a bundle that is not there.
#[test]
fn errors_bundle_missing() {
    let c = Container::new();
    let words = ["create", "--bundle", "/nosuch/bundle", c.id()];
    let failed = c.command(words).run().exits(1);
    let _said = failed.saying("/nosuch/bundle");
}

/// JSON: an empty file is no configuration.
#[test]
fn errors_config_empty() {
    let _refused = with_config("").refused().exits(1);
}

/// JSON: a file that breaks off.
#[test]
fn errors_config_truncated() {
    let whole = Container::new().bundle.config.to_string();
    let _refused = with_config(&whole.as_bytes()[..whole.len() / 2]).refused().exits(1);
}

/// JSON: `null`, an array, a number, a text.
#[test]
fn errors_config_is_not_an_object() {
    for text in ["null", "[]", "42", "\"text\""] {
        let c = with_config(text);
        let refused = c.refused();
        let crash = text == "null" && c.runtime().differs("runc < 1.2", "crashes on null");
        let _refused = refused.exits(if crash { 2 } else { 1 });
    }
}

/// JSON: bytes that are not UTF-8, or a zero byte.
#[test]
fn errors_config_is_not_text() {
    let _refused = with_config([0xff, 0xfe, 0x00, 0x7b]).refused().exits(1);
    let _refused = with_config([0x7b, 0x00, 0x7d]).refused().exits(1);
}

/// config.md: a property of another type than the specification's.
#[test]
fn errors_config_wrong_type() {
    let wrong = [
        ("/process/args", json!("sh")),
        ("/process/user/uid", json!("root")),
        ("/mounts", json!({ "destination": "/proc" })),
        ("/linux/namespaces", json!(["pid"])),
        ("/root/readonly", json!("yes")),
    ];
    for (pointer, value) in wrong {
        let mut c = Container::new();
        c.bundle.set(pointer, value);
        let lax = c.runtime().differs("crun", "1.8: is not strict about the types of properties");
        if lax {
            let _any = c.launch("create", &[]).run();
            continue;
        }
        let _refused = c.refused().exits(1);
    }
}

/// config.md: a negative id, and one beyond 32 bits.
#[test]
fn errors_config_number_out_of_range() {
    for uid in [json!(-1), json!(4_294_967_296_u64), json!(1.5)] {
        let mut c = Container::new();
        c.bundle.set("/process/user/uid", uid);
        if c.runtime().differs("crun", "1.8: cuts numbers to their type") {
            let _any = c.launch("create", &[]).run();
            continue;
        }
        let _refused = c.refused().exits(1);
    }
}

/// robustness: ten megabytes are read, or refused for what they are; nothing else.
#[test]
fn errors_config_of_ten_megabytes_is_read_or_refused() {
    let mut c = Container::new();
    c.bundle.set("/annotations", json!({ "org.example.big": "x".repeat(10 << 20) }));
    c.bundle.ask(&["exit 8"]);
    let outcome = c.run();
    c.must_be_gone();
    if outcome.code() != 8 {
        let _refused = outcome.exits(1).saying("bytes");
    }
}

/// robustness: deep nesting must not end in a crash.
#[test]
fn errors_config_deeply_nested_is_an_error_or_ignored() {
    let depth = 100_000;
    let text = format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let _refused = with_config(text).refused().exits(1);
}

/// config.md, "Extensibility": "Runtimes … MUST NOT generate an error if they encounter an unknown
/// property".
#[test]
fn errors_config_unknown_property_is_ignored() {
    let mut c = Container::new();
    c.bundle.set("/unknown", json!({ "a": [1, 2] }));
    c.bundle.set("/process/unknown", json!(true));
    c.bundle.set("/linux/unknown", json!("x"));
    let _answer = c.ask_one("self");
}

/// Go's JSON: `null` is as good as absent.
#[test]
fn errors_config_null_is_absent() {
    let mut c = Container::new();
    c.bundle.set("/hooks", json!(null));
    c.bundle.set("/linux/seccomp", json!(null));
    c.bundle.set("/linux/devices", json!(null));
    c.bundle.set("/process/rlimits", json!(null));
    let outcome = c.run();
    if c.runtime().differs("crun", "1.8: takes null for a value of the wrong type in places") {
        return;
    }
    let _ran = outcome.ok();
}

/// unix: NUL in a path or an argument cannot reach the kernel.
#[test]
fn errors_config_nul_in_strings() {
    for pointer in ["/process/cwd", "/root/path", "/mounts/0/destination"] {
        let mut c = Container::new();
        c.bundle.set(pointer, json!("/tmp\u{0}x"));
        if c.runtime().differs("crun", "1.8: cuts strings at NUL") {
            let _any = c.launch("create", &[]).run();
            continue;
        }
        let _refused = c.refused();
    }
}

/// A hook that fails makes `create` fail, and takes everything back.
#[test]
fn errors_failing_hook_undoes_create() {
    for hook in ["prestart", "createRuntime"] {
        let mut c = Container::new();
        let path = teu_fixtures::probe();
        let hooks = json!({ hook: [{ "path": path, "args": ["probe", "exit", "3"] }] });
        c.bundle.set("/hooks", hooks);
        let outcome = c.refused();
        if !c.runtime().differs("crun", "1.8: says `error executing hook`") {
            let _said = outcome.saying("hook #0");
        }
    }
}

/// What teu does not do yet it refuses by name, and never ignores. Other runtimes do most of it.
#[test]
fn errors_what_is_not_done_is_refused_by_name() {
    let properties = [("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }))];
    for (pointer, value) in properties {
        let mut c = Container::new();
        if !c.runtime().differs("teu", "0.1: refuses what it does not do") {
            return;
        }
        c.bundle.set(pointer, value);
        let _said = c.refused().saying("unsupported configuration").saying(pointer);
    }
}

/// The mount that fails is the last one: what was done before it is undone.
#[test]
fn errors_late_failure_leaves_nothing() {
    let mut c = Container::new();
    let source = c.bundle.outside("source");
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/a", "type": "bind", "source": source, "options": ["rbind"] }),
    );
    c.bundle.push(
        "/mounts",
        json!({ "destination": "/b", "type": "bind", "source": "/nosuch", "options": ["bind"] }),
    );
    let _refused = c.refused();
    assert!(source.is_dir(), "the source of a bind mount is nobody's to remove");
    // The id is free again.
    c.bundle.config["mounts"].as_array_mut().expect("a list").pop();
    c.bundle.ask(&["exit 2"]);
    let _exited = c.run().exits(2);
}

/// The message names what is wrong: the path that a mount could not have.
#[test]
fn errors_name_the_mount_that_failed() {
    let mut c = Container::new();
    c.bundle
        .push("/mounts", json!({ "destination": "/here", "type": "nosuchfs", "source": "that" }));
    let outcome = c.refused();
    assert!(outcome.err().contains("that") && outcome.err().contains("here"), "{outcome}");
    if c.runtime().differs("crun", "1.8: says `mount `SOURCE` to `DESTINATION``") {
        return;
    }
    let _said = outcome.saying("error mounting");
}

/// A script without its interpreter: found at execve only, so it is the container that says it.
#[test]
fn errors_missing_interpreter_is_said_by_the_container() {
    use std::os::unix::fs::PermissionsExt;
    let mut c = Container::new();
    let script = c.bundle.file("run.sh", "#!/nosuch/interpreter\n");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    c.bundle.set("/process/args", json!(["/run.sh"]));
    let outcome = c.run();
    let message = outcome.err().to_lowercase();
    assert!(message.contains("no such file or directory"), "{outcome}");
    if c.runtime().differs("crun", "1.8: fails with 1")
        || c.runtime().differs("runc < 1.2", "fails with 1")
    {
        assert_ne!(outcome.code(), 0);
        return;
    }
    assert_eq!(outcome.code(), 255);
}

/// seccomp is not part of this file, but a profile that cannot be is an error of `create`.
#[test]
fn errors_seccomp_unknown_action() {
    let mut c = Container::new();
    c.bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NOSUCH" }));
    let _refused = c.refused();
}

/// config-linux.md, "IntelRdt": "If no mounted resctrl pseudo-filesystem is available in the runtime mount namespace, the runtime
/// MUST generate an error."
#[test]
fn errors_intel_rdt_without_resctrl() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if mounts.contains(" - resctrl ") {
        skip!("this host has resctrl");
    }
    for rdt in [json!({ "closID": "gold" }), json!({ "l3CacheSchema": "L3:0=f" }), json!({})] {
        let mut c = Container::new();
        c.bundle.set("/linux/intelRdt", rdt);
        if c.runtime()
            .differs("crun", "1.8: says `the resctrl file system is not mounted`, if anything")
            || c.runtime().differs("runc < 1.4", "asks only for what the schemas need")
        {
            return;
        }
        let _said = c.refused().saying("Intel RDT").saying("is not enabled");
    }
    for name in [".", "..", "a/b"] {
        let mut c = Container::new();
        c.bundle.set("/linux/intelRdt", json!({ "closID": name }));
        let _said = c.refused().saying("invalid intelRdt.ClosID");
    }
}
