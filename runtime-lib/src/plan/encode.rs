//! Steps of teu-init to the bytes of an init program (the layout is [`teu_init::program`]).

use super::hooks::{ContainerHook, HookKind};
use super::step::{Below, InitOp, InitStep, Protected, Within};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use teu_init::program::{
    self, ADDRESS, Create, ErrnoText, Header, HookProgram, MAGIC, MountAttributes, Op, Open,
    SchedulerAttributes, Step, word_of,
};

/// Errno values that exec(2) gives for reasons in the container (execve(2)): the ones that teu-init can say by itself.
const EXEC_ERRNOS: &[i32] = &[
    libc::EPERM,
    libc::ENOENT,
    libc::EIO,
    libc::E2BIG,
    libc::ENOEXEC,
    libc::EAGAIN,
    libc::ENOMEM,
    libc::EACCES,
    libc::ENOTDIR,
    libc::EISDIR,
    libc::EINVAL,
    libc::ENFILE,
    libc::EMFILE,
    libc::ETXTBSY,
    libc::ENAMETOOLONG,
    libc::ELOOP,
    libc::ELIBBAD,
];

/// The program: header, steps, data.
pub(crate) fn encode(steps: &[InitStep], fd_base: i32) -> Vec<u8> {
    let start = size_of::<Header>() + steps.len() * size_of::<Step>();
    let mut data = Data {
        start: ADDRESS + start as u64,
        bytes: Vec::with_capacity(4096),
        texts: HashMap::new(),
    };
    let encoded: Vec<Step> = steps.iter().map(|step| data.step(&step.op, fd_base)).collect();
    let (errno_texts, errno_count) = data.errno_texts();
    let mut program = Vec::with_capacity(start + data.bytes.len());
    let words = |program: &mut Vec<u8>, words: &[u64]| {
        words.iter().for_each(|word| program.extend_from_slice(&word.to_ne_bytes()));
    };
    words(&mut program, &[MAGIC]);
    program.extend_from_slice(&u32::try_from(steps.len()).unwrap_or(u32::MAX).to_ne_bytes());
    program.extend_from_slice(&fd_base.to_ne_bytes());
    words(&mut program, &[errno_texts, errno_count]);
    for step in &encoded {
        words(&mut program, &[step.op]);
        words(&mut program, &step.args);
    }
    program.extend_from_slice(&data.bytes);
    program
}

/// Whether a mount is one of those in which paths are protected later.
fn keep(below: Option<Below>) -> u64 {
    match below {
        Some(Below::Proc) => Create::KEEP_PROC,
        Some(Below::Sys) => Create::KEEP_SYS,
        Some(Below::Root) | None => 0,
    }
}

/// What stands behind the steps. Addresses are final as soon as something is put here.
struct Data<'a> {
    start: u64,
    bytes: Vec<u8>,
    texts: HashMap<&'a str, u64>,
}

