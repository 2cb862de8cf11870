//! Sealed memory files: teu-init's executable and its program. Once made, nobody can change them, not even their maker.

use crate::error::StepError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Flags of memfd_create(2), Linux 6.3: whether the file may ever be executed.
const MFD_NOEXEC_SEAL: u32 = 0x8;
const MFD_EXEC: u32 = 0x10;

/// A sealed file with `bytes` that can be read only.
pub(super) fn sealed(name: &CStr, bytes: &[u8]) -> Result<OwnedFd, StepError> {
    make(name, bytes, MFD_NOEXEC_SEAL).map_err(|errno| failed(name, errno))
}

/// A sealed file with `bytes` that can be executed. Where the system forbids executable memory files (`vm.memfd_noexec`), an unnamed
/// file in one of `directories`.
pub(super) fn executable(
    name: &CStr,
    bytes: &[u8],
    directories: &[&Path],
) -> Result<OwnedFd, StepError> {
    match make(name, bytes, MFD_EXEC) {
        Err(Errno::EACCES) => {}
        answer => return answer.map_err(|errno| failed(name, errno)),
    }
    let unnamed = directories.iter().find_map(|directory| unnamed(directory, bytes).ok());
    unnamed.ok_or_else(|| {
        failed(name, Errno::EACCES).hint(
            "vm.memfd_noexec forbids it, and no directory takes an unnamed executable file either",
        )
    })
}

fn make(name: &CStr, bytes: &[u8], kind: u32) -> Result<OwnedFd, Errno> {
    let common = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = match memfd_create(name, common | MFdFlags::from_bits_retain(kind)) {
        // An older kernel, where every memory file may be executed.
        Err(Errno::EINVAL) => memfd_create(name, common)?,
        answer => answer?,
    };
    let mut file = File::from(fd);
    file.write_all(bytes)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// A file without a name, and without a descriptor that could write to it.
fn unnamed(directory: &Path, bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let fd = open(
        directory,
        OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::S_IRUSR | Mode::S_IXUSR,
    )?;
    // Asked here: /run is mounted like that by many distributions, and the exec is too late to try another directory.
    if fstatvfs(&fd)?.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(Errno::EACCES);
    }
    let mut file = File::from(fd);
    file.write_all(bytes)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(again.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

fn failed(name: &CStr, errno: Errno) -> StepError {
    StepError::new(format!("make the memory file {:?}", name.to_string_lossy()), errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn a_sealed_file_cannot_be_changed() {
        let mut file = File::from(sealed(c"test", b"words").unwrap());
        file.rewind().unwrap();
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(file.set_len(0).is_err());
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "words");
    }

    #[test]
    fn an_unnamed_file_takes_a_memory_files_place() {
        let mut file = File::from(unnamed(&std::env::temp_dir(), b"words").unwrap());
        assert!(file.write(b"x").is_err());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "words");
    }
}
