//! Doors for the fuzz targets (`runtime-lib/fuzz`), which are there only when they are built. Each takes any bytes, and panics when
//! something is accepted that should not have been.

use crate::facts::testing::facts;
use crate::facts::{Facts, Security, cgroup::testing as cgroups};
use crate::plan::invariants::{broken, request};
use crate::plan::plan;
use crate::spec;
use crate::state::{Record, Status};
use serde_json::{Value, json};

/// A file as config.json: refused, or planned by all rules, on hosts of several kinds.
pub fn config(bytes: &[u8]) {
    let Ok(loaded) = spec::parse(bytes) else { return };
    let hosts = [
        facts(),
        Facts {
            cgroup: cgroups::hybrid(),
            in_user_namespace: true,
            security: Security { apparmor: true, unconfined: false, selinux: true },
            ..facts()
        },
    ];
    for host in hosts {
        for waits_for_start in [true, false] {
            if let Ok(plan) = plan(&loaded.spec, &host, &request(waits_for_start)) {
                let broken = broken(&plan);
                assert!(broken.is_empty(), "{broken:?}\n{plan}");
            }
        }
    }
}

/// One mount, a line for each of destination, type, source and the options, in a configuration that is right.
pub fn mount(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let (destination, kind, source) = (line(), line(), line());
    let options: Vec<&str> = lines.collect();
    let mut document: Value =
        serde_json::from_str(include_str!("../../fixtures/config/default.json"))
            .unwrap_or_default();
    if let Some(mounts) = document.get_mut("mounts").and_then(Value::as_array_mut) {
        mounts.push(json!({
            "destination": destination, "type": kind, "source": source, "options": options
        }));
    }
    config(document.to_string().as_bytes());
}

/// A file as state.json: what is read is written as it was read.
pub fn state(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    let written = serde_json::to_vec(&record).unwrap_or_default();
    let again = serde_json::from_slice::<Record>(&written).ok();
    assert_eq!(again.as_ref(), Some(&record));
    for status in [Status::Created, Status::Running, Status::Stopped] {
        let state = serde_json::to_string(&record.clone().state(status));
        assert!(state.is_ok());
    }
}
