//! Locked mounts, for containers with a user namespace (mount_namespaces(7), "Restrictions on mount namespaces").
//!
//! The trees that teu-init inherits are copies made by the caller, so the kernel takes them for the caller's, who may change their
//! flags; and whoever is root in the container's user namespace, with CAP_SYS_ADMIN there, could make a read-only volume writable,
//! or take away what covers a part of it. The kernel locks mounts when a mount namespace is copied for a less privileged user
//! namespace. So the trees are attached in a mount namespace of a helper's, which is copied like that; copies of the copies keep
//! their locks wherever they go.

use super::clone::{Call, address, word};
use super::helper::{close_range, perform};
use super::sys::{AT_RECURSIVE, MOVE_MOUNT_F_EMPTY_PATH, OPEN_TREE_CLONE, detached_tmpfs};
use crate::error::StepError;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, socketpair,
};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use std::ffi::CString;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use teu_init::program::word_of;

/// How many descriptors travel in one message; the kernel takes 253 (unix(7), `SCM_MAX_FD`).
const BATCH: usize = 200;

/// Puts locked copies in the place of the trees, in order.
pub(super) fn lock(trees: Vec<&mut OwnedFd>) -> Result<(), StepError> {
    let refused = |errno: Errno| StepError::new("lock the mounts of the container", errno as i32);
    let carrier = detached_tmpfs().map_err(refused)?;
    let mut names = Vec::with_capacity(trees.len());
    for (number, tree) in trees.iter().enumerate() {
        names.push(place(&carrier, number, tree).map_err(refused)?);
    }
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(refused)?;
    let numbers: Vec<RawFd> = trees.iter().map(|tree| tree.as_raw_fd()).collect();
    copy(&carrier, &numbers, &names, &theirs)?;
    drop(theirs);
    let mut locked = Vec::with_capacity(trees.len());
    while locked.len() < trees.len() {
        locked.extend(receive(&ours).map_err(refused)?);
    }
    trees.into_iter().zip(locked).for_each(|(place, tree)| *place = tree);
    Ok(())
}

