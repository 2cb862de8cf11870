//! Opening what teu-init inherits: mount trees and namespaces of the host.

use super::mount_ids;
use super::sys::{self, Attributes};
use crate::error::StepError;
use crate::plan::LOCKED;
use crate::plan::step::{Descriptor, DescriptorKind, Tree};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use teu_init::program::MountAttributes;

/// Opens one file.
pub(super) fn descriptor(
    wanted: &Descriptor,
    ids: &mut mount_ids::Namespaces,
) -> Result<OwnedFd, StepError> {
    let Descriptor { kind, path, pointer, .. } = wanted;
    let opened = match kind {
        DescriptorKind::Namespace => namespace(path),
        DescriptorKind::Directory => directory(path),
        DescriptorKind::Tree(tree) => open_tree(path, tree, ids),
    };
    let is_placed = |error: &StepError| pointer.is_empty() || error.pointer.is_some();
    opened.map_err(|error| if is_placed(&error) { error } else { error.at(pointer.clone()) })
}

/// The host's `/dev/null`.
pub(super) fn null() -> Result<OwnedFd, StepError> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| StepError::new("open /dev/null", errno as i32))
}

/// The directory at `path` itself, not what a link there leads to.
fn directory(path: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| explain(path, &Tree::directory(false), errno))
}

/// A namespace, as a file.
pub(super) fn namespace(path: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    open(path, flags, Mode::empty())
        .map_err(|errno| StepError::new(format!("open namespace {}", path.display()), errno as i32))
}

/// A detached copy of the mount at `path`, with everything about it settled before anybody can see it: first of all its place in the
/// propagation tree.
fn open_tree(
    path: &Path,
    tree: &Tree,
    ids: &mut mount_ids::Namespaces,
) -> Result<OwnedFd, StepError> {
    let fd = copy(path, tree).map_err(|errno| explain(path, tree, errno))?;
    if tree.procfs {
        verify_procfs(&fd, path)?;
    }
    let propagation = Attributes { propagation: tree.propagation, ..Attributes::default() };
    let change = |change: MountAttributes, recursive: bool| {
        let set = change_attributes(&fd, Attributes::of(change), recursive);
        set.map_err(|errno| unchanged(path, errno))
    };
    if tree.propagation != 0 {
        sys::mount_setattr(fd.as_fd(), &propagation, true)
            .map_err(|errno| unchanged(path, errno))?;
    }
    change(tree.attributes.0, false)?;
    change(tree.below.0, true)?;
    if let Some(wanted) = &tree.ids {
        ids.apply(&fd, path, wanted)?;
    }
    Ok(fd)
}

fn copy(path: &Path, tree: &Tree) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).ok().ok_or(Errno::EINVAL)?;
    // A root filesystem that is a link could be another one by the time its mounts are made.
    let fd = sys::open_tree(&path, tree.recursive, tree.directory || tree.link)?;
    let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
    if tree.directory && kind != SFlag::S_IFDIR { Err(Errno::ENOTDIR) } else { Ok(fd) }
}

fn change_attributes(fd: &OwnedFd, change: Attributes, recursive: bool) -> Result<(), Errno> {
    if change == Attributes::default() {
        return Ok(());
    }
    sys::mount_setattr(fd.as_fd(), &change, recursive)
}

/// The container's own programs rely on what /proc says (CVE-2019-16884): it has to be a procfs, and the whole of it.
fn verify_procfs(fd: &OwnedFd, path: &Path) -> Result<(), StepError> {
    /// `PROC_ROOT_INO` of the kernel.
    const ROOT: u64 = 1;
    let is_procfs = fstatfs(fd).is_ok_and(|answer| answer.filesystem_type() == PROC_SUPER_MAGIC)
        && fstat(fd).is_ok_and(|status| status.st_ino == ROOT);
    if is_procfs {
        return Ok(());
    }
    let words = format!(
        "\"/proc\" cannot be mounted because it is not of type proc: {} is not the root of a procfs",
        path.display()
    );
    Err(StepError::new(words, 0))
}

/// What to do about it.
pub(super) const TOO_MANY: &str = "raise the runtime's limit of open files (RLIMIT_NOFILE): each bind source takes two of them for a moment";

fn explain(path: &Path, tree: &Tree, errno: Errno) -> StepError {
    let what = if tree.directory { "open the directory" } else { "open the source" };
    let error = StepError::new(format!("{what} {}", path.display()), errno as i32);
    match errno {
        Errno::ENOSYS => {
            error.hint("this kernel or a seccomp filter around the runtime has no open_tree(2)")
        }
        Errno::ENOTDIR if tree.directory => {
            error.hint("it must be a directory and no symbolic link")
        }
        Errno::EINVAL if !tree.recursive => error.hint(
            "it may be unbindable, or have mounts below it that a user namespace must not uncover: then use rbind",
        ),
        Errno::EINVAL => error.hint("the mount there may be unbindable"),
        Errno::EPERM => error.hint("copying mounts needs CAP_SYS_ADMIN"),
        Errno::EMFILE => error.hint(TOO_MANY),
        _ => error,
    }
}

fn unchanged(path: &Path, errno: Errno) -> StepError {
    let words = format!("change the attributes of the copy of {}", path.display());
    let error = StepError::new(words, errno as i32);
    if errno == Errno::EPERM { error.hint(LOCKED) } else { error }
}
