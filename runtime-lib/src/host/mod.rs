//! Executes the host's half of a plan, step by step, in the caller's process; takes everything back when a step fails.
//!
//! Nothing of the caller changes: no working directory, umask, environment, signal disposition or limit. The one process that is
//! made runs none of the caller's code ([`clone`]).

pub(crate) mod channel;
mod clone;
mod console;
mod helper;
pub(crate) mod hooks;
pub(crate) mod layers;
mod lock;
mod memory_file;
mod mount_ids;
mod net_devices;
mod open;
mod proc_files;
pub(crate) mod resctrl;
mod sys;
mod unlisted;

use crate::cgroup::{self, Cgroup};
use crate::error::{Error, ErrorKind, StepError};
use crate::plan::hooks::ContainerHook;
use crate::plan::hooks::Hook;
use crate::plan::step::{DescriptorKind, HostOp, InitOp, InitStep, Rendezvous};
use crate::plan::{self, Plan};
use crate::state::process::{self, Identity};
use crate::state::{Record, State, StateDirectory, Status};
use channel::{Channel, Message};
use console::Console;
use net_devices::NetDevices;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use teu_init::program::{Detail, Report, Slot};

/// A container's first process, as it came out of the plan.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The state directory.
    pub(crate) directory: StateDirectory,
    /// The process.
    pub(crate) pidfd: OwnedFd,
    /// What was recorded.
    pub(crate) record: Record,
    /// The master of its terminal, where the caller keeps it.
    pub(crate) console: Option<OwnedFd>,
}

/// Executes a plan.
///
/// Either everything was done, or nothing is left of it.
pub(crate) fn execute(
    plan: &Plan,
    state_root: &Path,
    record: Record,
    streams: Streams,
) -> Result<Launched, Error> {
    let mut execution = Execution::new(plan, state_root, record, streams);
    for step in &plan.host {
        if let Err(error) = execution.perform(step) {
            let error = execution.with_cause(error);
            return match execution.undo() {
                Ok(()) => Err(error),
                Err(left) => Err(error.and(&format!("cleaning up: {left}"))),
            };
        }
    }
    execution.finish()
}

/// How long a killed process may take to go before teu gives up on it, in milliseconds.
const PATIENCE_MS: u16 = 10_000;

/// A plan in execution.
struct Execution<'a> {
    plan: &'a Plan,
    state_root: &'a Path,
    record: Record,
    streams: Streams,
    directory: Option<StateDirectory>,
    lock: Option<nix::fcntl::Flock<OwnedFd>>,
    fifo: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    opened: Vec<(RawFd, OwnedFd)>,
    /// The place of the init layer, once it is made.
    init_layer: Option<PathBuf>,
    lowers: Option<layers::Lowers>,
    channel: Option<Channel>,
    console_socket: Option<UnixStream>,
    console: Option<Console>,
    net_devices: Option<NetDevices>,
    rdt_groups: Vec<PathBuf>,
    process: Option<Process>,
    pid_file: Option<PathBuf>,
    /// Hooks have seen the container, so those that see it go run, too.
    hooks_ran: bool,
}

