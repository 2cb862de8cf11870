//! Collects the writes: finds the hierarchy of each controller, and says precisely what this host does not have.

use super::{HierarchyPlan, Need, Tolerate, UsageCheck, Version, Write};
use crate::error::PlanError;
use crate::facts::cgroup::CgroupFacts;

/// The writes so far, and the hierarchies that they go to.
pub(super) struct Limits<'a> {
    facts: &'a CgroupFacts,
    pub(super) hierarchies: Vec<HierarchyPlan>,
    pub(super) checks: Vec<UsageCheck>,
    pub(super) writes: Vec<Write>,
    pub(super) warnings: Vec<String>,
}

/// The hierarchy that has a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) hierarchy: usize,
    pub(super) version: Version,
}

impl Home {
    /// The one of two values, or names, that belongs to the version of the hierarchy.
    pub(super) fn pick<T>(self, v1: T, v2: T) -> T {
        match self.version {
            Version::V1 => v1,
            Version::V2 => v2,
        }
    }
}

impl<'a> Limits<'a> {
    pub(super) fn new(facts: &'a CgroupFacts, hierarchies: Vec<HierarchyPlan>) -> Self {
        Self { facts, hierarchies, checks: Vec::new(), writes: Vec::new(), warnings: Vec::new() }
    }

    /// Where `controller` is, if anywhere.
    pub(super) fn find(&self, controller: &str) -> Option<Home> {
        let has = |hierarchy: &HierarchyPlan| hierarchy.controllers.iter().any(|c| c == controller);
        let hierarchy = self.hierarchies.iter().position(has)?;
        let version = self.hierarchies.get(hierarchy)?.version;
        Some(Home { hierarchy, version })
    }

    /// Where `controller` is, which `pointer` needs.
    pub(super) fn home(&mut self, controller: &str, pointer: &str) -> Result<Home, PlanError> {
        let home = self.find(controller).ok_or_else(|| self.missing(controller, pointer))?;
        if let Some(hierarchy) = self.hierarchies.get_mut(home.hierarchy)
            && home.version == Version::V2
            && !hierarchy.needs.iter().any(|need| need.controller == controller)
        {
            let need = Need { controller: controller.to_owned(), pointer: pointer.to_owned() };
            hierarchy.needs.push(need);
        }
        Ok(home)
    }

    /// Where `controller` is for a property that exists on v1 only; on v2 nowhere, and a warning says so.
    pub(super) fn v1_home(
        &mut self,
        controller: &str,
        pointer: &str,
    ) -> Result<Option<Home>, PlanError> {
        match (self.find(controller), self.facts) {
            (Some(home), _) if home.version == Version::V1 => Ok(Some(home)),
            (Some(_), _) | (None, CgroupFacts::V2(_)) => {
                self.warn(
                    format!("{} exists on cgroup v1 only and has no effect here", name(pointer)),
                    pointer,
                );
                Ok(None)
            }
            (None, CgroupFacts::V1(_) | CgroupFacts::None) => {
                Err(self.missing(controller, pointer))
            }
        }
    }

    /// The hierarchy of version 2, with whatever controllers.
    pub(super) fn v2_hierarchy(&self) -> Option<usize> {
        self.hierarchies.iter().position(|hierarchy| hierarchy.version == Version::V2)
    }

    /// Whether the host has cgroup v2 and nothing else, which is what the `unified` property needs.
    pub(super) fn is_v2(&self) -> bool {
        matches!(self.facts, CgroupFacts::V2(_))
    }

    pub(super) fn write(&mut self, home: Home, file: &str, value: impl ToString, pointer: &str) {
        self.push(home, file, value.to_string(), pointer, None);
    }

    /// A write that may meet a kernel without the file.
    pub(super) fn write_if_present(
        &mut self,
        home: Home,
        file: &str,
        value: impl ToString,
        pointer: &str,
    ) {
        self.push(home, file, value.to_string(), pointer, Some(Tolerate::MissingFile));
    }

    pub(super) fn push(
        &mut self,
        home: Home,
        file: &str,
        value: String,
        pointer: &str,
        tolerate: Option<Tolerate>,
    ) {
        let (file, pointer) = (file.to_owned(), pointer.to_owned());
        self.writes.push(Write { hierarchy: home.hierarchy, file, value, pointer, tolerate });
    }

    pub(super) fn warn(&mut self, text: String, pointer: &str) {
        self.warnings.push(format!("{text} ({pointer})"));
    }

