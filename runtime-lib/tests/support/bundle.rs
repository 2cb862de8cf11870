//! A bundle whose program does nothing, and what must be gone when its containers are.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A temporary directory with the bundle and the states of its containers; removed when dropped.
pub(crate) struct Bundle {
    directory: PathBuf,
    cgroup: String,
}

impl Bundle {
    /// Makes the bundle. Before there is a second thread: a process that one of them forks would hold the program open for
    /// writing, and executing it would fail (ETXTBSY).
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("teu-{name}"));
        let bundle = Self { directory, cgroup: format!("/teu-test/{name}") };
        for name in ["rootfs/proc", "rootfs/dev", "configs", "state"] {
            fs::create_dir_all(bundle.directory.join(name)).expect("a directory");
        }
        let program = bundle.directory.join("rootfs/noop");
        fs::copy(teu_fixtures::noop(), program).expect("the program");
        bundle
    }

    /// The bundle's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the containers' states are kept.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The configuration of one container, in a file of its own: its cgroup is its own too. The program exits at once, or waits
    /// to be killed when it has `arguments`.
    pub(crate) fn config(&self, number: usize, arguments: &[&str]) -> PathBuf {
        let path = self.directory.join(format!("configs/{number}.json"));
        let args: Vec<_> = ["/noop"].iter().chain(arguments).collect();
        let config = config(&format!("{}/{number}", self.cgroup), &json!(args));
        fs::write(&path, config.to_string()).expect("a configuration");
        path
    }

    /// Nothing of any container is left: no state, cgroup, process or mount.
    pub(crate) fn must_be_alone(&self) {
        let states: Vec<_> = fs::read_dir(self.state_root()).expect("the states").collect();
        assert!(states.is_empty(), "{states:?}");
        for parent in self.cgroups() {
            let left: Vec<_> = children(&parent);
            assert!(left.is_empty(), "{left:?}");
        }
        let child = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        assert_eq!(child, Err(nix::errno::Errno::ECHILD), "a child process is left");
    }

    /// The cgroup that holds those of all containers, in every hierarchy of the host.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").expect("the host's mounts");
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let roots = fields.filter_map(|fields| match fields.as_slice() {
            [_, root, "cgroup" | "cgroup2", ..] => Some(PathBuf::from(root)),
            _ => None,
        });
        let inside = roots.map(|root| root.join(self.cgroup.trim_start_matches('/')));
        inside.filter(|directory| directory.is_dir()).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for cgroup in self.cgroups() {
            for child in children(&cgroup) {
                note(&child, fs::remove_dir(&child));
            }
            note(&cgroup, fs::remove_dir(&cgroup));
            // Shared with other tests: the last one removes it.
            if let Some(parent) = cgroup.parent()
                && children(parent).is_empty()
            {
                note(parent, fs::remove_dir(parent));
            }
        }
        note(&self.directory, fs::remove_dir_all(&self.directory));
    }
}

fn note(path: &Path, removed: std::io::Result<()>) {
    if let Err(error) = removed {
        eprintln!("removing {}: {error}", path.display());
    }
}

/// The cgroups in a cgroup.
fn children(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()).collect()
}

fn config(cgroup: &str, args: &Value) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/" },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" }
            ]
        }
    })
}
