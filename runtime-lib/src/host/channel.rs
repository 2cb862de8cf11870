//! The socket between the library and teu-init: messages of eight bytes, and an end that tells that the other side is gone.

use crate::error::StepError;
use crate::plan::step::Rendezvous;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recv, recvmsg,
    send, socketpair,
};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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

    /// As [`Channel::receive`], with the descriptor that comes along; plain messages have none.
    pub(super) fn receive_with_descriptor(
        &self,
    ) -> Result<Option<(Report, Option<OwnedFd>)>, StepError> {
        let failed = |errno: Errno| StepError::new("listen to teu-init", errno as i32);
        loop {
            let mut bytes = [0; 8];
            let mut space = nix::cmsg_space!(i32);
            let mut vector = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let (length, descriptor) =
                match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut vector, Some(&mut space), flags)
                {
                    Ok(message) => {
                        (message.bytes, only_descriptor(message.cmsgs().map_err(failed)?))
                    }
                    Err(Errno::ECONNRESET) => return Ok(None),
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(failed(errno)),
                };
            return Ok((length == 8).then(|| (Report::from_bytes(bytes), descriptor)));
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
