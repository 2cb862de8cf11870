//! Whole plans: golden texts, and what must be true of every one.

pub(super) use super::invariants::{finishes, request};
use super::step::{HostOp, InitOp, Rendezvous};
use super::*;
use crate::facts::Security;
use crate::facts::testing::facts;
use serde_json::{Value, json};

/// The default configuration, changed.
fn config(change: impl FnOnce(&mut Value)) -> Spec {
    let mut config: Value =
        serde_json::from_str(include_str!("../../../fixtures/config/default.json")).unwrap();
    change(&mut config);
    serde_json::from_value(config).unwrap()
}

fn plan_of(spec: &Spec, waits_for_start: bool) -> Plan {
    let layers = layers::from_annotations(spec).unwrap();
    let request = Request { layers: layers.as_ref(), ..request(waits_for_start) };
    plan(spec, &facts(), &request).unwrap()
}

/// Configurations that take different ways through the planner.
fn varieties() -> Vec<Spec> {
    let set = |pointer: &'static str, value: Value| {
        config(move |config| *config.pointer_mut(pointer).unwrap() = value)
    };
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let user = |path: Option<&str>| {
        config(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(match path {
                Some(path) => json!({"type": "user", "path": path}),
                None => json!({"type": "user"}),
            });
            if path.is_none() {
                config["linux"]["uidMappings"] = maps.clone();
                config["linux"]["gidMappings"] = maps.clone();
            }
        })
    };
    let joined = json!([{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}, {"type": "uts"}, {"type": "cgroup"}]);
    vec![
        config(|_| {}),
        user(None),
        user(Some("/proc/1/ns/user")),
        set("/linux/namespaces", joined),
        set("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}, {"type": "time"}])),
        config(|config| config["process"]["oomScoreAdj"] = json!(5)),
        config(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]})),
        config(|config| {
            config["hooks"] = json!({"createContainer": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]});
        }),
        config(|config| config["hooks"] = json!({"poststart": [{"path": "/bin/true"}]})),
        config(|config| {
            config["process"].as_object_mut().unwrap().remove("capabilities");
            config["mounts"] = json!([]);
        }),
        config(|config| config["process"]["terminal"] = json!(true)),
        config(|config| config["linux"]["netDevices"] = json!({"enp3s0": {"name": "eth0"}})),
        user_and_device(),
        config(|config| {
            config["annotations"] = json!({"dev.teu.layers.lower": "[\"/l\"]"});
        }),
        config(|config| {
            config["process"]["terminal"] = json!(true);
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps.clone();
        }),
    ]
}

/// A joined user namespace, so two clones, and a device that moves into the namespace of the second.
fn user_and_device() -> Spec {
    config(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user", "path": "/proc/1/ns/user"}));
        config["linux"]["netDevices"] = json!({"enp3s0": {}});
    })
}

fn position(plan: &Plan, wanted: impl Fn(&InitOp) -> bool) -> Option<usize> {
    plan.init.iter().position(|step| wanted(&step.op))
}

/// The host of a golden plan. Rootless podman starts its runtime as root of a user namespace that it made.
fn host_of(name: &str) -> Facts {
    if name == "rootless" {
        return super::rootless::tests::user();
    }
    // Debian, where AppArmor is active; a configuration without a profile does not ask.
    let security = Security { apparmor: true, unconfined: true, selinux: false };
    Facts { in_user_namespace: name.starts_with("podman-rootless"), security, ..facts() }
}

/// The plan for a configuration as text, or why there is none.
fn plan_or_refusal(name: &str, text: &str) -> String {
    let loaded = match crate::spec::parse(text.as_bytes()) {
        Ok(loaded) => loaded,
        Err(refusal) => return format!("refused: {refusal}\n"),
    };
    let layers = layers::from_annotations(&loaded.spec).unwrap();
    let request = Request { layers: layers.as_ref(), ..request(true) };
    match plan(&loaded.spec, &host_of(name), &request) {
        Ok(plan) => {
            assert!(finishes(&plan.host, &plan.init), "{name}:\n{plan}");
            plan.to_string() + "\n"
        }
        Err(refusal) => format!("refused: {refusal}\n"),
    }
}

/// Every configuration in a directory of the fixtures: its name, the text, and the golden file beside it.
pub(super) fn golden_files(directory: &str) -> Vec<(String, String, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(directory);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    files
        .into_iter()
        .map(|path| (name(&path), read(&path), path.with_extension("plan.txt")))
        .collect()
}

#[test]
fn golden_plans_are_as_they_were() {
    let mut changed = Vec::new();
    let engines = golden_files("config/engines");
    assert!(engines.len() > 30, "{} configurations of engines", engines.len());
    for (name, text, golden) in golden_files("config").into_iter().chain(engines) {
        let plan = plan_or_refusal(&name, &text);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::File::create(&golden)
                .and_then(|mut file| std::io::Write::write_all(&mut file, plan.as_bytes()))
                .unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != plan {
            changed.push(format!("{name}:\n{plan}"));
        }
    }
    assert!(
        changed.is_empty(),
        "plans changed; if that is meant, run again with UPDATE_GOLDEN=1:\n{}",
        changed.join("\n")
    );
}

