//! Whole containers on a host that is told to have what it has not: a directory that imitates resctrl.

use super::*;
use crate::facts::{ResctrlFacts, testing};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bundle, a state directory and an imitation of resctrl with one group, `gold`; gone at the end.
struct Place(PathBuf);

impl Place {
    /// Where the caller may not make containers, none.
    fn new(name: &str) -> Option<Self> {
        if Facts::probe().unwrap().unprivileged() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        let place = std::env::temp_dir().join(format!("teu-{name}-{}", std::process::id()));
        for directory in ["bundle/rootfs/dev", "state", "resctrl/gold", "resctrl/info/L3"] {
            fs::create_dir_all(place.join(directory)).unwrap();
        }
        for (file, text) in [("resctrl/gold/tasks", ""), ("resctrl/gold/schemata", "L3:0=f\n")] {
            fs::File::create(place.join(file)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        fs::copy(teu_fixtures::probe(), place.join("bundle/rootfs/probe")).unwrap();
        Some(Self(place))
    }

    /// Creates a container with this `linux.intelRdt`.
    fn create(&self, id: &str, rdt: &serde_json::Value) -> Result<Container> {
        let config = json!({
            "ociVersion": "1.3.0",
            "root": { "path": "rootfs" },
            "process": { "args": ["/probe"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            "linux": {
                "cgroupsPath": format!("/{id}"),
                "namespaces": [{ "type": "mount" }, { "type": "pid" }],
                "intelRdt": rdt,
            },
        });
        let spec: Spec = serde_json::from_value(config).unwrap();
        let root = self.0.join("resctrl");
        let group = plan::needs_resctrl(&spec, id).unwrap();
        let schemata = fs::read_to_string(root.join(group).join("schemata")).ok();
        let resctrl = Some(ResctrlFacts { root, schemata, ..testing::resctrl() });
        let facts = Facts { resctrl, ..Facts::probe().unwrap() };
        let request = Request {
            id,
            bundle: &self.0.join("bundle"),
            layers: None,
            console: ConsoleTarget::Nobody,
            console_size: None,
            pid_file: None,
            preserve_fds: 0,
            waits_for_start: true,
            keeps_keyring: true,
            no_pivot: false,
        };
        let state = self.0.join("state");
        let plan = plan::plan(&spec, &facts, &request)?;
        let record = record(&plan, &state)?;
        host::execute(&plan, &state, record, host::Streams::probe())?;
        Container::load(&state, &ContainerId::new(id)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Those of a test that failed.
        for left in fs::read_dir(self.path("state")).unwrap() {
            let id = left.unwrap().file_name().to_string_lossy().into_owned();
            crate::force_delete(&self.path("state"), &ContainerId::new(&id).unwrap()).unwrap();
        }
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_process_is_put_into_a_group_that_stays_when_the_container_goes() {
    let Some(place) = Place::new("rdt-join") else { return };
    let id = format!("teu-rdt-join-{}", std::process::id());
    let container =
        place.create(&id, &json!({ "closID": "gold", "schemata": ["L3:0=f"] })).unwrap();
    let tasks = fs::read_to_string(place.path("resctrl/gold/tasks")).unwrap();
    assert_eq!(tasks, container.pid().to_string());
    container.delete(true).unwrap();
    assert_eq!(fs::read_to_string(place.path("resctrl/gold/schemata")).unwrap(), "L3:0=f\n");
}

#[test]
fn a_group_that_was_made_is_gone_when_a_later_step_fails() {
    let Some(place) = Place::new("rdt-undo") else { return };
    let id = format!("teu-rdt-undo-{}", std::process::id());
    // Nobody puts a file for the tasks into the new directory, as the kernel would.
    let error = place.create(&id, &json!({})).unwrap_err();
    let group = place.path("resctrl").join(&id);
    let words = format!("put the process into the resctrl group {}: no such file", group.display());
    assert!(error.to_string().starts_with(&words), "{error}");
    assert!(!group.try_exists().unwrap() && !place.path("state").join(&id).try_exists().unwrap());
}

#[test]
fn delete_removes_the_groups_that_were_written_down() {
    let Some(place) = Place::new("rdt-delete") else { return };
    let id = format!("teu-rdt-delete-{}", std::process::id());
    // The group that observes is the container's own, and the only one that is written down here.
    let observed = place.path("resctrl/gold/mon_groups").join(&id);
    fs::create_dir_all(observed.parent().unwrap()).unwrap();
    let over = AtomicBool::new(false);
    let container = std::thread::scope(|scope| {
        // What the kernel does: the group has its file for tasks at once.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if observed.is_dir() {
                    fs::File::create(observed.join("tasks")).unwrap();
                    return;
                }
                std::thread::yield_now();
            }
        });
        let container = place.create(&id, &json!({ "closID": "gold", "enableMonitoring": true }));
        over.store(true, Ordering::Relaxed);
        container
    });
    let container = container.unwrap();
    let tasks = observed.join("tasks");
    assert_eq!(fs::read_to_string(&tasks).unwrap(), container.pid().to_string());
    fs::remove_file(tasks).unwrap();
    container.delete(true).unwrap();
    assert!(!observed.try_exists().unwrap() && place.path("resctrl/gold").is_dir());
}
