//! Where this host's cgroup hierarchies are, and where in them the calling process is.
//!
//! The probe reads `/proc/self/cgroup` and asks `statfs` about the conventional mount points; it parses
//! mountinfo only where that does not settle the question, because mountinfo grows with the containers of the host.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};

use crate::error::{StepError, errno_text};

/// Where the cgroup filesystems are mounted on every distribution.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The cgroup hierarchies of this host as the calling process sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CgroupFacts {
    /// One cgroup v2 hierarchy (`unified`); whatever is bound to v1 cannot be used.
    V2(V2Facts),
    /// cgroup v1 hierarchies, on a hybrid host with a cgroup v2 one beside them.
    V1(V1Facts),
    /// No cgroup filesystem is mounted.
    None,
}

/// A cgroup v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct V2Facts {
    /// The hierarchy itself.
    pub hierarchy: Hierarchy,
    /// Controllers that are bound to cgroup v1 hierarchies and so absent here.
    pub bound_to_v1: Vec<String>,
}

/// The cgroup v1 hierarchies, and the cgroup v2 one of a hybrid host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct V1Facts {
    /// The mounted v1 hierarchies, in the order of `/proc/self/cgroup`.
    pub hierarchies: Vec<Hierarchy>,
    /// The v2 hierarchy of a hybrid host.
    pub unified: Option<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// v1: the controllers bound to it, or `name=…` for a named hierarchy. v2: the controllers available at its root.
    pub controllers: Vec<String>,
    /// The calling process's cgroup, relative to the mount point, without a leading slash.
    pub own: PathBuf,
}

/// A cgroup that a caller wants to make and to enter.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The hierarchy's mount point.
    pub mount_point: &'a Path,
    /// The cgroup.
    pub directory: &'a Path,
    /// The caller's own cgroup.
    pub own: &'a Path,
    /// Whether the hierarchy is of version 2.
    pub is_v2: bool,
}

/// Why the caller may not make a cgroup or enter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What it may not write to.
    pub path: PathBuf,
    /// Why.
    pub errno: i32,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "write to {}: {}", self.path.display(), errno_text(self.errno))
    }
}

/// The first reason for which one of the cgroups is out of the caller's reach: `None` where all can be made and entered.
pub(crate) fn refusal(wanted: &[Wanted<'_>]) -> Option<Refusal> {
    wanted.iter().find_map(|wanted| {
        // The nearest directory that is there, or the cgroup itself, whose members are changed then.
        let present = |path: &&Path| path.is_dir();
        let nearest = wanted.directory.ancestors().find(present)?;
        let made =
            if nearest == wanted.directory { nearest.join(MEMBERS) } else { nearest.to_owned() };
        let entered = wanted.is_v2.then(|| common_ancestor(wanted).join(MEMBERS));
        std::iter::once(made).chain(entered).find_map(|path| denied(&path))
    })
}

const MEMBERS: &str = "cgroup.procs";

/// cgroups(7), "Cgroups delegation: less privileged users": who moves a process must be allowed to write to the members of the common
/// ancestor of both cgroups.
fn common_ancestor<'a>(wanted: &Wanted<'a>) -> &'a Path {
    let common = wanted.directory.ancestors().find(|path| wanted.own.starts_with(path));
    common.unwrap_or(wanted.mount_point)
}

/// Why the caller may not write to a file, or make something in a directory.
fn denied(path: &Path) -> Option<Refusal> {
    use nix::errno::Errno;
    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::unistd::{AccessFlags, faccessat};
    let mode = if path.ends_with(MEMBERS) {
        AccessFlags::W_OK
    } else {
        AccessFlags::W_OK | AccessFlags::X_OK
    };
    match faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS) {
        Err(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS)) => {
            Some(Refusal { path: path.to_owned(), errno: errno as i32 })
        }
        // Anything else is a failure that making the cgroup will tell.
        _ => None,
    }
}

