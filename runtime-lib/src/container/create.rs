//! create and run: configuration, facts, plan, execution.

use super::{Container, ContainerId, CreateOptions};
use crate::error::{Error, ErrorKind, PlanError, Result, StepError};
use crate::facts::{self, Facts, Rights};
use crate::host;
use crate::plan::{self, ConsoleTarget, Layers, Plan, Request};
use crate::spec;
use crate::state::Record;
use oci_spec::runtime::Spec;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The first number after the standard streams.
const FIRST_PRESERVED: i32 = 3;

/// Plans and executes.
pub(super) fn launch(
    id: &ContainerId,
    options: &CreateOptions,
    waits_for_start: bool,
) -> Result<Container> {
    let streams = host::Streams::probe();
    check_preserved(options.preserve_fds)?;
    let plan = plan(id, options, waits_for_start)?;
    let state_root = absolute(&options.state_root)?;
    let record = record(&plan, &state_root)?;
    let launched =
        host::execute(&plan, &state_root, record, streams).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => error,
            _ => error.during("unable to start container process"),
        })?;
    let mut container = Container {
        id: id.clone(),
        directory: launched.directory,
        record: launched.record,
        init: Some(launched.pidfd),
        console: launched.console,
        warnings: plan.warnings,
    };
    if !waits_for_start {
        let warnings = container.run_poststart();
        container.warnings.extend(warnings);
    }
    Ok(container)
}

/// Plans.
pub(super) fn plan(
    id: &ContainerId,
    options: &CreateOptions,
    waits_for_start: bool,
) -> Result<Plan> {
    refuse_what_is_not_done(options)?;
    let bundle = absolute(&options.bundle)?;
    let config = match &options.config {
        Some(config) => absolute(config)?,
        None => bundle.join("config.json"),
    };
    let loaded = spec::load(&config)?;
    let layers = layers(options, &loaded.spec)?;
    let facts = probe(&loaded.spec, &bundle, id, options, layers.as_ref())?;
    let console_socket = options.console_socket.as_deref().map(absolute).transpose()?;
    let request = Request {
        id: id.as_str(),
        bundle: &bundle,
        layers: layers.as_ref(),
        console: match &console_socket {
            Some(path) => ConsoleTarget::Socket(path),
            None if options.keep_console => ConsoleTarget::Caller,
            None => ConsoleTarget::Nobody,
        },
        console_size: options.console_size,
        pid_file: options.pid_file.as_deref().map(absolute).transpose()?,
        preserve_fds: options.preserve_fds,
        waits_for_start,
        keeps_keyring: options.no_new_keyring,
        no_pivot: options.no_pivot,
    };
    let mut plan = plan::plan(&loaded.spec, &facts, &request)?;
    plan.warnings.extend(loaded.warnings);
    Ok(plan)
}

/// Looks at the host, as far as the configuration makes it matter.
fn probe(
    spec: &Spec,
    bundle: &Path,
    id: &ContainerId,
    options: &CreateOptions,
    layers: Option<&Layers>,
) -> Result<Facts> {
    let mut facts = Facts::probe()?;
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path()));
    if let (Some(_), Some(rootfs)) = (layers, &rootfs) {
        facts.root_is_occupied = facts::is_occupied(rootfs);
    }
    if let Some(group) = plan::needs_resctrl(spec, id.as_str()) {
        facts.resctrl = facts::resctrl(&group)?;
    }
    let devices = plan::needs_devices(spec);
    if !devices.is_empty() {
        facts.network = Some(facts::network(&devices)?);
    }
    if let Some(uid) = plan::needs_home_of(spec) {
        let root = match (layers, rootfs) {
            (Some(layers), _) => host::layers::view(layers, &facts),
            (None, rootfs) => rootfs.and_then(|rootfs| File::open(rootfs).ok()).map(OwnedFd::from),
        };
        facts.home = root.and_then(|root| facts::home(root, uid));
    }
    if plan::needs_security(spec) {
        facts.security = facts::Security::probe();
    }
    facts.own_namespaces = facts::own_among(&plan::joined_paths(spec));
    facts.links = facts::links(plan::needs_links(spec, bundle));
    if plan::needs_rights(spec, &facts) {
        facts.rights = Rights::probe();
        let path = std::env::var_os("PATH");
        let find = |needed: bool, name: &str| {
            needed.then(|| facts::in_path(name, path.as_deref())).flatten()
        };
        let (newuidmap, newgidmap) = plan::needs_map_helpers(spec, &facts);
        facts.rights.newuidmap = find(newuidmap, "newuidmap");
        facts.rights.newgidmap = find(newgidmap, "newgidmap");
    }
    let questions = plan::needs_cgroup_refusal(spec, id.as_str(), options.rootless, &facts)?;
    let wanted: Vec<_> = questions
        .iter()
        .map(|question| facts::cgroup::Wanted {
            mount_point: &question.mount_point,
            directory: &question.directory,
            own: &question.own,
            is_v2: question.is_v2,
        })
        .collect();
    facts.cgroup_refusal = facts::cgroup::refusal(&wanted);
    Ok(facts)
}

