//! What belongs to the whole program, and so to every thread of it.
#![allow(unsafe_code, reason = "system calls for which there is no file in /proc")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The program's state: names and values.
pub(crate) struct Caller {
    settings: BTreeMap<String, String>,
    /// What the threads of the test change themselves for a moment.
    fleeting: BTreeMap<String, String>,
}

impl Caller {
    /// The present state.
    pub(crate) fn look() -> Self {
        let mut fleeting = links("/proc/self/fd");
        fleeting.extend(mounts());
        Self { settings: settings(), fleeting }
    }

    /// The settings must be the same at this very moment, too.
    pub(crate) fn must_have_its_settings(&self) {
        must_be_equal(&self.settings, &settings());
    }

    /// Everything must be the same, now that no other thread does anything.
    pub(crate) fn must_be_as_it_was(&self) {
        let now = Self::look();
        must_be_equal(&self.settings, &now.settings);
        must_be_equal(&self.fleeting, &now.fleeting);
    }
}

/// Names what differs, and nothing else: there may be secrets in an environment.
fn must_be_equal(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) {
    let differs = |name: &&String| before.get(*name) != now.get(*name);
    let changed: Vec<_> = before.keys().chain(now.keys()).filter(differs).collect();
    let values: Vec<_> = changed.iter().map(|name| (before.get(*name), now.get(*name))).collect();
    assert!(changed.is_empty(), "changed: {changed:?}, before and now: {values:?}");
}

fn settings() -> BTreeMap<String, String> {
    let mut all = links("/proc/self/ns");
    for name in ["cwd", "root", "exe"] {
        all.extend(link(&Path::new("/proc/self").join(name)));
    }
    for name in ["limits", "oom_score_adj", "cgroup", "coredump_filter"] {
        all.insert(name.to_owned(), read(&format!("/proc/self/{name}")));
    }
    all.extend(lasting(&read("/proc/self/status")));
    all.extend((1..=64).map(|signal| (format!("signal {signal}"), disposition(signal))));
    all.extend(attributes().map(|(name, value)| (name.to_owned(), value.to_string())));
    let variables = std::env::vars_os().map(|(name, value)| {
        (format!("environment {}", name.display()), value.to_string_lossy().into_owned())
    });
    all.extend(variables);
    all
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a status that nobody but the program itself changes. Not the signal mask: it is the first thread's, and the
/// handlers of the C library change it for a moment.
fn lasting(status: &str) -> impl Iterator<Item = (String, String)> {
    const NAMES: [&str; 17] = [
        "Umask",
        "PPid",
        "TracerPid",
        "Uid",
        "Gid",
        "Groups",
        "NSsid",
        "NSpgid",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ];
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let lasting = lines.filter(|(name, _)| NAMES.contains(name));
    lasting.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The links in a directory of /proc, but for the descriptor that lists it: that one is closed by the time it is read.
fn links(directory: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).expect("a directory of /proc");
    let paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.iter().filter_map(|path| link(path)).collect()
}

fn link(path: &Path) -> Option<(String, String)> {
    let target = fs::read_link(path).ok()?;
    Some((path.display().to_string(), target.display().to_string()))
}

/// What prctl(2) and the like tell.
fn attributes() -> impl Iterator<Item = (&'static str, i64)> {
    let mut subreaper = 0;
    // SAFETY: the kernel writes an int there.
    let answer = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper, 0, 0, 0) };
    assert_eq!(answer, 0, "PR_GET_CHILD_SUBREAPER");
    let attributes = [
        ("subreaper", i64::from(subreaper)),
        ("dumpable", option(libc::PR_GET_DUMPABLE)),
        ("keepcaps", option(libc::PR_GET_KEEPCAPS)),
        ("securebits", option(libc::PR_GET_SECUREBITS)),
        // SAFETY: the call takes a number.
        ("session", i64::from(unsafe { libc::getsid(0) })),
        // SAFETY: the call takes nothing.
        ("process group", i64::from(unsafe { libc::getpgrp() })),
        ("session keyring", keyring()),
    ];
    attributes.into_iter()
}

/// An option of prctl(2) whose answer is its result.
fn option(option: libc::c_int) -> i64 {
    // SAFETY: the call takes numbers.
    i64::from(unsafe { libc::prctl(option, 0, 0, 0, 0) })
}

/// keyctl(2).
fn keyring() -> i64 {
    const KEYCTL_GET_KEYRING_ID: libc::c_long = 0;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    // SAFETY: the call takes numbers; the last one says that no keyring is made.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) }
}

/// rt_sigaction(2), which tells about the signals 32 and 33 too.
fn disposition(signal: i32) -> String {
    // struct sigaction as the kernel has it: at most 32 bytes.
    let mut present = [0_u64; 4];
    let none = std::ptr::null::<u64>();
    let size = size_of::<u64>();
    // SAFETY: no new disposition is given, and the present one fits.
    let answer =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, none, present.as_mut_ptr(), size) };
    assert_eq!(answer, 0, "rt_sigaction({signal})");
    format!("{present:x?}")
}

/// The signals that this thread blocks, with those that the C library keeps for itself (rt_sigprocmask(2)).
pub(crate) fn signal_mask() -> u64 {
    let mut mask = 0_u64;
    let none = std::ptr::null::<u64>();
    let size = size_of::<u64>();
    // SAFETY: no new mask is given, and the present one has eight bytes.
    let answer = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, none, &raw mut mask, size)
    };
    assert_eq!(answer, 0, "rt_sigprocmask");
    mask
}

/// The host's mounts, but for those of other tests in directories of their own.
fn mounts() -> impl Iterator<Item = (String, String)> {
    let temporary = std::env::temp_dir();
    let own = temporary.join(format!("teu-threads-{}", std::process::id()));
    let text = read("/proc/thread-self/mountinfo");
    let mounts: Vec<_> = text
        .lines()
        .filter(|line| {
            let place = line.split(' ').nth(4).map(PathBuf::from).unwrap_or_default();
            !place.starts_with(&temporary) || place.starts_with(&own)
        })
        .map(|line| (format!("mount {line}"), "there".to_owned()))
        .collect();
    mounts.into_iter()
}