/// One line of `/proc/self/cgroup`, cgroups(7).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Membership {
    /// Zero for cgroup v2.
    hierarchy_id: u32,
    /// Controllers, or one `name=…`; empty for cgroup v2.
    controllers: Vec<String>,
    /// The cgroup's path from the root of the process's cgroup namespace.
    path: PathBuf,
}

/// One cgroup mount in `/proc/self/mountinfo`, proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The cgroup that is the root of the mount.
    root: PathBuf,
    mount_point: PathBuf,
    version: Version,
    /// Super options: among them the controllers of a v1 hierarchy.
    options: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Finds this host's cgroup hierarchies.
///
/// On a plain cgroup v2 host: one `statfs`, and the reading of two files of one line.
pub(crate) fn probe() -> Result<CgroupFacts, StepError> {
    let root = Path::new(CGROUP_ROOT);
    let memberships = parse_memberships(&read(Path::new("/proc/self/cgroup"))?);
    match magic(root) {
        Some(CGROUP2_SUPER_MAGIC) => v2(root, &memberships).map(CgroupFacts::V2),
        Some(TMPFS_MAGIC) => v1(root, &memberships).map(CgroupFacts::V1),
        _ => unusual(&memberships),
    }
}

fn v2(mount_point: &Path, memberships: &[Membership]) -> Result<V2Facts, StepError> {
    let own = memberships.iter().find(|membership| membership.hierarchy_id == 0);
    let own = own.map(|membership| membership.path.clone()).unwrap_or_default();
    let bound_to_v1 = memberships
        .iter()
        .flat_map(|membership| &membership.controllers)
        .filter(|controller| !controller.starts_with("name="))
        .cloned()
        .collect();
    Ok(V2Facts { hierarchy: v2_hierarchy(mount_point, &own)?, bound_to_v1 })
}

fn v2_hierarchy(mount_point: &Path, own: &Path) -> Result<Hierarchy, StepError> {
    let controllers = read(&mount_point.join("cgroup.controllers"))?;
    Ok(Hierarchy {
        mount_point: mount_point.to_owned(),
        controllers: words(&controllers),
        own: own_path(mount_point, own)?,
    })
}

fn v1(root: &Path, memberships: &[Membership]) -> Result<V1Facts, StepError> {
    let mut hierarchies = Vec::new();
    let mut unified = None;
    let mut mounts = None;
    for membership in memberships {
        if membership.hierarchy_id == 0 {
            let mount_point = root.join("unified");
            if magic(&mount_point) == Some(CGROUP2_SUPER_MAGIC) {
                unified = Some(v2_hierarchy(&mount_point, &membership.path)?);
            }
            continue;
        }
        let conventional = root.join(conventional_name(&membership.controllers));
        let mount_point = if magic(&conventional) == Some(CGROUP_SUPER_MAGIC) {
            Some(conventional)
        } else {
            find_v1(known_mounts(&mut mounts)?, membership)
        };
        // A hierarchy that the kernel has and nobody mounted cannot be used, as on any other runtime.
        if let Some(mount_point) = mount_point {
            hierarchies.push(v1_hierarchy(mount_point, membership)?);
        }
    }
    Ok(V1Facts { hierarchies, unified })
}

fn v1_hierarchy(mount_point: PathBuf, membership: &Membership) -> Result<Hierarchy, StepError> {
    let own = own_path(&mount_point, &membership.path)?;
    Ok(Hierarchy { mount_point, controllers: membership.controllers.clone(), own })
}

