//! What holds of every plan, whatever the configuration. Tests check it of configurations that are made up at random, the fuzz
//! targets of those that they find.
//!
//! Each rule says what must not happen; [`super::order`] says why. A step that is new here is taken for the most dangerous of its
//! kind, until it is told to be harmless.

use super::cgroup::Membership;
use super::decode;
use super::hooks::HookKind;
use super::step::{DescriptorKind, HostOp, InitOp, InitStep, Rendezvous};
use super::{ConsoleTarget, Plan, Request};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use teu_init::program::{Report, Slot};

/// A caller who asks for nothing special.
pub(crate) fn request(waits_for_start: bool) -> Request<'static> {
    Request {
        id: "box",
        bundle: Path::new("/bundle"),
        layers: None,
        console: ConsoleTarget::Caller,
        console_size: None,
        pid_file: Some(PathBuf::from("/run/box.pid")),
        preserve_fds: 0,
        waits_for_start,
        keeps_keyring: false,
        no_pivot: false,
    }
}

/// A rule in words, and whether a plan keeps it.
type Rule = (&'static str, fn(&Plan) -> bool);

/// Every rule that the plan breaks, in words; none, as it should be.
pub(crate) fn broken(plan: &Plan) -> Vec<String> {
    let rules: &[Rule] = &[
        ("neither process waits for ever", |plan| finishes(&plan.host, &plan.init)),
        ("descriptors of the caller are closed before anything else", closes_first),
        ("every step has a number that a report can hold", has_few_steps),
        ("the program is executed, once, and last", executes_last),
        ("what is created can only fail to execute, or by its hooks", is_created_last),
        ("the program runs only after it is recorded", is_recorded_before_it_runs),
        ("nothing is mounted before the namespace is a slave of the host's", slave_before_mounts),
        ("nothing is built before the root is attached, nor after the pivot", builds_in_between),
        ("paths are hidden after everything that is mounted or made", hides_after_mounts),
        ("files of the runtime's /proc are written before the pivot", writes_before_pivot),
        ("nobody acts in a new user namespace before being its root", is_root_first),
        ("groups, then the group, then the user, then capabilities", changes_identity_in_order),
        ("nothing that needs a privilege follows the loss of it", needs_nothing_it_lost),
        ("bounding capabilities go while they can", drops_bounding_set_early),
        ("no new privileges are asked for once, in the container", no_new_privileges_once),
        ("descriptors have one number each, and are used", descriptors_are_used),
        ("paths in the container are absolute and clean", paths_are_clean),
        ("no text ends early at a null byte", has_no_null_bytes),
        ("the process is made once, and what is said about it follows", host_clones_once),
        ("intent is recorded before what delete would have to find", records_intent_first),
        ("what is made is taken back", makes_nothing_for_ever),
        ("cgroups stay where cgroups are", cgroups_stay_below_their_mount),
    ];
    let mut broken: Vec<_> = rules
        .iter()
        .filter(|(_, holds)| !holds(plan))
        .map(|(rule, _)| (*rule).to_owned())
        .collect();
    broken.extend(encoding_error(plan));
    broken
}

/// Runs both lists against each other. Messages never block their sender, so each side is a sequence of "says" and "hears".
pub(super) fn finishes(host: &[HostOp], init: &[InitStep]) -> bool {
    let (mut to_init, mut to_host) = (VecDeque::new(), VecDeque::new());
    let (mut host, mut init) = (VecDeque::from_iter(host), VecDeque::from_iter(init));
    loop {
        let before = (host.len(), init.len());
        while let Some(step) = host.front() {
            match step {
                HostOp::Release(point) => to_init.push_back(*point),
                HostOp::AwaitInit(point) if to_host.front() != Some(point) => break,
                HostOp::AwaitInit(_) => drop(to_host.pop_front()),
                HostOp::ReceiveConsole if to_host.front() != Some(&Rendezvous::ConsoleSent) => {
                    break;
                }
                HostOp::ReceiveConsole => drop(to_host.pop_front()),
                _ => {}
            }
            host.pop_front();
        }
        while let Some(step) = init.front() {
            match &step.op {
                InitOp::Notify(point) => to_host.push_back(*point),
                InitOp::Reclone { .. } => to_host.push_back(Rendezvous::Recloned),
                InitOp::SendConsole => to_host.push_back(Rendezvous::ConsoleSent),
                InitOp::Await(point) if to_init.front() != Some(point) => break,
                InitOp::Await(_) => drop(to_init.pop_front()),
                _ => {}
            }
            init.pop_front();
        }
        if before == (host.len(), init.len()) {
            return host.is_empty() && init.is_empty() && to_init.is_empty() && to_host.is_empty();
        }
    }
}

fn first(plan: &Plan, wanted: impl Fn(&InitOp) -> bool) -> Option<usize> {
    plan.init.iter().position(|step| wanted(&step.op))
}

fn last(plan: &Plan, wanted: impl Fn(&InitOp) -> bool) -> Option<usize> {
    plan.init.iter().rposition(|step| wanted(&step.op))
}

fn count(plan: &Plan, wanted: impl Fn(&InitOp) -> bool) -> usize {
    plan.init.iter().filter(|step| wanted(&step.op)).count()
}

/// `a` is there, and before `b` if that is there.
fn precedes(a: Option<usize>, b: Option<usize>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        (None, b) => b.is_none(),
    }
}

