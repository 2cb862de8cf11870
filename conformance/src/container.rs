//! One container of one test.

use crate::bundle::Bundle;
use crate::cgroups::{self, Cgroup};
use crate::command::{Command, Mounts, Outcome, TIME_LIMIT, User};
use crate::directory::Directory;
use crate::leftovers::Leftovers;
use crate::mountinfo::{self, Mount};
use crate::{Runtime, sys};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A container with a bundle, a cgroup and a state directory that no other test uses.
///
/// Dropping it deletes the container by force, and fails the test if the runtime then leaves
/// anything behind: state, cgroup, mount or process.
#[derive(Debug)]
pub struct Container {
    runtime: &'static Runtime,
    id: String,
    /// The bundle; its configuration is written whenever `create` or `run` is invoked.
    pub bundle: Bundle,
    /// The container's place in the cgroup hierarchies.
    pub cgroup: Cgroup,
    /// The mount namespace in which the runtime is started.
    pub mounts: Mounts,
    /// Who starts the runtime, where that is not root.
    user: Option<User>,
    /// The container's first process, once `create` or `run --detach` has succeeded.
    init: Option<OwnedFd>,
    /// Pipes that its processes write to, held so that nobody of them gets SIGPIPE.
    pipes: Vec<OwnedFd>,
    root: PathBuf,
    /// Last, so that it goes last.
    directory: Arc<Directory>,
}

impl Default for Container {
    fn default() -> Self {
        Self::new()
    }
}

