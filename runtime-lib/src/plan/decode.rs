//! The bytes of an init program back to steps, read by the layout alone: the other half of [`super::encode`], for those who check it.
//!
//! What the program does not say is empty in the steps: names that only messages have.

use super::hooks::{ContainerHook, Hook, HookKind};
use super::scheduling::SchedulerAttributes;
use super::step::{
    Attributes, Below, InitOp, Label, LabelFile, Protected, Rendezvous, Rlimit, Tree, Within,
};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use teu_init::program::{self, ADDRESS, Create, MAGIC, MountAttributes, Op, Open};

/// Bytes of the header and of a step, as teu-init reads them.
const HEADER: usize = 32;
const STEP: usize = 56;

/// Every rendezvous, to find one by its number.
const POINTS: &[Rendezvous] = &[
    Rendezvous::Recloned,
    Rendezvous::IdMapsWritten,
    Rendezvous::CgroupJoined,
    Rendezvous::LimitsAwaited,
    Rendezvous::LimitsSet,
    Rendezvous::Created,
    Rendezvous::Recorded,
    Rendezvous::RootBuilt,
    Rendezvous::HooksDone,
    Rendezvous::ConsoleSent,
    Rendezvous::NetworkEntered,
    Rendezvous::NetDevicesMoved,
];

/// The steps of a program, and the number of its slot zero. An error says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<(Vec<InitOp>, i32), String> {
    let program = Program(bytes);
    if program.at(0)? != MAGIC {
        return Err("no magic number".to_owned());
    }
    let second = program.at(8)?;
    let [a, b, c, d, e, f, g, h] = second.to_ne_bytes();
    let steps = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let fd_base = i32::from_ne_bytes([e, f, g, h]);
    program.errno_texts()?;
    let ops = (0..steps).map(|index| program.step(index)).collect::<Result<_, _>>()?;
    Ok((ops, fd_base))
}

/// A step without what the program does not say.
pub(super) fn as_encoded(op: &InitOp) -> InitOp {
    let mut op = op.clone();
    match &mut op {
        InitOp::JoinNamespace { name, .. } => *name = "",
        InitOp::AttachTree { source, .. } | InitOp::CopyIntoTree { source, .. } => {
            *source = PathBuf::new();
        }
        InitOp::RunHook(ContainerHook { hook, .. }) => hook.env = None,
        InitOp::VerifyDevice { path, .. } => *path = PathBuf::new(),
        InitOp::FindExecutable { name, .. } => name.clear(),
        InitOp::SetRlimit(limit) => limit.name = "",
        InitOp::SetScheduler(attributes) => (attributes.name, attributes.in_cpuset) = ("", false),
        InitOp::SetIoPriority { class, level, .. } => (*class, *level) = ("", 0),
        InitOp::SetMemoryPolicy { words, .. } => words.clear(),
        _ => {}
    }
    op
}

struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn errno_texts(&self) -> Result<(), String> {
        let (table, count) = (self.at(16)?, self.at(24)?);
        for entry in 0..count {
            self.text(self.word(table + entry * 16 + 8)?)?;
        }
        Ok(())
    }

    /// The word at an offset.
    fn at(&self, offset: usize) -> Result<u64, String> {
        self.0
            .get(offset..)
            .and_then(|rest| rest.first_chunk())
            .map(|bytes| u64::from_ne_bytes(*bytes))
            .ok_or_else(|| format!("offset {offset} is outside"))
    }

    fn offset(address: u64) -> Result<usize, String> {
        address
            .checked_sub(ADDRESS)
            .and_then(|offset| usize::try_from(offset).ok())
            .ok_or_else(|| format!("address {address:#x} is outside"))
    }

    /// The word at an address, which has to be aligned: teu-init reads it as one.
    fn word(&self, address: u64) -> Result<u64, String> {
        if !address.is_multiple_of(8) {
            return Err(format!("address {address:#x} is not aligned"));
        }
        self.at(Self::offset(address)?)
    }

    fn bytes(&self, address: u64, length: u64) -> Result<&[u8], String> {
        let start = Self::offset(address)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.0
            .get(start..)
            .and_then(|rest| rest.get(..length))
            .ok_or_else(|| format!("{length} bytes at {address:#x} are not all inside"))
    }

    fn c_str(&self, address: u64) -> Result<&CStr, String> {
        let rest = self.0.get(Self::offset(address)?..).unwrap_or_default();
        CStr::from_bytes_until_nul(rest).map_err(|error| error.to_string())
    }

    fn text(&self, address: u64) -> Result<String, String> {
        self.c_str(address)?.to_str().map(str::to_owned).map_err(|error| error.to_string())
    }

    /// A text whose length is told, which must be that of its bytes up to the null byte.
    fn measured(&self, address: u64, length: u64) -> Result<String, String> {
        let text = self.text(address)?;
        let whole = self.bytes(address, length)?;
        if whole == text.as_bytes() {
            Ok(text)
        } else {
            Err(format!("{text:?} is told to have {length} bytes"))
        }
    }

    fn table(&self, address: u64) -> Result<Vec<String>, String> {
        let mut texts = Vec::new();
        let mut place = address;
        loop {
            match self.word(place)? {
                0 => return Ok(texts),
                text => texts.push(self.text(text)?),
            }
            place += 8;
        }
    }

    fn attributes(&self, address: u64) -> Result<Attributes, String> {
        let word = |index: u64| self.word(address + 8 * index);
        Ok(Attributes(MountAttributes {
            set: word(0)?,
            clear: word(1)?,
            propagation: word(2)?,
            userns_fd: word(3)?,
            recursive: word(4)?,
        }))
    }

    fn gids(&self, address: u64, count: u64) -> Result<Vec<u32>, String> {
        let bytes = self.bytes(address, count.saturating_mul(4))?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_ne_bytes(*word)).collect())
    }

    fn scheduler(&self, address: u64) -> Result<SchedulerAttributes, String> {
        let half = |offset: u64| {
            let word = self.word(address + offset / 8 * 8)?.to_ne_bytes();
            let [a, b, c, d, e, f, g, h] = word;
            let half = if offset.is_multiple_of(8) { [a, b, c, d] } else { [e, f, g, h] };
            Ok::<_, String>(u32::from_ne_bytes(half))
        };
        if half(0)? != 56 || self.word(address + 48)? != 0 {
            return Err("sched_attr has 56 bytes, the last ones zero".to_owned());
        }
        Ok(SchedulerAttributes {
            name: "",
            in_cpuset: false,
            policy: half(4)?,
            flags: self.word(address + 8)?,
            nice: half(16)?.cast_signed(),
            priority: half(20)?,
            deadline: [
                self.word(address + 24)?,
                self.word(address + 32)?,
                self.word(address + 40)?,
            ],
        })
    }

    fn hook(&self, address: u64) -> Result<ContainerHook, String> {
        let word = |index: u64| self.word(address + 8 * index);
        let timeout: u32 = fit(word(7)?)?;
        let kind = match word(9)? {
            0 => HookKind::StartContainer,
            1 => HookKind::CreateContainer,
            other => return Err(format!("a hook of kind {other}")),
        };
        let hook = Hook {
            kind,
            index: fit(word(8)?)?,
            path: PathBuf::from(self.text(word(0)?)?),
            args: self.table(word(1)?)?,
            env: None,
            timeout: (timeout != 0).then_some(timeout),
        };
        let env = self.table(word(2)?)?;
        let head = self.measured(word(3)?, word(4)?)?;
        Ok(ContainerHook { hook, env, head, tail: self.measured(word(5)?, word(6)?)? })
    }

    /// A node mask; the kernel reads one bit less than it is told.
    fn nodes(&self, address: u64, bits: u64) -> Result<Vec<u64>, String> {
        match (address, bits) {
            (0, 0) => Ok(Vec::new()),
            (_, bits) if bits % 64 == 1 => {
                (0..bits / 64).map(|index| self.word(address + 8 * index)).collect()
            }
            (_, bits) => Err(format!("a node mask of {bits} bits")),
        }
    }

    /// A path with where it begins.
    fn protected(&self, path: u64, below: u64) -> Result<Protected, String> {
        let below = match below {
            program::Below::ROOT => Below::Root,
            program::Below::PROC => Below::Proc,
            program::Below::SYS => Below::Sys,
            other => return Err(format!("a path below {other}")),
        };
        Ok(Protected { path: format!("{}{}", below.place(), self.text(path)?), below })
    }

    #[allow(clippy::too_many_lines, reason = "a table: one arm for each operation")]
    fn step(&self, index: usize) -> Result<InitOp, String> {
        let start = HEADER + index * STEP;
        let number = self.at(start)?;
        let mut args = [0; 6];
        for (slot, offset) in args.iter_mut().zip((start + 8..).step_by(8)) {
            *slot = self.at(offset)?;
        }
        let [a, b, c, d, e, f] = args;
        let op = Op::from_number(number).ok_or_else(|| format!("no operation {number}"))?;
        Ok(match op {
            Op::CloseFrom => InitOp::CloseFrom(fit(a)?),
            Op::ResetSignals => InitOp::ResetSignals,
            Op::Await => InitOp::Await(point(a)?),
            Op::Notify => InitOp::Notify(point(a)?),
            Op::JoinNamespace => InitOp::JoinNamespace { fd: fit(a)?, flag: b, name: "" },
            Op::Unshare => InitOp::Unshare { flags: a },
            Op::Reclone => match point(b)? {
                Rendezvous::Recloned => InitOp::Reclone { flags: a },
                other => return Err(format!("the clone is told as {other:?}")),
            },
            Op::SetUid => InitOp::SetUid(fit(a)?),
            Op::SetGid => InitOp::SetGid(fit(a)?),
            Op::SetGroups => InitOp::SetGroups(self.gids(a, b)?),
            Op::AmbientCapabilities => InitOp::AmbientCapabilities(a),
            Op::LoopbackUp => InitOp::LoopbackUp,
            Op::StartSession => InitOp::StartSession,
            Op::WriteProc => InitOp::WriteProc { path: self.text(a)?, text: self.measured(b, c)? },
            Op::SetScheduler => InitOp::SetScheduler(self.scheduler(a)?),
            Op::SetIoPriority => InitOp::SetIoPriority { class: "", value: fit(a)?, level: 0 },
            Op::SetMemoryPolicy => InitOp::SetMemoryPolicy {
                mode: fit(a)?,
                nodes: self.nodes(b, c)?,
                words: String::new(),
            },
            Op::ResetAffinity => InitOp::ResetAffinity,
            Op::OpenTree => InitOp::OpenTree {
                fd: fit(a)?,
                path: PathBuf::from(OsStr::from_bytes(self.c_str(b)?.to_bytes())),
                tree: Box::new(Tree {
                    recursive: c & Open::RECURSIVE != 0,
                    directory: c & Open::DIRECTORY != 0,
                    link: c & Open::LINK != 0,
                    procfs: c & Open::PROCFS != 0,
                    propagation: d,
                    attributes: self.attributes(e)?,
                    below: self.attributes(f)?,
                    ids: None,
                }),
            },
            Op::DropGroups => InitOp::DropGroups,
            Op::VerifyDevice => {
                InitOp::VerifyDevice { fd: fit(a)?, path: PathBuf::new(), mode: fit(b)?, device: c }
            }
            Op::OpenLabel => InitOp::OpenLabel { file: label_file(b, Some(&self.text(a)?))? },
            Op::WriteLabel => {
                let text = self.measured(b, c)?;
                InitOp::WriteLabel(match (label_file(a, None)?, text.strip_prefix("exec ")) {
                    (LabelFile::AppArmor, Some(profile)) => Label::AppArmor(profile.to_owned()),
                    (LabelFile::AppArmor, None) => return Err(format!("a profile as {text:?}")),
                    (LabelFile::SeLinux, _) => Label::SeLinux(text),
                })
            }
            Op::LabelHidden => InitOp::LabelHidden(self.text(a)?),
            Op::NewSessionKeyring => InitOp::NewSessionKeyring,
            Op::SetPropagation => match self.text(a)?.as_str() {
                "/" => InitOp::SetPropagation { path: "/", flags: b },
                other => return Err(format!("propagation of {other}")),
            },
            Op::AttachRoot => InitOp::AttachRoot { at: self.text(a)? },
            Op::MountFilesystem => InitOp::MountFilesystem {
                destination: self.text(a)?,
                kind: self.text(b)?,
                source: self.text(c)?,
                flags: d,
                data: if e == 0 { String::new() } else { self.text(e)? },
                no_symlinks: f & Create::NO_SYMLINKS != 0,
                inherit_mode: f & Create::INHERIT_MODE != 0,
            },
            Op::MountDetached => InitOp::MountDetached {
                destination: self.text(a)?,
                kind: match self.text(b)?.as_str() {
                    "cgroup2" => "cgroup2",
                    other => return Err(format!("a detached mount of {other}")),
                },
                attributes: self.attributes(c)?,
            },
            Op::OpenCopySource => InitOp::OpenCopySource { path: self.text(a)? },
            Op::CopyIntoTree => {
                InitOp::CopyIntoTree { fd: fit(a)?, source: PathBuf::new(), keep: b }
            }
            Op::CopyIntoMount => InitOp::CopyIntoMount { path: self.text(a)?, keep: b },
            Op::AttachTree => InitOp::AttachTree {
                fd: fit(a)?,
                source: PathBuf::new(),
                destination: self.text(b)?,
                over_link: c & Create::OVER_LINK != 0,
            },
            Op::BindWithin => InitOp::BindWithin(Box::new(Within {
                source: self.text(a)?,
                destination: self.text(b)?,
                over_link: c & Create::OVER_LINK != 0,
                tree: Tree {
                    recursive: c & Create::COPY_BELOW != 0,
                    link: c & Create::COPY_LINK != 0,
                    propagation: d,
                    attributes: self.attributes(e)?,
                    below: self.attributes(f)?,
                    ..Tree::default()
                },
            })),
            Op::CopyLink => InitOp::CopyLink { name: self.text(a)?, target: self.text(b)? },
            Op::SetMountAttributes => {
                InitOp::SetMountAttributes { path: self.text(a)?, attributes: self.attributes(b)? }
            }
            Op::SetMountPropagation => {
                InitOp::SetMountPropagation { path: self.text(a)?, flags: b }
            }
            Op::MakeDirectory => InitOp::MakeDirectory { path: self.text(a)?, mode: fit(b)? },
            Op::EnterDirectory => InitOp::EnterDirectory { path: self.text(a)? },
            Op::MakeNode => InitOp::MakeNode {
                name: self.text(a)?,
                mode: fit(b)?,
                device: c,
                uid: fit(d)?,
                gid: fit(e)?,
            },
            Op::MakeLink => {
                InitOp::MakeLink { name: self.text(a)?, target: self.text(b)?, replace: c != 0 }
            }
            Op::MaskPath => InitOp::MaskPath(self.protected(a, b)?),
            Op::ReadonlyPath => InitOp::ReadonlyPath(self.protected(a, b)?),
            Op::PivotRoot => InitOp::PivotRoot,
            Op::ChangeRoot => InitOp::ChangeRoot,
            Op::HideHost => InitOp::HideHost,
            Op::SetHostname => InitOp::SetHostname(self.measured(a, b)?),
            Op::SetDomainname => InitOp::SetDomainname(self.measured(a, b)?),
            Op::SetRlimit => {
                InitOp::SetRlimit(Rlimit { name: "", resource: fit(a)?, soft: b, hard: c })
            }
            Op::BoundingCapabilities => InitOp::BoundingCapabilities { mask: a, last: fit(b)? },
            Op::SetCapabilities => {
                InitOp::SetCapabilities { effective: a, permitted: b, inheritable: c }
            }
            Op::KeepCapabilities => InitOp::KeepCapabilities(a != 0),
            Op::NoNewPrivileges => InitOp::NoNewPrivileges,
            Op::Umask => InitOp::Umask(fit(a)?),
            Op::ChangeDirectory => {
                InitOp::ChangeDirectory { path: self.text(a)?, may_wait: b != 0 }
            }
            Op::FindExecutable => {
                let candidates = self.table(a)?;
                if u64::try_from(candidates.len()) != Ok(b) {
                    return Err(format!("{b} candidates are told, {candidates:?} are there"));
                }
                InitOp::FindExecutable { name: String::new(), candidates }
            }
            Op::AdoptStdio => InitOp::AdoptStdio { uid: fit(a)? },
            Op::AwaitStart => {
                let answer = if b == 0 { None } else { Some(fit(b)?) };
                InitOp::AwaitStart { answer }
            }
            Op::RunHook => InitOp::RunHook(self.hook(a)?),
            Op::CloseOnExecFrom => InitOp::CloseOnExecFrom(fit(a)?),
            Op::Execute => {
                self.text(c)?;
                InitOp::Execute { args: self.table(a)?, env: self.table(b)? }
            }
            Op::NotDumpable => InitOp::NotDumpable,
            Op::Personality => InitOp::Personality(a),
            Op::MakeConsole => InitOp::MakeConsole,
            Op::OpenConsole => InitOp::OpenConsole { rows: fit(b)?, columns: fit(c)? },
            Op::SendConsole => InitOp::SendConsole,
            Op::BindConsole => InitOp::BindConsole,
            Op::AdoptConsole => InitOp::AdoptConsole { uid: fit(a)? },
        })
    }
}

fn fit<T: TryFrom<u64>>(word: u64) -> Result<T, String> {
    T::try_from(word).map_err(|_large| format!("{word} is too large"))
}

fn label_file(number: u64, path: Option<&str>) -> Result<LabelFile, String> {
    [LabelFile::AppArmor, LabelFile::SeLinux]
        .into_iter()
        .find(|file| *file as u64 == number && path.is_none_or(|path| path == file.path()))
        .ok_or_else(|| format!("label file {number} at {path:?}"))
}

fn point(number: u64) -> Result<Rendezvous, String> {
    POINTS
        .iter()
        .copied()
        .find(|point| *point as u64 == number)
        .ok_or_else(|| format!("no rendezvous {number}"))
}
