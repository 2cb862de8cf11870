//! `resources.blockIO`: blkio on v1, io on v2.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::limits::{Home, Limits};
use super::{RESOURCES, Tolerate, Version};
use crate::error::PlanError;

pub(super) fn plan(limits: &mut Limits<'_>, block_io: &LinuxBlockIo) -> Result<(), PlanError> {
    let pointer = |property: &str| format!("{RESOURCES}/blockIO/{property}");
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        write_weight(limits, None, weight, &pointer("weight"))?;
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        write_leaf_weight(limits, None, weight, &pointer("leafWeight"))?;
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        weight_device(limits, device, &pointer(&format!("weightDevice/{index}")))?;
    }
    for (devices, property, v1_file, v2_key) in [
        (block_io.throttle_read_bps_device(), "throttleReadBpsDevice", "read_bps", "rbps"),
        (block_io.throttle_write_bps_device(), "throttleWriteBpsDevice", "write_bps", "wbps"),
        (block_io.throttle_read_iops_device(), "throttleReadIOPSDevice", "read_iops", "riops"),
        (block_io.throttle_write_iops_device(), "throttleWriteIOPSDevice", "write_iops", "wiops"),
    ] {
        for (index, device) in devices.iter().flatten().enumerate() {
            let pointer = pointer(&format!("{property}/{index}"));
            throttle(limits, device, v1_file, v2_key, &pointer)?;
        }
    }
    Ok(())
}

fn io_home(limits: &mut Limits<'_>, pointer: &str) -> Result<Home, PlanError> {
    let has_io = limits.find("io").is_some() || limits.is_v2();
    let controller = if limits.find("blkio").is_none() && has_io { "io" } else { "blkio" };
    limits.home(controller, pointer)
}

fn weight_device(
    limits: &mut Limits<'_>,
    device: &LinuxWeightDevice,
    pointer: &str,
) -> Result<(), PlanError> {
    let number = device_number(device.major(), device.minor(), pointer)?;
    if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
        write_weight(limits, Some(&number), weight, &format!("{pointer}/weight"))?;
    }
    if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
        write_leaf_weight(limits, Some(&number), weight, &format!("{pointer}/leafWeight"))?;
    }
    Ok(())
}

/// A weight for the cgroup, or for one device in it. The BFQ scheduler has files of its own, which exist with it only.
fn write_weight(
    limits: &mut Limits<'_>,
    device: Option<&str>,
    weight: u16,
    pointer: &str,
) -> Result<(), PlanError> {
    check_weight(weight, pointer)?;
    let home = io_home(limits, pointer)?;
    let (bfq_file, file, converted) = match (home.version, device) {
        (Version::V1, None) => ("blkio.bfq.weight", "blkio.weight", weight),
        (Version::V1, Some(_)) => ("blkio.bfq.weight_device", "blkio.weight_device", weight),
        (Version::V2, _) => ("io.bfq.weight", "io.weight", io_weight(weight)),
    };
    let line = |weight: u16| match device {
        Some(device) => format!("{device} {weight}"),
        None => weight.to_string(),
    };
    let otherwise = Tolerate::MissingFileFor { file: file.to_owned(), value: line(converted) };
    limits.push(home, bfq_file, line(weight), pointer, Some(otherwise));
    Ok(())
}

/// v1 only, and there only with the CFQ scheduler, which Linux 5.0 has dropped.
fn write_leaf_weight(
    limits: &mut Limits<'_>,
    device: Option<&str>,
    weight: u16,
    pointer: &str,
) -> Result<(), PlanError> {
    check_weight(weight, pointer)?;
    let controller = if limits.is_v2() { "io" } else { "blkio" };
    if let Some(home) = limits.v1_home(controller, pointer)? {
        match device {
            Some(device) => {
                limits.write(
                    home,
                    "blkio.leaf_weight_device",
                    format!("{device} {weight}"),
                    pointer,
                );
            }
            None => limits.write(home, "blkio.leaf_weight", weight, pointer),
        }
    }
    Ok(())
}

fn check_weight(weight: u16, pointer: &str) -> Result<(), PlanError> {
    if (10..=1000).contains(&weight) {
        Ok(())
    } else {
        Err(PlanError::invalid(pointer, "a block IO weight is between 10 and 1000").value(weight))
    }
}

/// `io.weight` (1 to 10000) for a v1 weight (10 to 1000), linearly.
fn io_weight(weight: u16) -> u16 {
    let scaled = 1 + (u32::from(weight) - 10) * 9999 / 990;
    u16::try_from(scaled).unwrap_or(10_000)
}

