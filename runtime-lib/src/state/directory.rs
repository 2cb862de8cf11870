//! A container's state directory, held open: every file in it is reached through the descriptor.

use super::process;
use super::record::Record;
use crate::error::{Error, ErrorKind, StepError};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const STATE_NEW: &str = "state.json.new";
const FIFO: &str = "exec.fifo";
const ANSWER: &str = "answer.fifo";

/// `<root>/<id>`, open.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    fd: OwnedFd,
}

impl StateDirectory {
    /// Makes the directory. That it did not exist is what makes the id this container's.
    pub(crate) fn create(root: &Path, id: &str) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|error| {
            let failure = StepError::io("make the state root", root, &error);
            match failure.errno {
                libc::EACCES => failure.hint("name one of your own, by --root or XDG_RUNTIME_DIR"),
                _ => failure,
            }
        })?;
        let path = root.join(id);
        match mkdirat(AT_FDCWD, &path, Mode::from_bits_truncate(0o711)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let message = "container with given ID already exists";
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            Err(errno) => return Err(failed("make the state directory", &path, errno).into()),
        }
        Self::open_path(path)
    }

    /// Opens the directory of an existing container.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Self, Error> {
        Self::open_path(root.join(id))
    }

    fn open_path(path: PathBuf) -> Result<Self, Error> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(AT_FDCWD, &path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { path, fd }),
            Err(Errno::ENOENT) => Err(Error::new(ErrorKind::NotFound, "container does not exist")),
            Err(errno) => Err(failed("open the state directory", &path, errno).into()),
        }
    }

    /// Takes the container's lock, which is gone with the guard or with the process. `None` when somebody else has it.
    pub(crate) fn try_lock(&self) -> Result<Option<Flock<OwnedFd>>, StepError> {
        // A lock belongs to an open file; this one is opened for it.
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = openat(self.fd.as_fd(), ".", flags, Mode::empty())
            .map_err(|errno| failed("open the state directory", &self.path, errno))?;
        let refused = |errno| failed("lock the state directory", &self.path, errno);
        match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((fd, Errno::EWOULDBLOCK)) if self.is_locked_by_the_dead().map_err(refused)? => {
                // A process that was cloned by the one that took it, and that was killed, holds it until its exec.
                let lock = Flock::lock(fd, FlockArg::LockExclusive);
                lock.map(Some).map_err(|(_, errno)| refused(errno))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(refused(errno)),
        }
    }

    /// Whether the process that took the lock is gone.
    fn is_locked_by_the_dead(&self) -> Result<bool, Errno> {
        let inode = nix::sys::stat::fstat(&self.fd)?.st_ino;
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let takers = process::takers_of_lock(&locks, inode);
        Ok(!takers.is_empty() && !takers.into_iter().any(process::is_alive))
    }

    /// Whether somebody removed the directory since it was opened. Another container may have its name by now.
    pub(crate) fn is_removed(&self) -> Result<bool, StepError> {
        let status = nix::sys::stat::fstat(&self.fd);
        status
            .map(|status| status.st_nlink == 0)
            .map_err(|errno| failed("look at the state directory", &self.path, errno))
    }

    /// Makes exec.fifo and opens its reading end, which waits for nobody.
    pub(crate) fn make_fifo(&self) -> Result<OwnedFd, StepError> {
        self.make_named_fifo(FIFO)
    }

    /// Makes answer.fifo and opens its writing end.
    pub(crate) fn make_answer(&self) -> Result<OwnedFd, StepError> {
        // Without a reader there is no opening to write.
        let _reader = self.make_named_fifo(ANSWER)?;
        self.open_fifo(ANSWER, OFlag::O_WRONLY)
            .map_err(|errno| failed("open", &self.path.join(ANSWER), errno))
    }

    /// Opens the reading end of answer.fifo, on which nothing waits but a poll.
    pub(crate) fn open_answer(&self) -> Result<OwnedFd, StepError> {
        self.open_fifo(ANSWER, OFlag::O_RDONLY)
            .map_err(|errno| failed("open", &self.path.join(ANSWER), errno))
    }

    fn make_named_fifo(&self, name: &str) -> Result<OwnedFd, StepError> {
        let path = self.path.join(name);
        mknodat(self.fd.as_fd(), name, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)
            .map_err(|errno| failed("make", &path, errno))?;
        self.open_fifo(name, OFlag::O_RDONLY).map_err(|errno| failed("open", &path, errno))
    }

    /// Whether the container still waits for `start`.
    pub(crate) fn has_fifo(&self) -> bool {
        nix::sys::stat::fstatat(self.fd.as_fd(), FIFO, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok()
    }

    fn open_fifo(&self, name: &str, access: OFlag) -> Result<OwnedFd, Errno> {
        openat(
            self.fd.as_fd(),
            name,
            access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )
    }

    /// Lets the container's program go: one byte through exec.fifo, which is then gone. False when nobody reads it any more.
    pub(crate) fn release_fifo(&self) -> Result<bool, StepError> {
        let path = self.path.join(FIFO);
        let fd = match self.open_fifo(FIFO, OFlag::O_WRONLY) {
            Ok(fd) => fd,
            Err(Errno::ENXIO | Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        match nix::unistd::write(&fd, b"0") {
            Ok(_) => {}
            Err(Errno::EPIPE) => return Ok(false),
            Err(errno) => return Err(failed("write to", &path, errno)),
        }
        self.unlink(FIFO).map_err(|errno| failed("remove", &path, errno))?;
        Ok(true)
    }

    /// Writes state.json where there is none yet.
    pub(crate) fn write_first(&self, record: &Record) -> Result<(), StepError> {
        self.write_file(STATE, record)
    }

    /// Puts another state.json in the place of the present one, all at once.
    pub(crate) fn write(&self, record: &Record) -> Result<(), StepError> {
        self.write_file(STATE_NEW, record)?;
        renameat(self.fd.as_fd(), STATE_NEW, self.fd.as_fd(), STATE)
            .map_err(|errno| failed("replace", &self.path.join(STATE), errno))
    }

    fn write_file(&self, name: &str, record: &Record) -> Result<(), StepError> {
        let path = self.path.join(name);
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_CLOEXEC
            | OFlag::O_NOFOLLOW;
        let file = openat(self.fd.as_fd(), name, flags, Mode::from_bits_truncate(0o600))
            .map_err(|errno| failed("make", &path, errno))?;
        let text = serde_json::to_vec(record)
            .map_err(|error| StepError::new(format!("write {}: {error}", path.display()), 0))?;
        File::from(file).write_all(&text).map_err(|error| StepError::io("write", &path, &error))
    }

    /// Reads state.json; `None` when the process that should have written it was killed before.
    pub(crate) fn read(&self) -> Result<Option<Record>, Error> {
        let path = self.path.join(STATE);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = match openat(self.fd.as_fd(), STATE, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", &path, errno).into()),
        };
        let mut bytes = Vec::new();
        File::from(file)
            .read_to_end(&mut bytes)
            .map_err(|error| StepError::io("read", &path, &error))?;
        // The first write is not atomic: what ends in its middle is the work of a killed process, and nothing was made after it.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Removes the directory and everything in it.
    pub(crate) fn remove(&self) -> Result<(), StepError> {
        for name in self.names()? {
            match self.unlink(&name) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(failed("remove", &self.path.join(name), errno)),
            }
        }
        match unlinkat(AT_FDCWD, &self.path, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed("remove", &self.path, errno)),
        }
    }

    fn names(&self) -> Result<Vec<String>, StepError> {
        let list = |errno| failed("list", &self.path, errno);
        let mut dir =
            Dir::openat(self.fd.as_fd(), ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(list)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry.map_err(list)?.file_name().to_string_lossy().into_owned();
            names.extend((name != "." && name != "..").then_some(name));
        }
        Ok(names)
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        unlinkat(self.fd.as_fd(), name, UnlinkatFlags::NoRemoveDir)
    }
}

fn failed(step: &str, path: &Path, errno: Errno) -> StepError {
    let error = StepError::new(format!("{step} {}", path.display()), errno as i32);
    match errno {
        Errno::EACCES => error.hint("the container, or the state root, belongs to another user"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn record(id: &str) -> Record {
        Record {
            oci_version: "1.3.0".to_owned(),
            id: id.to_owned(),
            bundle: PathBuf::from("/b"),
            rootfs: PathBuf::from("/b/rootfs"),
            created: String::new(),
            annotations: BTreeMap::new(),
            init: None,
            boot_id: String::new(),
            resctrl: Vec::new(),
            cgroups: Vec::new(),
            init_layer: None,
            hooks: crate::plan::hooks::Hooks::default(),
            shared_pid_namespace: false,
        }
    }

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("teu-state-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn an_id_is_taken_once_and_free_again_when_removed() {
        let root = Root::new("id");
        let first = StateDirectory::create(&root.0, "a").unwrap();
        let error = StateDirectory::create(&root.0, "a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        first.remove().unwrap();
        assert_eq!(StateDirectory::open(&root.0, "a").unwrap_err().kind(), ErrorKind::NotFound);
        StateDirectory::create(&root.0, "a").unwrap().remove().unwrap();
    }

    #[test]
    fn a_record_is_replaced_whole_and_a_torn_one_is_none() {
        let root = Root::new("record");
        let directory = StateDirectory::create(&root.0, "a").unwrap();
        assert_eq!(directory.read().unwrap(), None);
        directory.write_first(&record("a")).unwrap();
        directory.write(&record("b")).unwrap();
        assert_eq!(directory.read().unwrap().unwrap().id, "b");
        File::options().write(true).open(root.0.join("a/state.json")).unwrap().set_len(10).unwrap();
        assert_eq!(directory.read().unwrap(), None);
        directory.remove().unwrap();
    }

    #[test]
    fn the_fifo_carries_one_start_and_nobody_reading_is_no_start() {
        let root = Root::new("fifo");
        let directory = StateDirectory::create(&root.0, "a").unwrap();
        let reader = directory.make_fifo().unwrap();
        assert!(directory.release_fifo().unwrap());
        assert!(!directory.has_fifo());
        assert!(!directory.release_fifo().unwrap());
        drop(reader);
        drop(directory.make_fifo().unwrap());
        assert!(!directory.release_fifo().unwrap());
        directory.remove().unwrap();
    }

    #[test]
    fn a_lock_that_outlives_its_taker_is_waited_for() {
        let root = Root::new("dead-lock");
        let directory = StateDirectory::create(&root.0, "a").unwrap();
        // flock(1) takes it and is gone; what the shell leaves behind holds the file open for a moment.
        let script = "exec 9<\"$1\" && flock 9 && { sleep 0.3 & }";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(root.0.join("a"));
        assert!(shell.status().unwrap().success());
        assert!(directory.try_lock().unwrap().is_some());
        directory.remove().unwrap();
    }

    #[test]
    fn the_lock_is_held_by_one() {
        let root = Root::new("lock");
        let directory = StateDirectory::create(&root.0, "a").unwrap();
        let lock = directory.try_lock().unwrap();
        assert!(lock.is_some());
        assert!(directory.try_lock().unwrap().is_none());
        drop(lock);
        assert!(directory.try_lock().unwrap().is_some());
        directory.remove().unwrap();
    }
}
