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

/// Annotations name directories of the host: they count only where the caller says so.
#[test]
fn annotations_choose_layers_only_where_the_caller_lets_them() {
    let place = std::env::temp_dir().join(format!("teu-annotations-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a bundle");
    let config = serde_json::json!({
        "ociVersion": "1.3.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/a"], "env": ["HOME=/"], "cwd": "/" },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }],
            "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] },
        "annotations": { "dev.teu.layers.lower": "[\"/\"]" }
    });
    std::fs::File::create(place.join("config.json"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, config.to_string().as_bytes()))
        .expect("a configuration");
    let plan = |change: fn(&mut teu::CreateOptions)| {
        let mut options = teu::CreateOptions::new(place.join("state"), &place);
        change(&mut options);
        let id = teu::ContainerId::new("box").expect("an id");
        teu::plan_bundle(&id, &options).map(|plan| plan.to_string())
    };
    let refused = plan(|_| {}).expect_err("nobody let them");
    let both = plan(|options| {
        options.layer_annotations = true;
        options.layers = Some(teu::Layers::new(["/"]));
    });
    let both = both.expect_err("two roots for one container");
    let allowed = plan(|options| options.layer_annotations = true);
    std::fs::remove_dir_all(&place).expect("the bundle");
    for (error, words) in [(refused, "may not choose layers"), (both, "both the caller and")] {
        assert_eq!(error.kind(), teu::ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(words), "{error}");
    }
    if nix::unistd::geteuid().is_root() {
        let allowed = allowed.expect("they are allowed");
        assert!(allowed.contains("lower  /  [/annotations/dev.teu.layers.lower]"), "{allowed}");
    }
}
