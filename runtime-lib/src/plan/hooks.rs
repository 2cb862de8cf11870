//! `hooks` (config.md#posix-platform-hooks): programs that run at fixed points of a container's life, on the host or in it.

use super::Request;
use super::descriptors::Descriptors;
use super::step::{InitOp, InitStep};
use crate::error::{PlanError, StepError, errno_text};
use oci_spec::runtime::{Hook as SpecHook, Spec};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A hook, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hook {
    /// Which list of the configuration it is in, and its index there.
    pub(crate) kind: HookKind,
    /// Index in that list.
    pub(crate) index: usize,
    /// Absolute path of the program: on the host, for `startContainer` in the container.
    pub(crate) path: PathBuf,
    /// The whole argument vector; the path where the configuration has none.
    pub(crate) args: Vec<String>,
    /// The environment, `None` where the configuration says nothing.
    pub(crate) env: Option<Vec<String>>,
    /// How long it may take, in seconds; `None` for as long as it likes.
    pub(crate) timeout: Option<u32>,
}

/// The points at which hooks run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HookKind {
    /// As `createRuntime`, before it; deprecated by the specification.
    Prestart,
    /// When the namespaces and mounts are made, before the root is changed.
    CreateRuntime,
    /// Then, but in the namespaces of the container.
    CreateContainer,
    /// In the container, before the program.
    StartContainer,
    /// When the program runs.
    Poststart,
    /// When the container is deleted.
    Poststop,
}

impl HookKind {
    const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// Every kind of hook that is run.
#[must_use]
pub fn hook_names() -> Vec<&'static str> {
    HookKind::ALL.map(HookKind::name).to_vec()
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hook #{}", self.kind, self.index)
    }
}

/// A hook that teu-init runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ContainerHook {
    /// The hook.
    pub(crate) hook: Hook,
    /// Its whole environment.
    pub(crate) env: Vec<String>,
    /// The container's state up to the pid, which only teu-init knows as it is in its PID namespace.
    pub(crate) head: String,
    /// The state behind the pid.
    pub(crate) tail: String,
}

/// How a hook failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The runtime could not do its part.
    Os(i32),
    /// It could not be started.
    Start(i32),
    /// It took too long.
    Timeout,
    /// It ended with this status, in words, after it wrote this.
    End { status: String, stdout: String, stderr: String },
}

impl Failure {
    /// The words that engines know.
    pub(crate) fn of(self, hook: &Hook) -> StepError {
        let reason = match self {
            Self::Os(errno) => errno_text(errno),
            Self::Start(errno) => {
                let words = format!("fork/exec {}: {}", hook.path.display(), errno_text(errno));
                match errno {
                    libc::EAGAIN => words + "; a limit of processes leaves no room for it",
                    _ => words,
                }
            }
            Self::Timeout => {
                let seconds = hook.timeout.unwrap_or(0);
                format!("hook ran past specified timeout of {seconds}.0s")
            }
            Self::End { status, stdout, stderr } => {
                format!("{status}, stdout: {stdout}, stderr: {stderr}")
            }
        };
        StepError::new(format!("error running {hook}: {reason}"), 0)
    }
}

/// The hooks of a container, by when they run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hooks {
    /// Before the root is changed, on the host.
    #[serde(skip)]
    pub(crate) create: Vec<Hook>,
    /// Then, in the container.
    #[serde(skip)]
    pub(crate) create_container: Vec<Hook>,
    /// Before the program, in the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) start_container: Vec<Hook>,
    /// When the program runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststart: Vec<Hook>,
    /// When the container is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststop: Vec<Hook>,
}

/// What hooks in the container get to know of it (runtime.md#state), but for pid and status.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    version_and_id: String,
    bundle_and_annotations: String,
}