/// The container's first process.
struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl<'a> Execution<'a> {
    fn new(plan: &'a Plan, state_root: &'a Path, record: Record, streams: Streams) -> Self {
        Self {
            streams,
            plan,
            state_root,
            record,
            directory: None,
            lock: None,
            fifo: None,
            cgroup: None,
            opened: Vec::new(),
            init_layer: None,
            lowers: None,
            channel: None,
            console_socket: None,
            console: None,
            net_devices: None,
            rdt_groups: Vec::new(),
            process: None,
            pid_file: None,
            hooks_ran: false,
        }
    }

    fn perform(&mut self, step: &HostOp) -> Result<(), Error> {
        match step {
            HostOp::ConnectConsole(path) => self.connect_console(path),
            HostOp::MakeStateDirectory => self.make_state_directory(),
            HostOp::MakeExecFifo => self.make_fifo(),
            HostOp::MakeAnswerFifo { number } => self.make_answer(*number),
            HostOp::RecordIntent => Ok(self.directory()?.write_first(&self.record)?),
            HostOp::MakeCgroup => self.make_cgroup(),
            HostOp::ApplyLimits => Ok(self.cgroup()?.apply(&self.plan.cgroup)?),
            HostOp::FilterDevices => Ok(self.cgroup()?.filter_devices(&self.plan.cgroup)?),
            HostOp::OpenDescriptors => self.open_descriptors(),
            HostOp::MakeInitLayer => self.make_init_layer(),
            HostOp::MountLayers => self.mount_layers(),
            HostOp::LockMounts => self.lock_mounts(),
            HostOp::Clone => self.clone(),
            HostOp::JoinCgroup { all: false } => Ok(self.cgroup()?.join(self.process()?.pid)?),
            HostOp::JoinCgroup { all: true } => Ok(self.cgroup()?.join_all(self.process()?.pid)?),
            HostOp::WriteIdMaps { uid_map, gid_map, deny_setgroups } => {
                Ok(proc_files::id_maps(self.process()?.pid, uid_map, gid_map, *deny_setgroups)?)
            }
            HostOp::MoveNetDevices(devices) => {
                let moved = NetDevices::between(self.process()?.pid)?;
                Ok(self.net_devices.insert(moved).move_all(devices)?)
            }
            HostOp::MakeRdtGroup(group) => self.make_rdt_group(group),
            HostOp::WriteSchemata { file, text, pointer } => {
                let written = resctrl::write_schemata(self.resctrl()?, file, text);
                Ok(written.map_err(|error| error.at(*pointer))?)
            }
            HostOp::JoinRdtGroup(group) => {
                Ok(resctrl::join(self.resctrl()?, group, self.process()?.pid)?)
            }
            HostOp::CheckIdMaps { uid_map, gid_map } => {
                Ok(proc_files::check_id_maps(self.process()?.pid, uid_map, gid_map)?)
            }
            HostOp::SetOomScoreAdj(value) => self.set_oom_score_adj(*value),
            HostOp::SetRlimits(limits) => {
                let pid = self.process()?.pid;
                Ok(limits.iter().try_for_each(|limit| proc_files::set_rlimit(pid, limit))?)
            }
            HostOp::RunHooks(hooks) => self.run_hooks(hooks),
            HostOp::ReceiveConsole => self.receive_console(),
            HostOp::HandOverConsole(path) => self.hand_over_console(path),
            HostOp::Release(point) => self.release(*point),
            HostOp::AwaitInit(point) => self.await_init(*point),
            HostOp::AwaitExec => self.await_exec(),
            HostOp::Record => self.record(),
            HostOp::WritePidFile(path) => self.write_pid_file(path),
        }
    }

    fn make_state_directory(&mut self) -> Result<(), Error> {
        let directory = StateDirectory::create(self.state_root, &self.plan.id)?;
        // Held until everything is made: `delete` can tell a container in the making from the remains of one.
        self.lock = directory.try_lock()?;
        self.directory = Some(directory);
        Ok(())
    }

    fn make_fifo(&mut self) -> Result<(), Error> {
        self.fifo = Some(self.directory()?.make_fifo()?);
        Ok(())
    }

    fn make_answer(&mut self, number: RawFd) -> Result<(), Error> {
        let answer = self.directory()?.make_answer()?;
        self.opened.push((number, answer));
        Ok(())
    }

    fn make_cgroup(&mut self) -> Result<(), Error> {
        self.cgroup = Some(Cgroup::create(&self.plan.cgroup)?);
        Ok(())
    }

    fn open_descriptors(&mut self) -> Result<(), Error> {
        let mut ids = mount_ids::Namespaces::default();
        for wanted in &self.plan.descriptors {
            self.opened.push((wanted.number, open::descriptor(wanted, &mut ids)?));
        }
        Ok(())
    }

    fn make_init_layer(&mut self) -> Result<(), Error> {
        let root = self.plan.layers.as_ref().ok_or_else(|| out_of_order("layers"))?;
        let place = self.record.init_layer.clone().ok_or_else(|| out_of_order("init layer"))?;
        layers::claim(&place, root)?;
        let place = self.init_layer.insert(place);
        self.lowers = Some(layers::make_init_layer(place, root, &self.opened)?);
        Ok(())
    }

    fn mount_layers(&mut self) -> Result<(), Error> {
        let root = self.plan.layers.as_ref().ok_or_else(|| out_of_order("layers"))?;
        let lowers = self.lowers.take().ok_or_else(|| out_of_order("init layer"))?;
        let slot = self.plan.clone.fd_base.saturating_add(Slot::Root as RawFd);
        self.opened.push((slot, layers::mount(root, &lowers)?));
        Ok(())
    }

    /// Locks the trees that teu-init inherits.
    fn lock_mounts(&mut self) -> Result<(), Error> {
        let is_tree = |number: RawFd| {
            let mut of_plan = self.plan.descriptors.iter();
            of_plan.any(|wanted| {
                wanted.number == number && matches!(wanted.kind, DescriptorKind::Tree(_))
            })
        };
        let opened = self.opened.iter_mut().filter(|(number, _)| is_tree(*number));
        Ok(lock::lock(opened.map(|(_, fd)| fd).collect())?)
    }

    /// Makes teu-init and its program, and clones the process that executes them.
    fn clone(&mut self) -> Result<(), Error> {
        let base = self.plan.clone.fd_base;
        let image = memory_file::executable(
            c"teu-init",
            teu_init::IMAGE,
            &[self.state_root, Path::new("/tmp"), Path::new("/var/tmp")],
        )?;
        let program = memory_file::sealed(c"teu-init-program", &self.plan.encode())?;
        let (ours, theirs) = Channel::pair()?;
        let slot = |slot: Slot| base.saturating_add(slot as RawFd);
        self.opened.push((slot(Slot::Program), program));
        self.opened.push((slot(Slot::Channel), theirs));
        self.opened.extend(self.fifo.take().map(|fifo| (slot(Slot::Fifo), fifo)));
        let floor = self.opened.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        // teu-init itself gets no number, and must not stand where something else gets one.
        let image = lift(image, floor)?;
        let lifted: Vec<(RawFd, OwnedFd)> = std::mem::take(&mut self.opened)
            .into_iter()
            .map(|(number, fd)| Ok((number, lift(fd, floor)?)))
            .collect::<Result<_, StepError>>()?;
        let null = match self.streams.closed().next() {
            Some(_) => Some(lift(open::null()?, floor)?),
            None => None,
        };
        let closed = self.streams.closed().zip(null.iter().map(AsFd::as_fd).cycle());
        let descriptors: Vec<(RawFd, BorrowedFd<'_>)> =
            closed.chain(lifted.iter().map(|(number, fd)| (*number, fd.as_fd()))).collect();
        let cgroup = self.cgroup.as_ref().filter(|_| self.plan.clone.into_cgroup);
        let cloned = clone::clone(&clone::Child {
            namespaces: self.plan.clone.flags,
            cgroup: cgroup.and_then(Cgroup::clone_fd),
            // Also what the caller preserves, whether it closes at exec in the caller or not.
            kept: &self.streams.open().chain(3..base).collect::<Vec<_>>(),
            descriptors: &descriptors,
            ambient: self.plan.clone.ambient.then_some(self.plan.clone.last_capability),
            image: image.as_fd(),
            fd_base: base,
        })?;
        self.process = Some(Process { pid: cloned.pid, pidfd: cloned.pidfd });
        self.channel = Some(ours);
        Ok(())
    }

    fn make_rdt_group(&mut self, group: &Path) -> Result<(), Error> {
        resctrl::make(group)?;
        self.rdt_groups.push(group.to_owned());
        Ok(())
    }

    fn set_oom_score_adj(&self, value: i32) -> Result<(), Error> {
        let written = proc_files::write(self.process()?.pid, "oom_score_adj", &value.to_string());
        Ok(written.map_err(|error| error.at("/process/oomScoreAdj"))?)
    }

    /// Runs hooks that see the container in the making.
    fn run_hooks(&mut self, hooks: &[Hook]) -> Result<(), Error> {
        self.hooks_ran = true;
        let state = self.record.clone().state(Status::Creating);
        let state = State { pid: self.process()?.pid, ..state };
        Ok(hooks::run_all(hooks, &state)?)
    }

    fn release(&mut self, point: Rendezvous) -> Result<(), Error> {
        // From here on hooks in the container see it.
        self.hooks_ran |= point == Rendezvous::HooksDone;
        Ok(self.channel()?.release(point)?)
    }

    /// Waits for a word of teu-init. A failure of teu-init comes the same way.
    fn await_init(&mut self, point: Rendezvous) -> Result<(), Error> {
        let Some(message) = self.channel()?.receive(&self.process()?.pidfd)? else {
            return Err(self.died());
        };
        match message.report() {
            Report { step: Report::NOTIFY, detail, errno } if detail == point as u16 => {
                if point == Rendezvous::Recloned { self.follow(errno) } else { Ok(()) }
            }
            _ => Err(self.reported(&message)),
        }
    }

    fn connect_console(&mut self, path: &Path) -> Result<(), Error> {
        self.console_socket = Some(console::connect(path)?);
        Ok(())
    }

    /// Waits for the master of the terminal. A failure of teu-init comes the same way.
    fn receive_console(&mut self) -> Result<(), Error> {
        const SENT: u16 = Rendezvous::ConsoleSent as u16;
        let heard = self.channel()?.receive_with_descriptor(&self.process()?.pidfd)?;
        let Some((message, descriptor)) = heard else { return Err(self.died()) };
        match (message.report(), descriptor) {
            (Report { step: Report::NOTIFY, detail: SENT, errno: number }, Some(master)) => {
                self.console = Some(Console { master, number });
                Ok(())
            }
            _ => Err(self.reported(&message)),
        }
    }

    /// Passes the master on, and keeps none.
    fn hand_over_console(&mut self, path: &Path) -> Result<(), Error> {
        let socket = self.console_socket.take().ok_or_else(|| out_of_order("console socket"))?;
        let console = self.console.take().ok_or_else(|| out_of_order("terminal"))?;
        Ok(console::hand_over(&console, &socket, path)?)
    }

    /// Waits until the program runs: its exec closes teu-init's end of the channel.
    fn await_exec(&mut self) -> Result<(), Error> {
        match self.channel()?.receive(&self.process()?.pidfd)? {
            None => Ok(()),
            Some(message) => Err(self.reported(&message)),
        }
    }

    /// teu-init goes on in a sibling; the first process has done its duty.
    fn follow(&mut self, pid: i32) -> Result<(), Error> {
        // The number cannot have been given to another: the process is a child of this one and not waited for.
        let pidfd = process::open(pid)
            .map_err(|errno| StepError::new("open the container's process", errno as i32))?;
        if let Some(first) = self.process.replace(Process { pid, pidfd }) {
            reap(&first.pidfd);
        }
        Ok(())
    }

    fn record(&mut self) -> Result<(), Error> {
        let identity = Identity::of(self.process()?.pid);
        self.record.init =
            Some(identity.map_err(|errno| {
                StepError::new("identify the container's process", errno as i32)
            })?);
        Ok(self.directory()?.write(&self.record)?)
    }

    fn write_pid_file(&mut self, path: &Path) -> Result<(), Error> {
        crate::state::pid_file::write(path, self.process()?.pid)?;
        self.pid_file = Some(path.to_owned());
        Ok(())
    }

    /// The error for a step that teu-init says it could not do.
    fn reported(&mut self, message: &Message) -> Error {
        let report = message.report();
        let done = self.plan.init.iter().take(usize::from(report.step) + 1);
        self.hooks_ran |= done.map(|step| &step.op).any(|op| matches!(op, InitOp::RunHook(_)));
        match self.plan.init.get(usize::from(report.step)) {
            Some(InitStep { op: InitOp::RunHook(ContainerHook { hook, .. }), .. }) => {
                let detail = Detail::from_number(report.detail);
                hooks::reported(detail, report.errno, message.output()).of(hook).into()
            }
            Some(step) => plan::failure(step, Detail::from_number(report.detail), report.errno),
            None => StepError::new(format!("understand teu-init's message {report:?}"), 0).into(),
        }
    }

    /// teu-init went without a word.
    fn died(&self) -> Error {
        let killed = cgroup::oom_killed(&self.record.cgroups);
        let words = if killed {
            "container init was OOM-killed (memory limit too low?)"
        } else {
            "container init died before the container was created"
        };
        Error::new(ErrorKind::Os, words)
    }

    /// A failure of this side may only be the echo of teu-init's: then that is the one to tell.
    fn with_cause(&mut self, error: Error) -> Error {
        let Some(channel) = &self.channel else { return error };
        let Some(process) = &self.process else { return error };
        if error.kind() != ErrorKind::Os || !process::has_exited(&process.pidfd) {
            return error;
        }
        match channel.receive(&process.pidfd) {
            Ok(Some(message)) if message.report().step != Report::NOTIFY => self.reported(&message),
            _ => error,
        }
    }

    /// Takes back what was done, the last thing first.
    fn undo(mut self) -> Result<(), StepError> {
        let mut first_failure = Ok(());
        let mut note = |outcome: Result<(), StepError>| {
            if first_failure.is_ok() {
                first_failure = outcome;
            }
        };
        if let Some(path) = self.pid_file.take() {
            note(crate::state::pid_file::remove(&path));
        }
        if let Some(process) = self.process.take() {
            note(end(&process));
        }
        // After the process: nothing in there has hold of them any more.
        for outcome in self.net_devices.take().into_iter().flat_map(NetDevices::move_back) {
            note(outcome);
        }
        if self.hooks_ran {
            // runtime.md#lifecycle: a container that fails in the making is stopped, and its poststop hooks run.
            let state = self.record.clone().state(Status::Stopped);
            for failure in hooks::run_each(&self.plan.hooks.poststop, &state) {
                note(Err(StepError::new(failure, 0)));
            }
        }
        for group in self.rdt_groups.iter().rev() {
            note(resctrl::unmake(group));
        }
        if let Some(cgroup) = self.cgroup.take() {
            note(cgroup.undo());
        }
        if let Some(place) = self.init_layer.take() {
            note(layers::remove(&place));
        }
        if let Some(directory) = self.directory.take() {
            note(directory.remove());
        }
        first_failure
    }

    fn finish(self) -> Result<Launched, Error> {
        let missing = || Error::new(ErrorKind::Os, "the plan made no container");
        let directory = self.directory.ok_or_else(missing)?;
        let process = self.process.ok_or_else(missing)?;
        let console = self.console.map(|console| console.master);
        Ok(Launched { directory, pidfd: process.pidfd, record: self.record, console })
    }

    fn directory(&self) -> Result<&StateDirectory, StepError> {
        self.directory.as_ref().ok_or_else(|| out_of_order("state directory"))
    }

    /// Where the resctrl filesystem is mounted.
    fn resctrl(&self) -> Result<&Path, StepError> {
        let rdt = self.plan.intel_rdt.as_ref();
        rdt.map(|rdt| rdt.root.as_path()).ok_or_else(|| out_of_order("resctrl filesystem"))
    }

    fn cgroup(&self) -> Result<&Cgroup, StepError> {
        self.cgroup.as_ref().ok_or_else(|| out_of_order("cgroup"))
    }

    fn process(&self) -> Result<&Process, StepError> {
        self.process.as_ref().ok_or_else(|| out_of_order("process"))
    }

    fn channel(&self) -> Result<&Channel, StepError> {
        self.channel.as_ref().ok_or_else(|| out_of_order("process"))
    }
}

/// A step stands before the one that makes what it needs: a defect of the planner.
fn out_of_order(what: &str) -> StepError {
    StepError::new(format!("the plan uses the {what} before it is made"), 0)
}

/// Kills the process and takes its exit status, so that it is gone.
fn end(process: &Process) -> Result<(), StepError> {
    let failed = |errno| StepError::new(format!("kill process {}", process.pid), errno);
    match process::kill_and_wait(&process.pidfd, PATIENCE_MS) {
        Ok(true) => {
            reap(&process.pidfd);
            Ok(())
        }
        Ok(false) => {
            Err(failed(libc::ETIMEDOUT)
                .hint("it may wait for a device; its cgroup and state are kept"))
        }
        Err(errno) => Err(failed(errno as i32)),
    }
}

/// Takes the exit status of a child that has exited or is about to. It may not be there: the caller may reap every child.
fn reap(pidfd: &OwnedFd) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    // Also children without an exit signal.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::__WALL;
    while waitid(Id::PIDFd(pidfd.as_fd()), flags) == Err(nix::errno::Errno::EINTR) {}
}

