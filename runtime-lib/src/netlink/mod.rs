//! Route netlink (rtnetlink(7)), as much of it as moving network devices takes: links and their addresses.
//!
//! A socket belongs for good to the network namespace in which it was made, whoever uses it.

mod link;
mod message;
mod route;

#[cfg(any(test, fuzzing))]
pub(crate) use link::testing;
pub(crate) use link::{Address, Link, free_index};
pub(crate) use route::Route;

use crate::error::StepError;
use message::{Message, Request, attributes, i32_at, messages, text, u32_at};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, send, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// Why the kernel refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The errno.
    pub(crate) errno: i32,
    /// The kernel's own words, where it has some (`NLMSGERR_ATTR_MSG`).
    pub(crate) words: Option<String>,
}

impl Refusal {
    /// The error of the step that was refused, with the kernel's words as the hint.
    pub(crate) fn during(self, step: impl Into<String>) -> StepError {
        let error = StepError::new(step, self.errno);
        match self.words {
            Some(words) => error.hint(format!("the kernel says: {words}")),
            None => error,
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno: errno as i32, words: None }
    }
}

/// As much as the kernel puts into one answer of a listing.
const BUFFER: usize = 64 * 1024;
/// How often a listing that changed while it was made is begun anew.
const TRIES: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A request for one thing, or for a change: its answer ends with an acknowledgement.
const ONE: u16 = 0x1 | 0x4;
/// A request for a list, which has an end of its own.
const LIST: u16 = 0x1 | 0x300;
/// A change that makes something new.
const NLM_F_CREATE_EXCLUSIVE: u16 = 0x400 | 0x200;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The acknowledgement does not repeat the request.
const NLM_F_CAPPED: u16 = 0x100;

/// A conversation with the kernel about one network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    pub(crate) fn here() -> Result<Self, Refusal> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        Ok(Self::of(socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?))
    }

    /// A route netlink socket that was made elsewhere.
    pub(crate) fn of(fd: OwnedFd) -> Self {
        // Refusals come with the kernel's own words. Where they do not, the errno has to do.
        switch_on(&fd, NETLINK_EXT_ACK);
        // Listings are of what was asked for. Where they are of everything, what is too much is left out here.
        switch_on(&fd, NETLINK_GET_STRICT_CHK);
        Self { fd, sequence: 0, buffer: vec![0; BUFFER] }
    }

    /// Asks for a change, and waits until the kernel has made it.
    fn change(&mut self, request: Request) -> Result<(), Refusal> {
        self.exchange(request, |_| {}).map(drop)
    }

    /// Asks for a list, and reads each entry.
    fn list<T>(
        &mut self,
        request: &Request,
        read: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..TRIES {
            let mut list = Vec::new();
            if self.exchange(request.clone(), |message| list.extend(read(message)))? {
                return Ok(list);
            }
        }
        Err(Errno::EBUSY.into())
    }

    /// Sends a request and hands every message of the answer to `take`. Whether the answer is all of one moment.
    fn exchange(
        &mut self,
        request: Request,
        mut take: impl FnMut(Message<'_>),
    ) -> Result<bool, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        uninterrupted(|| send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()))?;
        let mut whole = true;
        loop {
            let (length, sender) =
                uninterrupted(|| recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut self.buffer))?;
            // Whoever is root of a network namespace may write to the sockets in it. The kernel is number zero.
            if sender.is_none_or(|sender| sender.pid() != 0) {
                continue;
            }
            let answer = self.buffer.get(..length).unwrap_or_default();
            for message in messages(answer).filter(|message| message.sequence == self.sequence) {
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return acknowledged(message).map(|()| whole),
                    _ => take(message),
                }
            }
        }
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}

/// The end of an answer: an errno, negated, and for refusals the request and the kernel's words.
fn acknowledged(message: Message<'_>) -> Result<(), Refusal> {
    const WORDS: u16 = 1;
    // struct nlmsgerr: the errno, then the header of the request.
    const HEAD: usize = 4 + 16;
    match i32_at(message.body, 0) {
        Some(0) => Ok(()),
        Some(errno) if message.kind == NLMSG_ERROR => {
            let repeated = match message.flags & NLM_F_CAPPED {
                0 => u32_at(message.body, 4).and_then(|length| usize::try_from(length).ok()),
                _ => None,
            };
            let skip = repeated.map_or(HEAD, |length| length.saturating_add(4));
            let words = attributes(message.body, skip).find(|(kind, _)| *kind == WORDS);
            let words = words.map(|(_, value)| text(value)).filter(|words| !words.is_empty());
            Err(Refusal { errno: errno.saturating_neg(), words })
        }
        Some(errno) => Err(Refusal { errno: errno.saturating_neg(), words: None }),
        None => Err(Errno::EBADMSG.into()),
    }
}

const NETLINK_EXT_ACK: libc::c_int = 11;
const NETLINK_GET_STRICT_CHK: libc::c_int = 12;

/// Switches an option of the socket on, where the kernel has it.
fn switch_on(socket: &OwnedFd, option: libc::c_int) {
    const SOL_NETLINK: libc::c_int = 270;
    let yes: libc::c_int = 1;
    let yes = std::ptr::from_ref(&yes).cast();
    // SAFETY: the option is a c_int of four bytes, which outlives the call.
    #[allow(unsafe_code, reason = "nix does not have the option")]
    let _refused = unsafe { libc::setsockopt(socket.as_raw_fd(), SOL_NETLINK, option, yes, 4) };
}
