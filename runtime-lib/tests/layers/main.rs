//! Runs the example of layered root filesystems, and looks at what it says.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test reports by panicking")]

#[path = "../../examples/layers.rs"]
mod example;

#[test]
fn two_containers_share_layers_and_keep_their_changes_apart() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED layers: containers without a user namespace need root");
        return;
    }
    let place = std::env::temp_dir().join(format!("teu-example-{}", std::process::id()));
    let mut said = Vec::new();
    let done = example::demonstrate(&place, &mut said);
    std::fs::remove_dir_all(&place).expect("the example's directory");
    done.expect("the example");
    let said = String::from_utf8(said).expect("text");
    let expected = "\
with both containers there, the host's mount table shows them: false
first: exit status: 0
second: exit status: 0
first changed: /greeting /made /made/file
second changed: /unwanted(removed)
the shared layers are unchanged: true
with both containers gone, the host's mount table shows them: false
what is left of their states: 0
";
    assert_eq!(said, expected);
}
