//! Id-mapped mounts: config.md, section "Mounts" (`uidMappings`, `gidMappings`, `idmap`, `ridmap`).
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use teu_conformance::namespace::{Holder, Kind};
use teu_conformance::{Container, HostMount, Value, json};

/// EOVERFLOW: an id that has no place in the map cannot own a new file.
const EOVERFLOW: i32 = 75;
/// How an id without a place in the map is shown.
const NOBODY: u32 = 65_534;

/// A container, and a directory of the host with files of user 0, user 5 and user 100005.
fn with_files() -> (Container, PathBuf) {
    let c = Container::new();
    let source = c.bundle.outside("source");
    for id in [0, 5, 100_005] {
        let file = source.join(id.to_string());
        fs::write(&file, "").expect("a file of the host");
        chown(&file, Some(id), Some(id)).expect("giving a file away");
    }
    fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("a directory for everybody");
    (c, source)
}

fn map(ranges: &[(u32, u32, u32)]) -> Value {
    let entry = |&(inside, outside, size): &(u32, u32, u32)| json!({ "containerID": inside, "hostID": outside, "size": size });
    ranges.iter().map(entry).collect()
}

/// A bind mount of `source` at /bound with these options and maps.
fn mount(source: &std::path::Path, options: &[&str], ranges: &[(u32, u32, u32)]) -> Value {
    let mut mount =
        json!({ "destination": "/bound", "type": "bind", "source": source, "options": options });
    if !ranges.is_empty() {
        mount["uidMappings"] = map(ranges);
        mount["gidMappings"] = map(ranges);
    }
    mount
}

/// Owners of the three files as the container sees them.
fn owners(c: &mut Container) -> Vec<Value> {
    let answers = c.ask(&["stat /bound/0", "stat /bound/5", "stat /bound/100005"]);
    for answer in &answers {
        assert_eq!(answer["uid"], answer["gid"], "{answer}");
    }
    answers.into_iter().map(|answer| answer["uid"].clone()).collect()
}

/// True for the runtime that knows nothing of it.
fn is_unknown(c: &Container) -> bool {
    c.runtime()
        .differs("runc < 1.2", "has no id-mapped mounts, and ignores that they are asked for")
}

/// config.md: the maps of the mount, several ranges, in a container without a user namespace.
#[test]
fn config_mounts_idmap_of_its_own() {
    for options in [&["bind", "idmap"][..], &["rbind", "ridmap"]] {
        let (mut c, source) = with_files();
        c.bundle.push("/mounts", mount(&source, options, &[(0, 1000, 1), (5, 2000, 10)]));
        if is_unknown(&c) {
            return;
        }
        assert_eq!(owners(&mut c), [json!(1000), json!(2000), json!(NOBODY)]);
    }
}

/// config.md: what the container makes belongs to the id on the filesystem that its own is mapped from.
#[test]
fn config_mounts_idmap_writes_through_the_map() {
    let (mut c, source) = with_files();
    c.bundle.push("/mounts", mount(&source, &["bind", "idmap"], &[(7, 0, 1), (0, 1, 1)]));
    if is_unknown(&c) {
        return;
    }
    assert_eq!(c.ask_one("write /bound/new text")["done"], true);
    let made = fs::metadata(source.join("new")).expect("the host's side");
    assert_eq!((made.uid(), made.gid()), (7, 7));
}

/// mount_setattr(2): an id outside the map may own nothing.
#[test]
fn config_mounts_idmap_refuses_ids_outside_the_map() {
    let (mut c, source) = with_files();
    c.bundle.push("/mounts", mount(&source, &["bind", "idmap"], &[(0, 1000, 1)]));
    if is_unknown(&c) {
        return;
    }
    assert_eq!(c.ask_one("write /bound/new text")["errno"], EOVERFLOW);
}

