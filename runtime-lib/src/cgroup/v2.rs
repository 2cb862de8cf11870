//! What cgroup v2 needs besides writes: controllers come down from the root through every `cgroup.subtree_control`.

use nix::errno::Errno;

use super::directory::{Directory, names_below};
use super::{step, with_hint};
use crate::error::StepError;
use crate::plan::cgroup::HierarchyPlan;

/// Sees to it that `leaf`, the container's cgroup, has the controllers of the plan.
///
/// What a cgroup has is what its parent hands down, so one look at the leaf settles the common case. Only if something
/// is missing, every level from the root is looked at.
pub(super) fn enable_controllers(
    hierarchy: &HierarchyPlan,
    leaf: &Directory,
) -> Result<(), StepError> {
    if hierarchy.enable.is_empty() || lacking(leaf, &hierarchy.enable)?.is_empty() {
        return Ok(());
    }
    let refusals = hand_down_to(hierarchy)?;
    // Accounting that nobody asked for is not worth a failure; a limit is.
    let lacking = lacking(leaf, &hierarchy.enable)?;
    match hierarchy.needs.iter().find(|need| lacking.contains(&need.controller.as_str())) {
        None => Ok(()),
        Some(need) => {
            let refusal =
                refusals.into_iter().find(|refusal| refusal.controller == need.controller);
            Err(explain(leaf, &need.controller, refusal).at(&need.pointer))
        }
    }
}

/// A controller that a level did not hand down.
struct Refusal {
    controller: String,
    /// The `cgroup.subtree_control` that did not take it.
    file: String,
    errno: Errno,
}

/// Which of `wanted` the cgroup does not have.
fn lacking<'a>(directory: &Directory, wanted: &'a [String]) -> Result<Vec<&'a str>, StepError> {
    let present = read(directory, "cgroup.controllers")?;
    Ok(without(wanted.iter().map(String::as_str), &present))
}

/// `names` without the words of `list`.
fn without<'a>(names: impl Iterator<Item = &'a str>, list: &str) -> Vec<&'a str> {
    names.filter(|name| !list.split_ascii_whitespace().any(|word| word == *name)).collect()
}

/// Enables the controllers in every cgroup from the root of the mount to the parent of the container's.
fn hand_down_to(hierarchy: &HierarchyPlan) -> Result<Vec<Refusal>, StepError> {
    let open_failed = |errno| step("open cgroup", &hierarchy.directory, errno);
    let mut refusals = Vec::new();
    let mut current = Directory::open(&hierarchy.mount_point).map_err(open_failed)?;
    for name in names_below(&hierarchy.directory, &hierarchy.mount_point) {
        refusals.extend(hand_down(&current, &hierarchy.enable)?);
        current = current.open_child(name).map_err(open_failed)?;
    }
    Ok(refusals)
}

/// Enables those of `wanted` that `directory` has and does not hand down yet: all at once, and one by one if that fails.
///
/// A cgroup with processes hands nothing down but to threads: the kernel refuses memory, and takes pids or cpu as the beginning
/// of a threaded domain, in which the container's cgroup could hold no process (cgroup-v2.rst, "Threads").
fn hand_down(directory: &Directory, wanted: &[String]) -> Result<Vec<Refusal>, StepError> {
    const FILE: &str = "cgroup.subtree_control";
    let enabled = read(directory, FILE)?;
    let available = read(directory, "cgroup.controllers")?;
    let available: Vec<&str> = available.split_ascii_whitespace().collect();
    let wanted = wanted.iter().map(String::as_str).filter(|name| available.contains(name));
    let missing = without(wanted, &enabled);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let file = directory.path().join(FILE).display().to_string();
    let refusal =
        |name: &str, errno| Refusal { controller: name.to_owned(), file: file.clone(), errno };
    if has_processes(directory) {
        return Ok(missing.into_iter().map(|name| refusal(name, Errno::EBUSY)).collect());
    }
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if directory.write(FILE, &all.join(" ")).is_ok() {
        return Ok(Vec::new());
    }
    let refused = missing.into_iter().filter_map(|name| {
        directory.write(FILE, &format!("+{name}")).err().map(|errno| refusal(name, errno))
    });
    Ok(refused.collect())
}

/// Whether the cgroup has processes and is not the root of all, which may.
fn has_processes(directory: &Directory) -> bool {
    let is_root = directory.read_short("cgroup.type") == Err(Errno::ENOENT);
    // What cannot be read is for the write to fail at.
    !is_root && directory.read_short("cgroup.procs").is_ok_and(|list| !list.trim().is_empty())
}

const NOT_DELEGATED: &str = "the cgroup is not delegated to this user";

const HINTS: [(Errno, &str); 4] = [
    (
        Errno::EBUSY,
        "that cgroup has processes, and a cgroup v2 with processes cannot hand controllers down: \
         name another place in linux.cgroupsPath",
    ),
    (Errno::EACCES, NOT_DELEGATED),
    (Errno::EPERM, NOT_DELEGATED),
    (Errno::EROFS, "the cgroup filesystem is mounted read-only"),
];

/// Why the container's cgroup does not have `controller`.
fn explain(leaf: &Directory, controller: &str, refusal: Option<Refusal>) -> StepError {
    let path = leaf.path().display();
    let threaded = match leaf.read_short("cgroup.type").unwrap_or_default().trim() {
        "threaded" => Some("it is in threaded mode"),
        "domain invalid" => Some("it is in an invalid state: a cgroup above is threaded"),
        _ => None,
    };
    match (threaded, refusal) {
        (Some(state), _) => {
            let text =
                format!("cannot enter cgroupv2 \"{path}\" with domain controllers -- {state}");
            StepError::new(text, libc::EOPNOTSUPP)
        }
        (None, Some(Refusal { file, errno, .. })) => {
            let text = format!("enable controller {controller:?} in {file}");
            with_hint(StepError::new(text, errno as i32), errno, &HINTS)
        }
        (None, None) => {
            let text = format!("enable controller {controller:?} for cgroup {path}");
            StepError::new(text, libc::ENOENT)
                .hint("an outer cgroup does not hand it down, or it was taken away just now")
        }
    }
}

fn read(directory: &Directory, file: &str) -> Result<String, StepError> {
    directory.read_short(file).map_err(|errno| step("read", &directory.path().join(file), errno))
}