fn throttle(
    limits: &mut Limits<'_>,
    device: &LinuxThrottleDevice,
    v1_file: &str,
    v2_key: &str,
    pointer: &str,
) -> Result<(), PlanError> {
    let number = device_number(device.major(), device.minor(), pointer)?;
    let home = io_home(limits, pointer)?;
    match home.version {
        Version::V1 => {
            let line = format!("{number} {}", device.rate());
            limits.write(home, &format!("blkio.throttle.{v1_file}_device"), line, pointer);
        }
        Version::V2 => {
            let line = format!("{number} {v2_key}={}", device.rate());
            limits.write(home, "io.max", line, pointer);
        }
    }
    Ok(())
}

fn device_number(major: i64, minor: i64, pointer: &str) -> Result<String, PlanError> {
    if u32::try_from(major).is_ok() && u32::try_from(minor).is_ok() {
        Ok(format!("{major}:{minor}"))
    } else {
        let rule = "a device number has a major and a minor part of 32 bits each";
        Err(PlanError::invalid(pointer, rule).value(format!("{major}:{minor}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{hybrid, plan_resources, refusal, v2, v2_with, writes};
    use super::*;

    fn config() -> Value {
        json!({ "blockIO": {
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 700}],
            "throttleReadIOPSDevice": [{"major": 8, "minor": 2, "rate": 800}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 3, "rate": 900}],
        }})
    }

    #[test]
    fn v1_files() {
        let expected = [
            "blkio.bfq.weight=500",
            "blkio.bfq.weight_device=8:0 10",
            "blkio.throttle.read_bps_device=8:0 600",
            "blkio.throttle.write_bps_device=8:1 700",
            "blkio.throttle.read_iops_device=8:2 800",
            "blkio.throttle.write_iops_device=8:3 900",
        ];
        assert_eq!(writes(&config(), &hybrid()), expected);
    }

    #[test]
    fn v2_files() {
        let expected = [
            "io.bfq.weight=500",
            "io.bfq.weight=8:0 10",
            "io.max=8:0 rbps=600",
            "io.max=8:1 wbps=700",
            "io.max=8:2 riops=800",
            "io.max=8:3 wiops=900",
        ];
        assert_eq!(writes(&config(), &v2()), expected);
    }

    #[test]
    fn without_bfq_the_weight_goes_to_the_other_file() {
        let otherwise = |facts, index: usize| {
            let plan = plan_resources(&config(), &facts).unwrap();
            let write = plan.writes.iter().filter(|write| write.file.contains("weight")).nth(index);
            match write.and_then(|write| write.tolerate.clone()) {
                Some(Tolerate::MissingFileFor { file, value }) => format!("{file}={value}"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(otherwise(v2(), 0), "io.weight=4950");
        assert_eq!(otherwise(v2(), 1), "io.weight=8:0 1");
        assert_eq!(otherwise(hybrid(), 0), "blkio.weight=500");
        assert_eq!(otherwise(hybrid(), 1), "blkio.weight_device=8:0 10");
    }

    #[test]
    fn weights() {
        for (weight, expected) in [(10, 1), (11, 11), (100, 910), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(weight), expected);
        }
        for weight in [1, 9, 1001] {
            let error = refusal(&json!({"blockIO": {"weight": weight}}), &v2());
            assert_eq!(error.pointer, "/linux/resources/blockIO/weight");
        }
        assert_eq!(writes(&json!({"blockIO": {"weight": 0}}), &v2()), [""; 0]);
    }

    #[test]
    fn leaf_weights_exist_on_v1_only() {
        let config = json!({"blockIO": {
            "leafWeight": 300, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 20}],
        }});
        assert_eq!(
            writes(&config, &hybrid()),
            ["blkio.leaf_weight=300", "blkio.leaf_weight_device=8:0 20"]
        );
        assert_eq!(plan_resources(&config, &v2()).unwrap().warnings.len(), 2);
    }

    #[test]
    fn refusals() {
        let throttle =
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}});
        let error = refusal(&throttle, &v2());
        assert_eq!(error.pointer, "/linux/resources/blockIO/throttleReadBpsDevice/0");
        let error = refusal(&config(), &v2_with(&[], &["blkio"]));
        assert!(error.unsupported && error.rule.contains("controller \"io\""), "{error}");
    }
}
