//! The copier against this kernel's filesystems.

extern crate std;
use super::*;
use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

/// An image's directory and a volume, gone with the test.
struct Pair(PathBuf);

impl Pair {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(std::format!("teu-copy-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("image")).unwrap();
        fs::create_dir(path.join("volume")).unwrap();
        Self(path)
    }

    fn image(&self, path: &str) -> PathBuf {
        self.0.join("image").join(path)
    }

    fn volume(&self, path: &str) -> PathBuf {
        self.0.join("volume").join(path)
    }

    fn fill(&self) -> Outcome {
        self.fill_keeping(0)
    }

    fn fill_keeping(&self, keep: u64) -> Outcome {
        let open = |path: PathBuf| Fd(File::open(path).unwrap().into_raw_fd());
        fill(open(self.image("")), open(self.volume("")), keep)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.volume(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn touch(path: &Path, seconds: i64) {
    let time = sys::Time { seconds, nanoseconds: 7 };
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    sys::set_times(Fd::CWD, Text::of(name.as_bytes_with_nul()), time, time).unwrap();
}

#[test]
fn everything_that_belongs_to_a_file_is_copied() {
    let pair = Pair::new("all");
    fs::create_dir_all(pair.image("a/b")).unwrap();
    write(&pair.image("a/b/file"), "text");
    fs::set_permissions(pair.image("a/b/file"), Permissions::from_mode(0o4751)).unwrap();
    symlink("/etc/passwd", pair.image("a/link")).unwrap();
    symlink("b", pair.image("a/to-directory")).unwrap();
    let fifo = std::ffi::CString::new(pair.image("fifo").to_str().unwrap()).unwrap();
    sys::mknodat(Fd::CWD, Text::of(fifo.as_bytes_with_nul()), 0o010_600, 0).unwrap();
    fs::set_permissions(pair.image("a"), Permissions::from_mode(0o1750)).unwrap();
    fs::set_permissions(pair.image(""), Permissions::from_mode(0o711)).unwrap();
    for (index, name) in ["a/b/file", "a/link", "a/b", "fifo", "a", ""].iter().enumerate() {
        touch(&pair.image(name), 1000 + i64::try_from(index).unwrap());
    }
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["a", "fifo"]);
    assert_eq!(read(&pair.volume("a/b/file")), "text");
    assert_eq!(fs::read_link(pair.volume("a/link")).unwrap(), Path::new("/etc/passwd"));
    assert!(fs::symlink_metadata(pair.volume("fifo")).unwrap().file_type().is_fifo());
    for name in ["a/b/file", "a/link", "a/to-directory", "a/b", "fifo", "a", ""] {
        let of = |path: PathBuf| {
            let meta = fs::symlink_metadata(path).unwrap();
            (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
        };
        assert_eq!(of(pair.volume(name)), of(pair.image(name)), "{name}");
    }
}

#[test]
fn a_volume_that_holds_something_stays_as_it_is() {
    let pair = Pair::new("full");
    write(&pair.image("file"), "image");
    write(&pair.volume("mine"), "volume");
    let before = fs::metadata(pair.volume("")).unwrap();
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["mine"]);
    assert_eq!(fs::metadata(pair.volume("")).unwrap().mtime(), before.mtime());
    // And a second time after a first one: nothing comes again.
    let pair = Pair::new("again");
    write(&pair.image("file"), "image");
    pair.fill().unwrap();
    fs::remove_file(pair.volume("file")).unwrap();
    write(&pair.volume("mine"), "volume");
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["mine"]);
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let pair = Pair::new("links");
    fs::create_dir(pair.image("d")).unwrap();
    write(&pair.image("one"), "text");
    fs::hard_link(pair.image("one"), pair.image("d/two")).unwrap();
    fs::hard_link(pair.image("one"), pair.image("three")).unwrap();
    write(&pair.image("other"), "text");
    pair.fill().unwrap();
    let inode = |name: &str| fs::metadata(pair.volume(name)).unwrap().ino();
    assert_eq!(inode("one"), inode("d/two"));
    assert_eq!(inode("one"), inode("three"));
    assert_ne!(inode("one"), inode("other"));
    assert_eq!(fs::metadata(pair.volume("one")).unwrap().nlink(), 3);
    assert_eq!(pair.names(), ["d", "one", "other", "three"]);
}

#[test]
fn holes_stay_holes() {
    const GIB: u64 = 1 << 30;
    let pair = Pair::new("holes");
    let mut file = File::create(pair.image("sparse")).unwrap();
    file.seek(SeekFrom::Start(GIB)).unwrap();
    file.write_all(b"middle").unwrap();
    file.set_len(3 * GIB).unwrap();
    pair.fill().unwrap();
    let copy = fs::metadata(pair.volume("sparse")).unwrap();
    assert_eq!(copy.len(), 3 * GIB);
    assert!(copy.blocks() < 1000, "{} blocks", copy.blocks());
    let mut bytes = [0; 6];
    let mut copy = File::open(pair.volume("sparse")).unwrap();
    copy.seek(SeekFrom::Start(GIB)).unwrap();
    std::io::Read::read_exact(&mut copy, &mut bytes).unwrap();
    assert_eq!(&bytes, b"middle");
}

#[test]
fn many_entries_and_long_names_are_all_copied() {
    let pair = Pair::new("many");
    for index in 0..600 {
        let name = std::format!("{index:0>200}");
        if index % 3 == 0 {
            fs::create_dir(pair.image(&name)).unwrap();
            write(&pair.image(&name).join("inner"), &name);
        } else {
            write(&pair.image(&name), &name);
        }
    }
    pair.fill().unwrap();
    assert_eq!(pair.names().len(), 600);
    for name in pair.names() {
        let copy = pair.volume(&name);
        let file = if copy.is_dir() { copy.join("inner") } else { copy };
        assert_eq!(read(&file), name);
    }
}

#[test]
fn what_is_too_deep_is_refused_and_cleared_away_by_the_next() {
    let pair = Pair::new("deep");
    let deep = |levels: usize| ["d"; 200].iter().take(levels).collect::<PathBuf>();
    let at = |levels: usize| pair.image("").join(deep(levels));
    fs::create_dir_all(at(DEPTH - 1)).unwrap();
    write(&at(DEPTH - 1).join("bottom"), "text");
    pair.fill().unwrap();
    assert_eq!(read(&pair.volume("").join(deep(DEPTH - 1)).join("bottom")), "text");

    fs::remove_dir_all(pair.volume("d")).unwrap();
    fs::create_dir_all(at(DEPTH)).unwrap();
    assert_eq!(pair.fill(), Err((Detail::CopyDepth, Errno(0))));
    assert_eq!(pair.names(), [".teu-copyup.new"]);
    fs::remove_dir_all(pair.image("d")).unwrap();
    write(&pair.image("flat"), "text");
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["flat"]);
}

#[test]
fn an_interrupted_copy_is_made_anew_and_a_complete_one_is_moved_up() {
    let pair = Pair::new("crash");
    write(&pair.image("file"), "image");
    write(&pair.image("other"), "image");
    // In the middle of the copy.
    fs::create_dir_all(pair.volume(".teu-copyup.new/tree/half")).unwrap();
    write(&pair.volume(".teu-copyup.new/tree/file"), "ha");
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["file", "other"]);
    assert_eq!(read(&pair.volume("file")), "image");
    // Everything is moved, but the volume does not look like the image's directory yet.
    fs::set_permissions(pair.image(""), Permissions::from_mode(0o1733)).unwrap();
    fs::create_dir(pair.volume(".teu-copyup.ready")).unwrap();
    pair.fill().unwrap();
    assert_eq!(fs::metadata(pair.volume("")).unwrap().mode() & 0o7777, 0o1733);
    // In the middle of the moves: what was moved has even been changed since.
    fs::remove_file(pair.volume("other")).unwrap();
    write(&pair.volume("file"), "changed");
    fs::create_dir(pair.volume(".teu-copyup.ready")).unwrap();
    fs::create_dir(pair.volume(".teu-copyup.new")).unwrap();
    write(&pair.volume(".teu-copyup.ready/other"), "copied");
    write(&pair.volume(".teu-copyup.ready/file"), "copied");
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["file", "other"]);
    assert_eq!(read(&pair.volume("file")), "changed");
    assert_eq!(read(&pair.volume("other")), "copied");
    // A copy that was given up, in a volume that somebody used since.
    fs::create_dir(pair.volume(".teu-copyup.new")).unwrap();
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["file", "other"]);
}

