//! The interpreter: maps the program, performs its steps in order, and says in eight bytes which one failed.
//!
//! Runs in the container's first process, in its new namespaces, before the container's program. Nothing here chooses: each
//! operation does what its step says, and the order is that of the program.

#![allow(unsafe_code, reason = "values are read out of the mapped program")]

mod console;
mod copy;
mod files;
mod filesystem;
mod hooks;
mod host_mounts;
mod mounts;
mod process;
mod rootfs;

use crate::program::{
    ADDRESS, Detail, ErrnoText, Header, MAGIC, MountAttributes, Op, Report, Slot, Step,
};
use crate::sys::{self, Errno, Fd, Text};

/// Why a step failed: which part of it, and the errno.
pub(crate) type Failure = (Detail, Errno);

/// The result of performing a step.
pub(crate) type Outcome = core::result::Result<(), Failure>;

/// The plain refusal of a step's one system call.
pub(crate) fn refused(errno: Errno) -> Failure {
    (Detail::Call, errno)
}

/// What the interpreter remembers between steps.
#[derive(Debug)]
pub struct Interpreter {
    header: Header,
    channel: Fd,
    root: Fd,
    /// The directory that the last `EnterDirectory` opened.
    directory: Fd,
    /// The container's verified `/dev/null`, once a step needed it.
    null: Option<Fd>,
    /// The empty read-only tree that hides directories, once a step needed it.
    empty: Option<Fd>,
    /// The runtime's verified procfs, once a step needed it.
    proc: Option<Fd>,
    /// Where the labels of the program to come are written.
    labels: [Option<Fd>; 2],
    /// The security label of what hides directories.
    hidden_label: Option<Text>,
    /// The container's procfs and sysfs, as they were mounted.
    kept: mounts::Kept,
    /// The container's terminal, from its opening to its adoption.
    console: Option<console::Console>,
    /// Whether the user namespace forbids setgroups(2).
    groups_denied: bool,
    /// The directory that the next copy is made of.
    copy_source: Option<Fd>,
    /// Whether the working directory is entered.
    in_cwd: bool,
    /// The program that `FindExecutable` chose.
    executable: Text,
    /// The way back to `start`, once it has said its word.
    starter: Option<Fd>,
    /// Whether the failure at hand is told already, with more than a report can hold.
    told: bool,
}

/// Executes the program in slot zero and never comes back.
pub fn run(fd_base: i32) -> ! {
    let program = Fd(fd_base);
    let mapped = sys::length(program).and_then(|len| sys::map_at(program, ADDRESS, len));
    sys::close(program);
    if mapped.is_err() {
        sys::exit(sys::EXIT_FAILURE);
    }
    // SAFETY: the mapping is in place, read-only and sealed against change, and starts with a header.
    let header = unsafe { read::<Header>(ADDRESS) };
    if header.magic != MAGIC {
        sys::exit(sys::EXIT_PANIC);
    }
    let slot = |slot: Slot| Fd(fd_base.wrapping_add(slot as i32));
    let mut interpreter = Interpreter {
        header,
        channel: slot(Slot::Channel),
        root: slot(Slot::Root),
        directory: Fd::CWD,
        null: None,
        empty: None,
        proc: None,
        labels: [None; 2],
        hidden_label: None,
        kept: mounts::Kept::default(),
        console: None,
        copy_source: None,
        groups_denied: false,
        in_cwd: false,
        executable: Text(0),
        starter: None,
        told: false,
    };
    interpreter.perform_all();
    sys::exit(sys::EXIT_FAILURE)
}

impl Interpreter {
    /// Performs every step until one fails or replaces this program.
    fn perform_all(&mut self) {
        for index in 0..self.header.steps {
            let at =
                ADDRESS + size_of::<Header>() as u64 + u64::from(index) * size_of::<Step>() as u64;
            // SAFETY: the program holds as many steps behind its header as the header says.
            let step = unsafe { read::<Step>(at) };
            if let Err((detail, errno)) = self.perform(index, &step) {
                self.report(index, &step, detail, errno);
                return;
            }
        }
    }