impl Container {
    /// A container of the runtime under test, with a state directory of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::in_directory(Arc::new(Directory::new()), "first")
    }

    /// Another container in the same state directory.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self::in_directory(Arc::clone(&self.directory), "second")
    }

    fn in_directory(directory: Arc<Directory>, name: &str) -> Self {
        let runtime = Runtime::under_test();
        let number = directory.number();
        let path = format!("{}/{number}-{name}", cgroups::parent());
        let cgroup = Cgroup::new(path, runtime.sees_unified_cgroups_only());
        let mut bundle = Bundle::new(directory.path().join(name), cgroup.path());
        if !runtime.can_restrict_devices() {
            bundle.remove("/linux/resources/devices");
        }
        Self {
            runtime,
            id: format!("conformance-{}-{number}-{name}", std::process::id()),
            bundle,
            cgroup,
            mounts: runtime.mounts(),
            user: None,
            init: None,
            pipes: Vec::new(),
            root: directory.path().join("state"),
            directory,
        }
    }

    /// Has another runtime make the container.
    pub fn made_by(&mut self, runtime: &'static Runtime) {
        self.runtime = runtime;
        self.mounts = runtime.mounts();
    }

    /// The runtime under test.
    #[must_use]
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives the container another id.
    pub fn set_id(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    /// The value of `--root`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path for a file of this test beside the bundle.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Mounts a tmpfs on the host, with `nosuid` and `nodev`, and gives its path; it goes with the test.
    ///
    /// # Panics
    ///
    /// When it cannot be mounted.
    #[must_use]
    pub fn mount_nosuid(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("a directory of the test");
        let target = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
        sys::mount_tmpfs(&target, libc::MS_NOSUID | libc::MS_NODEV).expect("a tmpfs");
        path
    }

    /// The runtime's command line with `--root` set.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let root = [OsStr::new("--root"), self.root.as_os_str()];
        let mut all: Vec<_> = root.into_iter().map(OsStr::to_owned).collect();
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.command_without_root(all)
    }

    /// Leaves container and runtime to an ordinary user, with the configuration that `spec --rootless` writes: a user namespace with
    /// that user as its root, and nothing that takes root of the host.
    pub fn make_rootless(&mut self, id: u32) {
        let home = self.path("home");
        let user = User { id, home: home.clone(), files: Vec::new() };
        for directory in [&home, &user.runtime_directory(), &self.root] {
            fs::create_dir_all(directory).expect("a directory for the user");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(directory, mode).expect("its mode");
            std::os::unix::fs::chown(directory, Some(id), Some(id)).expect("its owner");
        }
        self.user = Some(user);
        self.bundle.make_rootless(id);
    }

    /// The user who runs the runtime.
    ///
    /// # Panics
    ///
    /// When that is root.
    #[must_use]
    pub fn user(&self) -> &User {
        self.user.as_ref().expect("a container of an ordinary user")
    }

    /// The same, to change.
    ///
    /// # Panics
    ///
    /// When that is root.
    pub fn user_mut(&mut self) -> &mut User {
        self.user.as_mut().expect("a container of an ordinary user")
    }

    /// The runtime's command line without `--root`, as the container's user runs it where there is one.
    pub fn command_without_root<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        match &self.user {
            Some(user) => {
                let program = self.runtime.program_for_all(self.directory.path());
                let command = Command::new(&program, words).mounts(self.mounts);
                command.user(Some(user)).directory(&user.home)
            }
            None => self.runtime.command(words).mounts(self.mounts),
        }
    }

    /// `create` or `run` with this bundle and these flags, not yet run.
    #[must_use]
    pub fn launch(&self, command: &str, flags: &[&str]) -> Command {
        self.bundle.save();
        let bundle = self.bundle.directory().to_string_lossy().into_owned();
        let words = [command, "--bundle", &bundle].into_iter().chain(flags.iter().copied());
        self.command(words.chain([self.id.as_str()]))
    }

    /// `run` to the end, in the foreground.
    #[must_use]
    pub fn run(&self) -> Outcome {
        self.launch("run", &[]).run()
    }

    /// Asks the probe inside, in a container that runs to its end, and gives its answers in order.
    #[must_use]
    #[track_caller]
    pub fn ask(&mut self, questions: &[&str]) -> Vec<Value> {
        self.bundle.ask(questions);
        let answers = self.run().ok().answers();
        assert_eq!(answers.len(), questions.len(), "one answer for each question: {answers:?}");
        answers
    }

    /// The answer to a single question; see [`Container::ask`].
    #[must_use]
    #[track_caller]
    pub fn ask_one(&mut self, question: &str) -> Value {
        self.ask(&[question]).remove(0)
    }

    /// The mounts as the container's process sees them.
    #[must_use]
    #[track_caller]
    pub fn ask_mounts(&mut self) -> Vec<Mount> {
        let answer = self.ask_one("read /proc/self/mountinfo");
        mountinfo::parse(answer["text"].as_str().expect("mountinfo can be read"))
    }

    /// `create`, which must succeed.
    #[track_caller]
    pub fn create(&mut self) -> Outcome {
        let outcome = self.launch("create", &[]).run().ok();
        self.pipes.extend([outcome.stdout.hold(), outcome.stderr.hold()]);
        self.adopt();
        outcome
    }

    /// `start`, which must succeed.
    #[track_caller]
    pub fn start(&self) {
        let _started = self.command(["start", &self.id]).run().ok();
    }

    /// Creates and starts the container, waits until its probe has answered and waits for a signal,
    /// and gives the answers.
    #[track_caller]
    pub fn pause(&mut self, questions: &[&str]) -> Vec<Value> {
        let questions: Vec<&str> = questions.iter().copied().chain(["pause"]).collect();
        self.bundle.ask(&questions);
        let mut outcome = self.create();
        self.start();
        outcome.stdout.wait_for_lines(questions.len());
        let mut answers = outcome.answers();
        assert_eq!(answers.pop(), Some(serde_json::json!({ "paused": true })), "{outcome}");
        answers
    }

    /// Takes hold of the process that the runtime reports, so that its end can be seen.
    #[track_caller]
    pub fn adopt(&mut self) {
        self.init = Some(sys::pidfd_open(self.pid()).expect("the container's process is there"));
    }

    /// Waits until the container's first process has ended; gives its exit code, or 128 and the
    /// number of the signal that killed it.
    ///
    /// # Panics
    ///
    /// When it was not started by this test, or does not end in time.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        let init = self.init.as_ref().expect("a container that was created").as_fd();
        let ended = sys::poll(&[init], TIME_LIMIT).expect("polling a pidfd");
        assert_eq!(ended, [true], "the container's process does not end");
        let status = sys::reap(init).expect("the process is our child now");
        status.code().or(status.signal().map(|signal| 128 + signal)).expect("it has ended")
    }

    /// What `state` prints.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> Value {
        self.command(["state", &self.id]).run().ok().json()
    }

    /// The `status` in the state.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// The `pid` in the state, as the host sees it.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("a pid");
        i32::try_from(pid).expect("a pid is small")
    }

    /// /proc/PID/NAME of the container's first process, as text.
    #[must_use]
    #[track_caller]
    pub fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Where the link /proc/PID/NAME of the container's first process leads.
    #[must_use]
    #[track_caller]
    pub fn proc_link(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid());
        let target = fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        target.to_string_lossy().into_owned()
    }

    /// `kill` with this signal.
    #[must_use]
    pub fn kill(&self, signal: &str) -> Outcome {
        self.command(["kill", &self.id, signal]).run()
    }

    /// Kills the container and waits for its end.
    #[track_caller]
    pub fn stop(&self) {
        let _killed = self.kill("KILL").ok();
        assert_eq!(self.wait(), 128 + libc::SIGKILL);
    }

    /// `delete` without force.
    #[must_use]
    pub fn delete(&self) -> Outcome {
        self.command(["delete", &self.id]).run()
    }

    /// `create` of a configuration that must be refused, without a trace.
    #[must_use]
    #[track_caller]
    pub fn refused(&self) -> Outcome {
        let outcome = self.launch("create", &[]).run().fails();
        self.must_be_gone();
        outcome
    }

    /// `run` of something that must fail, without a trace.
    #[must_use]
    #[track_caller]
    pub fn fails_to_run(&self) -> Outcome {
        let outcome = self.run().fails();
        self.must_be_gone();
        outcome
    }

    /// The outcome must be that of a command with an id that no container has. Engines take these
    /// words as: nothing to do any more.
    #[track_caller]
    pub fn must_be_unknown(&self, outcome: Outcome) {
        let fact = "1.8: says `No such file or directory` of its state file";
        let crun = self.runtime.differs("crun", fact);
        let words = if crun { "No such file or directory" } else { "does not exist" };
        let _said = outcome.exits(1).saying(words);
    }

    /// Nothing of the container may be on the host now.
    #[track_caller]
    pub fn must_be_gone(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "{left}");
    }

    fn leftovers(&self) -> Leftovers {
        let find =
            || Leftovers::find(&self.root.join(&self.id), &self.cgroup, self.bundle.directory());
        let left = find();
        let tolerated = !left.is_empty() && left.is_cgroups_only() && self.forgets_its_cgroup();
        if !tolerated {
            return left;
        }
        self.cgroup.remove();
        find()
    }

    /// Known of two peers; what they leave is then removed by hand.
    fn forgets_its_cgroup(&self) -> bool {
        let fact = "leaves the unified cgroup of a container that failed";
        self.runtime.sees_unified_cgroups_only()
            && (self.runtime.differs("crun", fact) || self.runtime.differs("runc < 1.2", fact))
    }

    /// Deletes the container by the runtime; then what is left by hand.
    fn clean_up(&self) -> Option<String> {
        let deleted = self
            .root
            .join(&self.id)
            .is_dir()
            .then(|| self.command(["delete", "--force", &self.id]).run());
        let left = self.leftovers();
        if left.is_empty() {
            return None;
        }
        left.kill();
        mountinfo::detach_below(self.bundle.directory());
        self.cgroup.remove();
        let deleted = deleted.map_or_else(String::new, |outcome| outcome.to_string());
        Some(format!("{left} after {deleted}"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let left = self.clean_up();
        if let Some(left) = left
            && !std::thread::panicking()
        {
            panic!("{left}");
        }
    }
}