/// `/sys/fs/cgroup` is neither of the two usual things: look at every mount.
fn unusual(memberships: &[Membership]) -> Result<CgroupFacts, StepError> {
    let mounts = read_mounts()?;
    let mut hierarchies = Vec::new();
    for membership in memberships.iter().filter(|membership| membership.hierarchy_id != 0) {
        if let Some(mount_point) = find_v1(&mounts, membership) {
            hierarchies.push(v1_hierarchy(mount_point, membership)?);
        }
    }
    let v2_mount = mounts.iter().find(|mount| mount.version == Version::V2);
    let v2_mount = v2_mount.map(|mount| mount.mount_point.as_path());
    match (hierarchies.is_empty(), v2_mount) {
        (true, None) => Ok(CgroupFacts::None),
        (true, Some(mount_point)) => v2(mount_point, memberships).map(CgroupFacts::V2),
        (false, _) => {
            let unified = v2_mount.map(|mount_point| v2(mount_point, memberships)).transpose()?;
            let unified = unified.map(|facts| facts.hierarchy);
            Ok(CgroupFacts::V1(V1Facts { hierarchies, unified }))
        }
    }
}

/// The name of the directory under `/sys/fs/cgroup` that distributions use for a v1 hierarchy.
fn conventional_name(controllers: &[String]) -> String {
    let joined = controllers.join(",");
    joined.strip_prefix("name=").map(str::to_owned).unwrap_or(joined)
}

fn find_v1(mounts: &[Mount], membership: &Membership) -> Option<PathBuf> {
    let has_all = |mount: &&Mount| {
        mount.version == Version::V1
            && !membership.controllers.is_empty()
            && membership.controllers.iter().all(|controller| mount.options.contains(controller))
    };
    mounts.iter().find(has_all).map(|mount| mount.mount_point.clone())
}

/// The path of the process's cgroup below `mount_point`.
///
/// `/proc/self/cgroup` counts from the root of the cgroup namespace. A container without a cgroup namespace of its own may see
/// only its part of the hierarchy mounted, and then the mount's root has to be taken off.
fn own_path(mount_point: &Path, path: &Path) -> Result<PathBuf, StepError> {
    // The root directory of a kernfs hierarchy has inode 1; any other means a part of it.
    const KERNFS_ROOT_INODE: u64 = 1;
    let whole = path == Path::new("/")
        || std::fs::metadata(mount_point)
            .map_err(|error| StepError::io("stat", mount_point, &error))?
            .ino()
            == KERNFS_ROOT_INODE;
    let root = if whole { PathBuf::from("/") } else { mount_root(&read_mounts()?, mount_point) };
    Ok(relative_to(path, &root))
}

fn mount_root(mounts: &[Mount], mount_point: &Path) -> PathBuf {
    // The last one mounted on a point is the one that is seen.
    let mount = mounts.iter().rev().find(|mount| mount.mount_point == mount_point);
    mount.map_or_else(|| PathBuf::from("/"), |mount| mount.root.clone())
}

/// `path` below `root`; a process outside of what is mounted counts as being at its root.
fn relative_to(path: &Path, root: &Path) -> PathBuf {
    let relative = path.strip_prefix(root).unwrap_or(Path::new(""));
    let escapes = relative.components().any(|part| part.as_os_str() == "..");
    if escapes { PathBuf::new() } else { relative.to_owned() }
}

fn parse_memberships(text: &[u8]) -> Vec<Membership> {
    text.split(|&byte| byte == b'\n').filter_map(parse_membership).collect()
}

/// `hierarchy-ID:controller-list:cgroup-path`; the path may contain colons.
fn parse_membership(line: &[u8]) -> Option<Membership> {
    let mut fields = line.splitn(3, |&byte| byte == b':');
    let hierarchy_id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let controllers = std::str::from_utf8(fields.next()?).ok()?;
    let path = fields.next()?;
    Some(Membership {
        hierarchy_id,
        controllers: controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect(),
        path: path_from(path),
    })
}

fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_mount).collect()
}

