//! One invocation of the runtime: its input, its surroundings, its time limit, its outcome.

use crate::pty::Session;
use crate::stream::Stream;
use crate::sys;
use serde_json::Value;
use std::ffi::{CString, OsStr, OsString};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long any command may take before it counts as hung.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The mount namespace in which the runtime is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mounts {
    /// /sys/fs/cgroup is cgroup v2, whatever the host has there.
    pub unified_cgroups: bool,
    /// Every mount is shared, as systemd leaves them.
    pub all_shared: bool,
}

impl Mounts {
    fn needs_namespace(self) -> bool {
        self.unified_cgroups || self.all_shared
    }

    /// In the child, between fork and exec.
    fn enter(self) -> std::io::Result<()> {
        sys::private_mount_namespace()?;
        if self.all_shared {
            sys::share_every_mount()?;
        }
        if self.unified_cgroups {
            sys::mount_unified_cgroups()?;
        }
        Ok(())
    }
}

/// An ordinary user of the host, with a home and a runtime directory in the test's own directory.
#[derive(Clone, Debug)]
pub struct User {
    /// User and group id.
    pub id: u32,
    /// `HOME`, and `XDG_RUNTIME_DIR` below it.
    pub home: PathBuf,
    /// Files shown in place of the host's, in a mount namespace of the command's own: source and target.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl User {
    /// The user's `XDG_RUNTIME_DIR`.
    #[must_use]
    pub fn runtime_directory(&self) -> PathBuf {
        self.home.join("run")
    }
}

/// A command line that has not been run yet.
#[derive(Debug)]
pub struct Command {
    command: process::Command,
    words: String,
    mounts: Mounts,
    network: Option<OwnedFd>,
    input: Option<Vec<u8>>,
    limit: Duration,
    fds: Vec<(OwnedFd, RawFd)>,
    user: Option<User>,
}

impl Command {
    /// `program` with arguments, standard input from /dev/null.
    pub fn new<S: AsRef<OsStr>>(program: &Path, words: impl IntoIterator<Item = S>) -> Self {
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().into()).collect();
        let mut command = process::Command::new(program);
        command.args(&words);
        let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let words = format!("{} {line}", program.display());
        Self {
            command,
            words,
            mounts: Mounts::default(),
            network: None,
            input: None,
            limit: TIME_LIMIT,
            fds: Vec::new(),
            user: None,
        }
    }

    /// Gives the program this text as its standard input.
    #[must_use]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Runs in another directory.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Adds a variable to the environment of the program.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Hands a descriptor to the program under that number.
    #[must_use]
    pub fn descriptor(mut self, fd: impl Into<OwnedFd>, number: RawFd) -> Self {
        let fd = sys::move_up(fd.into().as_fd()).expect("another descriptor");
        self.fds.push((fd, number));
        self
    }

    /// Counts as hung after another time than [`TIME_LIMIT`].
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the program without one of root's capabilities (linux/capability.h).
    #[must_use]
    pub fn without_capability(mut self, number: libc::c_ulong) -> Self {
        sys::before_exec(&mut self.command, move || sys::drop_capability(number));
        self
    }

    /// Starts the program confined to the CPU on which this thread happens to run.
    #[must_use]
    pub fn on_one_cpu(mut self) -> Self {
        sys::before_exec(&mut self.command, sys::stay_on_this_cpu);
        self
    }

    /// Runs as an ordinary user, with that user's environment.
    #[must_use]
    pub fn user(mut self, user: Option<&User>) -> Self {
        if let Some(user) = user {
            let path = std::env::var_os("PATH").unwrap_or_default();
            self.command.env_clear().env("PATH", path).env("HOME", &user.home);
            self.command.env("XDG_RUNTIME_DIR", user.runtime_directory());
            self.user = Some(user.clone());
        }
        self
    }

    /// Starts the program in a mount namespace of its own.
    #[must_use]
    pub fn mounts(mut self, mounts: Mounts) -> Self {
        self.mounts = mounts;
        self
    }

    /// Starts the program in the network namespace that a path stands for.
    ///
    /// # Panics
    ///
    /// When the path cannot be opened.
    #[must_use]
    pub fn network(mut self, path: &str) -> Self {
        self.network = Some(std::fs::File::open(path).expect("a network namespace").into());
        self
    }

    /// Starts the program and waits for its end, but not for whatever it leaves behind.
    ///
    /// # Panics
    ///
    /// When it cannot be started, or does not end within its time limit.
    pub fn run(mut self) -> Outcome {
        let (mut stdout, out_end) = Stream::pipe();
        let (mut stderr, err_end) = Stream::pipe();
        let input = self.standard_input();
        self.command.stdin(input).stdout(out_end).stderr(err_end);
        self.prepare_child();
        let mut child =
            self.command.spawn().unwrap_or_else(|error| panic!("starting {}: {error}", self.words));
        // The write ends live in the command; the streams end only once they are closed.
        drop(self.command);
        let status = wait(&mut child, &self.words, self.limit, [&mut stdout, &mut stderr]);
        Outcome { words: self.words, status, stdout, stderr }
    }

    /// Starts the program at a terminal of its own, of this size.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn at_terminal(mut self, rows: u16, columns: u16) -> Session {
        let (master, terminal) = sys::open_terminal().expect("a pseudoterminal");
        sys::set_window_size(terminal.as_fd(), rows, columns).expect("a size");
        let stream = || Stdio::from(terminal.try_clone().expect("another descriptor"));
        self.command.stdin(stream()).stdout(stream()).stderr(stream());
        self.prepare_child();
        sys::before_exec(&mut self.command, sys::take_terminal);
        let child = self.command.spawn();
        let child = child.unwrap_or_else(|error| panic!("starting {}: {error}", self.words));
        Session::new(self.words, child, master, terminal)
    }

    fn standard_input(&mut self) -> Stdio {
        let Some(text) = self.input.take() else { return Stdio::null() };
        let file = sys::memory_file(c"input").and_then(|mut file| {
            file.write_all(&text)?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        });
        file.expect("an input file in memory").into()
    }

    fn prepare_child(&mut self) {
        let mounts = self.mounts;
        let fds = std::mem::take(&mut self.fds);
        let network = self.network.take();
        let user = self.user.take();
        let id = user.as_ref().map(|user| user.id);
        let text = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
        let files: Vec<(CString, CString)> = user
            .iter()
            .flat_map(|user| &user.files)
            .map(|(source, target)| (text(source), text(target)))
            .collect();
        sys::before_exec(&mut self.command, move || {
            for (fd, number) in &fds {
                sys::place_fd(fd.as_raw_fd(), *number)?;
            }
            if let Some(network) = &network {
                sys::enter_network(network.as_raw_fd())?;
            }
            if mounts.needs_namespace() || !files.is_empty() {
                mounts.enter()?;
            }
            for (source, target) in &files {
                sys::bind_file(source, target)?;
            }
            id.map_or(Ok(()), sys::become_user)
        });
    }
}

