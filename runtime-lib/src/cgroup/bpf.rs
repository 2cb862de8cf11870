//! Attaches the device filter of a cgroup v2 directory.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::device_filter::compile;
use super::directory::Directory;
use super::{sys, with_hint};
use crate::error::StepError;
use crate::plan::cgroup::FilterAttachment;
use crate::plan::cgroup::devices::DeviceFilter;

/// JSON pointer of the rules.
const POINTER: &str = "/linux/resources/devices";

/// Makes the planned filter the device filter of a cgroup.
///
/// The filters of cgroups above stay in force. So would an old one on the same cgroup, which a cgroup that was there before may
/// have: it is detached, after the new one is attached, so that at no moment there is none.
pub(super) fn attach(
    cgroup: &Directory,
    attachment: &FilterAttachment,
    is_new: bool,
) -> Result<(), StepError> {
    match try_attach(cgroup, &attachment.filter, is_new) {
        Err(Errno::EPERM) if attachment.may_be_refused => Ok(()),
        Err(errno) => Err(explain(cgroup, errno)),
        Ok(()) => Ok(()),
    }
}

fn try_attach(cgroup: &Directory, filter: &DeviceFilter, is_new: bool) -> Result<(), Errno> {
    let program = sys::load_device_program(&compile(filter))?;
    let old = if is_new { Vec::new() } else { sys::attached_device_programs(cgroup.as_fd())? };
    sys::attach_device_program(cgroup.as_fd(), &program)?;
    for id in old {
        match sys::program_by_id(id)
            .and_then(|old| sys::detach_device_program(cgroup.as_fd(), &old))
        {
            // Someone else was faster.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn explain(cgroup: &Directory, errno: Errno) -> StepError {
    let text = format!("attach the device filter to {}", cgroup.path().display());
    with_hint(StepError::new(text, errno as i32).at(POINTER), errno, &HINTS)
}

const HINTS: [(Errno, &str); 3] = [
    (
        Errno::EPERM,
        "it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; before Linux 5.11 a larger RLIMIT_MEMLOCK as well",
    ),
    (Errno::ENOSYS, "the kernel needs CONFIG_BPF_SYSCALL"),
    (Errno::EINVAL, "the kernel needs CONFIG_CGROUP_BPF"),
];
