//! Runtimes that raise `RLIMIT_MEMLOCK` before they load a device filter, on a host where root has
//! no `CAP_SYS_RESOURCE`.
//!
//! Since Linux 5.11 the memory of BPF programs is charged to the cgroup and not to this limit, so
//! the call is needless; some runtimes fail nevertheless when it does. A seccomp filter answers it
//! with success for every program that is measured, the floor included.

use crate::failure::{Context as _, Result};
use crate::sys;

/// Offsets in `struct seccomp_data`, `linux/seccomp.h`: the call's number and the low words of its
/// arguments.
const NUMBER: u32 = 0;
const ARGUMENTS: [u32; 3] = [16, 24, 32];

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Loads the filter if locked memory cannot be unlimited, and says so.
pub(crate) fn pretend_if_refused() -> Result<Option<String>> {
    if sys::unlimit_locked_memory().is_ok() {
        return Ok(None);
    }
    sys::load_filter(&mut filter()?).context("loading the filter for RLIMIT_MEMLOCK")?;
    let note = "root may not raise RLIMIT_MEMLOCK here, and crun cannot do without: a seccomp filter \
                answers that call with success in everything that was timed";
    Ok(Some(note.to_owned()))
}

/// `prlimit64` and `setrlimit` of `RLIMIT_MEMLOCK` return 0 and do nothing; all else is allowed.
fn filter() -> Result<Vec<libc::sock_filter>> {
    let number = |call: i64| u32::try_from(call).context("a number for the filter");
    // The C libraries disagree about its type.
    let resource = number(libc::RLIMIT_MEMLOCK.into())?;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let [first, second, third] = ARGUMENTS;
    Ok(vec![
        step(LOAD, NUMBER, 0, 0),
        step(JUMP_IF_EQUAL, number(libc::SYS_setrlimit)?, 0, 2),
        step(LOAD, first, 0, 0),
        step(JUMP_IF_EQUAL, resource, 5, 6),
        step(JUMP_IF_EQUAL, number(libc::SYS_prlimit64)?, 0, 5),
        step(LOAD, second, 0, 0),
        step(JUMP_IF_EQUAL, resource, 0, 3),
        // Without a new limit prlimit64 only reads.
        step(LOAD, third, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ERRNO, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}