/// The layers that the caller asks for, or the configuration where the caller lets it.
fn layers(options: &CreateOptions, spec: &Spec) -> std::result::Result<Option<Layers>, PlanError> {
    let pointer = || format!("/annotations/{}*", plan::LAYER_ANNOTATIONS);
    match (&options.layers, plan::layers::from_annotations(spec)?) {
        (layers, None) => Ok(layers.clone()),
        (_, Some(_)) if !options.layer_annotations => {
            let rule = "the annotations of this configuration may not choose layers";
            Err(PlanError::invalid(pointer(), rule))
        }
        (Some(_), Some(_)) => {
            let rule = "both the caller and the configuration's annotations choose layers";
            Err(PlanError::invalid(pointer(), rule))
        }
        (None, layers) => Ok(layers),
    }
}

fn refuse_what_is_not_done(options: &CreateOptions) -> std::result::Result<(), PlanError> {
    if options.console_socket.is_some() && options.keep_console {
        let rule = "cannot use console socket if runc will not detach or allocate tty";
        return Err(PlanError::invalid("", rule));
    }
    let refused = [
        (
            options.pidfd_socket.is_some(),
            "--pidfd-socket",
            "handing over the process's descriptor is not supported",
        ),
        (options.systemd_cgroup, "--systemd-cgroup", "cgroups made by systemd are not supported"),
    ];
    match refused.into_iter().find(|(asked, ..)| *asked) {
        Some((_, option, rule)) => Err(PlanError::unsupported("", rule).value(option)),
        None => Ok(()),
    }
}

/// Descriptors that are to be inherited must be there: a number that is free would be taken by one of teu's own.
fn check_preserved(count: u32) -> Result<()> {
    for number in (FIRST_PRESERVED..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        if !host::is_open(number) {
            let message = format!("unable to preserve fd {number}: the descriptor is not open");
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
    }
    Ok(())
}

/// What is remembered of the container.
fn record(plan: &Plan, state_root: &Path) -> Result<Record> {
    let boot_id = "/proc/sys/kernel/random/boot_id";
    let boot_id = std::fs::read_to_string(boot_id)
        .map_err(|error| StepError::io("read", Path::new(boot_id), &error))?;
    Ok(Record {
        oci_version: plan.oci_version.clone(),
        id: plan.id.clone(),
        bundle: plan.bundle.clone(),
        rootfs: plan.rootfs.clone(),
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        annotations: plan.annotations.clone(),
        init: None,
        boot_id: boot_id.trim_end().to_owned(),
        cgroups: plan.cgroup.directories(),
        resctrl: plan.intel_rdt.as_ref().map(|rdt| rdt.removed.clone()).unwrap_or_default(),
        init_layer: plan.layers.as_ref().map(|root| match &root.init_directory {
            Some(directory) => directory.join(&plan.id),
            None => state_root.join(&plan.id).join("init"),
        }),
        hooks: plan.hooks.clone(),
        shared_pid_namespace: plan.shared_pid_namespace,
    })
}

/// A path that does not depend on the working directory, without asking the filesystem.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| StepError::io("make absolute", path, &error).into())
}

#[cfg(test)]
mod tests;
