//! The command line that engines rely on: runc's flags, exit codes, logs and outputs, word by word
//! where somebody matches on the words.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::path::Path;
use teu_conformance::{Container, Outcome, Runtime, Value, json};

/// crun parses as GNU argp does: other words, other exit codes, no single-dash long flags.
fn has_another_parser() -> bool {
    Runtime::under_test().differs("crun", "its command line is parsed by GNU argp")
}

/// The runtime with exactly these words.
fn runtime(words: &[&str]) -> Outcome {
    Runtime::under_test().command(words).run()
}

/// The usage text begins with the name and what it is for; scripts compare these two lines.
#[track_caller]
fn is_usage_of(text: &str, command: &str) {
    let name = Runtime::under_test().base_name();
    let name = if command.is_empty() { name } else { format!("{name} {command}") };
    let mut lines = text.lines().skip_while(|line| *line != "NAME:");
    assert_eq!(lines.next(), Some("NAME:"), "{text}");
    let line = lines.next().expect("a second line");
    assert!(line.starts_with(&format!("   {name} - ")), "{line}");
}

/// Go's flags: `--help`, `-h`, `help`, `h` and nothing at all give the usage and succeed.
#[test]
fn cli_help_is_no_error() {
    if has_another_parser() {
        return;
    }
    for words in [&["--help"][..], &["-h"], &["help"], &["h"], &[]] {
        is_usage_of(runtime(words).ok().out(), "");
    }
}

/// Every command has its usage, by flag and by `help COMMAND`.
#[test]
fn cli_help_of_each_command() {
    if has_another_parser() {
        return;
    }
    for command in ["create", "start", "state", "kill", "delete", "run", "spec", "list", "features"]
    {
        is_usage_of(runtime(&[command, "--help"]).ok().out(), command);
        is_usage_of(runtime(&["help", command]).ok().out(), command);
    }
}

/// Every flag that engines use is in the usage of its command.
#[test]
fn cli_help_names_the_flags() {
    let flags: &[(&str, &[&str])] = &[
        (
            "create",
            &[
                "--bundle",
                "--console-socket",
                "--pid-file",
                "--no-pivot",
                "--no-new-keyring",
                "--preserve-fds",
            ],
        ),
        (
            "run",
            &[
                "--bundle",
                "--console-socket",
                "--pid-file",
                "--no-pivot",
                "--detach",
                "--preserve-fds",
            ],
        ),
        ("delete", &["--force"]),
        ("list", &["--format", "--quiet"]),
        ("spec", &["--bundle", "--rootless"]),
    ];
    for (command, flags) in flags {
        let outcome = runtime(&[command, "--help"]).ok();
        for flag in *flags {
            assert!(outcome.out().contains(flag), "{flag}: {outcome}");
        }
    }
}

/// go-runc parses these prefixes; scripts expect the version in the first line.
#[test]
fn cli_version_has_its_lines() {
    for flag in ["--version", "-v"] {
        let outcome = runtime(&[flag]).ok();
        let first = outcome.out().lines().next().expect("a line");
        let words: Vec<_> = first.split(' ').collect();
        assert_eq!(words.get(1), Some(&"version"), "{first}");
        let version = words.get(2).expect("a version");
        assert!(version.starts_with(|digit: char| digit.is_ascii_digit()), "{first}");
        let spec = outcome.out().lines().find_map(|line| line.strip_prefix("spec: "));
        assert!(spec.is_some_and(|spec| spec.starts_with("1.")), "{outcome}");
    }
}

/// Go's flags: an unknown command exits with 3.
#[test]
fn cli_unknown_command_exits_with_3() {
    if has_another_parser() {
        let _failed = runtime(&["nosuch"]).fails();
        return;
    }
    let _failed = runtime(&["nosuch"]).exits(3).saying("No help topic for 'nosuch'");
}

/// Go's flags: an unknown flag exits with 1, says so on standard output, and shows the usage.
#[test]
fn cli_unknown_flag_exits_with_1() {
    if has_another_parser() {
        let _failed = runtime(&["create", "--nosuch", "x"]).fails();
        return;
    }
    let outcome = runtime(&["create", "--nosuch", "x"]).exits(1);
    let words = "Incorrect Usage: flag provided but not defined: -nosuch";
    assert!(outcome.out().starts_with(words), "{outcome}");
    is_usage_of(outcome.out(), "create");
    let _said = outcome.saying("flag provided but not defined: -nosuch");
}

/// The same for a flag before the command.
#[test]
fn cli_unknown_global_flag_exits_with_1() {
    if has_another_parser() {
        let _failed = runtime(&["--nosuch", "list"]).fails();
        return;
    }
    let outcome = runtime(&["--nosuch", "list"]).exits(1);
    assert!(outcome.out().contains("flag provided but not defined: -nosuch"), "{outcome}");
}