/// Reads both streams until the program has ended.
fn wait(
    child: &mut Child,
    words: &str,
    limit: Duration,
    mut streams: [&mut Stream; 2],
) -> ExitStatus {
    let pid = i32::try_from(child.id()).expect("a pid is positive");
    let pidfd = sys::pidfd_open(pid).expect("a pidfd of our own child");
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            child.kill().expect("killing our own child");
            child.wait().expect("the child has been killed");
            let [out, err] = streams.map(|stream| stream.text());
            panic!("{words}: still running after {limit:?}\nstdout: {out}\nstderr: {err}");
        }
        let open: Vec<_> = streams.iter().filter_map(|stream| stream.as_open_fd()).collect();
        let mut fds = vec![pidfd.as_fd()];
        fds.extend(open);
        let ready = sys::poll(&fds, left).expect("polling the runtime");
        streams.iter_mut().for_each(|stream| stream.fill());
        if ready.first() == Some(&true) {
            let status = child.wait().expect("the child has ended");
            streams.iter_mut().for_each(|stream| stream.fill());
            return status;
        }
    }
}

/// What a finished command left: exit status and both streams.
#[derive(Debug)]
pub struct Outcome {
    words: String,
    status: ExitStatus,
    /// Standard output; a detached container may still write to it.
    pub stdout: Stream,
    /// Standard error; a detached container may still write to it.
    pub stderr: Stream,
}

impl Outcome {
    /// The exit code.
    ///
    /// # Panics
    ///
    /// When the program itself died of a signal.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{} died: {}", self.words, self.status))
    }

    /// Standard output so far.
    #[must_use]
    pub fn out(&self) -> &str {
        self.stdout.text()
    }

    /// Standard error so far.
    #[must_use]
    pub fn err(&self) -> &str {
        self.stderr.text()
    }

    /// The command must have succeeded.
    ///
    /// # Panics
    ///
    /// When the exit code is not 0.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// The command must have ended with this code.
    ///
    /// # Panics
    ///
    /// When it has not.
    #[must_use]
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit code of {self}");
        self
    }

    /// The command must have failed, and must have said why on standard error.
    ///
    /// # Panics
    ///
    /// When the exit code is 0 or standard error is empty.
    #[must_use]
    #[track_caller]
    pub fn fails(self) -> Self {
        assert_ne!(self.code(), 0, "this must fail: {self}");
        assert!(!self.err().trim().is_empty(), "a failure must say why: {self}");
        self
    }

    /// The command must have written this text to standard error.
    ///
    /// # Panics
    ///
    /// When it has not.
    #[must_use]
    #[track_caller]
    pub fn saying(self, text: &str) -> Self {
        assert!(self.err().contains(text), "{text:?} is not in the message of {self}");
        self
    }

    /// Standard output as one JSON value.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.out()).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The probe's answers: one JSON value per line of standard output.
    ///
    /// # Panics
    ///
    /// When a line is not JSON.
    #[must_use]
    #[track_caller]
    pub fn answers(&self) -> Vec<Value> {
        self.out()
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {self}"))
            })
            .collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (self.out(), self.err());
        write!(f, "`{}` ({})\nstdout: {out}\nstderr: {err}", self.words, self.status)
    }
}

/// Where the executable of a command really is, as `PATH` finds it.
#[must_use]
pub fn in_path(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return std::path::absolute(name).ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
