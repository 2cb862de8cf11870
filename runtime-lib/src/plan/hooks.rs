//! `hooks` (config.md#posix-platform-hooks): programs of the host that run at fixed points of a container's life.

use crate::error::PlanError;
use oci_spec::runtime::{Hook as SpecHook, Spec};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A hook, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hook {
    /// Which list of the configuration it is in, and its index there.
    pub(crate) kind: HookKind,
    /// Index in that list.
    pub(crate) index: usize,
    /// Absolute path of the program on the host.
    pub(crate) path: PathBuf,
    /// The whole argument vector; the path where the configuration has none.
    pub(crate) args: Vec<String>,
    /// The environment, `None` for the caller's, as in runc.
    pub(crate) env: Option<Vec<String>>,
    /// How long it may take, in seconds; `None` for as long as it likes.
    pub(crate) timeout: Option<u32>,
}

/// The points at which hooks run in the runtime's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HookKind {
    /// As `createRuntime`, before it; deprecated by the specification.
    Prestart,
    /// When the namespaces and mounts are made, before the root is changed.
    CreateRuntime,
    /// When the program runs.
    Poststart,
    /// When the container is deleted.
    Poststop,
}

/// Every kind of hook that is run.
#[must_use]
pub fn hook_names() -> Vec<&'static str> {
    vec!["prestart", "createRuntime", "poststart", "poststop"]
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hook #{}", self.kind, self.index)
    }
}

/// The hooks of a container, by when they run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Hooks {
    /// Before the root is changed.
    #[serde(skip)]
    pub(crate) create: Vec<Hook>,
    /// When the program runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststart: Vec<Hook>,
    /// When the container is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststop: Vec<Hook>,
}

/// Reads the hooks.
pub(super) fn plan(spec: &Spec) -> Result<Hooks, PlanError> {
    let Some(hooks) = spec.hooks() else { return Ok(Hooks::default()) };
    for (field, list) in
        [("createContainer", hooks.create_container()), ("startContainer", hooks.start_container())]
    {
        if list.as_ref().is_some_and(|list| !list.is_empty()) {
            let rule = format!("{field} hooks are not supported");
            return Err(PlanError::unsupported(format!("/hooks/{field}"), rule));
        }
    }
    #[allow(deprecated, reason = "deprecated is not gone: docker still sends it")]
    let mut create = read(HookKind::Prestart, hooks.prestart())?;
    create.extend(read(HookKind::CreateRuntime, hooks.create_runtime())?);
    let poststart = read(HookKind::Poststart, hooks.poststart())?;
    let poststop = read(HookKind::Poststop, hooks.poststop())?;
    Ok(Hooks { create, poststart, poststop })
}

fn read(kind: HookKind, list: &Option<Vec<SpecHook>>) -> Result<Vec<Hook>, PlanError> {
    let list = list.as_deref().unwrap_or_default();
    list.iter().enumerate().map(|(index, hook)| check(kind, index, hook)).collect()
}

fn check(kind: HookKind, index: usize, hook: &SpecHook) -> Result<Hook, PlanError> {
    let pointer = format!("/hooks/{kind}/{index}");
    if !hook.path().is_absolute() {
        let rule = "the path of a hook must be absolute";
        return Err(
            PlanError::invalid(format!("{pointer}/path"), rule).value(hook.path().display())
        );
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => {
            Some(u32::try_from(seconds).ok().filter(|&seconds| seconds > 0).ok_or_else(|| {
                PlanError::invalid(
                    format!("{pointer}/timeout"),
                    "a timeout is more than zero seconds",
                )
                .value(seconds)
            })?)
        }
    };
    let args = hook.args().clone().filter(|args| !args.is_empty());
    Ok(Hook {
        kind,
        index,
        path: hook.path().clone(),
        args: args.unwrap_or_else(|| vec![hook.path().display().to_string()]),
        env: hook.env().clone(),
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(hooks: &str) -> Result<Hooks, PlanError> {
        plan(
            &serde_json::from_str(&format!(r#"{{"ociVersion":"1.3.0","hooks":{hooks}}}"#)).unwrap(),
        )
    }

    #[test]
    fn prestart_comes_before_create_runtime_and_order_is_kept() {
        let hooks = plan_of(
            r#"{"createRuntime":[{"path":"/c"}],"prestart":[{"path":"/a"},{"path":"/b","args":["x","y"],"timeout":3}]}"#,
        );
        let create = hooks.unwrap().create;
        let names: Vec<_> = create.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["prestart hook #0", "prestart hook #1", "createRuntime hook #0"]);
        assert_eq!(
            (create[1].args.as_slice(), create[1].timeout),
            (&["x".to_owned(), "y".to_owned()][..], Some(3))
        );
        assert_eq!(create[0].args, ["/a"]);
    }

    #[test]
    fn relative_paths_and_timeouts_of_nothing_are_refused() {
        assert_eq!(
            plan_of(r#"{"poststop":[{"path":"x"}]}"#).unwrap_err().pointer,
            "/hooks/poststop/0/path"
        );
        assert_eq!(
            plan_of(r#"{"poststop":[{"path":"/x","timeout":0}]}"#).unwrap_err().pointer,
            "/hooks/poststop/0/timeout"
        );
        assert!(plan_of(r#"{"startContainer":[{"path":"/x"}]}"#).unwrap_err().unsupported);
    }
}