/// podman greps these words to find out whether a flag is there.
#[test]
fn cli_flag_without_its_value_exits_with_1() {
    let outcome = runtime(&["create", "--bundle"]);
    if has_another_parser() {
        let _failed = outcome.fails().saying("requires an argument");
        return;
    }
    let _failed = outcome.exits(1).saying("flag needs an argument: -bundle");
}

/// runc's contract: each command checks how many arguments it gets.
#[test]
fn cli_wrong_number_of_arguments_exits_with_1() {
    if has_another_parser() {
        let _failed = runtime(&["state"]).fails();
        return;
    }
    for words in [
        &["state"][..],
        &["state", "a", "b"],
        &["start"],
        &["delete"],
        &["create"],
        &["run", "a", "b"],
    ] {
        let outcome = runtime(words).exits(1);
        assert!(outcome.out().starts_with("Incorrect Usage."), "{outcome}");
        let name = words.first().expect("a command");
        let _said = outcome.saying("requires exactly 1 argument(s)").saying(name);
    }
    let _failed = runtime(&["kill"]).exits(1).saying("requires a minimum of 1 argument");
    let _failed =
        runtime(&["kill", "a", "b", "c"]).exits(1).saying("requires a maximum of 2 argument");
}

/// Go's flags: one dash is as good as two (go-runc really writes `-no-subreaper`).
#[test]
fn cli_long_flags_may_have_a_single_dash() {
    if has_another_parser() {
        return;
    }
    let mut c = Container::new();
    c.bundle.ask(&["exit 3"]);
    let _saved = c.launch("run", &[]);
    let root = c.root().to_string_lossy().into_owned();
    let bundle = format!("-bundle={}", c.bundle.directory().display());
    let words = ["-root", &root, "run", &bundle, "-no-subreaper", c.id()];
    let _exited = c.runtime().command(words).mounts(c.mounts).run().exits(3);
}

/// Go's flags: `--flag=value` and the values of a boolean; a boolean does not take the next word.
#[test]
fn cli_booleans_take_values() {
    if has_another_parser() {
        return;
    }
    let mut c = Container::new();
    c.bundle.ask(&["exit 3"]);
    for flag in ["--detach=false", "--detach=0", "--detach=f", "--no-pivot=false"] {
        let _exited = c.launch("run", &[flag]).run().exits(3);
    }
    let _failed = c.launch("run", &["--detach=perhaps"]).run().exits(1);
    let bundle = c.bundle.directory().to_string_lossy().into_owned();
    let _exited = c.command(["run", "--no-subreaper", "-b", &bundle, c.id()]).run().exits(3);
}

/// Go's flags as runc has them: flags may come after the arguments.
#[test]
fn cli_flags_may_come_last() {
    if has_another_parser() {
        return;
    }
    let mut c = Container::new();
    c.bundle.ask(&["pause"]);
    let bundle = c.bundle.directory().to_string_lossy().into_owned();
    let _saved = c.launch("create", &[]);
    let _created = c.command(["create", c.id(), "--bundle", &bundle]).run().ok();
    c.adopt();
    c.start();
    let _killed = c.command(["kill", c.id(), "KILL", "--all"]).run().ok();
    assert_eq!(c.wait(), 137);
    let _deleted = c.command(["delete", c.id(), "--force"]).run().ok();
    c.must_be_gone();
}

/// Go's flags: `--` ends them.
#[test]
fn cli_two_dashes_end_the_flags() {
    let c = Container::new();
    let outcome = c.command(["state", "--", "--force"]).run().fails();
    assert!(!outcome.err().contains("flag provided but not defined"), "{outcome}");
}

/// engines: without a log file the error is a log line on standard error.
#[test]
fn cli_errors_are_logged_on_standard_error() {
    if has_another_parser() {
        return;
    }
    let c = Container::new();
    let outcome = c.command(["state", "nosuch"]).run().exits(1);
    assert!(outcome.err().contains("level=error msg=\""), "{outcome}");
    assert_eq!(outcome.err().lines().count(), 1, "said once: {outcome}");
}

/// The lines of a log in JSON.
fn log_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the log");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// containerd reads the last error of the JSON log; go-runc takes standard error for the message.
#[test]
fn cli_errors_go_to_the_log_and_plainly_to_standard_error() {
    let c = Container::new();
    let log = c.path("log.json");
    let words = ["--log", &log.to_string_lossy(), "--log-format", "json", "state", "nosuch"];
    let outcome = c.command(words).run().exits(1);
    let lines = log_lines(&log);
    let last = lines.last().expect("a line");
    assert_eq!(last["level"], "error");
    assert!(last["time"].as_str().is_some_and(|time| time.contains('T')), "{last}");
    let message = last["msg"].as_str().expect("a message");
    assert!(outcome.err().contains(message.trim_end()), "{outcome}");
    assert!(!outcome.err().contains("level="), "{outcome}");
}