impl<'a> Data<'a> {
    /// Puts bytes at the next multiple of eight.
    fn put(&mut self, bytes: impl IntoIterator<Item = u8>) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let address = self.start + self.bytes.len() as u64;
        self.bytes.extend(bytes);
        address
    }

    /// A NUL-terminated string; equal ones share a place.
    fn text(&mut self, text: &'a str) -> u64 {
        if let Some(&address) = self.texts.get(text) {
            return address;
        }
        let address = self.put(text.bytes().chain([0]));
        self.texts.insert(text, address);
        address
    }

    /// A string that is made only for the program.
    fn owned_text(&mut self, text: &str) -> u64 {
        self.put(text.bytes().chain([0]))
    }

    fn words(&mut self, words: impl IntoIterator<Item = u64>) -> u64 {
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        self.put(bytes)
    }

    /// A table of strings that ends with zero, as `argv` and `envp` do.
    fn table(&mut self, texts: &'a [String]) -> u64 {
        let mut addresses: Vec<u64> = texts.iter().map(|text| self.text(text)).collect();
        addresses.push(0);
        self.words(addresses)
    }

    /// A hook of the container, as a `HookProgram`.
    fn hook(&mut self, planned: &'a ContainerHook) -> u64 {
        let ContainerHook { hook, env, head, tail } = planned;
        let HookProgram {
            path,
            argv,
            envp,
            head,
            head_len,
            tail,
            tail_len,
            timeout,
            number,
            before_pivot,
        } = HookProgram {
            path: self.text(hook.path.to_str().unwrap_or_default()),
            argv: self.table(&hook.args),
            envp: self.table(env),
            head: self.text(head),
            head_len: head.len() as u64,
            tail: self.text(tail),
            tail_len: tail.len() as u64,
            timeout: hook.timeout.map_or(0, u64::from),
            number: hook.index as u64,
            before_pivot: u64::from(hook.kind == HookKind::CreateContainer),
        };
        self.words([
            path,
            argv,
            envp,
            head,
            head_len,
            tail,
            tail_len,
            timeout,
            number,
            before_pivot,
        ])
    }

    fn attributes(&mut self, attributes: &MountAttributes) -> u64 {
        let MountAttributes { set, clear, propagation, userns_fd, recursive } = *attributes;
        self.words([set, clear, propagation, userns_fd, recursive])
    }

    fn scheduler(&mut self, wanted: &super::scheduling::SchedulerAttributes) -> u64 {
        let [runtime, deadline, period] = wanted.deadline;
        let size = size_of::<SchedulerAttributes>() as u64;
        self.words([
            word_of(u32::try_from(size).unwrap_or(0), wanted.policy),
            wanted.flags,
            word_of(wanted.nice.cast_unsigned(), wanted.priority),
            runtime,
            deadline,
            period,
            0,
        ])
    }

    /// A path, and where it begins.
    fn protected(&mut self, path: &'a Protected) -> [u64; 2] {
        let below = match path.below {
            Below::Root => program::Below::ROOT,
            Below::Proc => program::Below::PROC,
            Below::Sys => program::Below::SYS,
        };
        [self.text(path.rest()), below]
    }

    /// The words for what exec may say, when nobody but the container's stderr listens.
    fn errno_texts(&mut self) -> (u64, u64) {
        let mut words = Vec::new();
        for &errno in EXEC_ERRNOS {
            let text = self.owned_text(&crate::error::errno_text(errno));
            let entry = ErrnoText { errno: u64::try_from(errno).unwrap_or(0), text };
            words.extend([entry.errno, entry.text]);
        }
        (self.words(words), EXEC_ERRNOS.len() as u64)
    }

    #[allow(clippy::too_many_lines, reason = "a table: one arm for each operation")]
    fn step(&mut self, op: &'a InitOp, fd_base: i32) -> Step {
        let number = |fd: i32| u64::try_from(fd).unwrap_or(u64::MAX);
        let (op, args): (Op, &[u64]) = match op {
            InitOp::NotDumpable => (Op::NotDumpable, &[]),
            InitOp::CloseFrom(fd) => (Op::CloseFrom, &[number(*fd)]),
            InitOp::ResetSignals => (Op::ResetSignals, &[]),
            InitOp::Await(point) => (Op::Await, &[*point as u64]),
            InitOp::Notify(point) => (Op::Notify, &[*point as u64]),
            InitOp::JoinNamespace { fd, flag, .. } => (Op::JoinNamespace, &[number(*fd), *flag]),
            InitOp::Unshare { flags } => (Op::Unshare, &[*flags]),
            InitOp::Reclone { flags } => {
                (Op::Reclone, &[*flags, super::step::Rendezvous::Recloned as u64])
            }
            InitOp::Personality(domain) => (Op::Personality, &[*domain]),
            InitOp::VerifyDevice { fd, mode, device, .. } => {
                (Op::VerifyDevice, &[number(*fd), u64::from(*mode), *device])
            }
            InitOp::OpenLabel { file } => (Op::OpenLabel, &[self.text(file.path()), *file as u64]),
            InitOp::WriteLabel(label) => {
                let text = label.text();
                let len = text.len() as u64;
                (Op::WriteLabel, &[label.file() as u64, self.owned_text(&text), len])
            }
            InitOp::LabelHidden(label) => (Op::LabelHidden, &[self.text(label)]),
            InitOp::SetScheduler(attributes) => (Op::SetScheduler, &[self.scheduler(attributes)]),
            InitOp::SetIoPriority { value, .. } => (Op::SetIoPriority, &[u64::from(*value)]),
            InitOp::SetMemoryPolicy { mode, nodes, .. } => {
                // The kernel reads one bit less than it is told.
                let bits = if nodes.is_empty() { 0 } else { nodes.len() as u64 * 64 + 1 };
                let nodes = if nodes.is_empty() { 0 } else { self.words(nodes.iter().copied()) };
                (Op::SetMemoryPolicy, &[u64::from(*mode), nodes, bits])
            }
            InitOp::ResetAffinity => (Op::ResetAffinity, &[]),
            InitOp::SetUid(uid) => (Op::SetUid, &[u64::from(*uid)]),
            InitOp::SetGid(gid) => (Op::SetGid, &[u64::from(*gid)]),
            InitOp::SetGroups(gids) => {
                let bytes: Vec<u8> = gids.iter().flat_map(|gid| gid.to_ne_bytes()).collect();
                (Op::SetGroups, &[self.put(bytes), gids.len() as u64])
            }
            InitOp::AmbientCapabilities(mask) => (Op::AmbientCapabilities, &[*mask]),
            InitOp::LoopbackUp => (Op::LoopbackUp, &[]),
            InitOp::NewSessionKeyring => (Op::NewSessionKeyring, &[]),
            InitOp::StartSession => (Op::StartSession, &[]),
            InitOp::WriteProc { path, text } => {
                (Op::WriteProc, &[self.text(path), self.text(text), text.len() as u64])
            }
            InitOp::SetPropagation { path, flags } => {
                (Op::SetPropagation, &[self.text(path), *flags])
            }
            InitOp::OpenTree { fd, path, tree } => {
                let flags = if tree.recursive { Open::RECURSIVE } else { 0 }
                    | if tree.directory { Open::DIRECTORY } else { 0 }
                    | if tree.link { Open::LINK } else { 0 }
                    | if tree.procfs { Open::PROCFS } else { 0 };
                let path = self.put(path.as_os_str().as_bytes().iter().copied().chain([0]));
                let (change, below) =
                    (self.attributes(&tree.attributes.0), self.attributes(&tree.below.0));
                (Op::OpenTree, &[number(*fd), path, flags, tree.propagation, change, below])
            }
            InitOp::MountDetached { destination, kind, attributes } => {
                let kind = self.owned_text(kind);
                (Op::MountDetached, &[self.text(destination), kind, self.attributes(&attributes.0)])
            }
            InitOp::DropGroups => (Op::DropGroups, &[]),
            InitOp::AttachRoot { at } => (Op::AttachRoot, &[self.text(at)]),
            InitOp::MountFilesystem {
                destination,
                kind,
                source,
                flags,
                data,
                no_symlinks,
                inherit_mode,
            } => {
                let data = if data.is_empty() { 0 } else { self.text(data) };
                let create = outside_proc(destination)
                    | if *no_symlinks { Create::NO_SYMLINKS } else { 0 }
                    | if *inherit_mode { Create::INHERIT_MODE } else { 0 }
                    | keep(Below::of_mount(kind, destination));
                (
                    Op::MountFilesystem,
                    &[
                        self.text(destination),
                        self.text(kind),
                        self.text(source),
                        *flags,
                        data,
                        create,
                    ],
                )
            }
            InitOp::OpenCopySource { path } => (Op::OpenCopySource, &[self.text(path)]),
            InitOp::CopyIntoTree { fd, keep, .. } => (Op::CopyIntoTree, &[number(*fd), *keep]),
            InitOp::CopyIntoMount { path, keep } => (Op::CopyIntoMount, &[self.text(path), *keep]),
            InitOp::AttachTree { fd, destination, over_link, .. } => (
                Op::AttachTree,
                &[
                    number(*fd),
                    self.text(destination),
                    attach_flags(destination, *over_link) | keep(Below::of_tree(destination)),
                ],
            ),
            InitOp::BindWithin(within) => {
                let Within { source, destination, over_link, tree } = within.as_ref();
                let flags = attach_flags(destination, *over_link)
                    | if tree.recursive { Create::COPY_BELOW } else { 0 }
                    | if tree.link { Create::COPY_LINK } else { 0 };
                (
                    Op::BindWithin,
                    &[
                        self.text(source),
                        self.text(destination),
                        flags,
                        tree.propagation,
                        self.attributes(&tree.attributes.0),
                        self.attributes(&tree.below.0),
                    ],
                )
            }
            InitOp::CopyLink { name, target } => {
                (Op::CopyLink, &[self.text(name), self.text(target)])
            }
            InitOp::SetMountAttributes { path, attributes } => {
                (Op::SetMountAttributes, &[self.text(path), self.attributes(&attributes.0)])
            }
            InitOp::SetMountPropagation { path, flags } => {
                (Op::SetMountPropagation, &[self.text(path), *flags])
            }
            InitOp::MakeDirectory { path, mode } => {
                (Op::MakeDirectory, &[self.text(path), u64::from(*mode)])
            }
            InitOp::EnterDirectory { path } => (Op::EnterDirectory, &[self.text(path)]),
            InitOp::MakeNode { name, mode, device, uid, gid } => (
                Op::MakeNode,
                &[self.text(name), u64::from(*mode), *device, u64::from(*uid), u64::from(*gid)],
            ),
            InitOp::MakeLink { name, target, replace } => {
                (Op::MakeLink, &[self.text(name), self.text(target), u64::from(*replace)])
            }
            InitOp::MaskPath(path) => (Op::MaskPath, &self.protected(path)),
            InitOp::ReadonlyPath(path) => (Op::ReadonlyPath, &self.protected(path)),
            InitOp::PivotRoot => (Op::PivotRoot, &[]),
            InitOp::SetHostname(name) => (Op::SetHostname, &[self.text(name), name.len() as u64]),
            InitOp::SetDomainname(name) => {
                (Op::SetDomainname, &[self.text(name), name.len() as u64])
            }
            InitOp::SetRlimit(limit) => {
                (Op::SetRlimit, &[u64::from(limit.resource), limit.soft, limit.hard])
            }
            InitOp::BoundingCapabilities { mask, last } => {
                (Op::BoundingCapabilities, &[*mask, u64::from(*last)])
            }
            InitOp::SetCapabilities { effective, permitted, inheritable } => {
                (Op::SetCapabilities, &[*effective, *permitted, *inheritable])
            }
            InitOp::KeepCapabilities(keep) => (Op::KeepCapabilities, &[u64::from(*keep)]),
            InitOp::NoNewPrivileges => (Op::NoNewPrivileges, &[]),
            InitOp::Umask(mask) => (Op::Umask, &[u64::from(*mask)]),
            InitOp::ChangeDirectory { path, may_wait } => {
                (Op::ChangeDirectory, &[self.text(path), u64::from(*may_wait)])
            }
            InitOp::FindExecutable { candidates, .. } => {
                (Op::FindExecutable, &[self.table(candidates), candidates.len() as u64])
            }
            InitOp::MakeConsole => (Op::MakeConsole, &[self.text("console")]),
            InitOp::OpenConsole { rows, columns } => {
                (Op::OpenConsole, &[self.text("/dev/pts"), u64::from(*rows), u64::from(*columns)])
            }
            InitOp::SendConsole => {
                (Op::SendConsole, &[super::step::Rendezvous::ConsoleSent as u64])
            }
            InitOp::BindConsole => (Op::BindConsole, &[self.text("console")]),
            InitOp::AdoptConsole { uid } => (Op::AdoptConsole, &[u64::from(*uid)]),
            InitOp::AdoptStdio { uid } => (Op::AdoptStdio, &[u64::from(*uid)]),
            InitOp::AwaitStart { answer } => {
                let fifo = number(fd_base + teu_init::program::Slot::Fifo as i32);
                (Op::AwaitStart, &[fifo, answer.map_or(0, number)])
            }
            InitOp::ChangeRoot => (Op::ChangeRoot, &[]),
            InitOp::HideHost => (Op::HideHost, &[]),
            InitOp::RunHook(hook) => (Op::RunHook, &[self.hook(hook)]),
            InitOp::CloseOnExecFrom(fd) => (Op::CloseOnExecFrom, &[number(*fd)]),
            InitOp::Execute { args, env } => {
                let complaint = format!("exec {}: ", args.first().map_or("", String::as_str));
                (Op::Execute, &[self.table(args), self.table(env), self.owned_text(&complaint)])
            }
        };
        let mut all = [0; 6];
        all.iter_mut().zip(args).for_each(|(slot, value)| *slot = *value);
        Step { op: op as u64, args: all }
    }
}

