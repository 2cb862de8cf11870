//! Steps that change the mount namespace.

use super::filesystem::{PROC_SUPER_MAGIC, SYSFS_MAGIC, is_procfs_root};
use super::rootfs::{
    destination, resolve, resolve_directory, resolve_nofollow, resolve_without_links,
};
use super::{Failure, Interpreter, Outcome, refused};
use crate::program::{Below, Create, Detail, MountAttributes, Open};
use crate::sys::{self, Errno, Fd, Text};

/// `MOUNT_ATTR_RDONLY`, `MOUNT_ATTR_NOSUID`, `MOUNT_ATTR_NODEV`, `MOUNT_ATTR_NOEXEC`.
pub(super) const ATTR_RDONLY: u64 = 1;
const ATTR_HIDDEN: usize = 1 | 2 | 4 | 8;
/// As long as the options of a filesystem may be (mount(2)).
const PAGE: usize = 4096;
/// `AT_RECURSIVE`.
pub(super) const RECURSIVE: u64 = 0x8000;

/// The empty string, where the kernel does not look at an argument.
fn nothing() -> Text {
    Text::of(b"\0")
}

/// Changes how mount events travel at `path`, a path of the runtime's own.
pub(super) fn set_propagation(path: Text, flags: u64) -> Outcome {
    sys::mount(nothing(), path, nothing(), flags, Text(0)).map_err(refused)
}

/// Attaches the container's tree to a directory of the namespace and enters it: on top of `/`, or at its own path, where nothing
/// but what it was made from may stand.
///
/// The tree hangs on the old root, which this process still has as its root directory, so that host paths stay reachable until
/// the pivot and pivot_root(2) finds a mount point.
pub(super) fn attach_root(root: Fd, path: Text) -> Outcome {
    const O_PATH_DIRECTORY: usize =
        0o10_000_000 | if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
    // SAFETY: the path is text of the program.
    #[allow(unsafe_code, reason = "a text of the mapped program")]
    let on_top = unsafe { path.as_c_str() } == c"/";
    if on_top {
        sys::attach_tree_at(root, path).map_err(|errno| (Detail::Attach, errno))?;
    } else {
        let target = sys::openat(Fd::CWD, path, O_PATH_DIRECTORY, 0)
            .map_err(|errno| (Detail::Resolve, errno))?;
        let [here, tree] = [target, root].map(sys::identity);
        if here.map_err(refused)? != tree.map_err(refused)? {
            return Err((Detail::Verify, Errno(0)));
        }
        sys::attach_tree(root, target).map_err(|errno| (Detail::Attach, errno))?;
        sys::close(target);
    }
    sys::fchdir(root).map_err(refused)
}

/// Makes a mount of a filesystem and attaches it.
pub(super) fn mount_detached(
    root: Fd,
    path: Text,
    kind: Text,
    attributes: &MountAttributes,
) -> Outcome {
    let target = destination(root, path, Create::DIRECTORY)?;
    let tree = (|| {
        let context = sys::fsopen(kind)?;
        sys::fsconfig_create(context)?;
        let tree = sys::fsmount(context, attributes.set as usize)?;
        sys::close(context);
        Ok(tree)
    })();
    let tree = tree.map_err(|errno| (Detail::Tree, errno))?;
    let attached = sys::attach_tree(tree, target).map_err(|errno| (Detail::Attach, errno));
    sys::close(target);
    sys::close(tree);
    attached
}

/// Attaches a detached tree. What is missing at the destination is made as the tree is: a directory or a file.
fn attach_tree(root: Fd, tree: Fd, path: Text, create: u64) -> Outcome {
    let status = sys::status(tree).map_err(|errno| (Detail::Tree, errno))?;
    let kind = if is_directory(status.mode) { Create::DIRECTORY } else { Create::FILE };
    let target = destination(root, path, create | kind)?;
    let attached = sys::attach_tree(tree, target).map_err(|errno| {
        // The kernel has several words for it, and the same ones for other things.
        let covers_directory =
            kind == Create::FILE && sys::status(target).is_ok_and(|over| is_directory(over.mode));
        (if covers_directory { Detail::FileOverDirectory } else { Detail::Attach }, errno)
    });
    sys::close(target);
    attached
}

