//! `process.terminal` (config.md#process) and runc's console socket.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use teu_conformance::{Container, copy_program, json, skip, sys};

/// Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Whether there is a static shell to run on the terminal.
fn has_busybox() -> bool {
    std::fs::metadata(BUSYBOX).is_ok()
}

/// A container with a terminal whose process is a shell of the host, and what its console socket received.
fn with_terminal(script: &str, size: Option<(u16, u16)>) -> (Container, Vec<u8>, File) {
    let mut c = Container::new();
    c.bundle.set("/process/terminal", json!(true));
    if let Some((height, width)) = size {
        c.bundle.set("/process/consoleSize", json!({ "height": height, "width": width }));
    }
    c.bundle.set("/process/args", json!(["/busybox", "sh", "-c", script]));
    copy_program(Path::new(BUSYBOX), &c.bundle.rootfs().join("busybox"));
    let path = c.bundle.outside("console").join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    let path = path.to_str().expect("a path").to_owned();
    let _created = c.launch("create", &["--console-socket", &path]).run().ok();
    let (socket, _) = listener.accept().expect("somebody connects");
    let (name, master) = sys::receive_descriptor(&socket).expect("the master");
    (c, name, File::from(master))
}

/// The next line that the container's process prints.
fn line(master: &File) -> String {
    let mut text = String::new();
    let _length = BufReader::with_capacity(1, master).read_line(&mut text).expect("a line");
    text.trim_end().to_owned()
}

/// runc's contract: the socket gets the master side, and the process has the other on its three streams, as its controlling
/// terminal.
#[test]
fn terminal_master_goes_to_the_console_socket() {
    if !has_busybox() {
        skip!("no {BUSYBOX} (busybox-static)");
    }
    let script = "for n in 0 1 2; do /busybox readlink /proc/self/fd/$n; done; echo to-tty > /dev/tty; read x; echo got $x";
    let (c, name, mut master) = with_terminal(script, None);
    assert!(!name.is_empty(), "the message has the terminal's name");
    let _started = c.command(["start", c.id()]).run().ok();
    let streams = [line(&master), line(&master), line(&master)];
    assert!(streams[0].starts_with("/dev/pts/"), "{streams:?}");
    assert!(streams.iter().all(|stream| *stream == streams[0]), "{streams:?}");
    assert_eq!(line(&master), "to-tty");
    master.write_all(b"typed\n").expect("write");
    assert_eq!(line(&master), "typed", "the line discipline echoes");
    assert_eq!(line(&master), "got typed");
}

/// config.md: `consoleSize` is the size of the terminal.
#[test]
fn terminal_has_the_size_of_the_configuration() {
    if !has_busybox() {
        skip!("no {BUSYBOX} (busybox-static)");
    }
    let (c, _, master) = with_terminal("/busybox stty size", Some((31, 97)));
    let _started = c.command(["start", c.id()]).run().ok();
    assert_eq!(line(&master), "31 97");
}

/// The image may have a link at /dev/console: the terminal is mounted there or refused, and the link never followed
/// (CVE-2025-52565).
#[test]
fn terminal_does_not_follow_a_link_at_dev_console() {
    let mut c = Container::new();
    let canary = c.bundle.outside("canary").join("file");
    std::fs::write(&canary, "untouched").expect("a file");
    // Without a tmpfs over /dev, what the image has there counts.
    c.bundle.set("/process/terminal", json!(true));
    c.bundle.keep_mounts(|destination| !destination.starts_with("/dev"));
    let dev = c.bundle.rootfs().join("dev");
    std::fs::create_dir_all(&dev).expect("a directory");
    std::os::unix::fs::symlink(&canary, dev.join("console")).expect("a link");
    let path = c.bundle.outside("console").join("socket");
    let _listener = UnixListener::bind(&path).expect("a socket");
    let flags = ["--console-socket", path.to_str().expect("a path")];
    let _any = c.launch("create", &flags).run();
    assert_eq!(std::fs::read_to_string(canary).expect("the file"), "untouched");
}
