//! The home directory of the container's user, as the image's /etc/passwd has it.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// As much of /etc/passwd as is looked at, in bytes. The file is the image's, so its size is not to be trusted.
const LARGEST: u64 = 1 << 20;

/// The home of `uid` below the directory `rootfs`. An image without such a user, or without the file, has none.
pub(crate) fn home(rootfs: impl AsFd, uid: u32) -> Option<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(rootfs.as_fd(), "etc/passwd", how).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    in_passwd(&text, uid)
}

/// The sixth field of the first line whose third field is `uid` (passwd(5)).
fn in_passwd(text: &str, uid: u32) -> Option<String> {
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid))
        .and_then(|fields| fields.get(5).copied())
        .filter(|home| !home.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_the_uid_counts() {
        let text =
            "root:x:0:0:root:/root:/bin/sh\n1000:x:7:7::/odd:\nada:x:1000:1000::/home/ada:\n";
        assert_eq!(in_passwd(text, 0).as_deref(), Some("/root"));
        assert_eq!(in_passwd(text, 1000).as_deref(), Some("/home/ada"));
        assert_eq!(in_passwd(text, 8), None);
    }
}
