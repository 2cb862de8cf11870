//! A layered root filesystem: the init layer is filled through a first overlay, in which it lies on top of the layers, and is then
//! the topmost of the lower directories of the second, which is the container's.
//!
//! Both are mounts that are attached nowhere: no mount table has them, and they are gone with their last descriptor, however this
//! process ends.

mod inside;
mod overlay;

use crate::error::StepError;
use crate::facts::Facts;
use crate::plan::layers::{self, LayeredRoot, Layers, Method};
use inside::Inside;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown};
use overlay::Overlay;
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A directory of a layered root, held open.
#[derive(Debug)]
pub(super) struct Layer {
    fd: OwnedFd,
    path: PathBuf,
    pointer: String,
}

impl Layer {
    fn open(path: &Path, what: &str, pointer: &str) -> Result<Self, StepError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| {
            let step = format!("open the {what} directory {}", path.display());
            at(StepError::new(step, errno as i32), pointer)
        })?;
        Ok(Self { fd, path: path.to_owned(), pointer: pointer.to_owned() })
    }
}

/// What is below a container's changes, from the top.
#[derive(Debug)]
pub(super) struct Lowers(Vec<Layer>);

/// Makes the place of an init layer. That it did not exist is what makes it this container's.
pub(super) fn claim(place: &Path, root: &LayeredRoot) -> Result<(), StepError> {
    DirBuilder::new().mode(0o700).create(place).map_err(|error| {
        let error = StepError::io("make the init layer's directory", place, &error);
        let error = at(error, &root.pointers.init);
        match error.errno {
            libc::EEXIST => {
                error.hint("another container with this id has its init layer there, or left it")
            }
            _ => error,
        }
    })
}

/// Fills the init layer in its place, and opens all lower directories. `inherited` are the descriptors that teu-init will have.
pub(super) fn make_init_layer(
    place: &Path,
    root: &LayeredRoot,
    inherited: &[(RawFd, OwnedFd)],
) -> Result<Lowers, StepError> {
    let (layer, work) = (place.join("layer"), place.join("work"));
    for directory in [&layer, &work] {
        DirBuilder::new()
            .mode(0o755)
            .create(directory)
            .map_err(|error| StepError::io("make", directory, &error))?;
    }
    let open = |path: &Path| Layer::open(path, "lower", &root.pointers.lower);
    let lowers = root.lowers.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let init = Layer::open(&layer, "init layer's", &root.pointers.init)?;
    if let Some(top) = lowers.first() {
        resemble(&init, top)?;
    }
    let work = Layer::open(&work, "init layer's", &root.pointers.init)?;
    let view = overlay::mount(&Overlay {
        lowers: &lowers,
        writable: Some((&init, &work)),
        method: root.method,
        options: &root.options,
        // What it holds is lost with the container anyway, and nobody has to wait until it is on a disk.
        volatile: true,
    })?;
    let inside = Inside { root: view.as_fd(), owner: root.owner, inherited };
    root.entries.iter().try_for_each(|entry| inside.make(entry))?;
    Ok(Lowers(std::iter::once(init).chain(lowers).collect()))
}

/// Gives the init layer's root the owner and mode of the layer's below: where nothing is above, it is the container's `/`.
fn resemble(init: &Layer, top: &Layer) -> Result<(), StepError> {
    let like = || -> Result<(), Errno> {
        let status = fstat(&top.fd)?;
        let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        fchown(&init.fd, Some(uid), Some(gid))?;
        fchmod(&init.fd, Mode::from_bits_truncate(status.st_mode))
    };
    like().map_err(|errno| {
        StepError::new(
            format!("make {} like {}", init.path.display(), top.path.display()),
            errno as i32,
        )
    })
}

/// The container's root filesystem.
pub(super) fn mount(root: &LayeredRoot, lowers: &Lowers) -> Result<OwnedFd, StepError> {
    let writable = match &root.writable {
        Some((upper, work)) => Some((
            Layer::open(upper, "upper", &root.pointers.upper)?,
            Layer::open(work, "work", &root.pointers.work)?,
        )),
        None => None,
    };
    overlay::mount(&Overlay {
        lowers: &lowers.0,
        writable: writable.as_ref().map(|(upper, work)| (upper, work)),
        method: root.method,
        options: &root.options,
        volatile: false,
    })
}

/// The layers as the container will see them before it changes anything, read-only. `None` when they cannot be mounted: the steps
/// that need them say why.
pub(crate) fn view(layers: &Layers, facts: &Facts) -> Option<OwnedFd> {
    let paths = layers.upper.iter().chain(&layers.lowers);
    let mut lowers =
        paths.map(|path| Layer::open(path, "lower", "").ok()).collect::<Option<Vec<_>>>()?;
    if lowers.len() == 1 {
        return lowers.pop().map(|layer| layer.fd);
    }
    let overlay = Overlay {
        lowers: &lowers,
        writable: None,
        method: Method::of(facts.kernel),
        options: &layers::options(facts.in_user_namespace),
        volatile: false,
    };
    overlay::mount(&overlay).ok()
}

/// Removes an init layer; one that is not there is no error.
pub(crate) fn remove(place: &Path) -> Result<(), StepError> {
    match std::fs::remove_dir_all(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StepError::io("remove the init layer", place, &error))
        }
        _ => Ok(()),
    }
}

/// With the field behind it, if there is one.
fn at(error: StepError, pointer: &str) -> StepError {
    if pointer.is_empty() { error } else { error.at(pointer) }
}

#[cfg(test)]
mod tests;
