//! The resctrl filesystem (the kernel's Documentation/filesystems/resctrl.rst), looked at only where the configuration asks for it.

use crate::error::StepError;
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{AccessFlags, access};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What limits of caches and memory bandwidth depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResctrlFacts {
    /// Where it is mounted.
    pub(crate) root: PathBuf,
    /// Whether the runtime may make groups in it.
    pub(crate) writable: bool,
    /// The resources that can be limited or watched: the directories of `info`.
    pub(crate) resources: Vec<String>,
    /// The schemata of the group that the container is to be in, if there is one.
    pub(crate) schemata: Option<String>,
    /// The step to which the kernel rounds bandwidths up, in per cent.
    pub(crate) bandwidth_step: Option<u64>,
}

/// Where resctrl is mounted, and what `group` is there; nothing where it is not mounted.
pub(crate) fn resctrl(group: &str) -> Result<Option<ResctrlFacts>, StepError> {
    const MAGIC: FsType = FsType(0x0765_5821);
    let Some(root) = mount_point()? else { return Ok(None) };
    // Something else may be mounted on top.
    match statfs(&root) {
        Ok(statfs) if statfs.filesystem_type() == MAGIC => look(&root, group).map(Some),
        _ => Ok(None),
    }
}

fn mount_point() -> Result<Option<PathBuf>, StepError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(|error| StepError::io("read", path, &error))?;
    Ok(find(&String::from_utf8_lossy(&text)))
}

/// The mount of the whole filesystem in mountinfo (proc_pid_mountinfo(5)).
fn find(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let matches = filesystem.split(' ').next() == Some("resctrl") && root == "/";
        matches.then(|| super::cgroup::unescaped(mount_point))
    })
}

/// What there is below `root`.
fn look(root: &Path, group: &str) -> Result<ResctrlFacts, StepError> {
    let info = root.join("info");
    let entries = fs::read_dir(&info).map_err(|error| StepError::io("list", &info, &error))?;
    let mut resources: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    resources.sort();
    Ok(ResctrlFacts {
        root: root.to_owned(),
        writable: access(root, AccessFlags::W_OK).is_ok(),
        resources,
        schemata: read(&root.join(group).join("schemata"))?,
        bandwidth_step: read(&info.join("MB/bandwidth_gran"))?
            .and_then(|text| text.trim().parse().ok()),
    })
}

fn read(path: &Path) -> Result<Option<String>, StepError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StepError::io("read", path, &error)),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod testing {
    //! A resctrl filesystem for tests of the planner.
    use super::*;

    /// One that can do everything, without a group for the container.
    pub(crate) fn resctrl() -> ResctrlFacts {
        ResctrlFacts {
            root: PathBuf::from("/sys/fs/resctrl"),
            writable: true,
            resources: ["L3", "L3_MON", "MB"].map(str::to_owned).to_vec(),
            schemata: None,
            bandwidth_step: Some(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_the_whole_filesystem_counts() {
        let line = |root: &str, at: &str, kind: &str| {
            format!("42 30 0:37 {root} {at} rw,relatime shared:9 - {kind} {kind} rw\n")
        };
        let text = line("/", "/sys", "sysfs")
            + &line("/a", "/part", "resctrl")
            + &line("/", "/sys/fs/res\\040ctrl", "resctrl");
        assert_eq!(find(&text), Some(PathBuf::from("/sys/fs/res ctrl")));
        assert_eq!(find(&line("/", "/resctrl", "tmpfs")), None);
    }

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_none() {
        let root = std::env::temp_dir().join(format!("teu-resctrl-facts-{}", std::process::id()));
        for directory in ["info/L3", "info/MB", "gold"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (file, text) in [
            ("info/last_cmd_status", "ok\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("gold/schemata", "L3:0=f\n"),
        ] {
            std::io::Write::write_all(
                &mut fs::File::create(root.join(file)).unwrap(),
                text.as_bytes(),
            )
            .unwrap();
        }
        let gold = look(&root, "gold").unwrap();
        let nobody = look(&root, "nobody").unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(gold.schemata.as_deref(), Some("L3:0=f\n"));
        assert_eq!(nobody, ResctrlFacts { schemata: None, ..gold.clone() });
        assert_eq!(
            (gold.resources, gold.bandwidth_step),
            (vec!["L3".to_owned(), "MB".to_owned()], Some(10))
        );
        assert!(look(&root, "").is_err());
    }
}