/// Attaches a copy of what `source` is below the root filesystem now, changed while nobody can see it.
pub(super) fn bind_within(
    root: Fd,
    [source, path, flags, propagation]: [u64; 4],
    change: &MountAttributes,
    below: &MountAttributes,
) -> Outcome {
    let found = if flags & Create::COPY_LINK != 0 { resolve_nofollow } else { resolve };
    let source = found(root, Text(source)).map_err(|errno| (Detail::Source, errno))?;
    let copied = sys::clone_tree(source, flags & Create::COPY_BELOW != 0);
    sys::close(source);
    let tree = copied.map_err(|errno| (Detail::Tree, errno))?;
    change_tree(tree, propagation, change, below)?;
    let attached = attach_tree(root, tree, Text(path), flags);
    sys::close(tree);
    attached
}

/// Changes a detached tree: first its place in the propagation tree.
fn change_tree(
    tree: Fd,
    propagation: u64,
    change: &MountAttributes,
    below: &MountAttributes,
) -> Outcome {
    let propagation =
        MountAttributes { propagation, recursive: RECURSIVE, ..MountAttributes::default() };
    for change in [&propagation, change, below] {
        if !change.is_empty() {
            sys::mount_setattr(tree, change).map_err(|errno| (Detail::Attributes, errno))?;
        }
    }
    Ok(())
}

/// What the container takes for /proc has to be a procfs, and the whole of it (CVE-2019-16884).
fn verify_procfs(tree: Fd) -> Outcome {
    match is_procfs_root(tree) {
        Ok(true) => Ok(()),
        Ok(false) => Err((Detail::Verify, Errno(0))),
        Err(errno) => Err((Detail::Tree, errno)),
    }
}

/// Changes attributes of the mount at `path`.
pub(super) fn set_attributes(root: Fd, path: Text, change: &MountAttributes) -> Outcome {
    let target = resolve(root, path).map_err(|errno| (Detail::Resolve, errno))?;
    let changed = sys::mount_setattr(target, change).map_err(|errno| (Detail::Attributes, errno));
    sys::close(target);
    changed
}

/// Changes the propagation of the mount at `path`, which is a directory or a file.
pub(super) fn set_mount_propagation(root: Fd, path: Text, flags: u64) -> Outcome {
    const MS_REC: u64 = 0x4000;
    let recursive = if flags & MS_REC != 0 { RECURSIVE } else { 0 };
    let change =
        MountAttributes { propagation: flags & !MS_REC, recursive, ..MountAttributes::default() };
    set_attributes(root, path, &change)
}

/// Makes what is at `path` read-only, by a read-only mount of itself; nothing there is nothing to protect.
pub(super) fn readonly_path(root: Fd, path: Text) -> Outcome {
    let target = match resolve(root, path) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(errno) => return Err((Detail::Resolve, errno)),
    };
    let tree = sys::clone_tree(target, true).map_err(|errno| (Detail::Tree, errno))?;
    let change =
        MountAttributes { set: ATTR_RDONLY, recursive: RECURSIVE, ..MountAttributes::default() };
    sys::mount_setattr(tree, &change).map_err(|errno| (Detail::Attributes, errno))?;
    sys::attach_tree(tree, target).map_err(|errno| (Detail::Attach, errno))?;
    sys::close(tree);
    sys::close(target);
    Ok(())
}

/// Makes the root filesystem `/`: the new root takes the old one's place, which then lies on top of it and is let go
/// (pivot_root(2), `pivot_root(".", ".")`).
pub(super) fn pivot_root(root: Fd) -> Outcome {
    sys::fchdir(root).map_err(refused)?;
    sys::pivot_to_working_directory().map_err(refused)?;
    sys::detach_working_directory().map_err(|errno| (Detail::Attach, errno))?;
    sys::chdir(Text::of(b"/\0")).map_err(refused)
}

/// Mounts whose roots are known by descriptor, whatever happens to their names.
#[derive(Debug, Default)]
pub(super) struct Kept {
    proc: Option<Fd>,
    sys: Option<Fd>,
}