/// pitfalls: a second command must not overwrite the log of the first.
#[test]
fn cli_log_is_appended_to() {
    let c = Container::new();
    let log = c.path("log.json");
    for _ in 0..2 {
        let words = ["--log", &log.to_string_lossy(), "--log-format=json", "state", "nosuch"];
        let _failed = c.command(words).run().exits(1);
    }
    let errors = log_lines(&log).iter().filter(|line| line["level"] == "error").count();
    assert_eq!(errors, 2);
}

/// runc's contract: the log in text.
#[test]
fn cli_log_in_text() {
    let c = Container::new();
    let log = c.path("log");
    let _failed = c.command(["--log", &log.to_string_lossy(), "state", "nosuch"]).run().exits(1);
    let text = fs::read_to_string(log).expect("the log");
    if has_another_parser() {
        return;
    }
    assert!(text.starts_with("time=\"") && text.contains(" level=error msg="), "{text}");
}

/// runc's contract: success says nothing.
#[test]
fn cli_success_is_silent() {
    let mut c = Container::new();
    let log = c.path("log.json");
    let log_flag = log.to_string_lossy().into_owned();
    c.bundle.ask(&["exit 0"]);
    let created = c.create();
    c.start();
    assert_eq!(c.wait(), 0);
    let deleted =
        c.command(["--log", &log_flag, "--log-format", "json", "delete", c.id()]).run().ok();
    assert_eq!((created.out(), created.err()), ("", ""));
    assert_eq!((deleted.out(), deleted.err()), ("", ""));
    assert_eq!(fs::read_to_string(log).unwrap_or_default(), "");
}

/// runc's contract: the failure of `create` is in the log as well.
#[test]
fn cli_failed_create_is_logged() {
    let mut c = Container::new();
    let log = c.path("log.json");
    c.bundle.set("/process/args", json!(["/nosuch"]));
    let bundle = c.bundle.directory().to_string_lossy().into_owned();
    let _saved = c.launch("create", &[]);
    let words = [
        "--log",
        &log.to_string_lossy(),
        "--log-format",
        "json",
        "create",
        "--bundle",
        &bundle,
        c.id(),
    ];
    let _failed = c.command(words).run().exits(1);
    let lines = log_lines(&log);
    let last = lines.last().expect("a line");
    assert_eq!(last["level"], "error");
    let message = last["msg"].as_str().expect("a message").to_lowercase();
    assert!(message.contains("no such file or directory"), "{message}");
}

/// runc's contract: any other log format is an error.
#[test]
fn cli_unknown_log_format_is_an_error() {
    let outcome = runtime(&["--log-format", "nosuch", "list"]).fails();
    if has_another_parser() {
        return;
    }
    let format = Runtime::under_test().differs("runc < 1.2", "says `unknown log-format \"x\"`");
    let _said = outcome.saying(if format { "log-format" } else { "invalid log-format: nosuch" });
}

/// runc's contract: the state is indented by two blanks, in this order, without a newline.
#[test]
fn cli_state_is_printed_as_runc_does() {
    let mut c = Container::new();
    c.create();
    let outcome = c.command(["state", c.id()]).run().ok();
    let keys: Vec<_> = outcome
        .out()
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split_once('"').map(|(key, _)| key))
        .collect();
    if c.runtime().differs("crun", "1.8: has another order, and a newline") {
        return;
    }
    let order = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"];
    assert_eq!(keys, order, "{outcome}");
    assert!(outcome.out().ends_with('}'), "no newline after it");
}

/// runc's contract: an empty list in JSON is `null`.
#[test]
fn cli_list_of_nothing() {
    let c = Container::new();
    fs::create_dir(c.root()).expect("an empty state directory");
    let outcome = c.command(["list", "--format", "json"]).run().ok();
    if c.runtime().differs("crun", "1.8: an empty list is []") {
        assert_eq!(outcome.json(), json!([]));
        return;
    }
    assert_eq!(outcome.out().trim_end(), "null");
}

/// engines: containerd, CRI-O and moby ask what the runtime can do.
#[test]
fn cli_features_has_its_keys() {
    let outcome = runtime(&["features"]);
    if Runtime::under_test().differs("crun", "1.8: has no features command") {
        let _failed = outcome.fails();
        return;
    }
    let features = outcome.ok().json();
    for pointer in [
        "/ociVersionMin",
        "/ociVersionMax",
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/cgroup/systemdUser",
        "/linux/seccomp/enabled",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
    ] {
        assert!(features.pointer(pointer).is_some(), "{pointer}: {features}");
    }
}

