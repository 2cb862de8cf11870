//! `process.terminal` (config.md#process) and the caller's console socket: which combinations make sense.

use super::Request;
use crate::error::PlanError;
use oci_spec::runtime::{Process, Spec};

/// Refuses what contradicts itself, in runc's words, and then terminals as such, which this version does not have.
pub(super) fn check(spec: &Spec, request: &Request<'_>) -> Result<(), PlanError> {
    let terminal = spec.process().as_ref().and_then(Process::terminal).unwrap_or(false);
    match (terminal, request.has_console_socket) {
        (true, false) if request.waits_for_start => Err(PlanError::invalid(
            "/process/terminal",
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        (false, true) => Err(PlanError::invalid(
            "/process/terminal",
            "cannot use console socket if runc will not detach or allocate tty",
        )),
        (true, _) => Err(PlanError::unsupported(
            "/process/terminal",
            "terminals are not supported; set terminal to false",
        )),
        (false, false) => Ok(()),
    }
}
