//! `process` (config.md#process): who the program is, what it may do, and how it starts.

use super::capabilities::{self, Sets};
use super::environment;
use super::labels::{self, Labels};
use super::memory_policy;
use super::rlimits;
use super::scheduling;
use super::step::{InitOp, InitStep, Rlimit};
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{Process, Spec};

/// The process that a configuration describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessPlan {
    cwd: String,
    args: Vec<String>,
    env: Vec<String>,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    capabilities: Option<Sets>,
    last_capability: u32,
    no_new_privileges: bool,
    personality: Option<u64>,
    /// When the process runs and where, and where its memory is.
    resources: Vec<InitStep>,
    /// What security modules have to say about it.
    pub(super) labels: Labels,
    /// Resource limits to set.
    pub(super) rlimits: Vec<Rlimit>,
    /// Score to write, if any.
    pub(super) oom_score_adj: Option<i32>,
}

/// What a container gets when the configuration does not say, as in runc; the specification leaves it to the caller's.
const DEFAULT_UMASK: u32 = 0o022;

/// Reads the process.
pub(super) fn plan(
    spec: &Spec,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan, PlanError> {
    let Some(process) = spec.process() else {
        return Err(PlanError::invalid("/process", "process property must not be empty"));
    };
    let user = process.user();
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(PlanError::invalid("/process/user/umask", "a umask has nine bits")
            .value(format!("{umask:o}")));
    }
    let env = process.env().as_deref().unwrap_or_default();
    let sets = process.capabilities().as_ref();
    let mut resources = scheduling::plan(spec, process)?;
    resources.extend(memory_policy::plan(spec, facts.kernel)?);
    Ok(ProcessPlan {
        cwd: cwd(process)?,
        args: args(process)?,
        env: environment::environment(env, facts.home.as_deref())?,
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask,
        capabilities: sets.map(|sets| capabilities::sets(sets, facts.last_capability, warnings)),
        last_capability: facts.last_capability,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        personality: personality(spec, warnings),
        resources,
        labels: labels::plan(spec, facts.security)?,
        rlimits: rlimits::plan(process.rlimits().as_deref().unwrap_or_default())?,
        oom_score_adj: oom_score_adj(process)?,
    })
}

fn cwd(process: &Process) -> Result<String, PlanError> {
    let refuse =
        |rule: &str| PlanError::invalid("/process/cwd", rule).value(process.cwd().display());
    match process.cwd().to_str() {
        Some("") => Err(refuse("Cwd property must not be empty")),
        Some(cwd) if !cwd.starts_with('/') => Err(refuse("Cwd must be an absolute path")),
        Some(cwd) if !cwd.contains('\0') => Ok(cwd.to_owned()),
        _ => Err(refuse("a path has no null byte")),
    }
}

fn args(process: &Process) -> Result<Vec<String>, PlanError> {
    let args = process.args().clone().unwrap_or_default();
    match args.first() {
        None => Err(PlanError::invalid("/process/args", "args must not be empty")),
        Some(program) if program.is_empty() => {
            Err(PlanError::invalid("/process/args/0", "the program's name must not be empty"))
        }
        Some(_) => match args.iter().position(|arg| arg.contains('\0')) {
            Some(index) => Err(PlanError::invalid(
                format!("/process/args/{index}"),
                "an argument has no null byte",
            )),
            None => Ok(args),
        },
    }
}

/// `linux.personality` (config-linux.md#personality) as personality(2) takes it. The specification has no flags yet.
fn personality(spec: &Spec, warnings: &mut Vec<String>) -> Option<u64> {
    use oci_spec::runtime::LinuxPersonalityDomain;
    const PER_LINUX: u64 = 0;
    const PER_LINUX32: u64 = 8;
    let personality = spec.linux().as_ref()?.personality().as_ref()?;
    if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        warnings
            .push("ignoring flags of linux.personality: the specification defines none".to_owned());
    }
    Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}

fn oom_score_adj(process: &Process) -> Result<Option<i32>, PlanError> {
    match process.oom_score_adj() {
        Some(value) if !(-1000..=1000).contains(&value) => Err(PlanError::invalid(
            "/process/oomScoreAdj",
            "the score is between -1000 and 1000 (proc(5))",
        )
        .value(value)),
        score => Ok(score),
    }
}

impl ProcessPlan {
    /// Makes the working directory below the root, with everything that leads to it.
    pub(super) fn make_cwd(&self) -> Option<InitStep> {
        let is_root = self.cwd.trim_start_matches('/').is_empty();
        let op = InitOp::MakeDirectory { path: self.cwd.clone(), mode: 0o755 };
        (!is_root).then(|| InitStep::new(op, "/process/cwd"))
    }