/// Whether the step puts something into the root filesystem's tree or changes a mount in it.
fn builds(op: &InitOp) -> bool {
    matches!(
        op,
        InitOp::MountFilesystem { .. }
            | InitOp::AttachTree { .. }
            | InitOp::CopyIntoTree { .. }
            | InitOp::CopyIntoMount { .. }
            | InitOp::SetMountAttributes { .. }
            | InitOp::MakeDirectory { .. }
            | InitOp::MakeNode { .. }
            | InitOp::MakeLink { .. }
            | InitOp::MakeConsole
            | InitOp::MaskPath(_)
            | InitOp::ReadonlyPath(_)
    )
}

fn mounts(op: &InitOp) -> bool {
    matches!(
        op,
        InitOp::AttachRoot { .. } | InitOp::MountFilesystem { .. } | InitOp::AttachTree { .. }
    )
}

fn closes_first(plan: &Plan) -> bool {
    let end = plan.descriptors.iter().map(|descriptor| descriptor.number).max().unwrap_or(0);
    match plan.init.first().map(|step| &step.op) {
        Some(InitOp::CloseFrom(from)) => {
            *from > end && *from > plan.clone.fd_base + Slot::Fifo as i32
        }
        _ => false,
    }
}

fn has_few_steps(plan: &Plan) -> bool {
    plan.init.len() < usize::from(Report::NOTIFY)
}

fn executes_last(plan: &Plan) -> bool {
    let executes = |op: &InitOp| matches!(op, InitOp::Execute { .. });
    count(plan, executes) == 1 && first(plan, executes) == plan.init.len().checked_sub(1)
}

fn is_created_last(plan: &Plan) -> bool {
    let Some(created) = first(plan, |op| *op == InitOp::Notify(Rendezvous::Created)) else {
        return false;
    };
    let cannot_fail = |op: &InitOp| {
        matches!(
            op,
            InitOp::Await(Rendezvous::Recorded)
                | InitOp::AwaitStart { .. }
                | InitOp::CloseOnExecFrom(_)
                | InitOp::Execute { .. }
        )
    };
    let hook = |op: &InitOp| matches!(op, InitOp::RunHook(hook) if hook.hook.kind == HookKind::StartContainer);
    plan.init.iter().skip(created + 1).all(|step| cannot_fail(&step.op) || hook(&step.op))
}

fn is_recorded_before_it_runs(plan: &Plan) -> bool {
    let host = |wanted: &HostOp| plan.host.iter().position(|step| step == wanted);
    let released = host(&HostOp::Release(Rendezvous::Recorded));
    let recorded = host(&HostOp::Record);
    let awaited = first(plan, |op| *op == InitOp::Await(Rendezvous::Recorded));
    let executed = first(plan, |op| matches!(op, InitOp::Execute { .. }));
    recorded.is_some()
        && awaited.is_some()
        && precedes(recorded, released)
        && precedes(awaited, executed)
}

