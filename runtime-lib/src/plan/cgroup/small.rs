//! The controllers with a file or two: hugetlb, `net_cls` and `net_prio`, rdma.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxRdma};

use super::RESOURCES;
use super::limits::Limits;
use crate::error::PlanError;

/// `resources.hugepageLimits`: a limit on the pages in use, and the same limit on reservations where the kernel has it (Linux 5.7).
pub(super) fn huge_pages(
    limits: &mut Limits<'_>,
    requests: &[LinuxHugepageLimit],
) -> Result<(), PlanError> {
    for (index, request) in requests.iter().enumerate() {
        let pointer = format!("{RESOURCES}/hugepageLimits/{index}");
        let size = request.page_size();
        if !is_page_size(size) {
            let rule = "a page size is a number and one of KB, MB, GB";
            return Err(PlanError::invalid(format!("{pointer}/pageSize"), rule).value(size));
        }
        let pointer = format!("{pointer}/limit");
        let limit = u64::try_from(request.limit()).map_err(|_negative| {
            PlanError::invalid(&pointer, "a limit is not negative").value(request.limit())
        })?;
        let home = limits.home("hugetlb", &pointer)?;
        let suffix = home.pick("limit_in_bytes", "max");
        limits.write(home, &format!("hugetlb.{size}.{suffix}"), limit, &pointer);
        limits.write_if_present(home, &format!("hugetlb.{size}.rsvd.{suffix}"), limit, &pointer);
    }
    Ok(())
}

/// Whether `text` is a number without leading zero and a unit: `64KB`, `2MB`, `1GB`. It becomes a part of a file name.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// `resources.network`, which exists on v1 only.
pub(super) fn network(limits: &mut Limits<'_>, network: &LinuxNetwork) -> Result<(), PlanError> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        let pointer = format!("{RESOURCES}/network/classID");
        if let Some(home) = limits.v1_home("net_cls", &pointer)? {
            limits.write(home, "net_cls.classid", class, &pointer);
        }
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let pointer = format!("{RESOURCES}/network/priorities/{index}");
        if let Some(home) = limits.v1_home("net_prio", &pointer)? {
            let line = format!("{} {}", priority.name(), priority.priority());
            limits.write(home, "net_prio.ifpriomap", line, &pointer);
        }
    }
    Ok(())
}

/// `resources.rdma`: one line for each device, in the order of their names.
pub(super) fn rdma(
    limits: &mut Limits<'_>,
    devices: &HashMap<String, LinuxRdma>,
) -> Result<(), PlanError> {
    let mut devices: Vec<(&String, &LinuxRdma)> = devices.iter().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, device) in devices {
        let pointer = format!("{RESOURCES}/rdma/{}", name.replace('~', "~0").replace('/', "~1"));
        let mut line = name.clone();
        for (key, value) in
            [("hca_handle", device.hca_handles()), ("hca_object", device.hca_objects())]
        {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        if line == *name {
            let rule = "at least one of hcaHandles and hcaObjects is needed";
            return Err(PlanError::invalid(&pointer, rule));
        }
        let home = limits.home("rdma", &pointer)?;
        limits.write(home, "rdma.max", line, &pointer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{hybrid, plan_resources, refusal, v2, writes};
    use super::*;

    #[test]
    fn huge_page_limits() {
        let config = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
        // The hybrid host of the fixture has hugetlb on v2.
        for facts in [v2(), hybrid()] {
            let expected = ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"];
            assert_eq!(writes(&config, &facts), expected);
        }
    }

    #[test]
    fn page_sizes() {
        for good in ["64KB", "2MB", "1GB", "512MB"] {
            assert!(is_page_size(good), "{good}");
        }
        for bad in ["", "MB", "2", "02MB", "2mb", "../2MB", "2 MB", "-2MB", "2TB"] {
            assert!(!is_page_size(bad), "{bad}");
        }
        let error = refusal(&json!({"hugepageLimits": [{"pageSize": "x/y", "limit": 1}]}), &v2());
        assert_eq!(error.pointer, "/linux/resources/hugepageLimits/0/pageSize");
        let error = refusal(&json!({"hugepageLimits": [{"pageSize": "2MB", "limit": -5}]}), &v2());
        assert_eq!(error.pointer, "/linux/resources/hugepageLimits/0/limit");
    }

    #[test]
    fn network_classes_and_priorities() {
        let config = json!({"network": {
            "classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}],
        }});
        let expected = ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"];
        assert_eq!(writes(&config, &hybrid()), expected);
        let plan = plan_resources(&config, &v2()).unwrap();
        assert!(plan.writes.is_empty());
        assert_eq!(plan.warnings.len(), 2);
    }

    #[test]
    fn rdma_devices() {
        let config = json!({"rdma": {
            "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1000},
        }});
        assert_eq!(
            writes(&config, &v2()),
            ["rdma.max=mlx4_0 hca_object=1000", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"]
        );
        let error = refusal(&json!({"rdma": {"mlx5_1": {}}}), &v2());
        assert_eq!(error.pointer, "/linux/resources/rdma/mlx5_1");
        assert!(refusal(&config, &hybrid()).unsupported);
    }
}