    /// The steps from the finished filesystem to the chosen program.
    pub(super) fn identity_steps(&self, can_set_groups: bool) -> Vec<InitStep> {
        let user = "/process/user";
        let mut steps = vec![
            // After the process has joined its cgroup, whose CPUs are the only limit from here on: where the caller runs is its own matter.
            InitOp::ResetAffinity.into(),
            InitStep::new(InitOp::AdoptStdio { uid: self.uid }, user),
            InitStep::new(InitOp::Umask(self.umask), "/process/user/umask"),
        ];
        if self.changes_user() {
            // As root first: the user may not be able to reach a directory that root can (and on some network
            // filesystems it is the other way round).
            steps.push(self.enter_cwd(true));
        }
        // Before no_new_privs, with which a confined runtime could not choose freely any more.
        steps.extend(self.labels.write_steps());
        let personality = self.personality.map(InitOp::Personality);
        steps.extend(personality.map(|op| InitStep::new(op, "/linux/personality")));
        if self.no_new_privileges {
            steps.push(InitStep::new(InitOp::NoNewPrivileges, "/process/noNewPrivileges"));
        }
        // Before capabilities and the user change: raising a priority takes CAP_SYS_NICE or CAP_SYS_ADMIN.
        steps.extend_from_slice(&self.resources);
        steps.extend(self.before_user());
        if can_set_groups {
            // Always, also the empty list: the caller's groups are not the container's.
            let op = InitOp::SetGroups(self.groups.clone());
            steps.push(InitStep::new(op, "/process/user/additionalGids"));
        }
        steps.push(InitStep::new(InitOp::SetGid(self.gid), "/process/user/gid"));
        steps.push(InitStep::new(InitOp::SetUid(self.uid), "/process/user/uid"));
        steps.extend(self.after_user());
        steps.push(self.enter_cwd(false));
        steps.push(self.find());
        steps
    }

    /// Whether the process gives up being root, with which the kernel takes its capabilities (capabilities(7)).
    fn changes_user(&self) -> bool {
        self.uid != 0
    }

    fn enter_cwd(&self, may_wait: bool) -> InitStep {
        InitStep::new(InitOp::ChangeDirectory { path: self.cwd.clone(), may_wait }, "/process/cwd")
    }

    /// Capabilities before the user changes: the bounding set needs CAP_SETPCAP.
    fn before_user(&self) -> Vec<InitStep> {
        let Some(sets) = self.capabilities else { return Vec::new() };
        let op = InitOp::BoundingCapabilities { mask: sets.bounding, last: self.last_capability };
        let mut steps = vec![InitStep::new(op, "/process/capabilities/bounding")];
        if self.changes_user() {
            steps.push(InitStep::new(InitOp::KeepCapabilities(true), "/process/capabilities"));
        }
        steps
    }

    /// Capabilities after the user has changed: what was kept becomes what was asked for.
    fn after_user(&self) -> Vec<InitStep> {
        let Some(sets) = self.capabilities else { return Vec::new() };
        let Sets { effective, permitted, inheritable, ambient, .. } = sets;
        let mut steps = Vec::new();
        if self.changes_user() {
            steps.push(InitStep::new(InitOp::KeepCapabilities(false), "/process/capabilities"));
        }
        let op = InitOp::SetCapabilities { effective, permitted, inheritable };
        steps.push(InitStep::new(op, "/process/capabilities"));
        let op = InitOp::AmbientCapabilities(ambient);
        steps.push(InitStep::new(op, "/process/capabilities/ambient"));
        steps
    }

    fn find(&self) -> InitStep {
        let name = self.args.first().cloned().unwrap_or_default();
        let candidates = environment::candidates(&name, &self.env);
        InitStep::new(InitOp::FindExecutable { name, candidates }, "/process/args/0")
    }

    /// The environment of the program.
    pub(super) fn env(&self) -> &[String] {
        &self.env
    }

    /// The last step.
    pub(super) fn execute(&self) -> InitStep {
        InitStep::new(
            InitOp::Execute { args: self.args.clone(), env: self.env.clone() },
            "/process/args",
        )
    }
}

/// Whether HOME has to be looked up, and for whom.
pub(crate) fn needs_home_of(spec: &Spec) -> Option<u32> {
    let process = spec.process().as_ref()?;
    environment::needs_home(process.env().as_deref().unwrap_or_default())
        .then(|| process.user().uid())
}