fn slave_before_mounts(plan: &Plan) -> bool {
    let slave = first(plan, |op| matches!(op, InitOp::SetPropagation { .. }));
    precedes(slave, first(plan, mounts))
}

/// Whether the root filesystem becomes `/` by this step.
fn enters(op: &InitOp) -> bool {
    matches!(op, InitOp::PivotRoot | InitOp::ChangeRoot)
}

fn builds_in_between(plan: &Plan) -> bool {
    let attached = first(plan, |op| matches!(op, InitOp::AttachRoot { .. }));
    let makes = |op: &InitOp| {
        matches!(op, InitOp::MakeDirectory { .. } | InitOp::MakeNode { .. })
            || matches!(op, InitOp::MakeLink { .. })
    };
    // Where nothing is attached there is no mount namespace: what is mounted or changed would be the host's.
    let of_the_container = match attached {
        Some(attached) => first(plan, builds).is_none_or(|built| attached < built),
        None => plan.init.iter().all(|step| !builds(&step.op) || makes(&step.op)),
    };
    count(plan, enters) == 1 && of_the_container && last(plan, builds) < first(plan, enters)
}

fn hides_after_mounts(plan: &Plan) -> bool {
    let hides = |op: &InitOp| matches!(op, InitOp::MaskPath(_) | InitOp::ReadonlyPath(_));
    let makes = |op: &InitOp| {
        mounts(op) && !matches!(op, InitOp::AttachRoot { .. })
            || matches!(
                op,
                InitOp::MakeNode { .. }
                    | InitOp::MakeLink { .. }
                    | InitOp::MakeDirectory { .. }
                    | InitOp::MakeConsole
            )
    };
    first(plan, hides).is_none_or(|hidden| last(plan, makes) < Some(hidden))
}

fn writes_before_pivot(plan: &Plan) -> bool {
    last(plan, |op| matches!(op, InitOp::WriteProc { .. })) < first(plan, enters)
}

fn is_root_first(plan: &Plan) -> bool {
    let mapped = first(plan, |op| *op == InitOp::Await(Rendezvous::IdMapsWritten));
    let harmless = |op: &InitOp| {
        matches!(
            op,
            InitOp::CloseFrom(_)
                | InitOp::ResetSignals
                | InitOp::NotDumpable
                | InitOp::JoinNamespace { .. }
                | InitOp::Reclone { .. }
                | InitOp::Await(Rendezvous::IdMapsWritten)
        ) || matches!(op, InitOp::WriteProc { path, .. } if path == "self/oom_score_adj")
    };
    let Some(mapped) = mapped else { return true };
    // With the rights of the caller: what only the caller can find, and what only the caller has.
    let callers = |op: &InitOp| {
        matches!(op, InitOp::OpenTree { .. } | InitOp::DropGroups | InitOp::Unshare { flags: 0x80 })
            || matches!(op, InitOp::WriteProc { path, .. } if path == "self/timens_offsets")
    };
    let root = [InitOp::SetGid(0), InitOp::SetUid(0), InitOp::AmbientCapabilities(0)];
    let after = plan.init.iter().skip(mapped + 1).skip_while(|step| callers(&step.op));
    plan.init.iter().take(mapped).all(|step| harmless(&step.op))
        && after.zip(&root).all(|(step, op)| step.op == *op)
}

fn changes_identity_in_order(plan: &Plan) -> bool {
    let groups = last(plan, |op| matches!(op, InitOp::SetGroups(_)));
    let gid = last(plan, |op| matches!(op, InitOp::SetGid(_)));
    let uid = last(plan, |op| matches!(op, InitOp::SetUid(_)));
    let capabilities = first(plan, |op| matches!(op, InitOp::SetCapabilities { .. }));
    groups < gid && gid < uid && capabilities.is_none_or(|capabilities| uid < Some(capabilities))
}