/// `36 35 98:0 /root /mount/point options [optional…] - type source super-options`.
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let version = match *fields.get(dash + 1)? {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let options = std::str::from_utf8(fields.get(dash + 3)?).ok()?;
    Some(Mount {
        root: path_from(&unescape(fields.get(3)?)),
        mount_point: path_from(&unescape(fields.get(4)?)),
        version,
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// The kernel writes space, tab, newline and backslash in mountinfo as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if byte == b'\\' => {
                out.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// A path as mountinfo writes it.
pub(super) fn unescaped(field: &str) -> PathBuf {
    path_from(&unescape(field.as_bytes()))
}

fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).split_ascii_whitespace().map(str::to_owned).collect()
}

fn magic(path: &Path) -> Option<FsType> {
    statfs(path).ok().map(|stat| stat.filesystem_type())
}

fn known_mounts(cache: &mut Option<Vec<Mount>>) -> Result<&[Mount], StepError> {
    if cache.is_none() {
        *cache = Some(read_mounts()?);
    }
    Ok(cache.as_deref().unwrap_or_default())
}

fn read_mounts() -> Result<Vec<Mount>, StepError> {
    Ok(parse_mounts(&read(Path::new("/proc/self/mountinfo"))?))
}

/// `std::fs::read` without the `statx` that says nothing about files made by the kernel on the fly.
fn read(path: &Path) -> Result<Vec<u8>, StepError> {
    let failed = |error: std::io::Error| StepError::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(content),
            Ok(length) => content.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the tests want more hosts"))]
pub(crate) mod testing {
    //! Hosts for tests of the planner.

    use super::*;

    const ALL: [&str; 7] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A cgroup v2 host with all controllers.
    pub(crate) fn v2() -> CgroupFacts {
        v2_at("user.slice/session.scope")
    }

    /// The same, with the caller in the cgroup `own`.
    pub(crate) fn v2_at(own: &str) -> CgroupFacts {
        v2_facts(&ALL, &[], own)
    }

    /// A cgroup v2 host with some controllers, while others are bound to v1.
    pub(crate) fn v2_with(controllers: &[&str], bound_to_v1: &[&str]) -> CgroupFacts {
        v2_facts(controllers, bound_to_v1, "")
    }

    fn v2_facts(controllers: &[&str], bound_to_v1: &[&str], own: &str) -> CgroupFacts {
        CgroupFacts::V2(V2Facts {
            hierarchy: Hierarchy {
                mount_point: PathBuf::from("/sys/fs/cgroup"),
                controllers: owned(controllers),
                own: PathBuf::from(own),
            },
            bound_to_v1: owned(bound_to_v1),
        })
    }

    /// A hybrid host: everything but `hugetlb` on v1.
    pub(crate) fn hybrid() -> CgroupFacts {
        let hierarchy = |name: &str, controllers: &[&str], own: &str| Hierarchy {
            mount_point: PathBuf::from("/sys/fs/cgroup").join(name),
            controllers: owned(controllers),
            own: PathBuf::from(own),
        };
        CgroupFacts::V1(V1Facts {
            hierarchies: vec![
                hierarchy("systemd", &["name=systemd"], ""),
                hierarchy("pids", &["pids"], ""),
                hierarchy("blkio", &["blkio"], ""),
                hierarchy("freezer", &["freezer"], ""),
                hierarchy("devices", &["devices"], ""),
                hierarchy("memory", &["memory"], "jobs/own"),
                hierarchy("cpuset", &["cpuset"], ""),
                hierarchy("net_cls,net_prio", &["net_cls", "net_prio"], ""),
                hierarchy("cpu,cpuacct", &["cpu", "cpuacct"], ""),
            ],
            unified: Some(hierarchy("unified", &["hugetlb"], "")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
9:name=systemd:/
8:pids:/
4:memory:/jobs/8d1f920b
2:cpu,cpuacct:/
0::/
";

    const HYBRID_MOUNTINFO: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /jobs /sys/fs/cgroup/with\\040space rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw
";

    fn membership(line: &str) -> Membership {
        parse_membership(line.as_bytes()).expect("a line of /proc/self/cgroup")
    }

    #[test]
    fn memberships_of_a_hybrid_host() {
        let lines = parse_memberships(HYBRID.as_bytes());
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0].controllers, ["name=systemd"]);
        assert_eq!(lines[2].path, Path::new("/jobs/8d1f920b"));
        assert_eq!(lines[3].controllers, ["cpu", "cpuacct"]);
        assert_eq!(lines[4].hierarchy_id, 0);
        assert!(lines[4].controllers.is_empty());
    }

    #[test]
    fn a_membership_path_may_contain_colons() {
        let line = membership("0::/system.slice/a:b:c");
        assert_eq!(line.path, Path::new("/system.slice/a:b:c"));
    }

    #[test]
    fn malformed_membership_lines_are_skipped() {
        assert_eq!(parse_memberships(b"\nnonsense\n4:memory\nx:memory:/\n"), []);
    }

    #[test]
    fn mounts_are_found_by_their_controllers() {
        let mounts = parse_mounts(HYBRID_MOUNTINFO.as_bytes());
        assert_eq!(mounts.len(), 4, "the tmpfs is no cgroup mount");
        let find = |line| find_v1(&mounts, &membership(line));
        assert_eq!(find("4:memory:/"), Some("/sys/fs/cgroup/with space".into()));
        assert_eq!(find("2:cpuacct,cpu:/"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(find("9:name=systemd:/"), Some("/sys/fs/cgroup/systemd".into()));
        assert_eq!(find("8:pids:/"), None);
        assert_eq!(mounts[3].version, Version::V2);
    }

    #[test]
    fn the_own_path_is_counted_from_the_root_of_the_mount() {
        let mounts = parse_mounts(HYBRID_MOUNTINFO.as_bytes());
        let root = mount_root(&mounts, Path::new("/sys/fs/cgroup/with space"));
        assert_eq!(root, Path::new("/jobs"));
        for (path, root, own) in [
            ("/jobs/a", "/jobs", "a"),
            ("/jobs", "/jobs", ""),
            ("/other", "/jobs", ""),
            ("/", "/", ""),
            ("/a/b", "/", "a/b"),
            ("/../outside", "/", ""),
        ] {
            assert_eq!(relative_to(Path::new(path), Path::new(root)), Path::new(own), "{path}");
        }
    }

    #[test]
    fn conventional_directories() {
        assert_eq!(conventional_name(&membership("2:cpu,cpuacct:/").controllers), "cpu,cpuacct");
        assert_eq!(conventional_name(&membership("9:name=systemd:/").controllers), "systemd");
    }

    #[test]
    fn octal_escapes() {
        assert_eq!(unescape(b"a\\040b\\134"), b"a b\\");
        assert_eq!(unescape(b"a\\04"), b"a\\04");
    }

    #[test]
    fn this_host_agrees_with_proc() {
        let facts = probe().expect("the probe works wherever /proc is mounted");
        let memberships = parse_memberships(&read(Path::new("/proc/self/cgroup")).unwrap());
        match facts {
            CgroupFacts::V2(facts) => {
                assert_eq!(magic(&facts.hierarchy.mount_point), Some(CGROUP2_SUPER_MAGIC));
            }
            CgroupFacts::V1(facts) => {
                for hierarchy in &facts.hierarchies {
                    assert_eq!(magic(&hierarchy.mount_point), Some(CGROUP_SUPER_MAGIC));
                    let own = hierarchy.mount_point.join(&hierarchy.own);
                    assert!(own.is_dir(), "{} is the own cgroup", own.display());
                }
                assert!(facts.hierarchies.len() <= memberships.len());
            }
            CgroupFacts::None => assert!(parse_mounts(&read_mounts_text()).is_empty()),
        }
    }

    fn read_mounts_text() -> Vec<u8> {
        read(Path::new("/proc/self/mountinfo")).unwrap()
    }
}
