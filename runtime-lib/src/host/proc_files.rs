//! Writes about the container's process through the host's /proc.

use crate::error::StepError;
use crate::plan::step::Rlimit;
use nix::errno::Errno;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Writes a file of `/proc/PID` in one system call, as the kernel wants id maps to be written.
pub(super) fn write(pid: i32, file: &str, text: &str) -> Result<(), StepError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    let write = || OpenOptions::new().write(true).open(&path)?.write_all(text.as_bytes());
    write().map_err(|error| StepError::io("write", &path, &error))
}

/// Writes the maps of the process's user namespace (user_namespaces(7)).
pub(super) fn id_maps(
    pid: i32,
    uid_map: &str,
    gid_map: &str,
    deny_setgroups: bool,
) -> Result<(), StepError> {
    if deny_setgroups {
        write(pid, "setgroups", "deny").map_err(|error| error.at("/linux/gidMappings"))?;
    }
    write(pid, "gid_map", gid_map).map_err(|error| explain(error).at("/linux/gidMappings"))?;
    write(pid, "uid_map", uid_map).map_err(|error| explain(error).at("/linux/uidMappings"))
}

fn explain(error: StepError) -> StepError {
    match error.errno {
        libc::EPERM => error.hint("an ordinary user may map only their own id"),
        libc::EINVAL => {
            error.hint("ranges must not overlap, be empty or exceed 32 bits; at most 340 lines")
        }
        _ => error,
    }
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
        StepError::new(format!("set resource limit {limit}"), errno as i32).at("/process/rlimits")
    })
}
