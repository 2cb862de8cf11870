//! Layers in the annotations of config.json: for callers of the command line, which has no other place for them.

use super::{HostEntry, Layers, ResolvConf};
use crate::error::PlanError;
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// What every annotation about layers begins with. They name directories of the host: whoever may set them owns the host.
pub const PREFIX: &str = "dev.teu.layers.";

/// The layers that the annotations ask for, if they do.
pub(crate) fn read(spec: &Spec) -> Result<Option<Layers>, PlanError> {
    let listed = spec.annotations().iter().flatten();
    let asked: BTreeMap<&str, &str> = listed
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str())))
        .collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let mut layers = Layers { annotated: true, ..Layers::default() };
    for (key, value) in asked {
        let pointer = layers.pointer(key);
        match key {
            "lower" => layers.lowers = paths(value, pointer)?,
            "upper" => layers.upper = Some(PathBuf::from(value)),
            "work" => layers.work = Some(PathBuf::from(value)),
            "init" => layers.init.directory = Some(PathBuf::from(value)),
            "hostname" => layers.init.hostname = Some(value.to_owned()),
            "hosts" => layers.init.hosts = Some(hosts(value, pointer)?),
            "resolv-conf" => {
                layers.init.resolv_conf = Some(ResolvConf::CopyOf(PathBuf::from(value)));
            }
            _ => {
                let rule = "unknown annotation; known are lower, upper, work, init, hostname, hosts, resolv-conf";
                return Err(PlanError::invalid(pointer, rule).value(value));
            }
        }
    }
    Ok(Some(layers))
}

/// A JSON array of texts: paths may have any character in them.
fn paths(value: &str, pointer: String) -> Result<Vec<PathBuf>, PlanError> {
    serde_json::from_str(value).map_err(|error| {
        let rule = format!("a JSON array of directories, the top first: {error}");
        PlanError::invalid(pointer, rule).value(value)
    })
}

/// A JSON object of addresses with arrays of names.
fn hosts(value: &str, pointer: String) -> Result<Vec<HostEntry>, PlanError> {
    let read: Result<BTreeMap<IpAddr, Vec<String>>, _> = serde_json::from_str(value);
    let entries = read.map_err(|error| {
        let rule = format!("a JSON object of addresses, each with an array of names: {error}");
        PlanError::invalid(pointer, rule).value(value)
    })?;
    Ok(entries.into_iter().map(|(address, names)| HostEntry { address, names }).collect())
}
