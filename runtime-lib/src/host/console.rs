//! The master of the container's terminal: from teu-init to whoever attends to it.
//!
//! The protocol of the console socket is runc's: one message over an `AF_UNIX` stream, whose data is the terminal's name and
//! whose one descriptor is the master.

use crate::error::StepError;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A terminal that teu-init has opened.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) master: OwnedFd,
    /// Its number, which is its name in `/dev/pts` of the container.
    pub(super) number: i32,
}

/// The longest path that fits `struct sockaddr_un` with its NUL (unix(7)).
const LONGEST_PATH: usize = 107;

/// Connects to the socket that the master will be sent to.
pub(super) fn connect(path: &Path) -> Result<UnixStream, StepError> {
    let answer = loop {
        match connect_once(path) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            answer => break answer,
        }
    };
    answer.map_err(|error| {
        let failed = StepError::io("connect to the console socket", path, &error);
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED | libc::ENOENT | libc::ENOTSOCK) => {
                failed.hint("a program has to listen there for the terminal (AF_UNIX, SOCK_STREAM)")
            }
            _ => failed,
        }
    })
}

fn connect_once(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= LONGEST_PATH {
        return UnixStream::connect(path);
    }
    // The address has no room for the path, but for a link to the socket.
    let socket =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    UnixStream::connect(PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd())))
}

/// Sends the master with the terminal's name.
pub(super) fn hand_over(
    console: &Console,
    socket: &UnixStream,
    path: &Path,
) -> Result<(), StepError> {
    let name = format!("/dev/pts/{}", console.number);
    let data = [IoSlice::new(name.as_bytes())];
    let descriptors = [console.master.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &data, &control, flags, None) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                let step = format!("send the terminal to the console socket {}", path.display());
                return Err(StepError::new(step, errno as i32));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use std::io::{IoSliceMut, Read, Write};
    use std::os::fd::FromRawFd;
    use std::os::unix::net::UnixListener;

    /// A directory that goes when the test does.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("teu-console-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_receiver_gets_one_descriptor_and_the_name() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let console = Console { master: writer.into(), number: 7 };
        hand_over(&console, &ours, Path::new("/s")).unwrap();
        drop((console, ours));
        let mut data = [0; 64];
        let mut vector = [IoSliceMut::new(&mut data)];
        let mut space = nix::cmsg_space!([i32; 4]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            recvmsg::<UnixAddr>(theirs.as_raw_fd(), &mut vector, Some(&mut space), flags).unwrap();
        let control: Vec<_> = message.cmsgs().unwrap().collect();
        let [ControlMessageOwned::ScmRights(descriptors)] = control.as_slice() else {
            panic!("{control:?}")
        };
        let [descriptor] = descriptors.as_slice() else { panic!("{descriptors:?}") };
        // SAFETY: the kernel has just made it, and nobody else knows it.
        #[allow(unsafe_code, reason = "nix answers with a number")]
        let mut master = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(*descriptor) });
        let length = message.bytes;
        assert_eq!(&data[..length], b"/dev/pts/7");
        master.write_all(b"x").unwrap();
        drop(master);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let directory = Directory::new("long");
        let deep = directory.0.join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let short = directory.0.join("s");
        let listener = UnixListener::bind(&short).unwrap();
        let long = deep.join("socket");
        std::fs::rename(&short, &long).unwrap();
        let mut ours = connect(&long).unwrap();
        ours.write_all(b"x").unwrap();
        drop(ours);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn a_socket_without_a_listener_is_named() {
        let directory = Directory::new("none");
        let path = directory.0.join("missing");
        let error = connect(&path).unwrap_err();
        assert_eq!(error.errno, libc::ENOENT);
        assert!(error.step.contains(&path.display().to_string()), "{error}");
    }
}
