use super::init_layer::entries;
use super::*;
use crate::facts::testing::facts;
use crate::plan::step::InitOp;
use serde_json::{Value, json};
use std::path::Path;

fn spec(annotations: &Value) -> Spec {
    serde_json::from_value(json!({ "ociVersion": "1.3.0", "annotations": annotations })).unwrap()
}

fn read(annotations: &Value) -> Result<Layers, PlanError> {
    from_annotations(&spec(annotations)).map(Option::unwrap)
}

fn refused(layers: &Layers) -> String {
    plan(layers, &spec(&json!({})), &facts()).unwrap_err().rule
}

fn writable() -> Layers {
    Layers::new(["/l/2", "/l/1"]).writable("/c/upper", "/c/work")
}

fn texts(root: &LayeredRoot) -> Vec<String> {
    root.options.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn the_label_of_mounts_is_that_of_the_layers_too() {
    let spec = r#"{"ociVersion":"1.3.0","linux":{"mountLabel":"u:r:t:s0:c1,c2"}}"#;
    let root = plan(&writable(), &serde_json::from_str(spec).unwrap(), &facts()).unwrap();
    assert_eq!(texts(&root).last().unwrap(), "context=u:r:t:s0:c1,c2");
}

#[test]
fn what_is_asked_for_is_what_is_mounted() {
    let root = plan(&writable(), &spec(&json!({})), &facts()).unwrap();
    assert_eq!(root.lowers, [Path::new("/l/2"), Path::new("/l/1")]);
    assert_eq!(root.writable, Some(("/c/upper".into(), "/c/work".into())));
    assert_eq!(texts(&root), ["index=off", "metacopy=off", "redirect_dir=off"]);
    assert_eq!(root.method, Method::Descriptors);
    assert!(root.entries.is_empty());
}

#[test]
fn directories_that_would_change_each_other_are_refused() {
    let with = |upper: &str, work: &str| Layers::new(["/l/1"]).writable(upper, work);
    assert_eq!(refused(&with("/c/u", "/c/u")), "the work and the upper directory are the same");
    assert_eq!(refused(&with("/c/u", "/c/u/w")), "the work directory lies in the upper one");
    assert_eq!(refused(&with("/c/w/u", "/c/w")), "the upper directory lies in the work one");
    assert_eq!(refused(&with("/l/1", "/c/w")), "the upper and the lower directory are the same");
    assert_eq!(refused(&with("/l/1/u", "/c/w")), "the upper directory lies in the lower one");
    assert_eq!(refused(&with("/l", "/c/w")), "the lower directory lies in the upper one");
    assert_eq!(
        refused(&Layers::new(["/a", "/a/"])),
        "the lower and the lower directory are the same"
    );
    let mut layers = with("/c/u", "/c/w");
    layers.init.directory = Some("/c/u/init".into());
    assert_eq!(refused(&layers), "the init layer's directory lies in the upper one");
    // Names that begin alike are no directories in each other.
    assert!(plan(&with("/l/10", "/l/1-work"), &spec(&json!({})), &facts()).is_ok());
}

#[test]
fn half_a_writable_root_and_none_at_all_are_refused() {
    let mut layers = writable();
    layers.work = None;
    assert_eq!(
        refused(&layers),
        "the upper directory needs a work directory, both or none (overlayfs)"
    );
    layers.upper = None;
    assert!(plan(&layers, &spec(&json!({})), &facts()).unwrap().writable.is_none());
    assert_eq!(refused(&Layers::default()), "a layered root needs a lower directory");
}

#[test]
fn only_plain_absolute_paths_are_taken() {
    assert!(refused(&Layers::new(["layers/1"])).contains("absolute"));
    assert!(refused(&Layers::new(["/layers/../etc"])).contains(".."));
    assert!(refused(&Layers::new(["/layers/\0"])).contains("null byte"));
    let mut layers = writable();
    layers.init.resolv_conf = Some(ResolvConf::CopyOf("resolv.conf".into()));
    assert!(refused(&layers).contains("absolute"));
}

#[test]
fn what_the_host_cannot_do_is_refused() {
    let check = |change: fn(&mut Facts), layers: &Layers| {
        let mut facts = facts();
        change(&mut facts);
        plan(layers, &spec(&json!({})), &facts)
    };
    let occupied = check(|facts| facts.root_is_occupied = true, &writable()).unwrap_err();
    assert_eq!(occupied.pointer, "/root/path");
    assert!(
        check(|facts| facts.rights.copies_mounts = false, &writable()).unwrap_err().unsupported
    );

    let many = |count: usize| Layers::new((0..count).map(|index| format!("/l/{index}")));
    assert!(check(|_| {}, &many(499)).is_ok());
    let error = check(|_| {}, &many(500)).unwrap_err();
    assert!(error.unsupported && error.rule.contains("at most 499"), "{error}");

    let old = |facts: &mut Facts| facts.kernel = KernelVersion { major: 6, minor: 1 };
    assert_eq!(check(old, &many(11)).unwrap().method, Method::OneText);
    assert!(check(old, &many(12)).unwrap_err().rule.contains("Linux 6.1 takes at most 11"));
    let newer = |facts: &mut Facts| facts.kernel = KernelVersion { major: 6, minor: 12 };
    assert_eq!(check(newer, &many(499)).unwrap().method, Method::Names);
}

#[test]
fn in_a_user_namespace_overlayfs_uses_what_it_may() {
    let facts = Facts { in_user_namespace: true, ..facts() };
    assert_eq!(texts(&plan(&writable(), &spec(&json!({})), &facts).unwrap()), ["userxattr="]);
}

#[test]
fn the_container_s_root_owns_what_is_made() {
    let maps = |first: u32| json!([{"containerID": 5, "hostID": 7, "size": 1}, {"containerID": 0, "hostID": first, "size": 10}]);
    let spec = serde_json::from_value(json!({
        "ociVersion": "1.3.0", "linux": {"uidMappings": maps(100_000), "gidMappings": maps(200_000)}
    }));
    assert_eq!(owner(&spec.unwrap()), (100_000, 200_000));
    assert_eq!(owner(&self::spec(&json!({}))), (0, 0));
}

#[test]
fn annotations_say_the_same() {
    let layers = read(&json!({
        "dev.teu.layers.lower": "[\"/l/a:b\",\"/l/1\"]",
        "dev.teu.layers.upper": "/c/upper",
        "dev.teu.layers.work": "/c/work",
        "dev.teu.layers.init": "/c/init",
        "dev.teu.layers.hostname": "box",
        "dev.teu.layers.hosts": "{\"10.0.0.2\":[\"box\",\"b\"],\"fd00::1\":[\"six\"]}",
        "dev.teu.layers.resolv-conf": "/run/resolv.conf",
        "org.example": "is not about layers",
    }))
    .unwrap();
    let mut expected = Layers::new(["/l/a:b", "/l/1"]).writable("/c/upper", "/c/work");
    expected.annotated = true;
    expected.init = InitLayer {
        directory: Some("/c/init".into()),
        hostname: Some("box".to_owned()),
        hosts: Some(vec![
            HostEntry::new([10, 0, 0, 2], ["box", "b"]),
            HostEntry::new("fd00::1".parse::<IpAddr>().unwrap(), ["six"]),
        ]),
        resolv_conf: Some(ResolvConf::CopyOf("/run/resolv.conf".into())),
    };
    assert_eq!(layers, expected);
    assert_eq!(from_annotations(&spec(&json!({"org.example": "x"}))).unwrap(), None);
}

#[test]
fn annotations_that_make_no_sense_are_refused_by_name() {
    for (key, value) in
        [("lower", "/l/1"), ("hosts", "10.0.0.2 box"), ("uper", "/c/upper"), ("", "x")]
    {
        let error = read(&json!({ format!("dev.teu.layers.{key}"): value })).unwrap_err();
        assert_eq!(error.pointer, format!("/annotations/dev.teu.layers.{key}"));
        assert_eq!(error.value.as_deref(), Some(value));
    }
    let relative = read(&json!({"dev.teu.layers.lower": "[\"l\"]"})).unwrap();
    let error = plan(&relative, &spec(&json!({})), &facts()).unwrap_err();
    assert_eq!(error.pointer, "/annotations/dev.teu.layers.lower");
}

#[test]
fn the_files_of_the_init_layer_have_one_fact_a_line() {
    let mut layers = writable();
    layers.init.hostname = Some("box".to_owned());
    layers.init.hosts = Some(vec![HostEntry::new([10, 0, 0, 2], ["box", "b"])]);
    layers.init.resolv_conf = Some(ResolvConf::Text("nameserver 10.0.0.1\n".to_owned()));
    let texts: Vec<_> = plan(&layers, &spec(&json!({})), &facts())
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| match entry {
            Entry::File { path, text } => (path, text),
            other => panic!("{other}"),
        })
        .collect();
    let expected = [
        ("/etc/hostname", "box\n"),
        (
            "/etc/hosts",
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.2\tbox b\n",
        ),
        ("/etc/resolv.conf", "nameserver 10.0.0.1\n"),
    ];
    assert_eq!(texts, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));

    for name in ["", "two words", "a\nnameserver", "#"] {
        layers.init.hostname = Some(name.to_owned());
        assert_eq!(refused(&layers), "a host name is one word", "{name:?}");
    }
    layers.init.hostname = None;
    layers.init.hosts = Some(vec![HostEntry::new([10, 0, 0, 2], [""; 0])]);
    assert!(refused(&layers).contains("needs a name"));
}

