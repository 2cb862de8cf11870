//! Plans for the tests of this module.

use serde_json::{Value, json};

use super::{Caller, CgroupPlan, plan};
use crate::error::PlanError;
use crate::facts::cgroup::CgroupFacts;
pub(crate) use crate::facts::cgroup::testing::{hybrid, v2, v2_at, v2_with};

/// The plan of a container whose `linux.resources` is `resources`.
pub(crate) fn plan_resources(
    resources: &Value,
    facts: &CgroupFacts,
) -> Result<CgroupPlan, PlanError> {
    plan(&spec(&json!({ "resources": resources })), "c1", facts, Caller::default())
}

/// A configuration with `linux` and nothing else of interest.
pub(crate) fn spec(linux: &Value) -> oci_spec::runtime::Spec {
    let document = json!({ "ociVersion": "1.2.0", "root": { "path": "rootfs" }, "linux": linux });
    serde_json::from_value(document).expect("a valid configuration")
}

/// The writes behind `resources`, without those of the device rules, as `file=value`.
pub(crate) fn writes(resources: &Value, facts: &CgroupFacts) -> Vec<String> {
    let plan = plan_resources(resources, facts).expect("a valid configuration");
    let writes = plan.writes.iter().filter(|write| !write.file.starts_with("devices."));
    writes.map(|write| format!("{}={}", write.file, write.value)).collect()
}

/// The refusal of `resources`.
pub(crate) fn refusal(resources: &Value, facts: &CgroupFacts) -> PlanError {
    plan_resources(resources, facts).expect_err("a refusal")
}
