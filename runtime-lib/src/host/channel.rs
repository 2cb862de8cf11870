//! The socket between the library and teu-init: messages of eight bytes (and what a hook wrote), and an end that tells that the other side is gone.

use crate::error::StepError;
use crate::plan::step::Rendezvous;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recv, recvmsg,
    send, socketpair,
};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use teu_init::program::{HookOutput, LONGEST_MESSAGE, Report};

/// What teu-init said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// The message in these bytes, `None` when they are too few.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= size_of::<Report>()).then(|| Self(bytes.to_vec()))
    }

    /// The report that every message begins with.
    pub(crate) fn report(&self) -> Report {
        Report::from_bytes(self.0.first_chunk().copied().unwrap_or_default())
    }

    /// What a failed hook wrote.
    pub(crate) fn output(&self) -> Option<HookOutput<'_>> {
        HookOutput::read(&self.0)
    }
}

/// The library's end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// A connected pair: ours, and teu-init's.
    pub(super) fn pair() -> Result<(Self, OwnedFd), StepError> {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map(|(ours, theirs)| (Self(ours), theirs))
            .map_err(|errno| StepError::new("make a socket pair", errno as i32))
    }

    /// Tells teu-init that a rendezvous is reached. That it is gone is found out by the next [`Channel::receive`], with the reason.
    pub(super) fn release(&self, point: Rendezvous) -> Result<(), StepError> {
        match send(self.0.as_raw_fd(), &(point as u64).to_ne_bytes(), MsgFlags::MSG_NOSIGNAL) {
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(StepError::new("speak to teu-init", errno as i32)),
        }
    }

    /// The next message, `None` when teu-init has executed the program or died.
    ///
    /// The end of the stream tells both. But a process that another thread of the caller forks meanwhile has a copy of teu-init's
    /// end, and may keep it; so the death of teu-init, whose descriptor is `pidfd`, is looked for, too.
    pub(super) fn receive(&self, pidfd: &OwnedFd) -> Result<Option<Message>, StepError> {
        let mut bytes = [0; LONGEST_MESSAGE];
        loop {
            if !self.wait(pidfd)? {
                return Ok(None);
            }
            match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => return Ok(bytes.get(..len).and_then(Message::new)),
                // Said once, when the other side went with something unread; what it said before is still there.
                Err(Errno::EINTR | Errno::EAGAIN | Errno::ECONNRESET) => {}
                Err(errno) => return Err(StepError::new("listen to teu-init", errno as i32)),
            }
        }
    }

    /// Waits until there is something to receive; false when there never will be.
    fn wait(&self, pidfd: &OwnedFd) -> Result<bool, StepError> {
        let heard = |ends: &mut [PollFd<'_>], limit: PollTimeout| loop {
            match poll(ends, limit) {
                Ok(_) => return Ok(ends.first().and_then(PollFd::any) == Some(true)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(StepError::new("listen to teu-init", errno as i32)),
            }
        };
        let [socket, again, death] = [self.0.as_fd(), self.0.as_fd(), pidfd.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // poll(2) looks at one after the other: last words and death may both come after its look at the socket.
        Ok(heard(&mut [socket, death], PollTimeout::NONE)?
            || heard(&mut [again], PollTimeout::ZERO)?)
    }

    /// As [`Channel::receive`], with the descriptor that comes along; plain messages have none.
    pub(super) fn receive_with_descriptor(
        &self,
        pidfd: &OwnedFd,
    ) -> Result<Option<(Message, Option<OwnedFd>)>, StepError> {
        let failed = |errno: Errno| StepError::new("listen to teu-init", errno as i32);
        loop {
            if !self.wait(pidfd)? {
                return Ok(None);
            }
            let mut bytes = [0; 8];
            let mut space = nix::cmsg_space!(i32);
            let mut vector = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            let (length, descriptor) =
                match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut vector, Some(&mut space), flags)
                {
                    Ok(message) => {
                        (message.bytes, only_descriptor(message.cmsgs().map_err(failed)?))
                    }
                    Err(Errno::EINTR | Errno::EAGAIN | Errno::ECONNRESET) => continue,
                    Err(errno) => return Err(failed(errno)),
                };
            let message = bytes.get(..length).and_then(Message::new);
            return Ok(message.map(|message| (message, descriptor)));
        }
    }
}

/// The descriptor among control messages; there is room for one.
fn only_descriptor(control: impl Iterator<Item = ControlMessageOwned>) -> Option<OwnedFd> {
    let mut numbers = control.flat_map(|message| match message {
        ControlMessageOwned::ScmRights(numbers) => numbers,
        _ => Vec::new(),
    });
    let number = numbers.next()?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    #[allow(unsafe_code, reason = "nix answers with numbers")]
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_death_of_the_other_side_is_heard_even_if_its_end_stays_open() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let pidfd = crate::state::process::open(i32::try_from(child.id()).unwrap()).unwrap();
        send(
            theirs.as_raw_fd(),
            &Report { step: 1, detail: 2, errno: 3 }.to_bytes(),
            MsgFlags::empty(),
        )
        .unwrap();
        // What was said before the death is heard first.
        let heard = ours.receive(&pidfd).unwrap().map(|message| message.report());
        assert_eq!(heard, Some(Report { step: 1, detail: 2, errno: 3 }));
        assert_eq!(ours.receive(&pidfd).unwrap(), None);
        child.wait().unwrap();
    }

    #[test]
    fn last_words_are_heard_of_one_that_did_not_listen_any_more() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let pidfd = crate::state::process::open(i32::try_from(child.id()).unwrap()).unwrap();
        ours.release(Rendezvous::Recorded).unwrap();
        let last = Report { step: 1, detail: 2, errno: 3 };
        send(theirs.as_raw_fd(), &last.to_bytes(), MsgFlags::empty()).unwrap();
        // With something unread: the other side's next call is told so before it gets what was said.
        drop(theirs);
        assert_eq!(ours.receive(&pidfd).unwrap().map(|message| message.report()), Some(last));
        assert_eq!(ours.receive(&pidfd).unwrap(), None);
        child.wait().unwrap();
    }
}
