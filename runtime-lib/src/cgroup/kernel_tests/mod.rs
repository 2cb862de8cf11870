//! Against the kernel, as root, in cgroups of their own that are gone at the end of each test.

mod v1;
mod v2;

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::members::processes;
use super::*;
use crate::facts::cgroup::{CgroupFacts, probe};
use crate::plan::cgroup::fixture::spec;
use crate::plan::cgroup::{Caller, plan};

/// Whether the test may go on; says so loudly if not.
fn is_root(test: &str) -> bool {
    let facts = crate::facts::Facts::probe().expect("the host can be asked");
    let root = !facts.unprivileged();
    if !root {
        eprintln!("SKIPPED {test}: needs root");
    }
    root
}

/// A path below the root of every hierarchy that no one else uses; removed in the end with all that is in it.
struct Place {
    facts: CgroupFacts,
    name: String,
}

impl Place {
    fn new(facts: CgroupFacts) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { facts, name: format!("teu-test-{}-{number}", std::process::id()) }
    }

    /// The plan of a container in this place, with `resources`.
    fn plan(&self, resources: &Value) -> CgroupPlan {
        self.plan_at("outer/inner", resources)
    }

    fn plan_at(&self, path: &str, resources: &Value) -> CgroupPlan {
        let path = format!("/{}/{path}", self.name);
        let linux = json!({ "cgroupsPath": path, "resources": resources });
        plan(&spec(&linux), "c1", &self.facts, Caller::default()).expect("this host can do it")
    }

    /// The place itself in every hierarchy.
    fn directories(&self) -> Vec<PathBuf> {
        let mount_points = match &self.facts {
            CgroupFacts::V2(facts) => vec![&facts.hierarchy.mount_point],
            CgroupFacts::V1(facts) => {
                facts.hierarchies.iter().chain(&facts.unified).map(|h| &h.mount_point).collect()
            }
            CgroupFacts::None => Vec::new(),
        };
        mount_points.into_iter().map(|mount_point| mount_point.join(&self.name)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let directories = self.directories();
        let cleaned = thaw(&directories)
            .and_then(|()| kill_all(&directories, libc::SIGKILL))
            .and_then(|()| remove(&directories));
        if let Err(error) = cleaned {
            eprintln!("left behind: {error}");
        }
    }
}

/// A shell that waits for a line before it runs its script; killed in the end.
struct Shell(Child);

impl Shell {
    fn new(script: &str) -> Self {
        let script = format!("read line; {script}");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.stderr(Stdio::null()).spawn().expect("a shell"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }

    /// Lets it run.
    fn go(&mut self) {
        self.0.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("a waiting shell");
    }

    /// Waits until it has written a line.
    fn line(&mut self) {
        use std::io::Read as _;
        let mut byte = [0];
        self.0.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a line");
    }

    fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("a child")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            eprintln!("left behind: process {}: {error}", self.0.id());
        }
    }
}

fn read(path: PathBuf) -> String {
    let text = std::fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The exit status of a shell in `cgroup` that runs `script`.
fn run_in(cgroup: &Cgroup, script: &str) -> ExitStatus {
    let mut shell = Shell::new(script);
    cgroup.join_all(shell.pid()).expect("join");
    shell.go();
    shell.wait()
}

/// `/dev/kmsg` is in no list of defaults, `/dev/zero` is in all.
fn assert_device_rules_hold(cgroup: &Cgroup) {
    assert!(run_in(cgroup, ": < /dev/zero").success(), "/dev/zero is allowed");
    assert!(!run_in(cgroup, ": < /dev/kmsg").success(), "/dev/kmsg is denied");
}

#[test]
fn a_recorded_cgroup_that_is_gone_is_no_failure() {
    let gone = [PathBuf::from("/sys/fs/cgroup/teu-test-that-never-was")];
    assert_eq!(processes(&gone).unwrap(), [0; 0]);
    kill_all(&gone, libc::SIGKILL).unwrap();
    thaw(&gone).unwrap();
    assert!(!frozen(&gone).unwrap());
    remove(&gone).unwrap();
}