    /// Performs one step.
    #[allow(clippy::too_many_lines, reason = "a table: one line for each operation")]
    fn perform(&mut self, index: u32, step: &Step) -> Outcome {
        let [a, b, c, d, e, f] = step.args;
        let Some(op) = Op::from_number(step.op) else {
            return Err(refused(Errno::ENOSYS));
        };
        match op {
            Op::CloseFrom => sys::close_range(a, 0).map_err(refused),
            Op::ResetSignals => process::reset_signals(),
            Op::Await => self.await_library(a),
            Op::Notify => self.notify(a, 0),
            Op::JoinNamespace => sys::setns(fd(a), b).map_err(refused),
            Op::Unshare => sys::unshare(a).map_err(refused),
            Op::Reclone => self.reclone(a, b),
            Op::SetUid => sys::setresuid(a).map_err(refused),
            Op::SetGid => sys::setresgid(a).map_err(refused),
            Op::SetGroups => self.set_groups(Text(a), b),
            Op::DropGroups => self.drop_groups(),
            Op::AmbientCapabilities => process::ambient_capabilities(a),
            Op::LoopbackUp => process::loopback_up(),
            Op::StartSession => sys::setsid().map_err(refused),
            Op::NewSessionKeyring => process::new_session_keyring(),
            Op::WriteProc => self.write_proc(Text(a), Text(b), c),
            Op::SetPropagation => mounts::set_propagation(Text(a), b),
            Op::OpenTree => self.open_tree(fd(a), Text(b), [c, d], &attributes(e), &attributes(f)),
            Op::MountDetached => {
                mounts::mount_detached(self.root, Text(a), Text(b), &attributes(c))
            }
            Op::AttachRoot => mounts::attach_root(self.root, Text(a)),
            Op::MountFilesystem => self.mount_filesystem([a, b, c, d, e, f]),
            Op::AttachTree => self.attach_tree(fd(a), Text(b), c),
            Op::BindWithin => {
                mounts::bind_within(self.root, [a, b, c, d], &attributes(e), &attributes(f))
            }
            Op::CopyLink => files::copy_link(self.directory, Text(a), Text(b)),
            Op::SetMountAttributes => mounts::set_attributes(self.root, Text(a), &attributes(b)),
            Op::SetMountPropagation => mounts::set_mount_propagation(self.root, Text(a), b),
            Op::MakeDirectory => rootfs::make_directory(self.root, Text(a), b),
            Op::EnterDirectory => self.enter_directory(Text(a)),
            Op::MakeNode => files::make_node(self.directory, Text(a), b, c, d, e),
            Op::MakeLink => files::make_link(self.directory, Text(a), Text(b), c == 1),
            Op::MaskPath => self.mask_path(Text(a), b),
            Op::ReadonlyPath => mounts::readonly_path(self.below(b)?, Text(a)),
            Op::PivotRoot => {
                self.let_go_of_proc();
                mounts::pivot_root(self.root)
            }
            Op::SetHostname => sys::sethostname(Text(a), b).map_err(refused),
            Op::SetDomainname => sys::setdomainname(Text(a), b).map_err(refused),
            Op::SetRlimit => sys::setrlimit(a, b, c).map_err(refused),
            Op::BoundingCapabilities => process::bounding_capabilities(a, b),
            Op::SetCapabilities => sys::capset(a, b, c).map_err(refused),
            Op::KeepCapabilities => process::keep_capabilities(a),
            Op::NoNewPrivileges => process::no_new_privileges(),
            Op::Umask => {
                sys::umask(a);
                Ok(())
            }
            Op::ChangeDirectory => self.change_directory(Text(a), b == 1),
            Op::FindExecutable => self.find_executable(a, b),
            Op::AdoptStdio => self.adopt_stdio(a),
            Op::AwaitStart => self.await_start(fd(a), b),
            Op::CloseOnExecFrom => sys::close_range(a, sys::CLOSE_RANGE_CLOEXEC).map_err(refused),
            Op::Personality => sys::personality(a).map_err(refused),
            Op::VerifyDevice => files::verify_device(fd(a), b, c),
            Op::OpenLabel => self.open_label(Text(a), b),
            Op::WriteLabel => self.write_label(a, Text(b), c),
            Op::LabelHidden => {
                self.hidden_label = Some(Text(a));
                Ok(())
            }
            Op::SetScheduler => sys::sched_setattr(Text(a)).map_err(refused),
            Op::SetIoPriority => sys::ioprio_set(a).map_err(refused),
            Op::SetMemoryPolicy => sys::set_mempolicy(a, Text(b), c).map_err(refused),
            Op::ResetAffinity => sys::run_on_every_cpu().map_err(refused),
            Op::NotDumpable => process::not_dumpable(),
            Op::MakeConsole => console::make(self.directory, Text(a)),
            Op::OpenConsole => self.open_console(Text(a), b, c),
            Op::SendConsole => self.send_console(a),
            Op::BindConsole => self.bind_console(Text(a)),
            Op::AdoptConsole => self.adopt_console(a),
            Op::RunHook => self.run_hook(index, a),
            Op::OpenCopySource => self.open_copy_source(Text(a)),
            Op::CopyIntoTree => self.copy_into_tree(fd(a), b),
            Op::CopyIntoMount => self.copy_into_mount(Text(a), b),
            Op::ChangeRoot => self.change_root(),
            Op::HideHost => self.hide_host(),
            Op::Execute => {
                self.announce_exec();
                Err(refused(sys::execve(self.executable, Text(a), Text(b))))
            }
        }
    }