/// Whether a descriptor with this number is open.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only asks.
    #[allow(unsafe_code, reason = "a number, not a descriptor that anybody owns")]
    let answer = unsafe { libc::fcntl(number, libc::F_GETFD) };
    answer >= 0
}

/// Moves a descriptor above every number that one of them gets in the child, so that no copy there hits one that is still needed.
fn lift(fd: OwnedFd, floor: RawFd) -> Result<OwnedFd, StepError> {
    use nix::fcntl::{FcntlArg, fcntl};
    use std::os::fd::{AsRawFd, FromRawFd};
    if fd.as_raw_fd() >= floor {
        return Ok(fd);
    }
    let copy = fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(floor)).map_err(|errno| {
        let error = StepError::new("make room for the container's descriptors", errno as i32);
        match errno {
            nix::errno::Errno::EMFILE | nix::errno::Errno::EINVAL => error.hint(open::TOO_MANY),
            _ => error,
        }
    })?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    #[allow(unsafe_code, reason = "nix answers with a number")]
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Which of the standard streams are open. Asked before anything is opened: a stream that the caller has closed leaves its number to
/// the next descriptor, which is not the container's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams([bool; 3]);

impl Streams {
    /// Asks.
    pub(crate) fn probe() -> Self {
        Self([0, 1, 2].map(is_open))
    }

    /// The numbers of those that the container gets from the caller.
    fn open(self) -> impl Iterator<Item = RawFd> {
        (0..).zip(self.0).filter_map(|(number, open)| open.then_some(number))
    }

    /// The numbers of those that become `/dev/null`: left closed, they would be taken by the first files that anybody opens.
    fn closed(self) -> impl Iterator<Item = RawFd> {
        (0..).zip(self.0).filter_map(|(number, open)| (!open).then_some(number))
    }
}