/// config.md: without maps of its own the mount has those of the container's user namespace.
#[test]
fn config_mounts_idmap_of_the_container() {
    let (mut c, source) = with_files();
    c.bundle.map_users(100_000, 65_536);
    c.bundle.push("/mounts", mount(&source, &["bind", "idmap"], &[]));
    if is_unknown(&c) {
        return;
    }
    assert_eq!(owners(&mut c), [json!(0), json!(5), json!(NOBODY)]);
    assert_eq!(c.ask_one("write /bound/new text")["done"], true);
    assert_eq!(fs::metadata(source.join("new")).expect("the host's side").uid(), 0);
}

/// config.md: the same when the user namespace is joined.
#[test]
fn config_mounts_idmap_of_a_joined_user_namespace() {
    let (mut c, source) = with_files();
    if c.runtime().differs(
        "crun",
        "1.8: maps ids by the configuration's maps, which a joined namespace has none of",
    ) {
        return;
    }
    let holder = Holder::new(Kind::User);
    holder.map_users(100_000, 65_536);
    c.bundle.own_rootfs(100_000);
    c.bundle.push("/linux/namespaces", json!({ "type": "user", "path": holder.path() }));
    c.bundle.push("/mounts", mount(&source, &["bind", "idmap"], &[]));
    if is_unknown(&c) {
        return;
    }
    assert_eq!(owners(&mut c), [json!(0), json!(5), json!(NOBODY)]);
}

/// config.md: maps of the mount come before those of the container.
#[test]
fn config_mounts_idmap_of_its_own_in_a_user_namespace() {
    let (mut c, source) = with_files();
    c.bundle.map_users(100_000, 65_536);
    c.bundle.push("/mounts", mount(&source, &["bind", "idmap"], &[(0, 100_010, 10)]));
    if is_unknown(&c) {
        return;
    }
    assert_eq!(owners(&mut c), [json!(10), json!(15), json!(NOBODY)]);
}

/// config.md: `idmap` is for one mount, `ridmap` for those below it as well.
#[test]
fn config_mounts_ridmap_reaches_below() {
    for (option, owner) in [("idmap", 5), ("ridmap", 1005)] {
        let (mut c, source) = with_files();
        let inner = source.join("inner");
        fs::create_dir(&inner).expect("a directory of the host");
        fs::write(inner.join("file"), "").expect("a file of the host");
        chown(inner.join("file"), Some(5), Some(5)).expect("giving a file away");
        // A directory mounted over itself: a mount below the source.
        let _below = HostMount::bind(&inner, &inner);
        c.bundle.push("/mounts", mount(&source, &["rbind", option], &[(0, 1000, 10)]));
        if is_unknown(&c) {
            return;
        }
        let crun = c.runtime().differs("crun", "1.8: idmap reaches below as ridmap does");
        let owner = if crun { 1005 } else { owner };
        assert_eq!(c.ask_one("stat /bound/inner/file")["uid"], owner, "{option}");
    }
}

/// config.md: both maps or none; and "otherwise an error MUST be returned" without a user namespace.
#[test]
fn config_mounts_idmap_without_maps_is_an_error() {
    let (mut c, source) = with_files();
    c.bundle.push("/mounts", mount(&source, &["bind", "idmap"], &[]));
    if is_unknown(&c) {
        return;
    }
    if c.runtime().differs("crun", "1.8: ignores idmap where there is nothing to map by") {
        let _any = c.run();
        return;
    }
    let _refused = c.refused();
    let mut half = mount(&source, &["bind", "idmap"], &[(0, 1000, 1)]);
    half.as_object_mut().expect("an object").remove("gidMappings");
    let (mut c, _) = with_files();
    c.bundle.push("/mounts", half);
    let _refused = c.refused();
}

/// A filesystem that has no mapped ids is named, and the field that asked.
#[test]
fn config_mounts_idmap_of_a_filesystem_without_says_which() {
    let mut c = Container::new();
    c.bundle.push("/mounts", mount("/proc".as_ref(), &["bind", "idmap"], &[(0, 1000, 1)]));
    if is_unknown(&c) {
        return;
    }
    let refused = c.refused();
    if c.runtime().name() == "teu" {
        let _said = refused.saying("(proc)").saying("/mounts/7/uidMappings");
    }
}