#[test]
fn links_in_the_place_of_its_directories_lead_nowhere() {
    let pair = Pair::new("traps");
    let outside = pair.0.join("outside");
    fs::create_dir(&outside).unwrap();
    write(&outside.join("precious"), "text");
    write(&pair.image("file"), "image");
    symlink(&outside, pair.volume(".teu-copyup.new")).unwrap();
    pair.fill().unwrap();
    assert_eq!(pair.names(), ["file"]);
    fs::remove_file(pair.volume("file")).unwrap();
    symlink(&outside, pair.volume(".teu-copyup.ready")).unwrap();
    assert!(pair.fill().is_err());
    assert_eq!(read(&outside.join("precious")), "text");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn owner_and_mode_of_the_volume_can_be_kept() {
    let pair = Pair::new("keep");
    fs::set_permissions(pair.image(""), Permissions::from_mode(0o500)).unwrap();
    fs::set_permissions(pair.volume(""), Permissions::from_mode(0o1777)).unwrap();
    pair.fill_keeping(Keep::MODE).unwrap();
    assert_eq!(fs::metadata(pair.volume("")).unwrap().mode() & 0o7777, 0o1777);
    pair.fill().unwrap();
    assert_eq!(fs::metadata(pair.volume("")).unwrap().mode() & 0o7777, 0o500);
}

#[test]
fn extended_attributes_of_the_file_are_copied_and_labels_are_not() {
    /// `struct vfs_cap_data` of revision 2: CAP_NET_RAW, effective.
    const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pair = Pair::new("xattr");
    write(&pair.image("file"), "text");
    let open = |path: PathBuf| Fd(File::open(path).unwrap().into_raw_fd());
    let file = open(pair.image("file"));
    let long = [b'x'; 3000];
    sys::set_attribute(file, Text::of(b"user.teu\0"), &long).unwrap();
    sys::set_attribute(file, Text::of(b"security.capability\0"), &CAPABILITY).unwrap();
    sys::set_attribute(open(pair.image("")), Text::of(b"trusted.teu\0"), b"root").unwrap();
    // Any security attribute can be set where its module is not there to object.
    let labelled = sys::set_attribute(file, Text::of(b"security.other\0"), b"label");
    pair.fill().unwrap();
    let mut buffer = [0; 4096];
    let copy = open(pair.volume("file"));
    let mut value = |fd: Fd, name: &[u8]| {
        sys::get_attribute(fd, Text::of(name), &mut buffer).map(|len| buffer[..len].to_vec())
    };
    assert_eq!(value(copy, b"user.teu\0").unwrap(), long);
    assert_eq!(value(copy, b"security.capability\0").unwrap(), CAPABILITY);
    assert_eq!(value(open(pair.volume("")), b"trusted.teu\0").unwrap(), b"root");
    if labelled.is_ok() {
        assert_eq!(value(copy, b"security.other\0"), Err(Errno::ENODATA));
    }
}