    /// Decides which controllers to hand down in v2 hierarchies.
    ///
    /// On a v2 host all of them, as engines expect accounting whether or not there is a limit; in the v2 hierarchy
    /// of a hybrid host only the ones that a limit needs, because nothing else looks for them there.
    pub(super) fn enable_controllers(&mut self) {
        let all = self.is_v2();
        for hierarchy in self.hierarchies.iter_mut().filter(|h| h.version == Version::V2) {
            hierarchy.enable = if all {
                hierarchy.controllers.clone()
            } else {
                hierarchy.needs.iter().map(|need| need.controller.clone()).collect()
            };
        }
    }

    /// The refusal of a property whose controller this host does not have.
    pub(super) fn missing(&self, controller: &str, pointer: &str) -> PlanError {
        let why = match self.facts {
            CgroupFacts::V2(facts) if facts.bound_to_v1.iter().any(|bound| bound == controller) => {
                format!(
                    "controller {controller:?} is not available on this cgroup v2 host: it is bound to a cgroup v1 hierarchy"
                )
            }
            CgroupFacts::V2(facts) => format!(
                "controller {controller:?} is not available: {}/cgroup.controllers does not list it",
                facts.hierarchy.mount_point.display()
            ),
            CgroupFacts::V1(_) => {
                format!(
                    "controller {controller:?} is not available: no cgroup v1 hierarchy with it is mounted"
                )
            }
            CgroupFacts::None => {
                format!(
                    "controller {controller:?} is not available: no cgroup filesystem is mounted"
                )
            }
        };
        PlanError::unsupported(pointer, format!("{} can't be set: {why}", name(pointer)))
    }
}

/// `/linux/resources/memory/limit` as people say it: `memory.limit`.
fn name(pointer: &str) -> String {
    pointer
        .strip_prefix(super::RESOURCES)
        .unwrap_or(pointer)
        .trim_start_matches('/')
        .replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    const LIMIT: &str = "/linux/resources/memory/limit";

    fn limits(facts: &CgroupFacts) -> Limits<'_> {
        let plans = super::super::placement::place(None, "c1", facts).unwrap();
        Limits::new(facts, plans)
    }

    #[test]
    fn a_controller_is_found_where_the_host_has_it() {
        let facts = fixture::hybrid();
        let mut limits = limits(&facts);
        assert_eq!(limits.home("memory", LIMIT).unwrap().version, Version::V1);
        assert_eq!(
            limits.home("hugetlb", LIMIT).unwrap(),
            Home { hierarchy: 0, version: Version::V2 }
        );
    }

    #[test]
    fn a_missing_controller_is_named_with_the_property_and_the_reason() {
        for (facts, reason) in [
            (fixture::v2_with(&["cpu"], &["memory"]), "it is bound to a cgroup v1 hierarchy"),
            (fixture::v2_with(&["cpu"], &[]), "/sys/fs/cgroup/cgroup.controllers does not list it"),
            (CgroupFacts::None, "no cgroup filesystem is mounted"),
        ] {
            let error = limits(&facts).home("memory", LIMIT).expect_err(reason);
            assert!(error.unsupported);
            assert_eq!(error.pointer, LIMIT);
            for part in ["memory.limit", "controller \"memory\"", reason] {
                assert!(error.rule.contains(part), "{} lacks {part:?}", error.rule);
            }
        }
        let facts = fixture::hybrid();
        let error = limits(&facts).home("rdma", LIMIT).expect_err("not mounted");
        assert!(error.rule.contains("no cgroup v1 hierarchy with it is mounted"));
    }

    #[test]
    fn v2_hosts_hand_down_everything_hybrid_hosts_what_is_needed() {
        let facts = fixture::v2();
        let mut all = limits(&facts);
        all.enable_controllers();
        assert_eq!(all.hierarchies[0].enable, all.hierarchies[0].controllers);

        let facts = fixture::hybrid();
        let mut none = limits(&facts);
        none.home("memory", LIMIT).unwrap();
        none.enable_controllers();
        assert!(none.hierarchies.iter().all(|hierarchy| hierarchy.enable.is_empty()));

        let mut needed = limits(&facts);
        needed.home("hugetlb", LIMIT).unwrap();
        needed.enable_controllers();
        assert_eq!(needed.hierarchies[0].enable, ["hugetlb"]);
    }

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(name("/linux/resources/cpu/realtimePeriod"), "cpu.realtimePeriod");
    }
}
