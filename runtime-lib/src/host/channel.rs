//! The socket between the library and teu-init: messages of eight bytes, and an end that tells that the other side is gone.

use crate::error::StepError;
use crate::plan::step::Rendezvous;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::os::fd::{AsRawFd, OwnedFd};
use teu_init::program::Report;

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
    pub(super) fn receive(&self) -> Result<Option<Report>, StepError> {
        let mut bytes = [0; 8];
        loop {
            match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(8) => return Ok(Some(Report::from_bytes(bytes))),
                Ok(_) | Err(Errno::ECONNRESET) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(StepError::new("listen to teu-init", errno as i32)),
            }
        }
    }
}
