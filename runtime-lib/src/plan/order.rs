//! The order of all steps, decided here and nowhere else.
//!
//! Each constraint stands with its reason where the step is placed. The two lists meet at rendezvous; the tests of [`super`] run pairs
//! of lists against each other and fail when they would wait for ever.

use super::Request;
use super::cgroup::CgroupPlan;
use super::descriptors::Descriptors;
use super::entrance::Entrance;
use super::hardening;
use super::hooks::Placed;
use super::id_mappings::{self, IdMaps};
use super::intel_rdt::RdtPlan;
use super::mounts::Mounts;
use super::namespaces::Namespaces;
use super::net_devices::NetDevice;
use super::process::ProcessPlan;
use super::step::{Descriptor, DescriptorKind, HostOp, InitOp, InitStep, Rendezvous};
use super::terminal::Terminal;
use crate::error::PlanError;
use crate::facts::Facts;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

/// Everything the order is made of.
pub(super) struct Parts<'a> {
    pub(super) spec: &'a Spec,
    pub(super) facts: &'a Facts,
    /// The root filesystem's tree.
    pub(super) root: Descriptor,
    pub(super) namespaces: &'a Namespaces,
    pub(super) id_maps: Option<IdMaps>,
    pub(super) process: ProcessPlan,
    pub(super) mounts: Mounts,
    /// Steps that fill /dev.
    pub(super) devices: Vec<InitStep>,
    /// The terminal, if there is one.
    pub(super) terminal: Option<Terminal>,
    /// Propagation of `/` at the end.
    pub(super) root_propagation: Option<u64>,
    /// The hooks, by when they run.
    pub(super) hooks: Placed,
    /// The groups that limit caches and memory bandwidth.
    pub(super) intel_rdt: Option<RdtPlan>,
    /// Network devices that move into the container's network namespace.
    pub(super) net_devices: Vec<NetDevice>,
    /// How the process is moved into its cgroups, where the clone does not put it into all of them.
    pub(super) join_cgroup: Option<HostOp>,
    pub(super) cgroup: &'a CgroupPlan,
    /// What the caller says besides.
    pub(super) request: &'a Request<'a>,
}