#[test]
fn the_two_processes_never_wait_for_each_other_for_ever() {
    for (index, spec) in varieties().iter().enumerate() {
        for waits_for_start in [true, false] {
            let plan = plan_of(spec, waits_for_start);
            assert!(finishes(&plan.host, &plan.init), "variety {index}:\n{plan}");
        }
    }
    let plan = plan_of(&config(|_| {}), true);
    let without: Vec<_> =
        plan.host.iter().filter(|step| !matches!(step, HostOp::Release(_))).cloned().collect();
    assert!(!finishes(&without, &plan.init), "the check must be able to fail");
}

#[test]
fn the_program_runs_only_after_the_container_is_recorded() {
    for spec in varieties() {
        for waits_for_start in [true, false] {
            let plan = plan_of(&spec, waits_for_start);
            let at = |wanted: &HostOp| plan.host.iter().position(|step| step == wanted).unwrap();
            let released = at(&HostOp::Release(Rendezvous::Recorded));
            assert!(at(&HostOp::Record) < released);
            assert!(
                plan.host.iter().position(|step| matches!(step, HostOp::WritePidFile(_))).unwrap()
                    < released
            );
            let recorded =
                position(&plan, |op| *op == InitOp::Await(Rendezvous::Recorded)).unwrap();
            let executed = position(&plan, |op| matches!(op, InitOp::Execute { .. })).unwrap();
            assert!(recorded < executed && executed + 1 == plan.init.len());
        }
    }
}

#[test]
fn intent_is_recorded_before_anything_that_delete_would_have_to_find() {
    for spec in varieties() {
        let plan = plan_of(&spec, true);
        let recorded = plan.host.iter().position(|step| *step == HostOp::RecordIntent).unwrap();
        let first = plan
            .host
            .iter()
            .position(|step| step.inverse().is_some() && *step != HostOp::MakeStateDirectory);
        assert!(recorded < first.unwrap());
    }
}

#[test]
fn groups_go_before_the_group_and_the_group_before_the_user_and_capabilities_last() {
    for spec in varieties() {
        let plan = plan_of(&spec, true);
        let last = |wanted: fn(&InitOp) -> bool| {
            plan.init.iter().rposition(|step| wanted(&step.op)).unwrap()
        };
        let groups = last(|op| matches!(op, InitOp::SetGroups(_)));
        let gid = last(|op| matches!(op, InitOp::SetGid(_)));
        let uid = last(|op| matches!(op, InitOp::SetUid(_)));
        assert!(groups < gid && gid < uid);
        if let Some(capabilities) =
            position(&plan, |op| matches!(op, InitOp::SetCapabilities { .. }))
        {
            assert!(uid < capabilities);
        }
    }
}

#[test]
fn nothing_is_mounted_before_the_namespace_is_a_slave_of_the_hosts() {
    for spec in varieties() {
        let plan = plan_of(&spec, true);
        let slave = position(&plan, |op| matches!(op, InitOp::SetPropagation { .. })).unwrap();
        let first = position(&plan, |op| {
            matches!(
                op,
                InitOp::AttachRoot { .. }
                    | InitOp::AttachTree { .. }
                    | InitOp::MountFilesystem { .. }
            )
        });
        assert!(slave < first.unwrap());
    }
}

#[test]
fn a_process_that_is_cloned_twice_does_not_start_in_its_cgroup() {
    let joined = config(|config| {
        config["linux"]["namespaces"] =
            json!([{"type": "mount"}, {"type": "uts"}, {"type": "pid", "path": "/proc/1/ns/pid"}]);
    });
    let plan = plan_of(&joined, true);
    assert!(!plan.clone.into_cgroup && plan.clone.flags == 0);
    assert!(plan.host.contains(&HostOp::JoinCgroup { all: true }));
    assert!(plan_of(&config(|_| {}), true).clone.into_cgroup);
}

#[test]
fn preserved_descriptors_come_before_all_others() {
    let spec = config(|_| {});
    let request = Request { preserve_fds: 4, ..request(true) };
    let plan = plan(&spec, &facts(), &request).unwrap();
    assert_eq!(plan.clone.fd_base, 7);
    assert!(plan.descriptors.iter().all(|descriptor| descriptor.number >= 7));
    assert!(position(&plan, |op| *op == InitOp::CloseOnExecFrom(7)).is_some());
}

