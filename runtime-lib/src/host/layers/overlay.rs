//! Mounting overlayfs by descriptors (fsopen(2), fsconfig(2), fsmount(2)).
#![allow(unsafe_code, reason = "nix has no fsopen, fsconfig and fsmount")]

use super::{Layer, at};
use crate::error::StepError;
use crate::plan::layers::Method;
use nix::errno::Errno;
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;

/// An overlay to mount.
pub(super) struct Overlay<'a> {
    /// From the top.
    pub(super) lowers: &'a [Layer],
    /// The upper and the work directory.
    pub(super) writable: Option<(&'a Layer, &'a Layer)>,
    pub(super) method: Method,
    pub(super) options: &'a [(&'static str, Cow<'static, str>)],
    /// Whether nobody minds when it is lost in a crash of the host.
    pub(super) volatile: bool,
}

/// Commands of fsconfig(2).
const SET_FLAG: libc::c_uint = 0;
const SET_STRING: libc::c_uint = 1;
const SET_FD: libc::c_uint = 5;
const CREATE: libc::c_uint = 6;

/// Mounts it; the mount is attached nowhere.
pub(super) fn mount(overlay: &Overlay<'_>) -> Result<OwnedFd, StepError> {
    let context = Context::open()?;
    // What mount tables show as the source.
    let source = std::iter::once(("source", "overlay"));
    let volatile = overlay.volatile.then_some(("volatile", ""));
    let options = overlay.options.iter().map(|(key, value)| (*key, value.as_ref()));
    for (key, value) in source.chain(options).chain(volatile) {
        context
            .option(key, value)
            .map_err(|errno| context.refused(format!("set the overlay's option {key}"), errno))?;
    }
    context.lowers(overlay)?;
    if let Some((upper, work)) = overlay.writable {
        context.layer("upperdir", upper, overlay.method)?;
        context.layer("workdir", work, overlay.method)?;
    }
    context.config(CREATE, None, None, 0).map_err(|errno| {
        let error = context.refused("mount the layers as an overlay".to_owned(), errno);
        let error = explain(error, errno);
        at(error, overlay.lowers.last().map_or("", |layer| &layer.pointer))
    })?;
    context.mount().map_err(|errno| context.refused("mount the overlay".to_owned(), errno))
}

/// Advice for refusals of the whole.
fn explain(error: StepError, errno: Errno) -> StepError {
    if error.hint.is_some() {
        return error;
    }
    match errno {
        Errno::ELOOP => error.hint("two of the directories are the same, or one lies in another"),
        Errno::EBUSY => error.hint("another overlay uses the upper or the work directory"),
        Errno::EINVAL => error.hint(
            "the upper and the work directory have to be of one mount, of a filesystem that overlayfs can write to; the kernel's log says more",
        ),
        Errno::EROFS => error.hint("the upper directory's filesystem is read-only"),
        Errno::ESTALE => {
            error.hint("the upper directory was used with other lower directories before")
        }
        _ => error,
    }
}

/// A filesystem in the making.
struct Context(OwnedFd);

impl Context {
    fn open() -> Result<Self, StepError> {
        const FSOPEN_CLOEXEC: libc::c_uint = 1;
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), FSOPEN_CLOEXEC) };
        owned(fd).map(Self).map_err(|errno| {
            let error = StepError::new("begin an overlay (fsopen)", errno as i32);
            match errno {
                Errno::ENODEV => error.hint("this kernel has no overlayfs; is its module loaded?"),
                Errno::EPERM => error.hint("mounting needs CAP_SYS_ADMIN"),
                _ => error,
            }
        })
    }

    /// An option, which is a flag where it has no value.
    fn option(&self, key: &str, value: &str) -> Result<(), Errno> {
        let key = c_string(key)?;
        if value.is_empty() {
            return self.config(SET_FLAG, Some(&key), None, 0);
        }
        self.config(SET_STRING, Some(&key), Some(&c_string(value)?), 0)
    }

    fn lowers(&self, overlay: &Overlay<'_>) -> Result<(), StepError> {
        if overlay.method != Method::OneText {
            let mut lowers = overlay.lowers.iter();
            return lowers.try_for_each(|layer| self.layer("lowerdir+", layer, overlay.method));
        }
        let names: Vec<_> = overlay.lowers.iter().map(name).collect();
        self.option("lowerdir", &names.join(":")).map_err(|errno| {
            self.refused("tell overlayfs the lower directories".to_owned(), errno)
                .hint("this kernel takes 255 characters for all; merge some of the layers")
        })
    }

    /// Tells one directory.
    fn layer(&self, key: &str, layer: &Layer, method: Method) -> Result<(), StepError> {
        let told = match method {
            Method::Descriptors => c_string(key)
                .and_then(|key| self.config(SET_FD, Some(&key), None, layer.fd.as_raw_fd())),
            Method::Names | Method::OneText => self.option(key, &name(layer)),
        };
        told.map_err(|errno| {
            let step = format!("use {} as a layer ({key})", layer.path.display());
            at(self.refused(step, errno), &layer.pointer)
        })
    }

    fn config(
        &self,
        command: libc::c_uint,
        key: Option<&CStr>,
        value: Option<&CStr>,
        aux: RawFd,
    ) -> Result<(), Errno> {
        let text = |text: Option<&CStr>| text.map_or(null(), CStr::as_ptr);
        // SAFETY: both texts are C strings or absent, as the command wants them, and outlive the call.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                text(key),
                text(value),
                aux,
            )
        };
        Errno::result(answer).map(drop)
    }

    fn mount(&self) -> Result<OwnedFd, Errno> {
        const FSMOUNT_CLOEXEC: libc::c_uint = 1;
        // SAFETY: numbers only.
        let fd =
            unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
        owned(fd)
    }

    /// The error for a refusal, with what the kernel has to say about it.
    fn refused(&self, step: String, errno: Errno) -> StepError {
        let error = StepError::new(step, errno as i32);
        let mut buffer = [0; 1024];
        let mut said = Vec::new();
        // A message a time, `e overlay: …`; ENODATA when there are no more.
        while let Ok(length @ 1..) = nix::unistd::read(&self.0, &mut buffer) {
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            let text = text.split_once(' ').map_or("", |(_, text)| text).trim();
            said.extend((!text.is_empty()).then(|| text.to_owned()));
        }
        if said.is_empty() { error } else { error.hint(said.join("; ")) }
    }
}

/// A directory's name in procfs, without a character that means something to overlayfs.
fn name(layer: &Layer) -> String {
    format!("/proc/self/fd/{}", layer.fd.as_raw_fd())
}

fn c_string(text: &str) -> Result<CString, Errno> {
    CString::new(text).ok().ok_or(Errno::EINVAL)
}

/// The descriptor that the kernel answered with.
fn owned(answer: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(answer)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}
