//! What a failed step of teu-init means, in the words that engines look for: step, place, reason, advice.

use super::step::{InitOp, InitStep, Label};
use crate::error::{Error, ErrorKind, StepError, errno_text};
use teu_init::program::Detail;

/// The error for a step that teu-init reported.
pub(crate) fn failure(step: &InitStep, detail: Detail, errno: i32) -> Error {
    match &step.op {
        InitOp::FindExecutable { name, .. } => {
            return Error::execute(ErrorKind::CannotExecute, errno, not_found(name, errno));
        }
        InitOp::Execute { args, .. } => {
            let program = args.first().map_or("", String::as_str);
            return Error::execute(
                ErrorKind::ExecFailed,
                errno,
                format!("exec {program}: {}", errno_text(errno)),
            );
        }
        _ => {}
    }
    let mut error = StepError::new(words(&step.op, detail), errno);
    if !step.pointer.is_empty() {
        error = error.at(step.pointer.clone());
    }
    if let Some(hint) = hint(&step.op, detail, errno) {
        error = error.hint(hint);
    }
    error.into()
}

/// Go's words for a program that is not there, which docker and podman turn into exit code 127.
fn not_found(name: &str, errno: i32) -> String {
    if name.contains('/') {
        format!("exec: {name:?}: stat {name}: {}", errno_text(errno))
    } else if errno == libc::ENOENT {
        format!("exec: {name:?}: executable file not found in $PATH")
    } else {
        format!("exec: {name:?}: {}", errno_text(errno))
    }
}

/// What was being done, with the part of it that failed.
fn words(op: &InitOp, detail: Detail) -> String {
    let part = part(op, detail);
    let mut words = match op {
        InitOp::MountFilesystem { destination, source, .. } => {
            format!("error mounting {source:?} to rootfs at {destination:?}: {op}")
        }
        InitOp::AttachTree { destination, source, .. } => {
            format!(
                "error mounting {:?} to rootfs at {destination:?}: {op}",
                source.display().to_string()
            )
        }
        InitOp::BindWithin(within) => {
            let (source, destination) = (&within.source, &within.destination);
            format!("error mounting {source:?} to rootfs at {destination:?}: {op}")
        }
        _ => op.to_string(),
    };
    if !part.is_empty() {
        words.push_str(": ");
        words.push_str(part);
    }
    words
}

/// The part of a step that failed, in words.
fn part(op: &InitOp, detail: Detail) -> &'static str {
    match (op, detail) {
        (_, Detail::Hangup) => "the runtime is gone",
        (InitOp::OpenConsole { .. }, Detail::Resolve) => "find /dev/pts",
        (InitOp::OpenConsole { .. }, Detail::Verify) => "/dev/pts is not a devpts filesystem",
        (InitOp::OpenConsole { .. }, Detail::Create) => "open its multiplexer /dev/pts/ptmx",
        (InitOp::OpenConsole { .. }, Detail::Attributes) => "set its size",
        (InitOp::MakeConsole | InitOp::BindConsole, Detail::Verify) => {
            "a symbolic link stands there"
        }
        (InitOp::VerifyDevice { .. }, Detail::Verify) => "it is another file",
        (InitOp::WriteProc { .. }, Detail::Resolve) => "open it",
        (InitOp::OpenLabel { .. }, Detail::Resolve) => "",
        (InitOp::OpenTree { .. }, Detail::Attributes) => "change its attributes",
        (InitOp::OpenTree { .. }, Detail::Verify) => {
            "\"/proc\" cannot be mounted because it is not of type proc"
        }
        (InitOp::OpenTree { .. }, Detail::Tree) => "",
        (_, Detail::GroupsDenied) => "cannot set any additional groups in a rootless container",
        (InitOp::HideHost, Detail::Resolve) => "read the table of mounts",
        (InitOp::HideHost, Detail::Verify) => "tell what is mounted",
        (InitOp::HideHost, Detail::Tree | Detail::Attach) => "cover procfs or sysfs",
        (InitOp::AttachRoot { .. }, Detail::Resolve) => "find its directory",
        (InitOp::AttachRoot { .. }, Detail::Verify) => "another directory is there",
        (_, Detail::InProc) => "cannot be mounted because it is inside /proc",
        (_, Detail::FileOverDirectory) => "a file can only be bound over a file",
        (_, Detail::Source) => "find the source below the root filesystem",
        (InitOp::CopyLink { .. }, Detail::Verify) => "another file is there already",
        (_, Detail::CopyRead) => "read what the image has",
        (_, Detail::CopyWrite) => "write the copy",
        (_, Detail::CopyDepth) => "directories lie in each other more than 128 deep",
        (_, Detail::CopyClear) => "clear away a copy that was interrupted",
        (InitOp::CopyIntoTree { .. }, Detail::Verify) => "only a directory can be filled",
        (InitOp::CopyIntoMount { .. }, Detail::Verify) => "what was mounted there is gone",
        (_, Detail::Resolve) => "resolve the path below the root filesystem",
        (_, Detail::Create) => "create it",
        (InitOp::MountFilesystem { .. }, Detail::Verify) => "must be mounted on ordinary directory",
        (InitOp::MaskPath(_), Detail::Verify) => "the container's /dev/null is not the device 1:3",
        (InitOp::MakeNode { .. }, Detail::Verify) => "a different file is there already",
        (InitOp::WriteProc { .. } | InitOp::OpenLabel { .. }, Detail::Verify) => {
            "/proc is no procfs, or something is mounted over the file"
        }
        (InitOp::ChangeDirectory { .. }, Detail::Verify) => {
            "current working directory is outside of container mount namespace root -- possible container breakout detected"
        }
        (_, Detail::Verify) => "what is there is not what it has to be",
        (InitOp::MaskPath(_), Detail::Tree) => "open what hides it",
        (_, Detail::Tree) => "copy the mount",
        (_, Detail::Attributes) => "change attributes",
        (InitOp::PivotRoot, Detail::Attach) => "detach the old root",
        (_, Detail::Attach) => "attach it",
        // Said by `hooks::failure`.
        (_, Detail::Call | Detail::HookStart | Detail::HookEnd | Detail::HookTimeout) => "",
    }
}