/// Whether any process may do this.
fn needs_no_privilege(op: &InitOp) -> bool {
    matches!(
        op,
        InitOp::KeepCapabilities(_)
            | InitOp::SetCapabilities { .. }
            | InitOp::AmbientCapabilities(_)
            | InitOp::NoNewPrivileges
            | InitOp::Umask(_)
            | InitOp::ChangeDirectory { .. }
            | InitOp::FindExecutable { .. }
            | InitOp::Notify(_)
            | InitOp::Await(_)
            | InitOp::AwaitStart { .. }
            | InitOp::RunHook(_)
            | InitOp::CloseOnExecFrom(_)
            | InitOp::Execute { .. }
    )
}

fn needs_nothing_it_lost(plan: &Plan) -> bool {
    // The last change of the user takes the capabilities of root, unless the user is root.
    let uid = last(plan, |op| matches!(op, InitOp::SetUid(_)));
    plan.init.iter().skip(uid.map_or(0, |uid| uid + 1)).all(|step| needs_no_privilege(&step.op))
}

fn drops_bounding_set_early(plan: &Plan) -> bool {
    let bounding = first(plan, |op| matches!(op, InitOp::BoundingCapabilities { .. }));
    let capabilities = first(plan, |op| matches!(op, InitOp::SetCapabilities { .. }));
    let uid = last(plan, |op| matches!(op, InitOp::SetUid(_)));
    let kept = first(plan, |op| *op == InitOp::KeepCapabilities(true));
    let given_up = first(plan, |op| *op == InitOp::KeepCapabilities(false));
    bounding.is_some() == capabilities.is_some()
        && bounding.is_none_or(|bounding| Some(bounding) < uid)
        && kept.is_some() == given_up.is_some()
        && kept.is_none_or(|kept| Some(kept) < uid && uid < given_up)
}

fn no_new_privileges_once(plan: &Plan) -> bool {
    let asked = |op: &InitOp| *op == InitOp::NoNewPrivileges;
    let entered = first(plan, enters);
    count(plan, asked) <= 1 && first(plan, asked).is_none_or(|asked| entered < Some(asked))
}

fn descriptors_are_used(plan: &Plan) -> bool {
    let mut open = BTreeMap::new();
    for descriptor in &plan.descriptors {
        let joined = matches!(descriptor.kind, DescriptorKind::Namespace);
        if open.insert(descriptor.number, (joined, 0)).is_some() {
            return false;
        }
    }
    for step in &plan.init {
        if let InitOp::OpenTree { fd, .. } = &step.op
            && open.insert(*fd, (false, 0)).is_some()
        {
            return false;
        }
    }
    let mut use_one = |fd: &i32, wanted: bool| match open.get_mut(fd) {
        Some((joined, uses)) if *joined == wanted => {
            *uses += 1;
            true
        }
        _ => false,
    };
    let all_known = plan.init.iter().all(|step| match &step.op {
        InitOp::JoinNamespace { fd, .. } => use_one(fd, true),
        InitOp::AttachTree { fd, .. } => use_one(fd, false),
        _ => true,
    });
    let root = plan.clone.fd_base + Slot::Root as i32;
    let first = plan.clone.fd_base + Slot::First as i32;
    all_known
        && open.iter().all(|(&number, &(_, uses))| match number == root {
            true => uses == 0,
            false => number >= first && uses == 1,
        })
}

/// The path below the root filesystem that a step resolves.
fn path_of(op: &InitOp) -> Option<&str> {
    match op {
        InitOp::MountFilesystem { destination, .. } | InitOp::AttachTree { destination, .. } => {
            Some(destination)
        }
        InitOp::OpenCopySource { path }
        | InitOp::CopyIntoMount { path, .. }
        | InitOp::SetMountAttributes { path, .. }
        | InitOp::SetMountPropagation { path, .. }
        | InitOp::EnterDirectory { path } => Some(path),
        InitOp::MaskPath(protected) | InitOp::ReadonlyPath(protected) => Some(&protected.path),
        _ => None,
    }
}

fn paths_are_clean(plan: &Plan) -> bool {
    let clean = |path: &str| {
        path.starts_with('/') && path.split('/').all(|name| name != "." && name != "..")
    };
    let one_name = |name: &str| !name.is_empty() && !name.contains('/') && name != "..";
    plan.init.iter().all(|step| match &step.op {
        InitOp::MakeNode { name, .. } | InitOp::MakeLink { name, .. } => one_name(name),
        op => path_of(op).is_none_or(clean),
    })
}