impl Parts<'_> {
    /// Whether limits have to be set from outside: in a user namespace, root may not raise them (setrlimit(2)).
    fn rlimits_from_outside(&self) -> bool {
        !self.namespaces.shares(LinuxNamespaceType::User) && !self.process.rlimits.is_empty()
    }

    /// The steps of the caller's process that make ids mean something in the container.
    fn user_namespace_steps(&self) -> Vec<HostOp> {
        let mut steps = Vec::new();
        if self.namespaces.staged() {
            // Before anything that is said about the process by its id: the id changes here.
            steps.push(HostOp::AwaitInit(Rendezvous::Recloned));
            if let Some((uid_map, gid_map)) = id_mappings::expected(self.spec, self.namespaces) {
                steps.push(HostOp::CheckIdMaps { uid_map, gid_map });
            }
        }
        if let Some(IdMaps { uid_map, gid_map, deny_setgroups }) = self.id_maps.clone() {
            steps.push(HostOp::WriteIdMaps { uid_map, gid_map, deny_setgroups });
            steps.push(HostOp::Release(Rendezvous::IdMapsWritten));
        }
        steps
    }

    /// The steps of the caller's process.
    pub(super) fn host_steps(&self) -> Vec<HostOp> {
        // Before anything is made: a socket that nobody listens at is the caller's mistake.
        let connect = self.terminal.as_ref().and_then(Terminal::connect_step);
        let mut steps: Vec<HostOp> = connect.into_iter().collect();
        steps.push(HostOp::MakeStateDirectory);
        if self.request.waits_for_start {
            steps.push(HostOp::MakeExecFifo);
        }
        steps.extend(self.hooks.answer.map(|number| HostOp::MakeAnswerFifo { number }));
        // Before there is anything to forget: whoever kills this process can still have everything removed.
        steps.push(HostOp::RecordIntent);
        if self.cgroup.is_made() {
            // Limits come before the process: it is small enough for them, and nothing of it escapes them.
            steps.extend([HostOp::MakeCgroup, HostOp::ApplyLimits]);
        }
        steps.extend(self.intel_rdt.iter().flat_map(RdtPlan::make_steps));
        // After the cgroup: some mounts show it.
        steps.extend(self.open_steps());
        steps.push(HostOp::Clone);
        steps.extend(self.user_namespace_steps());
        steps.extend(self.network_steps());
        steps.extend(self.join_steps());
        if self.cgroup.device_filter.is_some() {
            // While teu-init mounts, which opens no device: the kernel takes its time to verify the filter.
            steps.push(HostOp::FilterDevices);
        }
        if !self.writes_own_score() {
            steps.extend(self.process.oom_score_adj.map(HostOp::SetOomScoreAdj));
        }
        if self.hooks.see_the_root() {
            // After the limits and the mounts, before the pivot (config.md#prestart, #createruntime-hooks).
            steps.push(HostOp::AwaitInit(Rendezvous::RootBuilt));
            if !self.hooks.list.create.is_empty() {
                steps.push(HostOp::RunHooks(self.hooks.list.create.clone()));
            }
            // Hooks in the container find it limited and filtered, too; and after those of the host.
            steps.push(HostOp::Release(Rendezvous::HooksDone));
        }
        // The order of teu-init's messages: the terminal comes before the limits, and those before the end.
        steps.extend(self.terminal.iter().flat_map(Terminal::host_steps));
        if self.rlimits_from_outside() {
            steps.push(HostOp::AwaitInit(Rendezvous::LimitsAwaited));
            steps.push(HostOp::SetRlimits(self.process.rlimits.clone()));
            steps.push(HostOp::Release(Rendezvous::LimitsSet));
        }
        let pid_file = self.request.pid_file.clone().map(HostOp::WritePidFile);
        if self.request.waits_for_start {
            // What is recorded is created: `state` never shows a container that may still fail.
            steps.extend([HostOp::AwaitInit(Rendezvous::Created), HostOp::Record]);
            steps.extend(pid_file);
            // Last: should this process be killed before, teu-init ends by itself.
            steps.push(HostOp::Release(Rendezvous::Recorded));
        } else {
            // While teu-init still mounts; the program may not run before it is recorded.
            steps.push(HostOp::Record);
            steps.extend(pid_file);
            steps.push(HostOp::Release(Rendezvous::Recorded));
            steps.extend([HostOp::AwaitInit(Rendezvous::Created), HostOp::AwaitExec]);
        }
        steps
    }

    /// Before the hooks, which find the limits in force. What the process makes later inherits its cgroups and resctrl groups.
    fn join_steps(&self) -> Vec<HostOp> {
        let cgroup = self.join_cgroup.iter().cloned();
        let joined = cgroup.flat_map(|join| [join, HostOp::Release(Rendezvous::CgroupJoined)]);
        joined.chain(self.intel_rdt.iter().flat_map(RdtPlan::join_steps)).collect()
    }

    /// Once the process is in its final network namespace; before the hooks, which find the devices where they are to be.
    fn network_steps(&self) -> Vec<HostOp> {
        if self.net_devices.is_empty() {
            return Vec::new();
        }
        vec![
            HostOp::AwaitInit(Rendezvous::NetworkEntered),
            HostOp::MoveNetDevices(self.net_devices.clone()),
            HostOp::Release(Rendezvous::NetDevicesMoved),
        ]
    }

    /// What the caller opens and makes for teu-init to inherit.
    fn open_steps(&self) -> Vec<HostOp> {
        let mut steps = Vec::new();
        if !self.opens_trees() || self.namespaces.joins_any() {
            steps.push(HostOp::OpenDescriptors);
            if self.locks_mounts() {
                // When nothing more is changed about them; before somebody in the container could.
                steps.push(HostOp::LockMounts);
            }
        }
        if self.is_layered() {
            // After the descriptors: what a bind source is decides what its mount point has to be. Before the layers are mounted: the
            // init layer is one of them, and overlayfs wants layers that nobody changes.
            steps.extend([HostOp::MakeInitLayer, HostOp::MountLayers]);
        }
        steps
    }

    /// The steps of teu-init.
    pub(super) fn init_steps(
        &self,
        descriptors: &mut Descriptors,
    ) -> Result<Vec<InitStep>, PlanError> {
        let joins = self.namespaces.join_steps(descriptors);
        let mut callers = self.open_trees(descriptors);
        let mut clocks = self.namespaces.time_steps(self.spec.linux().as_ref())?;
        if self.namespaces.staged() && !self.namespaces.shares(LinuxNamespaceType::User) {
            // Its file is the host's root's, since this process cannot be looked into: root of the user namespace may not open it.
            callers.append(&mut clocks);
        }
        let mut steps: Vec<InitStep> = vec![
            // First: what the caller forgot to mark close-on-exec is no business of the container's.
            InitOp::CloseFrom(descriptors.end()).into(),
            InitOp::ResetSignals.into(),
        ];
        if let Some(score) = self.process.oom_score_adj.filter(|_| self.writes_own_score()) {
            // While the process is readable, and so its file its own: an ordinary user may not write that of another.
            let (path, text) = ("self/oom_score_adj".to_owned(), score.to_string());
            steps.push(InitStep::new(InitOp::WriteProc { path, text }, "/process/oomScoreAdj"));
        }
        self.enter_namespaces(joins, callers, &mut steps);
        if self.namespaces.is_new(LinuxNamespaceType::Network) {
            steps.push(InitOp::LoopbackUp.into());
        }
        if !self.request.keeps_keyring {
            // After the change to the container's root, whose keyring it is then. Before anything of the container runs: whoever is in
            // a session keyring can read its keys (keyrings(7)).
            let (before, after) =
                self.process.labels.around_keyring().map(|[before, after]| (before, after)).unzip();
            steps.extend(before);
            steps.push(InitOp::NewSessionKeyring.into());
            steps.extend(after);
        }
        steps.push(InitOp::StartSession.into());
        if !self.net_devices.is_empty() {
            steps.push(InitOp::Notify(Rendezvous::NetworkEntered).into());
            // Before the sysctls: some are those of a device.
            steps.push(InitOp::Await(Rendezvous::NetDevicesMoved).into());
        }
        // Before the pivot: the files are those of the runtime's own /proc, which nobody in the container has touched. After the second
        // clone: such a file belongs to the process that opens it.
        steps.extend(self.process.labels.open_steps());
        steps.extend(super::sysctl::plan(self.spec, self.namespaces)?);
        steps.extend(clocks);
        self.build_root(&mut steps)?;
        self.enter_root(&mut steps);
        self.become_process(descriptors, &mut steps);
        Ok(steps)
    }

    /// How the root filesystem becomes `/`.
    fn entrance(&self) -> Entrance {
        Entrance::of(self.namespaces, self.request)
    }

    /// Whether the root filesystem is made of layers, and not the tree of a directory.
    fn is_layered(&self) -> bool {
        self.request.layers.is_some()
    }

    /// Whether what the caller opens has to be protected from root of another user namespace. What teu-init opens is locked already:
    /// its mount namespace is a copy.
    fn locks_mounts(&self) -> bool {
        !self.namespaces.shares(LinuxNamespaceType::User) && !self.opens_trees()
    }

    /// Whether teu-init opens the trees, because the caller may not.
    fn opens_trees(&self) -> bool {
        !self.facts.rights.copies_mounts
    }

    /// Whether the process writes its own `oom_score_adj`, because that of another is not an ordinary user's to write.
    fn writes_own_score(&self) -> bool {
        self.facts.euid != 0
    }

    /// What the host opens for teu-init.
    pub(super) fn host_opens(&self, descriptors: Descriptors) -> Vec<Descriptor> {
        let root = (!self.opens_trees() && !self.is_layered()).then(|| self.root.clone());
        let is_left = |descriptor: &Descriptor| {
            !self.opens_trees() || !matches!(descriptor.kind, DescriptorKind::Tree { .. })
        };
        root.into_iter().chain(descriptors.into_list().into_iter().filter(is_left)).collect()
    }

    /// The trees that teu-init opens.
    fn open_trees(&self, descriptors: &Descriptors) -> Vec<InitStep> {
        if !self.opens_trees() {
            return Vec::new();
        }
        let root = (!self.is_layered()).then_some(&self.root);
        let all = root.into_iter().chain(descriptors.list());
        all.filter_map(|descriptor| match &descriptor.kind {
            DescriptorKind::Namespace | DescriptorKind::Directory => None,
            DescriptorKind::Tree(tree) => {
                let (fd, path) = (descriptor.number, descriptor.path.clone());
                let op = InitOp::OpenTree { fd, path, tree: Box::new(tree.clone()) };
                Some(InitStep::new(op, &descriptor.pointer))
            }
        })
        .collect()
    }

    fn enter_namespaces(
        &self,
        joins: Vec<InitStep>,
        callers: Vec<InitStep>,
        steps: &mut Vec<InitStep>,
    ) {
        let staged = self.namespaces.staged();
        if staged {
            // Before the joins: processes in there must not reach this one's descriptors (CVE-2016-9962).
            steps.push(InitOp::NotDumpable.into());
        }
        steps.extend(joins);
        if staged {
            // After the joins: new namespaces belong to the user namespace that is entered by then.
            steps.push(InitOp::Reclone { flags: self.namespaces.clone_flags() }.into());
        }
        if self.id_maps.is_some() {
            // Until then nobody is root in the new user namespace.
            steps.push(InitOp::Await(Rendezvous::IdMapsWritten).into());
        }
        // With the ids and groups of the caller, who knows the paths, and the capabilities of the new user namespace.
        steps.extend(callers);
        if !self.namespaces.shares(LinuxNamespaceType::User) {
            if self.namespaces.joins(LinuxNamespaceType::User) {
                // Whether that is allowed there is known once there; asked while /proc is the runtime's.
                steps.push(InitStep::new(InitOp::DropGroups, "/process/user/additionalGids"));
            }
            steps.push(InitOp::SetGid(0).into());
            steps.push(InitOp::SetUid(0).into());
            // The ambient set only carried the capabilities over the exec of teu-init.
            steps.push(InitOp::AmbientCapabilities(0).into());
            // As root of the user namespace, and no sooner.
            steps.extend(self.namespaces.ipc_step());
        }
        if !staged {
            // The same defence; not before the id maps, whose files an ordinary user may write only while this is dumpable.
            steps.push(InitOp::NotDumpable.into());
        }
    }

    /// From the copied mount namespace to a finished root filesystem.
    fn build_root(&self, steps: &mut Vec<InitStep>) -> Result<(), PlanError> {
        let field = if self.is_layered() { "" } else { "/root/path" };
        steps.extend(self.entrance().attach_steps(&self.hooks, field));
        // Modes of nodes and directories are meant as they are written.
        steps.push(InitOp::Umask(0).into());
        let cgroup = self.cgroup_steps();
        let at = self.mounts.first_cgroup.unwrap_or(self.mounts.steps.len());
        let (before, after) =
            self.mounts.steps.split_at_checked(at).unwrap_or((&self.mounts.steps, &[]));
        steps.extend_from_slice(before);
        // As late as possible, the host is moving the process meanwhile; before the first mount that shows the cgroup.
        steps.extend(cgroup);
        steps.extend_from_slice(after);
        steps.extend_from_slice(&self.devices);
        if self.terminal.is_some() {
            // Before /dev or the root becomes read-only.
            steps.extend(Terminal::prepare_steps());
        }
        steps.extend(self.process.make_cwd());
        // Before anything becomes read-only or hidden: they come to change what is there, and nothing that they mount stays in sight.
        self.run_hooks(steps);
        steps.extend(hardening::path_steps(self.spec, &self.mounts.steps)?);
        // After everything that makes files in them.
        steps.extend_from_slice(&self.mounts.last);
        steps.extend(hardening::root_step(self.spec));
        Ok(())
    }

    /// The hooks that see the root filesystem before it is the root.
    fn run_hooks(&self, steps: &mut Vec<InitStep>) {
        if self.hooks.see_the_root() {
            steps.push(InitOp::Notify(Rendezvous::RootBuilt).into());
            steps.push(InitOp::Await(Rendezvous::HooksDone).into());
        }
        // Before the pivot: their programs are the runtime's (config.md#createcontainer-hooks).
        steps.extend(self.hooks.create_container_steps());
    }

    fn cgroup_steps(&self) -> Vec<InitStep> {
        let wait =
            self.join_cgroup.as_ref().map(|_| InitOp::Await(Rendezvous::CgroupJoined).into());
        // A cgroup namespace is rooted where its maker is (cgroup_namespaces(7)).
        wait.into_iter().chain(self.namespaces.cgroup_step()).collect()
    }

    fn enter_root(&self, steps: &mut Vec<InitStep>) {
        steps.extend(self.entrance().enter_steps(&self.hooks));
        if let Some(flags) = self.root_propagation {
            // After the pivot, which refuses shared mounts (pivot_root(2)).
            let op = InitOp::SetMountPropagation { path: "/".to_owned(), flags };
            steps.push(InitStep::new(op, "/linux/rootfsPropagation"));
        }
        // After the pivot: nothing of the host is in reach of a name that the image chose. Before the limits: opening it takes
        // descriptors. Before the change of user: giving it away takes CAP_CHOWN.
        steps.extend(self.terminal.iter().flat_map(Terminal::init_steps));
        let name = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        if let Some(name) = name(self.spec.hostname()) {
            steps.push(InitStep::new(InitOp::SetHostname(name), "/hostname"));
        }
        if let Some(name) = name(self.spec.domainname()) {
            steps.push(InitStep::new(InitOp::SetDomainname(name), "/domainname"));
        }
    }

    fn become_process(&self, descriptors: &Descriptors, steps: &mut Vec<InitStep>) {
        if self.rlimits_from_outside() {
            steps.push(InitOp::Notify(Rendezvous::LimitsAwaited).into());
            steps.push(InitOp::Await(Rendezvous::LimitsSet).into());
        } else {
            // Before capabilities go: raising a hard limit needs CAP_SYS_RESOURCE. After the mounts: they need descriptors.
            let limits = self.process.rlimits.iter().enumerate();
            steps.extend(limits.map(|(index, &limit)| {
                InitStep::new(InitOp::SetRlimit(limit), format!("/process/rlimits/{index}"))
            }));
        }
        let denies = self.id_maps.as_ref().is_some_and(|maps| maps.deny_setgroups);
        let joins = self.namespaces.joins(LinuxNamespaceType::User);
        let can_set_groups = !denies && (!self.facts.rights.setgroups_denied || joins);
        steps.extend(self.process.identity_steps(can_set_groups));
        // After everything that can fail but the exec itself: what is created can be started.
        steps.push(InitOp::Notify(Rendezvous::Created).into());
        steps.push(InitOp::Await(Rendezvous::Recorded).into());
        if self.request.waits_for_start {
            steps.push(InitOp::AwaitStart { answer: self.hooks.answer }.into());
        }
        // After everything else, so that they are as confined as the program (config.md#startcontainer-hooks).
        steps.extend(self.hooks.start_container_steps(self.process.env()));
        steps.push(InitOp::CloseOnExecFrom(descriptors.base()).into());
        steps.push(self.process.execute());
    }
}
