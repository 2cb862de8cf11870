//! Writes about the container's process through the host's /proc.

use crate::error::StepError;
use crate::plan::step::{IdMap, Rlimit};
use nix::errno::Errno;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Writes a file of `/proc/PID` in one system call, as the kernel wants id maps to be written.
pub(super) fn write(pid: i32, file: &str, text: &str) -> Result<(), StepError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    let write = || OpenOptions::new().write(true).open(&path)?.write_all(text.as_bytes());
    write().map_err(|error| StepError::io("write", &path, &error))
}

/// Writes the maps of the process's user namespace (user_namespaces(7)).
pub(super) fn id_maps(
    pid: i32,
    uid_map: &IdMap,
    gid_map: &IdMap,
    deny_setgroups: bool,
) -> Result<(), StepError> {
    if deny_setgroups {
        write(pid, "setgroups", "deny").map_err(|error| error.at("/linux/gidMappings"))?;
    }
    id_map(pid, "gid_map", gid_map).map_err(|error| error.at("/linux/gidMappings"))?;
    id_map(pid, "uid_map", uid_map).map_err(|error| error.at("/linux/uidMappings"))
}

fn id_map(pid: i32, file: &str, map: &IdMap) -> Result<(), StepError> {
    match &map.helper {
        Some(helper) => run_helper(helper, pid, &map.lines),
        None => write(pid, file, &map.lines).map_err(explain),
    }
}

/// Compares the maps of a user namespace that the process has joined with those of the configuration.
pub(super) fn check_id_maps(pid: i32, uid_map: &str, gid_map: &str) -> Result<(), StepError> {
    let files =
        [("uid_map", uid_map, "/linux/uidMappings"), ("gid_map", gid_map, "/linux/gidMappings")];
    for (file, expected, pointer) in files {
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        let actual =
            std::fs::read_to_string(&path).map_err(|error| StepError::io("read", &path, &error))?;
        if ranges(&actual) != ranges(expected) {
            let words = |text: &str| {
                let lines =
                    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
                lines.collect::<Vec<_>>().join(", ")
            };
            let text = format!(
                "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one: \
                 the namespace maps {:?}, and the configuration {:?}",
                words(&actual),
                words(expected)
            );
            return Err(StepError::new(text, 0)
                .at(pointer)
                .hint("leave the mappings out where a namespace is joined"));
        }
    }
    Ok(())
}

/// The ranges of a map, in one order.
fn ranges(map: &str) -> Vec<Vec<&str>> {
    let mut ranges: Vec<Vec<&str>> =
        map.lines().map(|line| line.split_whitespace().collect()).collect();
    ranges.sort();
    ranges
}

fn explain(error: StepError) -> StepError {
    match error.errno {
        libc::EPERM => error.hint(
            "it takes CAP_SETUID or CAP_SETGID, and CAP_SETFCAP where root is mapped; an ordinary user may map only their own id",
        ),
        libc::EINVAL => error.hint("an id of the host may not be mapped in the runtime's own user namespace"),
        _ => error,
    }
}

/// newuidmap(1), newgidmap(1): set-uid programs that write what /etc/subuid and /etc/subgid grant the user.
fn run_helper(helper: &Path, pid: i32, lines: &str) -> Result<(), StepError> {
    let name = helper.display();
    let failed = |reason: &str, errno| StepError::new(format!("{name} {pid}: {reason}"), errno);
    let output = Command::new(helper)
        .arg(pid.to_string())
        .args(lines.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| StepError::io("execute", helper, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim_end().lines().collect::<Vec<_>>().join("; ");
    let words = if words.is_empty() { output.status.to_string() } else { words };
    Err(failed(&words, 0).hint("it grants what /etc/subuid and /etc/subgid list for this user"))
}

/// prlimit(2) of another process.
#[allow(unsafe_code, reason = "nix sets limits of the calling process only")]
pub(super) fn set_rlimit(pid: i32, limit: &Rlimit) -> Result<(), StepError> {
    let value = [limit.soft, limit.hard];
    // SAFETY: the new limit is a whole struct rlimit64 that outlives the call, and the old one is not asked for.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            limit.resource,
            value.as_ptr(),
            std::ptr::null_mut::<u64>(),
        )
    };
    Errno::result(answer).map(drop).map_err(|errno| {
        let error = StepError::new(format!("set resource limit {limit}"), errno as i32);
        let error = error.at("/process/rlimits");
        match errno {
            Errno::EPERM => error.hint("only root of the host may raise a hard limit"),
            _ => error,
        }
    })
}