/// Whoever mounts at a path outside /proc must not end up in it: links of the image could lead there (CVE-2019-16884).
fn outside_proc(destination: &str) -> u64 {
    if Path::new(destination).starts_with("/proc") { 0 } else { Create::OUTSIDE_PROC }
}

fn attach_flags(destination: &str, over_link: bool) -> u64 {
    outside_proc(destination) | if over_link { Create::OVER_LINK } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 64-bit word at an address of the program.
    fn word(program: &[u8], address: u64) -> u64 {
        let at = usize::try_from(address - ADDRESS).unwrap();
        u64::from_ne_bytes(program[at..at + 8].try_into().unwrap())
    }

    fn text(program: &[u8], address: u64) -> &str {
        let at = usize::try_from(address - ADDRESS).unwrap();
        std::ffi::CStr::from_bytes_until_nul(&program[at..]).unwrap().to_str().unwrap()
    }

    #[test]
    fn every_pointer_leads_to_what_it_names() {
        let steps = [
            InitStep::from(InitOp::SetHostname("box".to_owned())),
            InitStep::from(InitOp::Execute {
                args: vec!["sh".to_owned(), "-c".to_owned()],
                env: vec!["A=1".to_owned()],
            }),
        ];
        let program = encode(&steps, 3);
        assert_eq!(word(&program, ADDRESS), MAGIC);
        let first = ADDRESS + size_of::<Header>() as u64;
        assert_eq!(word(&program, first), Op::SetHostname as u64);
        assert_eq!(text(&program, word(&program, first + 8)), "box");
        let second = first + size_of::<Step>() as u64;
        let argv = word(&program, second + 8);
        assert_eq!(text(&program, word(&program, argv)), "sh");
        assert_eq!(text(&program, word(&program, argv + 8)), "-c");
        assert_eq!(word(&program, argv + 16), 0);
        assert_eq!(text(&program, word(&program, second + 24)), "exec sh: ");
    }

    #[test]
    fn equal_strings_share_a_place() {
        let step = |path: &str| {
            let path = Protected { path: path.to_owned(), below: Below::Root };
            InitStep::from(InitOp::MaskPath(path))
        };
        let program = encode(&[step("/a"), step("/a"), step("/b")], 3);
        let at = |index: u64| {
            word(
                &program,
                ADDRESS + size_of::<Header>() as u64 + index * size_of::<Step>() as u64 + 8,
            )
        };
        assert_eq!(at(0), at(1));
        assert_ne!(at(0), at(2));
    }
}
