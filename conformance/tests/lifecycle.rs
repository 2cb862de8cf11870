//! runtime.md: "Lifecycle" and "Operations".

use teu_conformance::Container;

/// runtime.md, "Start": the container is `created`, then `running`; when its process ends, `stopped`.
#[test]
fn runtime_status_follows_the_lifecycle() {
    let mut c = Container::new();
    c.bundle.ask(&["pause"]);
    let mut outcome = c.create();
    assert_eq!(c.status(), "created");
    c.start();
    outcome.stdout.wait_for_lines(1);
    assert_eq!(c.status(), "running");
    c.stop();
    assert_eq!(c.status(), "stopped");
    let _deleted = c.delete().ok();
    c.must_be_gone();
}

/// runtime.md, "Create": "If the container id is already in use, the runtime MUST generate an error".
#[test]
fn runtime_create_with_an_id_in_use_is_an_error() {
    let mut first = Container::new();
    first.create();
    let mut second = first.beside();
    second.set_id(first.id());
    let _failed = second.launch("create", &[]).run().fails().saying("exist");
    assert_eq!(first.status(), "created");
    second.set_id("another");
}