/// Why the kernel refuses to clear a flag of a mount (mount_namespaces(7)).
pub(crate) const LOCKED: &str = "a user namespace may not clear flags that a mount has from outside, nor change its access times: ask for the flags that it has";

/// Advice for refusals whose errno says little.
fn hint(op: &InitOp, detail: Detail, errno: i32) -> Option<&'static str> {
    match (op, detail, errno) {
        (InitOp::MountFilesystem { kind, .. }, Detail::Attach, libc::ENODEV)
            if kind != "mqueue" =>
        {
            Some("this kernel does not know the filesystem; is its module loaded?")
        }
        (InitOp::MountFilesystem { kind, .. }, Detail::Attach, libc::EPERM | libc::EBUSY)
            if kind == "sysfs" =>
        {
            Some(
                "sysfs belongs to a network namespace: give the container one, or bind /sys instead",
            )
        }
        (InitOp::MountFilesystem { .. }, Detail::Attach, libc::EINVAL) => {
            Some("the filesystem does not accept one of the options")
        }
        (
            InitOp::MountFilesystem { .. } | InitOp::AttachTree { .. },
            Detail::Attach,
            libc::ENOSPC,
        ) => Some("the mount namespace is full (fs.mount-max)"),
        (InitOp::AttachTree { .. } | InitOp::BindWithin(_), Detail::Resolve, libc::ENOTDIR) => {
            Some("a directory can only be bound over a directory")
        }
        (InitOp::AttachTree { .. } | InitOp::BindWithin(_), Detail::Attach, libc::ENOTDIR) => {
            Some("a file can only be bound over a file")
        }
        (InitOp::MountFilesystem { .. }, Detail::Resolve, libc::ENOTDIR) => {
            Some("a filesystem can only be mounted over a directory")
        }
        (
            InitOp::BindWithin(_) | InitOp::SetMountAttributes { .. },
            Detail::Attributes,
            libc::EPERM,
        ) => Some(LOCKED),
        (InitOp::SetMountAttributes { .. }, Detail::Attributes, libc::EINVAL) => {
            Some("nothing is mounted there, or one of the attributes is not to be had")
        }
        (InitOp::OpenConsole { .. }, Detail::Verify, _)
        | (InitOp::OpenConsole { .. }, Detail::Resolve, libc::ENOENT) => {
            Some("a container with a terminal needs a mount of type devpts at /dev/pts")
        }
        (InitOp::OpenConsole { .. }, Detail::Create, libc::ENOSPC) => {
            Some("the limit of terminals is reached (kernel.pty.max, the devpts option max)")
        }
        (InitOp::PivotRoot, Detail::Call, libc::EINVAL) => Some(
            "where the root of the host is the initial ramdisk, it takes another way (`--no-pivot`)",
        ),
        (InitOp::AttachRoot { .. }, Detail::Resolve, libc::EACCES) => Some(
            "with hooks that look into the container, root of its user namespace has to be able to walk there",
        ),
        (InitOp::JoinNamespace { .. }, _, libc::EINVAL) => {
            Some("the path is a namespace of another type")
        }
        _ => process_hint(op, errno).or_else(|| user_namespace_hint(op, detail, errno)),
    }
}

