//! Mapped ids of mounts (mount_setattr(2), `MOUNT_ATTR_IDMAP`): the kernel takes the maps of a user namespace.

use super::helper::Waiting;
use super::open::namespace;
use super::sys::{self, Attributes, MOUNT_ATTR_IDMAP};
use super::{proc_files, unlisted};
use crate::error::StepError;
use crate::plan::step::{IdSource, MountIds};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The user namespaces whose maps the mounts of a container get, each opened or made once.
#[derive(Debug, Default)]
pub(super) struct Namespaces(Vec<(IdSource, OwnedFd)>);

impl Namespaces {
    /// Maps the ids of a tree that nobody has seen yet.
    pub(super) fn apply(
        &mut self,
        tree: &OwnedFd,
        path: &Path,
        wanted: &MountIds,
    ) -> Result<(), StepError> {
        let namespace = self.of(wanted).map_err(|error| error.at(wanted.pointer.clone()))?;
        let change = Attributes {
            set: MOUNT_ATTR_IDMAP,
            // A descriptor is not negative.
            userns_fd: u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX),
            ..Attributes::default()
        };
        sys::mount_setattr(tree.as_fd(), &change, wanted.recursive)
            .map_err(|errno| refused(tree, path, wanted, errno))
    }

    fn of(&mut self, wanted: &MountIds) -> Result<&OwnedFd, StepError> {
        let known = self.0.iter().position(|(source, _)| *source == wanted.from);
        let at = match known {
            Some(at) => at,
            None => {
                let namespace = match &wanted.from {
                    IdSource::Maps { uid_map, gid_map } => with_maps(uid_map, gid_map)?,
                    IdSource::Namespace(path) => namespace(path)?,
                };
                self.0.push((wanted.from.clone(), namespace));
                self.0.len() - 1
            }
        };
        let missing = || StepError::new("find the user namespace of an id map", 0);
        self.0.get(at).map(|(_, namespace)| namespace).ok_or_else(missing)
    }
}

/// A new user namespace with these maps. The helper that was its first process is gone on return; the descriptor keeps it.
fn with_maps(uid_map: &str, gid_map: &str) -> Result<OwnedFd, StepError> {
    let helper = Waiting::in_namespaces(libc::CLONE_NEWUSER as u64).map_err(|errno| {
        StepError::new("make a user namespace for the id map of a mount", errno as i32)
    })?;
    let write = |file: &str, map: &str| {
        proc_files::write(helper.pid(), file, map).map_err(|error| match error.errno {
            libc::EPERM => error.hint("it takes CAP_SETUID and CAP_SETGID where the ids are from, which are the runtime's own"),
            _ => error,
        })
    };
    write("gid_map", gid_map)?;
    write("uid_map", uid_map)?;
    namespace(&PathBuf::from(format!("/proc/{}/ns/user", helper.pid())))
}

/// Why the kernel maps no ids: mostly the filesystem.
fn refused(tree: &OwnedFd, path: &Path, wanted: &MountIds, errno: Errno) -> StepError {
    let filesystem = unlisted::filesystem_name(tree);
    let words = format!("map the ids of the mount of {} ({filesystem})", path.display());
    let error = StepError::new(words, errno as i32).at(wanted.pointer.clone());
    match errno {
        Errno::EINVAL if wanted.recursive => error.hint(format!(
            "{filesystem} or a filesystem mounted below it cannot be id-mapped on this kernel; ridmap needs all of them to"
        )),
        Errno::EINVAL => {
            error.hint(format!("{filesystem} cannot be id-mapped on this kernel"))
        }
        Errno::EPERM => error.hint(
            "the ids of a mount can be mapped once, by who has CAP_SYS_ADMIN in the user namespace in which its filesystem was mounted, \
             and by the maps of another user namespace than that",
        ),
        _ => error,
    }
}
