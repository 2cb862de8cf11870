//! Layered roots on this kernel.

use super::*;
use crate::plan::layers::{Entry, Pointers};
use nix::fcntl::openat;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};

/// A directory of one test, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("teu-overlay-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// A writable root of as many layers, each with a file of its number.
    fn root(&self, layers: usize, method: Method) -> LayeredRoot {
        let lowers = (0..layers).map(|number| {
            self.file(&format!("lower {number}:,\\/file{number}"), "text");
            self.0.join(format!("lower {number}:,\\"))
        });
        LayeredRoot {
            lowers: lowers.collect(),
            writable: Some((self.directory("upper"), self.directory("work"))),
            method,
            options: layers::options(false),
            init_directory: None,
            owner: (7, 8),
            entries: Vec::new(),
            pointers: Pointers {
                lower: "/lower".to_owned(),
                upper: "/upper".to_owned(),
                work: String::new(),
                init: String::new(),
            },
        }
    }

    /// Makes the init layer and mounts the root.
    fn mount(&self, root: &LayeredRoot) -> Result<OwnedFd, StepError> {
        let place = self.0.join("init");
        claim(&place, root)?;
        let lowers = make_init_layer(&place, root, &[])?;
        mount(root, &lowers)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: mounting needs root");
    }
    root
}

fn open_file(root: &OwnedFd, path: &str) -> Result<File, Errno> {
    openat(root, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
}

#[test]
fn every_way_to_tell_the_directories_gives_the_same_root() {
    if !is_root() {
        return;
    }
    let best = Method::of(crate::facts::Facts::probe().unwrap().kernel);
    let ways = [(Method::Descriptors, 150), (Method::Names, 150), (Method::OneText, 11)];
    // Newer kernels have the older ways, too.
    let from = ways.iter().position(|(method, _)| *method == best).unwrap();
    for (method, count) in ways.into_iter().skip(from) {
        let place = Place::new(&format!("{method:?}"));
        let mut root = place.root(count, method);
        root.entries = vec![Entry::File { path: "/etc/own".to_owned(), text: "own".to_owned() }];
        let mounted = place.mount(&root).unwrap_or_else(|error| panic!("{method:?}: {error}"));
        for number in 0..count {
            open_file(&mounted, &format!("file{number}")).unwrap();
        }
        let mut text = String::new();
        open_file(&mounted, "etc/own").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "own");
        assert_eq!(std::fs::read_dir(place.0.join("upper")).unwrap().count(), 0);
    }
}

#[test]
fn a_text_that_is_too_long_for_the_kernel_is_an_error_with_a_reason() {
    if !is_root() {
        return;
    }
    let place = Place::new("long");
    let error = place.mount(&place.root(40, Method::OneText)).unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("255 characters"), "{error}");
}

#[test]
fn what_is_made_has_the_container_s_owner_and_the_mode_that_was_meant() {
    if !is_root() {
        return;
    }
    let place = Place::new("owner");
    symlink("/made/by/link", place.directory("lower 0:,\\").join("link")).unwrap();
    let mut root = place.root(1, Method::of(crate::facts::Facts::probe().unwrap().kernel));
    let name = |name: &str| name.to_owned();
    root.entries = vec![
        Entry::Directory { path: name("/a/b"), mode: 0o777 },
        Entry::Directory { path: name("/link/c"), mode: 0o755 },
        Entry::EmptyFile { path: name("/d/file") },
        Entry::Node {
            path: name("/d/null"),
            mode: libc::S_IFCHR | 0o666,
            device: 0x103,
            uid: 1,
            gid: 2,
        },
        Entry::Link { path: name("/d/sym"), target: name("x"), replace: true },
        // Again: nothing changes, and nothing fails.
        Entry::Directory { path: name("/a/b"), mode: 0o700 },
        Entry::Node {
            path: name("/d/null"),
            mode: libc::S_IFCHR | 0o600,
            device: 0x105,
            uid: 0,
            gid: 0,
        },
    ];
    let _mounted = place.mount(&root).unwrap();
    let layer = place.0.join("init/layer");
    let of = |path: &str| {
        let meta = std::fs::symlink_metadata(layer.join(path)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(of("a"), (0o777, 7, 8));
    assert_eq!(of("a/b"), (0o777, 7, 8));
    assert_eq!(of("made/by/link/c"), (0o755, 7, 8));
    assert_eq!(of("d/file"), (0o755, 7, 8));
    assert_eq!(of("d/null"), (0o666, 1, 2));
    assert_eq!((of("d/sym").1, of("d/sym").2), (7, 8));
}

#[test]
fn a_place_that_is_taken_is_left_alone() {
    let place = Place::new("taken");
    let root = place.root(1, Method::Descriptors);
    place.file("init/layer/precious", "text");
    let error = claim(&place.0.join("init"), &root).unwrap_err();
    assert_eq!(error.errno, libc::EEXIST);
    remove(&place.0.join("init")).unwrap();
    remove(&place.0.join("init")).unwrap();
}

#[test]
fn refusals_name_the_field_and_the_reason() {
    if !is_root() {
        return;
    }
    let place = Place::new("refused");
    let mut root = place.root(1, Method::of(crate::facts::Facts::probe().unwrap().kernel));
    root.lowers.push(PathBuf::from("/does/not/exist"));
    let error = place.mount(&root).unwrap_err();
    assert_eq!((error.errno, error.pointer.as_deref()), (libc::ENOENT, Some("/lower")));
    remove(&place.0.join("init")).unwrap();

    root.lowers.pop();
    let upper = place.directory("upper");
    // The same directory by another name.
    symlink(&upper, place.0.join("again")).unwrap();
    root.writable = Some((upper, place.0.join("again")));
    let error = place.mount(&root).unwrap_err();
    assert!(error.hint.is_some(), "{error}");
}