impl State {
    /// The state of the container that is asked for.
    fn of(spec: &Spec, request: &Request<'_>) -> Self {
        // Text and maps of text always have a form in JSON.
        let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let annotations = match super::annotations(spec) {
            none if none.is_empty() => String::new(),
            some => {
                format!(r#","annotations":{}"#, serde_json::to_string(&some).unwrap_or_default())
            }
        };
        let bundle = json(&request.bundle.to_string_lossy());
        Self {
            version_and_id: format!(
                r#""ociVersion":{},"id":{}"#,
                json(spec.version()),
                json(request.id)
            ),
            bundle_and_annotations: format!(r#""bundle":{bundle}{annotations}"#),
        }
    }

    /// The state before and behind the pid.
    fn around_pid(&self, status: &str) -> (String, String) {
        (
            format!(r#"{{{},"status":"{status}","pid":"#, self.version_and_id),
            format!(",{}}}", self.bundle_and_annotations),
        )
    }
}

impl Hooks {
    /// Whether hooks run after `start` has said its word: it has to wait for them, or they for the program.
    pub(crate) fn follow_start(&self) -> bool {
        !self.start_container.is_empty() || !self.poststart.is_empty()
    }
}

/// The hooks with everything that their steps need.
#[derive(Debug)]
pub(super) struct Placed {
    /// The hooks.
    pub(super) list: Hooks,
    state: State,
    /// Where the root filesystem is on the host, if it is there.
    rootfs: Option<String>,
    /// The descriptor by which `start` is answered, if it waits for that.
    pub(super) answer: Option<i32>,
}

impl Placed {
    pub(super) fn new(
        hooks: &Hooks,
        spec: &Spec,
        request: &Request<'_>,
        rootfs: &Path,
        descriptors: &mut Descriptors,
    ) -> Self {
        let answers = request.waits_for_start && hooks.follow_start();
        Self {
            list: hooks.clone(),
            state: State::of(spec, request),
            rootfs: request.layers.is_none().then(|| rootfs.to_string_lossy().into_owned()),
            answer: answers.then(|| descriptors.add_answer()),
        }
    }

    /// Whether hooks want to see the finished root filesystem before it is the root.
    pub(super) fn see_the_root(&self) -> bool {
        !self.list.create.is_empty() || !self.list.create_container.is_empty()
    }

    /// The directory to which the root filesystem is attached. Hooks that enter the mount namespace look for it where it is on the
    /// host; without them nobody has to be able to walk there. Layers have no such place.
    pub(super) fn root_place(&self) -> &str {
        self.rootfs.as_deref().filter(|_| self.see_the_root()).unwrap_or("/")
    }

    /// The steps that run `createContainer` hooks. What they make gets usual permissions.
    pub(super) fn create_container_steps(&self) -> Vec<InitStep> {
        if self.list.create_container.is_empty() {
            return Vec::new();
        }
        // Nothing of the container's environment: they are the host's programs.
        let hooks = steps(&self.list.create_container, &self.state, "creating", &[]);
        let before = InitOp::Umask(0o022).into();
        let after = InitOp::Umask(0).into();
        std::iter::once(before).chain(hooks).chain([after]).collect()
    }

    /// The steps that run `startContainer` hooks, as the container's process.
    pub(super) fn start_container_steps(&self, env: &[String]) -> Vec<InitStep> {
        steps(&self.list.start_container, &self.state, "created", env).collect()
    }
}

/// A step for each hook; `env` where the configuration says nothing.
fn steps<'a>(
    hooks: &'a [Hook],
    state: &State,
    status: &str,
    env: &'a [String],
) -> impl Iterator<Item = InitStep> + 'a {
    let (head, tail) = state.around_pid(status);
    hooks.iter().map(move |hook| {
        let env = hook.env.clone().unwrap_or_else(|| env.to_vec());
        let planned =
            ContainerHook { hook: hook.clone(), env, head: head.clone(), tail: tail.clone() };
        InitStep::new(InitOp::RunHook(planned), format!("/hooks/{}/{}", hook.kind, hook.index))
    })
}

/// Reads the hooks.
pub(super) fn plan(spec: &Spec) -> Result<Hooks, PlanError> {
    let Some(hooks) = spec.hooks() else { return Ok(Hooks::default()) };
    #[allow(deprecated, reason = "deprecated is not gone: docker still sends it")]
    let mut create = read(HookKind::Prestart, hooks.prestart())?;
    create.extend(read(HookKind::CreateRuntime, hooks.create_runtime())?);
    Ok(Hooks {
        create,
        create_container: read(HookKind::CreateContainer, hooks.create_container())?,
        start_container: read(HookKind::StartContainer, hooks.start_container())?,
        poststart: read(HookKind::Poststart, hooks.poststart())?,
        poststop: read(HookKind::Poststop, hooks.poststop())?,
    })
}

fn read(kind: HookKind, list: &Option<Vec<SpecHook>>) -> Result<Vec<Hook>, PlanError> {
    let list = list.as_deref().unwrap_or_default();
    list.iter().enumerate().map(|(index, hook)| check(kind, index, hook)).collect()
}

fn check(kind: HookKind, index: usize, hook: &SpecHook) -> Result<Hook, PlanError> {
    let pointer = format!("/hooks/{kind}/{index}");
    let path = hook.path().display().to_string();
    if !hook.path().is_absolute() {
        let rule = "the path of a hook must be absolute";
        return Err(PlanError::invalid(format!("{pointer}/path"), rule).value(path));
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
    let args = args.unwrap_or_else(|| vec![path.clone()]);
    let env = hook.env().clone();
    for (field, texts) in
        [("path", &[path][..]), ("args", &args), ("env", env.as_deref().unwrap_or_default())]
    {
        if texts.iter().any(|text| text.contains('\0')) {
            let pointer = format!("{pointer}/{field}");
            return Err(PlanError::invalid(pointer, "a text for exec has no null byte"));
        }
    }
    Ok(Hook { kind, index, path: hook.path().clone(), args, env, timeout })
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
        assert_eq!(
            plan_of(r#"{"createContainer":[{"path":"/x","timeout":-1}]}"#).unwrap_err().pointer,
            "/hooks/createContainer/0/timeout"
        );
        assert_eq!(
            plan_of(r#"{"startContainer":[{"path":"/x","env":["A=\u0000"]}]}"#)
                .unwrap_err()
                .pointer,
            "/hooks/startContainer/0/env"
        );
    }

    fn state(annotations: &str) -> State {
        let spec = format!(r#"{{"ociVersion":"1.3.0","annotations":{annotations}}}"#);
        State::of(&serde_json::from_str(&spec).unwrap(), &super::super::tests::request(true))
    }

    #[test]
    fn the_state_of_hooks_in_the_container_is_json_around_a_pid() {
        for annotations in [r#"{"a\"b":"c\n"}"#, "{}"] {
            let (head, tail) = state(annotations).around_pid("creating");
            let json: serde_json::Value = serde_json::from_str(&format!("{head}7{tail}")).unwrap();
            let wanted: serde_json::Value = serde_json::from_str(annotations).unwrap();
            assert_eq!((&json["pid"], &json["status"]), (&7.into(), &"creating".into()));
            assert_eq!((&json["id"], &json["bundle"]), (&"box".into(), &"/bundle".into()));
            assert_eq!(json["annotations"]["a\"b"], wanted["a\"b"]);
        }
    }

    #[test]
    fn the_environment_is_the_hooks_own_or_that_of_the_place_where_it_runs() {
        let list = plan_of(
            r#"{"createContainer":[{"path":"/a"},{"path":"/b","env":["X=1"]}],"startContainer":[{"path":"/c"},{"path":"/d","env":[]}]}"#,
        )
        .unwrap();
        let hooks = Placed { list, state: state("{}"), rootfs: None, answer: None };
        let env = |steps: Vec<InitStep>| -> Vec<Vec<String>> {
            let hook = |step: InitStep| match step.op {
                InitOp::RunHook(hook) => Some(hook.env),
                _ => None,
            };
            steps.into_iter().filter_map(hook).collect()
        };
        let x = vec!["X=1".to_owned()];
        assert_eq!(env(hooks.create_container_steps()), [vec![], x]);
        let home = vec!["HOME=/".to_owned()];
        assert_eq!(env(hooks.start_container_steps(&home)), [home, vec![]]);
    }
}