/// Advice about the steps that make the process what it is.
fn process_hint(op: &InitOp, errno: i32) -> Option<&'static str> {
    match (op, errno) {
        (InitOp::SetScheduler(attributes), libc::EPERM) if attributes.in_cpuset => Some(
            "process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus)",
        ),
        (InitOp::SetScheduler(_), libc::EPERM) => Some(
            "the runtime lacks CAP_SYS_NICE, or its cgroup has no realtime runtime (cpu.rt_runtime_us)",
        ),
        (InitOp::SetScheduler(_), libc::EOPNOTSUPP) => {
            Some("this kernel does not clamp utilization (CONFIG_UCLAMP_TASK)")
        }
        (InitOp::VerifyDevice { .. }, 0) => {
            Some("where nodes cannot be made, the container gets the host's node of the same path")
        }
        (InitOp::WriteLabel(Label::AppArmor(_)), libc::ENOENT) => {
            Some("the profile is not loaded (apparmor_parser(8))")
        }
        (InitOp::WriteLabel(_), libc::EACCES | libc::EPERM) => {
            Some("the runtime's own profile or label does not allow the change")
        }
        (InitOp::WriteLabel(Label::SeLinux(_)), libc::EINVAL) => {
            Some("the policy does not know the label")
        }
        (InitOp::SetIoPriority { .. }, libc::EPERM) => {
            Some("the realtime class needs CAP_SYS_ADMIN or CAP_SYS_NICE on the host")
        }
        (InitOp::SetMemoryPolicy { .. }, libc::EINVAL) => {
            Some("the host has none of these memory nodes, or its kernel not this mode or flag")
        }
        (InitOp::SetMemoryPolicy { .. }, libc::ENOSYS) => {
            Some("this kernel has no memory policies (CONFIG_NUMA)")
        }
        (InitOp::NewSessionKeyring, libc::EDQUOT) => Some(
            "this user has as many keys as they may (/proc/sys/kernel/keys/maxkeys); --no-new-keyring shares the caller's",
        ),
        (InitOp::SetRlimit(_), libc::EPERM) => Some("only root of the host may raise a hard limit"),
        (InitOp::SetGroups(_) | InitOp::SetGid(_) | InitOp::SetUid(_), libc::EINVAL) => {
            Some("the id is not mapped in the container's user namespace")
        }
        (InitOp::SetCapabilities { .. }, libc::EPERM) => {
            Some("the runtime does not have one of these capabilities itself")
        }
        (InitOp::CopyIntoTree { .. } | InitOp::CopyIntoMount { .. }, libc::ENOSPC) => {
            Some("what the image has there is larger than the volume")
        }
        (InitOp::CopyIntoTree { .. } | InitOp::CopyIntoMount { .. }, libc::EINVAL) => {
            Some("an owner in the image may not be mapped in the container's user namespace")
        }
        (InitOp::CopyIntoTree { .. } | InitOp::CopyIntoMount { .. }, libc::EOPNOTSUPP) => {
            Some("the volume's filesystem cannot hold an access list that the image has")
        }
        _ => None,
    }
}

/// Advice for what goes wrong in user namespaces.
fn user_namespace_hint(op: &InitOp, detail: Detail, errno: i32) -> Option<&'static str> {
    match (op, detail, errno) {
        (InitOp::MountFilesystem { kind, .. }, Detail::Attach, libc::EPERM) if kind == "proc" => {
            Some(
                "in a user namespace the kernel gives a new procfs only to who sees all of the old one: something is mounted \
             over parts of the runtime's own /proc; bind /proc instead, or run teu where /proc is whole",
            )
        }
        (InitOp::OpenTree { tree, .. }, Detail::Tree, libc::EINVAL) if !tree.recursive => Some(
            "in a user namespace a directory with mounts below it can only be bound with them: use rbind",
        ),
        (InitOp::OpenTree { tree, .. }, Detail::Tree, libc::ENOTDIR) if tree.directory => {
            Some("it must be a directory and no symbolic link")
        }
        (InitOp::OpenTree { .. }, Detail::Attributes, libc::EPERM) => Some(LOCKED),
        (InitOp::OpenTree { .. }, _, libc::EPERM) => Some(
            "the user namespace has no capabilities: a security module may restrict those of ordinary users \
             (kernel.apparmor_restrict_unprivileged_userns)",
        ),
        (InitOp::JoinNamespace { .. }, _, libc::EPERM) => Some(
            "it takes CAP_SYS_ADMIN in the user namespace that owns it; an ordinary user has that where they made it",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> InitStep {
        InitStep::new(
            InitOp::FindExecutable { name: name.to_owned(), candidates: Vec::new() },
            "/process/args/0",
        )
    }

    #[test]
    fn a_missing_program_is_said_as_engines_expect() {
        let error = failure(&find("nosuch"), Detail::Call, libc::ENOENT);
        assert_eq!(error.to_string(), "exec: \"nosuch\": executable file not found in $PATH");
        assert_eq!(error.kind(), ErrorKind::CannotExecute);
        let error = failure(&find("/nosuch"), Detail::Call, libc::ENOENT);
        assert_eq!(error.to_string(), "exec: \"/nosuch\": stat /nosuch: no such file or directory");
    }

    #[test]
    fn a_mount_is_named_with_source_destination_field_and_reason() {
        let op = InitOp::MountFilesystem {
            destination: "/proc".to_owned(),
            kind: "proc".to_owned(),
            source: "proc".to_owned(),
            flags: 0,
            data: String::new(),
            no_symlinks: true,
            inherit_mode: false,
        };
        let error = failure(&InitStep::new(op, "/mounts/0"), Detail::Verify, 0);
        assert_eq!(
            error.to_string(),
            "error mounting \"proc\" to rootfs at \"/proc\": mount proc at /proc: must be mounted on ordinary directory (/mounts/0)"
        );
    }
}
