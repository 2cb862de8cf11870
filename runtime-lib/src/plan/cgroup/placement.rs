//! Where the container's cgroup is: `linux.cgroupsPath` in each hierarchy.

use std::path::{Component, Path, PathBuf};

use super::{HierarchyPlan, Membership, Version};
use crate::error::PlanError;
use crate::facts::cgroup::{CgroupFacts, Hierarchy};

const POINTER: &str = "/linux/cgroupsPath";

/// The container's cgroup in every hierarchy of this host: the v2 one first, then the v1 freezer, then the others.
///
/// An absolute path counts from the root of the mount. A relative path, or an empty one, which stands for the container's id,
/// counts from the caller's own cgroup on v1, and on v2 from that cgroup's parent: the caller's own cgroup has a
/// process in it, and a v2 cgroup with processes cannot hand controllers down (cgroups(7), "no internal processes").
pub(super) fn place(
    path: Option<&Path>,
    id: &str,
    facts: &CgroupFacts,
) -> Result<Vec<HierarchyPlan>, PlanError> {
    let requested = path.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(id));
    if requested.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(PlanError::invalid(POINTER, "a path has no NUL byte"));
    }
    let absolute = requested.is_absolute();
    let inner = inside(requested);
    if inner.as_os_str().is_empty() {
        let rule = "the root cgroup cannot be a container's cgroup";
        return Err(PlanError::invalid(POINTER, rule).value(requested.display()));
    }
    let below = |base: &Path| if absolute { inner.clone() } else { base.join(&inner) };
    Ok(each(facts, |hierarchy, alone| {
        let own = hierarchy.own.as_path();
        below(if alone { own.parent().unwrap_or(Path::new("")) } else { own })
    }))
}

/// The caller's own cgroup in every hierarchy, in the same order: where a container stays for which none is made.
pub(super) fn inherit(facts: &CgroupFacts) -> Vec<HierarchyPlan> {
    let own = each(facts, |hierarchy, _alone| hierarchy.own.clone());
    own.into_iter()
        .map(|plan| HierarchyPlan { membership: Membership::Inherited, ..plan })
        .collect()
}

/// Every hierarchy with the directory that `inner` says, which also hears whether cgroup v2 is all there is.
fn each(facts: &CgroupFacts, inner: impl Fn(&Hierarchy, bool) -> PathBuf) -> Vec<HierarchyPlan> {
    match facts {
        CgroupFacts::None => Vec::new(),
        CgroupFacts::V2(facts) => vec![v2(&facts.hierarchy, &inner(&facts.hierarchy, true))],
        CgroupFacts::V1(facts) => {
            let unified =
                facts.unified.iter().map(|hierarchy| v2(hierarchy, &inner(hierarchy, false)));
            let is_freezer =
                |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|c| c == "freezer");
            let freezer = facts.hierarchies.iter().filter(is_freezer);
            let others = facts.hierarchies.iter().filter(|hierarchy| !is_freezer(hierarchy));
            let legacy =
                freezer.chain(others).map(|hierarchy| v1(hierarchy, &inner(hierarchy, false)));
            unified.chain(legacy).collect()
        }
    }
}

