//! Properties of the configuration that this version refuses by name instead of ignoring them.

use crate::error::PlanError;
use oci_spec::runtime::Spec;

/// Refuses the first property that is asked for and not done.
pub(super) fn check(spec: &Spec) -> Result<(), PlanError> {
    let linux = spec.linux().as_ref();
    let has = |present: Option<bool>| present.unwrap_or(false);
    let refused = [(
        "/linux/seccomp",
        has(linux.map(|linux| linux.seccomp().is_some())),
        "seccomp filters are not supported",
    )];
    match refused.into_iter().find(|(_, present, _)| *present) {
        Some((pointer, _, rule)) => Err(PlanError::unsupported(pointer, rule)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_refused_and_what_is_empty_is_not_asked_for() {
        let check_of = |json: &str| check(&serde_json::from_str(json).unwrap());
        assert!(check_of(r#"{"ociVersion":"1.3.0","linux":{"netDevices":{}}}"#).is_ok());
        let seccomp =
            r#"{"ociVersion":"1.3.0","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}"#;
        assert_eq!(check_of(seccomp).unwrap_err().pointer, "/linux/seccomp");
    }
}