/// `features` tells what holds: the namespaces and options that it names work.
#[test]
fn cli_features_names_what_works() {
    let outcome = runtime(&["features"]);
    if Runtime::under_test().differs("crun", "1.8: has no features command") {
        return;
    }
    let features = outcome.ok().json();
    let lists = |pointer: &str, value: &str| {
        features
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_some_and(|list| list.contains(&json!(value)))
    };
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(lists("/linux/namespaces", namespace), "{namespace}");
    }
    for option in [
        "bind", "rbind", "ro", "rw", "nosuid", "nodev", "noexec", "rshared", "rslave", "rprivate",
        "rro",
    ] {
        assert!(lists("/mountOptions", option), "{option}");
    }
    let hooks =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for hook in hooks {
        assert!(lists("/hooks", hook), "{hook}");
    }
    assert!(lists("/linux/capabilities", "CAP_SYS_ADMIN"));
}

/// Scripts edit what `spec` writes.
fn written_spec(flags: &[&str]) -> Value {
    let c = Container::new();
    let directory = c.bundle.outside("spec");
    let mut words = vec!["spec"];
    words.extend(flags);
    let _written = c.command(&words).directory(&directory).run().ok();
    let text = fs::read_to_string(directory.join("config.json")).expect("config.json");
    serde_json::from_str(&text).expect("JSON")
}

/// runc's contract: what `spec` writes, as scripts rely on it.
#[test]
fn cli_spec_writes_the_default_configuration() {
    let spec = written_spec(&[]);
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(
        spec["process"]["rlimits"],
        json!([{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }])
    );
    let env = spec["process"]["env"].as_array().expect("a list");
    assert!(env.contains(&json!("TERM=xterm")), "{env:?}");
    let set = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    for name in ["bounding", "effective", "permitted"] {
        assert_eq!(spec["process"]["capabilities"][name], set, "{name}");
    }
    assert_eq!(spec["root"], json!({ "path": "rootfs", "readonly": true }));
    let places: Vec<_> = spec["mounts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| &mount["destination"])
        .collect();
    let wanted = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
    assert_eq!(places, wanted.map(Value::from).iter().collect::<Vec<_>>());
    for path in ["/proc/kcore", "/sys/firmware"] {
        assert!(spec["linux"]["maskedPaths"].as_array().expect("a list").contains(&json!(path)));
    }
    let rules = &spec["linux"]["resources"]["devices"];
    assert_eq!(rules, &json!([{ "allow": false, "access": "rwm" }]));
}

/// runc's contract: `spec --rootless` is for a user without privileges.
#[test]
fn cli_spec_rootless_has_a_user_namespace() {
    let spec = written_spec(&["--rootless"]);
    let kinds: Vec<_> = spec["linux"]["namespaces"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["type"])
        .collect();
    assert!(kinds.contains(&&json!("user")), "{kinds:?}");
    if Runtime::under_test().differs("crun", "1.8: keeps the network, and writes no mappings") {
        return;
    }
    assert!(!kinds.contains(&&json!("network")), "{kinds:?}");
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    assert_eq!(spec["linux"]["uidMappings"], maps);
    assert_eq!(spec["linux"]["gidMappings"], maps);
    assert!(spec["linux"]["resources"].is_null());
    let text = spec.to_string();
    assert!(!text.contains("gid=5"), "{text}");
}

/// runc's contract: `spec` writes into `--bundle`, and never over a file that is there.
#[test]
fn cli_spec_does_not_overwrite() {
    let c = Container::new();
    let directory = c.bundle.outside("spec");
    let flag = directory.to_string_lossy().into_owned();
    let _written = c.command(["spec", "--bundle", &flag]).run().ok();
    fs::write(directory.join("config.json"), "mine").expect("a file of mine");
    let outcome = c.command(["spec", "--bundle", &flag]).run().fails();
    let text = fs::read_to_string(directory.join("config.json")).expect("config.json");
    assert_eq!(text, "mine");
    if c.runtime().differs("crun", "1.8: says `config.json` already exists") {
        return;
    }
    let _said = outcome.saying("File config.json exists. Remove it first");
}

/// What `spec` writes can be run: without the terminal, which nobody is at here.
#[test]
fn cli_spec_can_be_run() {
    let mut c = Container::new();
    let mut spec = written_spec(&[]);
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/probe", "exit", "12"]);
    spec["linux"]["cgroupsPath"] = json!(c.cgroup.path());
    if !c.runtime().can_restrict_devices() {
        spec["linux"]["resources"] = json!({});
    }
    c.bundle.config = spec;
    let _exited = c.run().exits(12);
}
