//! `run` at a terminal: what a person at a shell has in front of them.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::path::Path;
use teu_conformance::{Container, Session, copy_program, json, skip};

/// Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// What runc says, and every runtime that takes its place.
const BLIND: &str = "cannot allocate tty if runc will detach without setting console socket";

/// Of crun.
const SIZELESS: &str = "1.8: gives the container's terminal no size, not even later";

/// A container with a terminal whose process is this script.
fn container(script: &str) -> Container {
    let mut c = Container::new();
    c.bundle.set("/process/terminal", json!(true));
    c.bundle.set("/process/args", json!(["/busybox", "sh", "-c", script]));
    c.bundle.set("/process/env", json!(["PATH=/", "PS1=$ "]));
    copy_program(Path::new(BUSYBOX), &c.bundle.rootfs().join("busybox"));
    c
}

fn run(c: &Container) -> Session {
    c.launch("run", &[]).at_terminal(24, 80)
}

macro_rules! needs_busybox {
    () => {
        if !Path::new(BUSYBOX).is_file() {
            skip!("no {BUSYBOX} (busybox-static)");
        }
    };
}

/// The three streams are the container's own terminal, and what is printed appears once.
#[test]
fn foreground_output_appears_and_the_exit_code_is_the_process_s() {
    needs_busybox!();
    let c = container("/busybox tty; echo hello; exit 7");
    let mut session = run(&c);
    let tty = session.shows("hello\r\n");
    assert!(tty.starts_with("/dev/"), "{tty:?}");
    assert_eq!(session.ends(), 7);
}

/// What is typed arrives, and is echoed by the container's terminal alone.
#[test]
fn foreground_input_arrives_and_is_echoed_once() {
    needs_busybox!();
    let c = container("echo ready; read line; echo got $line");
    let mut session = run(&c);
    let _before = session.shows("ready\r\n");
    session.types("typed\r");
    assert_eq!(session.shows("got typed\r\n"), "typed\r\n");
    assert_eq!(session.ends(), 0);
}

/// While the container runs, keys are not interpreted twice; afterwards the caller's terminal is as it was.
#[test]
fn foreground_terminal_is_raw_meanwhile_and_then_as_before() {
    needs_busybox!();
    let c = container("echo ready; read line");
    let mut session = run(&c);
    let _before = session.shows("ready\r\n");
    assert_eq!(session.local_modes() & local_mode::ALL, 0);
    session.types("\r");
    assert_eq!(session.ends(), 0);
    assert_eq!(session.local_modes() & local_mode::ALL, local_mode::ALL);
}

/// The same when the container is killed, and when the runtime is told to end.
#[test]
fn foreground_terminal_is_restored_after_signals() {
    needs_busybox!();
    for (script, signal, code) in [
        ("echo ready; read line; kill -9 $$; read line", None, None),
        ("trap 'exit 9' TERM; echo ready; while :; do read line; done", Some(15), Some(9)),
    ] {
        let c = container(script);
        let mut session = run(&c);
        let _before = session.shows("ready\r\n");
        match signal {
            Some(signal) => session.signal(signal),
            // A PID namespace's first process is not killed from inside: the script goes on, and is killed from outside.
            None => drop(c.kill("KILL").ok()),
        }
        assert_eq!(session.ends(), code.unwrap_or(137), "{script}");
        assert_eq!(session.local_modes() & local_mode::ALL, local_mode::ALL, "{script}");
    }
}

/// The container's terminal has the caller's size from the start.
#[test]
fn foreground_terminal_has_the_size_of_the_caller_s() {
    needs_busybox!();
    let c = container("/busybox stty size");
    let late = c
        .runtime()
        .differs("runc", "sets the size after the start, when a program may have looked");
    let sizeless = c.runtime().differs("crun", SIZELESS);
    let mut session = c.launch("run", &[]).at_terminal(33, 77);
    if sizeless {
        return;
    }
    if !late {
        let _before = session.shows("33 77\r\n");
    }
    assert_eq!(session.ends(), 0);
}

/// And it follows when that one changes.
#[test]
fn foreground_terminal_follows_the_caller_s_size() {
    needs_busybox!();
    let c = container(
        "trap '/busybox stty size; exit 0' WINCH; echo ready; while :; do read -t 1 line; done",
    );
    if c.runtime().differs("crun", SIZELESS) {
        return;
    }
    let mut session = run(&c);
    let _before = session.shows("ready\r\n");
    session.resize(44, 111);
    let _before = session.shows("44 111\r\n");
    assert_eq!(session.ends(), 0);
}

/// Ctrl-C goes to the container's foreground process, not to the runtime.
#[test]
fn foreground_interrupt_key_is_the_container_s() {
    needs_busybox!();
    let c = container(
        "trap 'echo interrupted; exit 5' INT; echo ready; while :; do read -t 1 line; done",
    );
    let mut session = run(&c);
    let _before = session.shows("ready\r\n");
    session.types("\x03");
    let _before = session.shows("interrupted\r\n");
    assert_eq!(session.ends(), 5);
}

/// Ctrl-D ends the input of the process inside.
#[test]
fn foreground_end_of_file_key_is_the_container_s() {
    needs_busybox!();
    let c = container("echo ready; /busybox cat; echo done");
    let mut session = run(&c);
    let _before = session.shows("ready\r\n");
    session.types("one\r");
    let _before = session.shows("one\r\none\r\n");
    session.types("\x04");
    let _before = session.shows("done\r\n");
    assert_eq!(session.ends(), 0);
}

/// Everything that was printed before the end appears, however much it is.
#[test]
fn foreground_output_is_complete() {
    needs_busybox!();
    let c = container("/busybox seq 1 20000; echo the end");
    let mut session = run(&c);
    let printed = session.shows("the end\r\n");
    assert_eq!(printed.lines().count(), 20_000);
    assert_eq!(session.ends(), 0);
}

/// A container that cannot be made leaves the terminal alone.
#[test]
fn foreground_failure_leaves_the_terminal_as_it_was() {
    needs_busybox!();
    let mut c = container("true");
    c.bundle.set("/process/args", json!(["/nosuch"]));
    let mut session = run(&c);
    if c.runtime().differs("crun", "1.8: sometimes leaves the terminal raw, and says nothing there")
    {
        assert_ne!(session.ends(), 0);
        return;
    }
    let _before = session.shows("/nosuch");
    assert_eq!(session.ends(), 1);
    assert_eq!(session.local_modes() & local_mode::ALL, local_mode::ALL);
}

/// A terminal that nobody would hold is refused.
#[test]
fn foreground_terminal_needs_somebody_who_takes_it() {
    let mut c = Container::new();
    c.bundle.set("/process/terminal", json!(true));
    let outcome = c.launch("run", &["--detach"]).run().fails();
    if !c.runtime().differs("crun", "has words of its own") {
        let _said = outcome.saying(BLIND);
    }
    c.must_be_gone();
}

/// Bits of `c_lflag` (termios(3)), the same on every architecture that is tested.
mod local_mode {
    const ISIG: u32 = 0o1;
    const ICANON: u32 = 0o2;
    const ECHO: u32 = 0o10;
    /// What a person's terminal does for them, and one in raw mode does not.
    pub(crate) const ALL: u32 = ISIG | ICANON | ECHO;
}