impl Interpreter {
    /// Mounts a filesystem onto its destination. The destination is entered and named `.`: mount(2) takes no descriptor, and this way
    /// needs no procfs.
    pub(super) fn mount_filesystem(
        &mut self,
        [path, kind, source, flags, data, create]: [u64; 6],
    ) -> Outcome {
        // A directory that is only made now has no mode that means anything.
        let inherits = create & Create::INHERIT_MODE != 0 && is_there(self.root, Text(path));
        let target = destination(self.root, Text(path), create)?;
        let mut room = [0; PAGE];
        let data = if inherits {
            sys::status(target)
                .map_err(|errno| (Detail::Resolve, errno))
                .and_then(|status| with_mode(&mut room, Text(data), status.mode & 0o7777))
        } else {
            Ok(Text(data))
        };
        let mounted = data.and_then(|data| {
            sys::fchdir(target)
                .and_then(|()| sys::mount(Text(source), Text::of(b".\0"), Text(kind), flags, data))
                .map_err(|errno| (Detail::Attach, errno))
        });
        sys::close(target);
        mounted?;
        if create & Create::KEEP_PROC != 0 {
            self.kept.proc = Some(root_of(self.root, Text(path), PROC_SUPER_MAGIC)?);
        }
        if create & Create::KEEP_SYS != 0 {
            self.kept.sys = Some(root_of(self.root, Text(path), SYSFS_MAGIC)?);
        }
        Ok(())
    }

    /// Attaches a tree that the library opened.
    pub(super) fn attach_tree(&mut self, tree: Fd, path: Text, create: u64) -> Outcome {
        attach_tree(self.root, tree, path, create)?;
        if create & Create::KEEP_PROC != 0 {
            self.kept.proc = Some(tree);
        } else if create & Create::KEEP_SYS != 0 {
            self.kept.sys = Some(tree);
        } else {
            sys::close(tree);
        }
        Ok(())
    }

    /// Where paths of a [`Below`] begin.
    pub(super) fn below(&self, below: u64) -> core::result::Result<Fd, Failure> {
        let fd = match below {
            Below::PROC => self.kept.proc,
            Below::SYS => self.kept.sys,
            _ => Some(self.root),
        };
        fd.ok_or((Detail::Verify, Errno::ENOENT))
    }

    /// Copies the mount at `path` to the descriptor `number`. Its place in the propagation tree is settled before anybody can mount
    /// into it.
    pub(super) fn open_tree(
        &mut self,
        number: Fd,
        path: Text,
        [flags, propagation]: [u64; 2],
        change: &MountAttributes,
        below: &MountAttributes,
    ) -> Outcome {
        let wants_directory = flags & Open::DIRECTORY != 0;
        let nofollow = wants_directory || flags & Open::LINK != 0;
        let tree = sys::clone_tree_at(path, flags & Open::RECURSIVE != 0, nofollow)
            .map_err(|errno| (Detail::Tree, errno))?;
        let status = sys::status(tree).map_err(|errno| (Detail::Tree, errno))?;
        if wants_directory && !is_directory(status.mode) {
            return Err((Detail::Tree, Errno::ENOTDIR));
        }
        if flags & Open::PROCFS != 0 {
            verify_procfs(tree)?;
        }
        change_tree(tree, propagation, change, below)?;
        if self.proc == Some(number) {
            // It happened to get a number that is meant for a tree, and is opened again when it is needed.
            self.proc = None;
        }
        if tree != number {
            sys::dup_over(tree, number).map_err(refused)?;
            sys::close(tree);
        }
        Ok(())
    }

