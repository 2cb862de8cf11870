//! `process` of config.json: config.md, section "Process", and the POSIX and Linux parts of it.

use teu_conformance::{Container, json};

/// config.md, `cwd`: "is the working directory that will be set for the executable".
#[test]
fn config_process_cwd_is_the_working_directory() {
    let mut c = Container::new();
    c.bundle.set("/process/cwd", json!("/tmp"));
    assert_eq!(c.ask_one("self")["cwd"], "/tmp");
}

/// config.md, `cwd`: "This value MUST be an absolute path."
#[test]
fn config_process_cwd_must_be_absolute() {
    let mut c = Container::new();
    c.bundle.set("/process/cwd", json!("tmp"));
    if c.runtime().differs("crun", "1.8: takes a relative cwd as below /") {
        c.create();
        return;
    }
    let _refused = c.refused();
}

/// runc-compat: a `cwd` that the root file system does not have is created.
#[test]
fn config_process_cwd_is_created() {
    let mut c = Container::new();
    c.bundle.set("/process/cwd", json!("/made/for/me"));
    assert_eq!(c.ask_one("self")["cwd"], "/made/for/me");
}

/// config.md, `env`: the order is kept, and nothing of the runtime's environment gets in.
#[test]
fn config_process_env_keeps_the_order() {
    let mut c = Container::new();
    c.bundle.set("/process/env", json!(["B=2", "A=1", "HOME=/h", "C="]));
    assert_eq!(c.ask_one("self")["env"], json!(["B=2", "A=1", "HOME=/h", "C="]));
}