    /// Waits for the library's word that it reached a rendezvous.
    fn await_library(&self, rendezvous: u64) -> Outcome {
        loop {
            match sys::receive(self.channel) {
                Ok(Some(bytes)) if u64::from_ne_bytes(bytes) == rendezvous => return Ok(()),
                Ok(_) => return Err((Detail::Hangup, Errno(0))),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
    }

    /// Tells the library that a rendezvous is reached.
    fn notify(&self, rendezvous: u64, number: i32) -> Outcome {
        sys::send(self.channel, &reached(rendezvous, number)).map_err(refused)
    }

    /// Goes on in a sibling: this process tells its pid to the library and is done.
    fn reclone(&self, flags: u64, rendezvous: u64) -> Outcome {
        match sys::clone_sibling(flags).map_err(refused)? {
            0 => Ok(()),
            pid => {
                let pid = i32::try_from(pid).unwrap_or(0);
                let told = self.notify(rendezvous, pid);
                sys::exit(if told.is_ok() { 0 } else { sys::EXIT_FAILURE })
            }
        }
    }

    /// Says which step failed: to the library, to `start` when the library is gone, and that the program was not executed then also
    /// to the container's stderr.
    fn report(&self, index: u32, step: &Step, detail: Detail, errno: Errno) {
        let report =
            Report { step: (index & 0xffff) as u16, detail: detail as u16, errno: errno.0 };
        let [.., words] = step.args.first_chunk::<3>().copied().unwrap_or_default();
        let told = self.told || self.tell(&report.to_bytes());
        if (!told || self.starter.is_some()) && step.op == Op::Execute as u64 {
            process::complain(Text(words), self.errno_text(errno));
        }
    }

    /// Sends a message to whoever listens: the library, or `start` after it. False when nobody does.
    fn tell(&self, message: &[u8]) -> bool {
        match self.starter {
            Some(starter) => sys::write_all(starter, message).is_ok(),
            None => sys::send_all(self.channel, message).is_ok(),
        }
    }

    /// Tells `start` that only the exec is left, which then ends what it hears: a death before that would end it just the same.
    fn announce_exec(&self) {
        if let Some(starter) = self.starter {
            // Whoever has gone does not hear it.
            let _told = sys::write_all(starter, &reached(0, 0));
        }
    }

    /// Waits for `start`, who may want to hear how it went.
    fn await_start(&mut self, fifo: Fd, way_back: u64) -> Outcome {
        process::await_start(fifo)?;
        self.starter = (way_back != 0).then(|| fd(way_back));
        Ok(())
    }

    /// The words for an errno, from the table in the program.
    fn errno_text(&self, errno: Errno) -> Text {
        for index in 0..self.header.errno_count {
            let at = self.header.errno_texts + index * size_of::<ErrnoText>() as u64;
            // SAFETY: the table holds as many entries as the header says.
            let entry = unsafe { read::<ErrnoText>(at) };
            if i32::try_from(entry.errno) == Ok(errno.0) {
                return Text(entry.text);
            }
        }
        Text::of(b"error of the kernel without a text\n\0")
    }
}

/// The message that a rendezvous is reached, with its number.
fn reached(rendezvous: u64, number: i32) -> [u8; 8] {
    Report { step: Report::NOTIFY, detail: (rendezvous & 0xffff) as u16, errno: number }.to_bytes()
}

/// The descriptor in an argument.
fn fd(argument: u64) -> Fd {
    Fd(i32::try_from(argument).unwrap_or(-1))
}

/// The attributes of a mount at an address of the program.
fn attributes(address: u64) -> MountAttributes {
    // SAFETY: the library put a `MountAttributes` where its steps say.
    unsafe { read(address) }
}

/// Reads a value out of the mapped program.
///
/// # Safety
///
/// `address` is that of a `T` in the program.
#[allow(unsafe_code, reason = "the program is mapped memory")]
unsafe fn read<T: Copy>(address: u64) -> T {
    // SAFETY: the caller vouches for the address; the layout aligns values to eight bytes.
    unsafe { core::ptr::with_exposed_provenance::<T>(address as usize).read() }
}

/// The decimal number in the second argument of `argv`, -1 when there is none.
///
/// # Safety
///
/// `argv` holds `argc` NUL-terminated strings.
#[must_use]
#[allow(unsafe_code, reason = "the arguments as the kernel left them")]
pub unsafe fn decimal_argument(argc: usize, argv: *const *const u8) -> i32 {
    if argc < 2 {
        return -1;
    }
    // SAFETY: argc says that there is a second argument.
    let second = unsafe { argv.add(1) };
    // SAFETY: it is one of the strings.
    let mut at = unsafe { second.read() };
    let mut number = 0_i32;
    loop {
        // SAFETY: the string ends with a NUL, and nothing behind it is read.
        let byte = unsafe { at.read() };
        if !byte.is_ascii_digit() {
            return number;
        }
        number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
        // SAFETY: the byte just read was not the NUL.
        at = unsafe { at.add(1) };
    }
}