fn has_no_null_bytes(plan: &Plan) -> bool {
    // The program is text by text; a serialized null byte is `\u0000`.
    let steps = serde_json::to_string(&(&plan.init, &plan.host)).unwrap_or_default();
    let descriptors = plan.descriptors.iter().map(|descriptor| &descriptor.path);
    !steps.contains("\\u0000")
        && descriptors.chain([&plan.rootfs]).all(|path| !path.to_string_lossy().contains('\0'))
}

fn host_clones_once(plan: &Plan) -> bool {
    let about_the_process = |step: &HostOp| {
        matches!(
            step,
            HostOp::WriteIdMaps { .. }
                | HostOp::JoinCgroup { .. }
                | HostOp::SetOomScoreAdj(_)
                | HostOp::SetRlimits(_)
                | HostOp::RunHooks(_)
                | HostOp::Record
                | HostOp::WritePidFile(_)
        )
    };
    let cloned = plan.host.iter().position(|step| *step == HostOp::Clone);
    let recloned = HostOp::AwaitInit(Rendezvous::Recloned);
    let known = plan.host.iter().position(|step| *step == recloned).or(cloned);
    plan.host.iter().filter(|step| **step == HostOp::Clone).count() == 1
        && plan.host.iter().position(about_the_process).is_none_or(|first| known < Some(first))
}

fn records_intent_first(plan: &Plan) -> bool {
    let recorded = plan.host.iter().position(|step| *step == HostOp::RecordIntent);
    let leaves = |step: &HostOp| step.inverse().is_some() && *step != HostOp::MakeStateDirectory;
    recorded.is_some() && recorded < plan.host.iter().position(leaves)
}

/// By the names of the steps: who makes something says how it goes away, or makes it inside of what goes away.
fn makes_nothing_for_ever(plan: &Plan) -> bool {
    plan.host.iter().all(|step| {
        let name = format!("{step:?}");
        let makes = name.starts_with("Make") || name.starts_with("Clone");
        !makes
            || step.inverse().is_some()
            || matches!(step, HostOp::MakeExecFifo | HostOp::MakeAnswerFifo { .. })
    })
}

fn cgroups_stay_below_their_mount(plan: &Plan) -> bool {
    let up = |path: &Path| path.components().any(|part| part == std::path::Component::ParentDir);
    let below = plan.cgroup.hierarchies.iter().all(|hierarchy| {
        let inherited = hierarchy.membership == Membership::Inherited;
        hierarchy.directory.starts_with(&hierarchy.mount_point)
            && (inherited || hierarchy.directory != hierarchy.mount_point)
            && !up(&hierarchy.directory)
    });
    let name = |file: &str| !file.is_empty() && !file.contains(['/', '\0']) && file != "..";
    let writes = &plan.cgroup.writes;
    let known = |index: usize| index < plan.cgroup.hierarchies.len();
    below
        && writes
            .iter()
            .all(|write| name(&write.file) && known(write.hierarchy) && !write.value.contains('\0'))
        && plan.cgroup.checks.iter().all(|check| name(&check.file) && known(check.hierarchy))
}

/// What is wrong with the program that teu-init would get, if anything is.
fn encoding_error(plan: &Plan) -> Option<String> {
    match decode::decode(&plan.encode()) {
        Err(error) => Some(format!("the program cannot be read: {error}")),
        Ok((_, fd_base)) if fd_base != plan.clone.fd_base => {
            Some(format!("slot zero is {fd_base}"))
        }
        Ok((ops, _)) => {
            let meant = plan.init.iter().map(|step| decode::as_encoded(&step.op));
            let differs = meant.zip(&ops).find(|(meant, read)| meant != *read);
            let lost = (ops.len() != plan.init.len()).then(|| "steps are missing".to_owned());
            differs.map(|(meant, read)| format!("{meant:?} is read as {read:?}")).or(lost)
        }
    }
}