#[test]
fn a_terminal_is_made_after_the_pivot_and_before_limits_and_the_change_of_user() {
    let spec = config(|config| config["process"]["terminal"] = json!(true));
    let plan = plan_of(&spec, true);
    let at = |wanted: fn(&InitOp) -> bool| position(&plan, wanted).unwrap();
    let session = at(|op| *op == InitOp::StartSession);
    let prepared = at(|op| *op == InitOp::MakeConsole);
    let pivoted = at(|op| *op == InitOp::PivotRoot);
    let opened = at(|op| matches!(op, InitOp::OpenConsole { .. }));
    let sent = at(|op| *op == InitOp::SendConsole);
    let bound = at(|op| *op == InitOp::BindConsole);
    let adopted = at(|op| matches!(op, InitOp::AdoptConsole { .. }));
    assert!(session < adopted && prepared < pivoted && pivoted < opened);
    assert!(opened < sent && sent < bound && bound < adopted);
    for later in [
        at(|op| matches!(op, InitOp::SetRlimit(_))),
        at(|op| matches!(op, InitOp::AdoptStdio { .. })),
        at(|op| matches!(op, InitOp::SetGroups(_))),
    ] {
        assert!(adopted < later);
    }
    // A file is made in /dev before it becomes read-only, and the mount goes into the directory that was entered for it.
    let entered = position(&plan, |op| *op == InitOp::EnterDirectory { path: "/dev".to_owned() });
    assert!(entered.unwrap() < prepared);
    let before_bind = &plan.init[bound - 1].op;
    assert_eq!(*before_bind, InitOp::EnterDirectory { path: "/dev".to_owned() });
}

#[test]
fn a_console_is_made_before_its_directory_becomes_read_only() {
    let spec = config(|config| {
        config["process"]["terminal"] = json!(true);
        config["mounts"][1]["options"].as_array_mut().unwrap().push(json!("ro"));
    });
    let plan = plan_of(&spec, true);
    let prepared = position(&plan, |op| *op == InitOp::MakeConsole).unwrap();
    let read_only = position(
        &plan,
        |op| matches!(op, InitOp::SetMountAttributes { path, .. } if path == "/dev"),
    );
    assert!(prepared < read_only.unwrap());
}

#[test]
fn a_socket_is_connected_first_and_gets_the_terminal_before_the_container_counts_as_created() {
    let spec = config(|config| config["process"]["terminal"] = json!(true));
    let request = Request { console: ConsoleTarget::Socket(Path::new("/s")), ..request(true) };
    let plan = plan(&spec, &facts(), &request).unwrap();
    let at = |wanted: &HostOp| plan.host.iter().position(|step| step == wanted).unwrap();
    let path = || PathBuf::from("/s");
    assert_eq!(at(&HostOp::ConnectConsole(path())), 0);
    let handed_over = at(&HostOp::HandOverConsole(path()));
    assert_eq!(at(&HostOp::ReceiveConsole) + 1, handed_over);
    assert!(handed_over < at(&HostOp::AwaitInit(Rendezvous::Created)));
    assert!(finishes(&plan.host, &plan.init));
    let without_terminal = plan_of(&config(|_| {}), true);
    assert!(!without_terminal.host.contains(&HostOp::ReceiveConsole));
    assert!(position(&without_terminal, |op| *op == InitOp::MakeConsole).is_none());
}

#[test]
fn the_session_keyring_is_new_unless_the_callers_is_to_be_kept() {
    for keeps_keyring in [false, true] {
        let request = Request { keeps_keyring, ..request(true) };
        for spec in varieties() {
            let plan = plan(&spec, &facts(), &request).unwrap();
            let at = |wanted: InitOp| position(&plan, |op| *op == wanted);
            let keyring = at(InitOp::NewSessionKeyring);
            assert_eq!(keyring.is_none(), keeps_keyring);
            // It belongs to the container's root.
            assert!(keyring.is_none_or(
                |keyring| at(InitOp::SetUid(0)) < Some(keyring) || !spec_has_user(&spec)
            ));
        }
    }
}

/// Whether the container is in another user namespace.
fn spec_has_user(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|all| all.iter().any(|one| one.typ() == LinuxNamespaceType::User))
}

#[test]
fn network_devices_come_when_the_namespace_is_final_and_before_sysctls_and_hooks() {
    let spec = config(|config| {
        config["linux"]["netDevices"] = json!({"enp3s0": {"name": "eth0"}});
        config["linux"]["sysctl"] = json!({"net.ipv4.conf.eth0.forwarding": "1"});
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
    });
    let plan = plan_of(&spec, true);
    let moved = position(&plan, |op| *op == InitOp::Await(Rendezvous::NetDevicesMoved)).unwrap();
    let sysctl = position(&plan, |op| op.to_string().contains("conf/eth0"));
    assert!(moved < sysctl.unwrap());
    let host = |wanted: fn(&HostOp) -> bool| plan.host.iter().position(wanted).unwrap();
    let moving = host(|step| matches!(step, HostOp::MoveNetDevices(_)));
    assert!(moving < host(|step| matches!(step, HostOp::RunHooks(_))));

    let staged = plan_of(&user_and_device(), true);
    let entered =
        position(&staged, |op| *op == InitOp::Notify(Rendezvous::NetworkEntered)).unwrap();
    assert!(position(&staged, |op| matches!(op, InitOp::Reclone { .. })).unwrap() < entered);
}

#[test]
fn an_old_kernel_is_refused_by_name() {
    let facts = Facts { kernel: KernelVersion { major: 5, minor: 4 }, ..facts() };
    let error = plan(&config(|_| {}), &facts, &request(true)).unwrap_err();
    assert!(error.unsupported && error.rule.contains("this is 5.4"), "{error}");
}
