//! What belongs to the whole program, and so to every thread of it.
#![allow(
    unsafe_code,
    reason = "raw system calls: the C library hides the signals it keeps for itself"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// What the kernel keeps of a signal's disposition (struct sigaction as rt_sigaction(2) has it, at most 32 bytes).
type Disposition = [u64; 4];

/// The program's state. Two of them are equal when nothing has changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Caller {
    settings: Settings,
    descriptors: BTreeMap<i32, PathBuf>,
    mounts: Vec<String>,
}

/// The part that the threads of the test do not change themselves for a moment, as they do with the open descriptors.
#[derive(Debug, PartialEq)]
struct Settings {
    files: BTreeMap<&'static str, String>,
    links: BTreeMap<PathBuf, PathBuf>,
    environment: BTreeMap<OsString, OsString>,
    signals: Vec<Disposition>,
    attributes: BTreeMap<&'static str, i64>,
}

impl Caller {
    /// The present state.
    pub(crate) fn look() -> Self {
        Self { settings: Settings::look(), descriptors: descriptors(), mounts: mounts() }
    }

    /// The settings must be the same at this very moment, too.
    pub(crate) fn must_be_the_same(&self) {
        assert_eq!(Settings::look(), self.settings, "changed while containers are made");
    }
}

impl Settings {
    fn look() -> Self {
        let names = ["limits", "oom_score_adj", "cgroup", "loginuid", "timerslack_ns"];
        let mut files: BTreeMap<_, _> =
            names.into_iter().map(|name| (name, read(&format!("/proc/self/{name}")))).collect();
        files.insert("status", lasting(&read("/proc/self/status")));
        Self {
            files,
            links: links(),
            environment: std::env::vars_os().collect(),
            signals: (1..=64).map(disposition).collect(),
            attributes: attributes(),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{error}"))
}

/// The lines of a status that nobody but the program itself changes.
fn lasting(status: &str) -> String {
    let names = [
        "Umask",
        "Tgid",
        "PPid",
        "TracerPid",
        "Uid",
        "Gid",
        "Groups",
        "NSsid",
        "NSpgid",
        "SigIgn",
        "SigCgt",
        "SigBlk",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Cpus_allowed",
        "Mems_allowed",
    ];
    let wanted = |line: &&str| line.split_once(':').is_some_and(|(name, _)| names.contains(&name));
    status.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

/// Working directory, root and namespaces.
fn links() -> BTreeMap<PathBuf, PathBuf> {
    let namespaces =
        fs::read_dir("/proc/self/ns").expect("the namespaces").flatten().map(|entry| entry.path());
    let places = ["cwd", "root", "exe"].map(|name| PathBuf::from("/proc/self").join(name));
    let all = namespaces.chain(places);
    all.map(|link| (link.clone(), fs::read_link(&link).unwrap_or_default())).collect()
}

/// What prctl(2) and the like tell.
fn attributes() -> BTreeMap<&'static str, i64> {
    let mut subreaper = 0;
    // SAFETY: the kernel writes an int there.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper, 0, 0, 0) };
    BTreeMap::from([
        ("subreaper", i64::from(subreaper)),
        ("dumpable", number(libc::PR_GET_DUMPABLE)),
        ("keepcaps", number(libc::PR_GET_KEEPCAPS)),
        ("securebits", number(libc::PR_GET_SECUREBITS)),
        // SAFETY: the call takes a number.
        ("session", i64::from(unsafe { libc::getsid(0) })),
        // SAFETY: the call takes nothing.
        ("group", i64::from(unsafe { libc::getpgrp() })),
        // SAFETY: the call takes two numbers.
        ("priority", i64::from(unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) })),
        // SAFETY: the keyring's id is asked for, and none is made.
        ("keyring", unsafe {
            libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
        }),
    ])
}

/// keyctl(2).
const KEYCTL_GET_KEYRING_ID: libc::c_long = 0;
const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;

/// An option of prctl(2) whose answer is its result.
fn number(option: libc::c_int) -> i64 {
    // SAFETY: the call takes numbers.
    i64::from(unsafe { libc::prctl(option, 0, 0, 0, 0) })
}

/// rt_sigaction(2), which tells about the signals 32 and 33 too.
fn disposition(signal: i32) -> Disposition {
    let mut disposition = Disposition::default();
    let size = size_of::<u64>();
    // SAFETY: no new disposition is given, and the present one fits.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<u8>(),
            disposition.as_mut_ptr(),
            size,
        )
    };
    assert_eq!(answer, 0, "rt_sigaction({signal})");
    disposition
}

/// The signals that this thread blocks, with those that the C library keeps for itself (rt_sigprocmask(2)).
pub(crate) fn signal_mask() -> u64 {
    let mut mask = 0_u64;
    let size = size_of::<u64>();
    // SAFETY: no new mask is given, and the present one has eight bytes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            std::ptr::null::<u64>(),
            &raw mut mask,
            size,
        )
    };
    assert_eq!(answer, 0, "rt_sigprocmask");
    mask
}

/// Every open descriptor and what it is, but for the one that lists them.
fn descriptors() -> BTreeMap<i32, PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").expect("the descriptors");
    let paths: Vec<_> = entries.map(|entry| entry.expect("a descriptor").path()).collect();
    let open = paths.into_iter().filter_map(|path| {
        let number = path.file_name()?.to_str()?.parse().ok()?;
        // The list itself is closed by now.
        Some((number, fs::read_link(&path).ok()?))
    });
    open.collect()
}

/// The mounts of the host that have to do with teu's tests or are everybody's; other tests may mount in directories of their own.
fn mounts() -> Vec<String> {
    let text = read("/proc/thread-self/mountinfo");
    let temporary = std::env::temp_dir();
    let own = temporary.join(format!("teu-threads-{}", std::process::id()));
    let wanted = |line: &&str| {
        let place = line.split(' ').nth(4).map(PathBuf::from).unwrap_or_default();
        !place.starts_with(&temporary) || place.starts_with(&own)
    };
    text.lines().filter(wanted).map(str::to_owned).collect()
}