/// Makes what a tree is attached to for a moment: a directory or a file, as the tree is.
fn place(carrier: &OwnedFd, number: usize, tree: &OwnedFd) -> Result<CString, Errno> {
    let name = CString::new(number.to_string()).map_err(|_no_nul| Errno::EINVAL)?;
    let mode = Mode::from_bits_truncate(0o755);
    let kind = SFlag::from_bits_truncate(fstat(tree)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFDIR {
        mkdirat(carrier, name.as_c_str(), mode)?;
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(carrier, name.as_c_str(), flags, mode)?;
    }
    Ok(name)
}

/// Lets a helper attach the trees, copy its mount namespace for a new user namespace, and send copies from there.
fn copy(
    carrier: &OwnedFd,
    trees: &[RawFd],
    names: &[CString],
    socket: &OwnedFd,
) -> Result<(), StepError> {
    let limit = [u64::MAX; 2];
    let messages: Vec<Message> =
        trees.chunks(BATCH).map(|batch| Message::with(batch.len())).collect();
    let headers: Vec<[u64; 7]> = messages.iter().map(Message::header).collect();
    let mut calls = vec![
        // As far as it may: the descriptors are more than elsewhere.
        Call::new(libc::SYS_prlimit64, [0, 7, address(limit.as_ptr()), 0, 0, 0]).optional(),
        Call::new(libc::SYS_unshare, [word(libc::CLONE_NEWNS), 0, 0, 0, 0, 0]),
        private_root(),
        move_mount(carrier.as_raw_fd(), c"/".as_ptr()),
        Call::new(libc::SYS_fchdir, [word(carrier.as_raw_fd()), 0, 0, 0, 0, 0]),
        // Who is not at the top of the mount namespace may make no user namespace (clone(2), EPERM).
        Call::new(libc::SYS_chroot, [address(c".".as_ptr()), 0, 0, 0, 0, 0]),
    ];
    calls.extend(trees.iter().zip(names).map(|(tree, name)| move_mount(*tree, name.as_ptr())));
    let namespaces = word(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    calls.extend([
        // The copy is locked, and the working directory is the carrier in the copy.
        Call::new(libc::SYS_unshare, [namespaces, 0, 0, 0, 0, 0]),
        Call::new(libc::SYS_dup3, [word(socket.as_raw_fd()), 0, word(libc::O_CLOEXEC), 0, 0, 0]),
    ]);
    for (batch, header) in names.chunks(BATCH).zip(&headers) {
        // From here on the numbers of new descriptors are known: 1, 2, 3 and so on.
        calls.push(close_range(1, RawFd::MAX));
        calls.extend(batch.iter().map(open_tree));
        let flags = word(libc::MSG_NOSIGNAL);
        calls.push(Call::new(libc::SYS_sendmsg, [0, address(header.as_ptr()), flags, 0, 0, 0]));
    }
    perform(calls).map_err(|(_, errno)| {
        let error = StepError::new("lock the mounts of the container", errno as i32);
        match errno {
            Errno::ENOSPC => error.hint(
                "the limit of namespaces is reached (/proc/sys/user/max_*_namespaces), or that of mounts (fs.mount-max)",
            ),
            _ => error,
        }
    })
}

/// No mount made by the helper appears anywhere else.
fn private_root() -> Call {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    Call::new(libc::SYS_mount, [0, address(c"/".as_ptr()), 0, flags, 0, 0])
}

fn move_mount(tree: RawFd, to: *const libc::c_char) -> Call {
    let (empty, here) = (address(c"".as_ptr()), word(libc::AT_FDCWD));
    let flags = word(MOVE_MOUNT_F_EMPTY_PATH);
    Call::new(libc::SYS_move_mount, [word(tree), empty, here, address(to), flags, 0])
}

/// With all below it: what was not to be there was not copied in the first place.
fn open_tree(name: &CString) -> Call {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | AT_RECURSIVE | libc::AT_SYMLINK_NOFOLLOW;
    let here = word(libc::AT_FDCWD);
    Call::new(libc::SYS_open_tree, [here, address(name.as_ptr()), word(flags), 0, 0, 0])
}

/// One message of the helper's: a byte, and the descriptors from 1 on.
struct Message {
    /// `struct cmsghdr` and the descriptors, in words.
    control: Vec<u64>,
    length: u64,
    vector: [u64; 2],
}

impl Message {
    fn with(count: usize) -> Self {
        const SOL_SOCKET_SCM_RIGHTS: [u32; 2] = [1, 1];
        let length = 16 + 4 * count as u64;
        let numbers = (1..).take(count);
        let halves: Vec<u32> =
            SOL_SOCKET_SCM_RIGHTS.into_iter().chain(numbers).chain([0]).collect();
        let (pairs, _) = halves.as_chunks::<2>();
        let rest = pairs.iter().map(|&[first, second]| word_of(first, second));
        Self {
            control: std::iter::once(length).chain(rest).collect(),
            length,
            vector: [address(c"t".as_ptr()), 1],
        }
    }

    /// `struct msghdr`: name, its length, iov, their number, control, its length, flags.
    fn header(&self) -> [u64; 7] {
        let control = address(self.control.as_ptr());
        [0, 0, address(self.vector.as_ptr()), 1, control, self.length.next_multiple_of(8), 0]
    }
}

/// The descriptors of one message.
#[allow(unsafe_code, reason = "nix answers with numbers")]
fn receive(socket: &OwnedFd) -> Result<Vec<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; BATCH]);
    let mut vector = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &mut vector,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel just made these descriptors, and nobody else knows them.
            received.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    // A message without any: more of them than this process may have open.
    if received.is_empty() { Err(Errno::EMFILE) } else { Ok(received) }
}