    /// Hides what is at `path`.
    pub(super) fn mask_path(&mut self, path: Text, below: u64) -> Outcome {
        let target = match resolve(self.below(below)?, path) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err((Detail::Resolve, errno)),
        };
        let status = sys::status(target).map_err(|errno| (Detail::Resolve, errno))?;
        if is_directory(status.mode) {
            self.hide_directory(target)?;
        } else {
            let null = self.null_device()?;
            attach_copy(null, target)?;
        }
        sys::close(target);
        Ok(())
    }

    /// Covers a directory with an empty read-only filesystem, one for all of them: a superblock each would cost per-CPU memory each.
    /// The first directory gets the mount itself and the others copies of it: before Linux 6.15, only what is attached can be copied.
    pub(super) fn hide_directory(&mut self, target: Fd) -> Outcome {
        if let Some(first) = self.empty {
            return attach_copy(first, target);
        }
        let tree = self.make_empty()?;
        sys::attach_tree(tree, target).map_err(|errno| (Detail::Attach, errno))?;
        self.empty = Some(tree);
        Ok(())
    }

    fn make_empty(&self) -> core::result::Result<Fd, Failure> {
        let label = self.hidden_label;
        let tree = (|| {
            let context = sys::fsopen(Text::of(b"tmpfs\0"))?;
            sys::fsconfig_string(context, Text::of(b"nr_blocks\0"), Text::of(b"1\0"))?;
            sys::fsconfig_string(context, Text::of(b"nr_inodes\0"), Text::of(b"2\0"))?;
            if let Some(label) = label {
                sys::fsconfig_string(context, Text::of(b"context\0"), label)?;
            }
            sys::fsconfig_create(context)?;
            let tree = sys::fsmount(context, ATTR_HIDDEN)?;
            sys::close(context);
            Ok(tree)
        })();
        tree.map_err(|errno| (Detail::Tree, errno))
    }

    /// The container's `/dev/null`, which must be that device and no link to anything else (CVE-2025-31133).
    pub(super) fn null_device(&mut self) -> core::result::Result<Fd, Failure> {
        const NULL: (u32, u32) = (1, 3);
        if let Some(fd) = self.null {
            return Ok(fd);
        }
        let fd = resolve_nofollow(self.root, Text::of(b"/dev/null\0"))
            .map_err(|errno| (Detail::Tree, errno))?;
        let status = sys::status(fd).map_err(|errno| (Detail::Tree, errno))?;
        if !is_character_device(status.mode) || status.device != NULL {
            return Err((Detail::Verify, Errno(0)));
        }
        self.null = Some(fd);
        Ok(fd)
    }
}

/// Opens the root of the filesystem that was just mounted at `path`, and of no other: somebody who shares the root filesystem may have
/// put something else there since.
fn root_of(root: Fd, path: Text, magic: u64) -> core::result::Result<Fd, Failure> {
    let fd = resolve_without_links(root, path).map_err(|errno| match errno {
        Errno::ELOOP | Errno::ENOENT | Errno::ENOTDIR => (Detail::Verify, Errno(0)),
        errno => (Detail::Resolve, errno),
    })?;
    match sys::filesystem_magic(fd) {
        Ok(found) if found == magic => Ok(fd),
        Ok(_) => Err((Detail::Verify, Errno(0))),
        Err(errno) => Err((Detail::Resolve, errno)),
    }
}

/// Whether there is a directory at `path`.
fn is_there(root: Fd, path: Text) -> bool {
    resolve_directory(root, path).map(sys::close).is_ok()
}

/// The options of a filesystem with `mode=` behind them. Set while nobody has seen the filesystem; its place is never looked for again.
fn with_mode(room: &mut [u8; PAGE], data: Text, mode: u16) -> core::result::Result<Text, Failure> {
    let too_long = (Detail::Attach, Errno::ENAMETOOLONG);
    let options = if data == Text(0) {
        &[]
    } else {
        // SAFETY: options in a program are NUL-terminated, and the program is never changed or unmapped.
        #[allow(unsafe_code, reason = "text of the mapped program")]
        unsafe { data.as_c_str() }.to_bytes()
    };
    let separator: &[u8] = if options.is_empty() { b"" } else { b"," };
    let digits = [9, 6, 3, 0].map(|shift| b'0' + ((mode >> shift) & 7) as u8);
    let parts = [options, separator, b"mode=", &digits, b"\0"];
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let place = room.get_mut(..length).ok_or(too_long)?;
    let bytes = parts.into_iter().flatten();
    for (slot, byte) in place.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    Ok(Text::of(room))
}

/// Attaches a copy of the mount that `from` is on, rooted there.
fn attach_copy(from: Fd, target: Fd) -> Outcome {
    let tree = sys::clone_tree(from, false).map_err(|errno| (Detail::Tree, errno))?;
    sys::attach_tree(tree, target).map_err(|errno| (Detail::Attach, errno))?;
    sys::close(tree);
    Ok(())
}

/// `S_ISDIR`.
fn is_directory(mode: u16) -> bool {
    mode & 0o170_000 == 0o040_000
}

/// `S_ISCHR`.
pub(super) fn is_character_device(mode: u16) -> bool {
    mode & 0o170_000 == 0o020_000
}