/// `path` resolved by its text alone below a root that `..` cannot leave; relative to that root.
fn inside(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            // At the root there is nothing to take off, and the path stays there.
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

fn v2(hierarchy: &Hierarchy, inner: &Path) -> HierarchyPlan {
    HierarchyPlan {
        version: Version::V2,
        membership: Membership::CloneInto,
        name: "unified".to_owned(),
        aliases: Vec::new(),
        ..common(hierarchy, inner)
    }
}

fn v1(hierarchy: &Hierarchy, inner: &Path) -> HierarchyPlan {
    let name = hierarchy.mount_point.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // `cpu,cpuacct` gets the links `cpu` and `cpuacct`.
    let aliases =
        if name.contains(',') { name.split(',').map(str::to_owned).collect() } else { Vec::new() };
    HierarchyPlan { name, aliases, ..common(hierarchy, inner) }
}

fn common(hierarchy: &Hierarchy, inner: &Path) -> HierarchyPlan {
    HierarchyPlan {
        version: Version::V1,
        mount_point: hierarchy.mount_point.clone(),
        directory: hierarchy.mount_point.join(inner).components().collect(),
        membership: Membership::WritePid,
        controllers: hierarchy.controllers.clone(),
        enable: Vec::new(),
        needs: Vec::new(),
        name: String::new(),
        aliases: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn directory(path: Option<&str>, facts: &CgroupFacts) -> PathBuf {
        let plans = place(path.map(Path::new), "c1", facts).expect("a valid path");
        plans[0].directory.clone()
    }

    #[test]
    fn v2_paths() {
        let facts = fixture::v2_at("user.slice/session.scope");
        for (path, expected) in [
            (Some("/a/b"), "/sys/fs/cgroup/a/b"),
            (Some("a/b"), "/sys/fs/cgroup/user.slice/a/b"),
            (Some(""), "/sys/fs/cgroup/user.slice/c1"),
            (None, "/sys/fs/cgroup/user.slice/c1"),
            (Some("/../../etc"), "/sys/fs/cgroup/etc"),
            (Some("../../../../etc"), "/sys/fs/cgroup/user.slice/etc"),
            (Some("/a/../../../b/./c//d/"), "/sys/fs/cgroup/b/c/d"),
            (Some("a/../../b"), "/sys/fs/cgroup/user.slice/b"),
            (Some("system.slice:teu:c1"), "/sys/fs/cgroup/user.slice/system.slice:teu:c1"),
        ] {
            assert_eq!(directory(path, &facts), Path::new(expected), "{path:?}");
        }
        let at_root = fixture::v2_at("");
        assert_eq!(directory(None, &at_root), Path::new("/sys/fs/cgroup/c1"));
    }

    #[test]
    fn v1_relative_paths_count_from_the_own_cgroup_of_each_hierarchy() {
        let facts = fixture::hybrid();
        let plans = place(Some(Path::new("x")), "c1", &facts).unwrap();
        let memory = plans.iter().find(|plan| plan.name == "memory").unwrap();
        assert_eq!(memory.directory, Path::new("/sys/fs/cgroup/memory/jobs/own/x"));
        let pids = plans.iter().find(|plan| plan.name == "pids").unwrap();
        assert_eq!(pids.directory, Path::new("/sys/fs/cgroup/pids/x"));
        for plan in place(Some(Path::new("/x")), "c1", &facts).unwrap() {
            assert_eq!(plan.directory, plan.mount_point.join("x"));
        }
    }

    #[test]
    fn the_unified_hierarchy_is_first_and_the_freezer_second() {
        let plans = place(None, "c1", &fixture::hybrid()).unwrap();
        assert_eq!((plans[0].version, plans[0].membership), (Version::V2, Membership::CloneInto));
        assert_eq!(plans[1].controllers, ["freezer"]);
        for plan in &plans[1..] {
            assert_eq!((plan.version, plan.membership), (Version::V1, Membership::WritePid));
        }
    }

    #[test]
    fn merged_controllers_have_links() {
        let plans = place(None, "c1", &fixture::hybrid()).unwrap();
        let merged = plans.iter().find(|plan| plan.name == "cpu,cpuacct").unwrap();
        assert_eq!(merged.aliases, ["cpu", "cpuacct"]);
        let memory = plans.iter().find(|plan| plan.name == "memory").unwrap();
        assert!(memory.aliases.is_empty());
    }

    #[test]
    fn the_root_cgroup_is_refused() {
        for path in ["/", "/..", "..", ".", "a/.."] {
            let error = place(Some(Path::new(path)), "c1", &fixture::v2()).expect_err(path);
            assert_eq!(error.pointer, POINTER);
        }
        place(None, "..", &fixture::v2()).expect_err("an id of two dots is no name either");
    }

    #[test]
    fn a_nul_byte_is_refused() {
        place(Some(Path::new("/a\0b")), "c1", &fixture::v2()).expect_err("NUL");
    }

    #[test]
    fn without_cgroups_there_is_nothing_to_make() {
        assert_eq!(place(Some(Path::new("/a")), "c1", &CgroupFacts::None).unwrap(), []);
    }
}