/// A filesystem mounted at a path.
fn mounted(destination: &str) -> InitStep {
    InitOp::MountFilesystem {
        destination: destination.to_owned(),
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        flags: 0,
        data: String::new(),
        no_symlinks: false,
        inherit_mode: false,
    }
    .into()
}

fn words(steps: &[InitStep]) -> Vec<String> {
    entries(steps).iter().map(ToString::to_string).collect()
}

#[test]
fn mount_points_are_made_unless_they_are_in_another_mount() {
    let steps = ["/dev", "/dev/shm", "/device", "/dev", "/srv/a"].map(mounted);
    assert_eq!(
        words(&steps),
        [
            "directory /dev (mode 0755)",
            "directory /device (mode 0755)",
            "directory /srv/a (mode 0755)"
        ]
    );
}

#[test]
fn nodes_and_links_are_made_where_no_mount_is() {
    let fill = |directory: &str| {
        let name = |name: &str| name.to_owned();
        vec![
            InitOp::EnterDirectory { path: name(directory) }.into(),
            InitOp::MakeNode { name: name("null"), mode: 0o20_666, device: 0x103, uid: 0, gid: 0 }
                .into(),
            InitOp::MakeLink { name: name("fd"), target: name("/proc/self/fd"), replace: false }
                .into(),
            InitOp::MakeConsole.into(),
        ]
    };
    let made = [
        "directory /dev (mode 0755)",
        "device /dev/null (1:3, mode 0666)",
        "link /dev/fd to /proc/self/fd",
        "empty file /dev/console",
    ];
    assert_eq!(words(&fill("/dev")), made);
    let covered: Vec<_> = std::iter::once(mounted("/dev")).chain(fill("/dev")).collect();
    assert_eq!(words(&covered), ["directory /dev (mode 0755)"]);
}
