//! config.json as it is written.
//!
//! The file is parsed once, into [`oci_spec::runtime::Spec`]. Where the specification demands tolerance and the types do not have it,
//! [`tolerant`] mends the document and parses again; a document that is right never pays for that. An error names the place
//! as a JSON pointer, what stands there, and the rule.

mod null_bytes;
mod position;
mod tolerant;

use crate::error::PlanError;
use oci_spec::runtime::Spec;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A configuration and what was overlooked in reading it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) spec: Spec,
    /// What the specification says to warn of instead of failing.
    pub(crate) warnings: Vec<String>,
}

/// No engine writes a configuration of this size; what is larger was not meant as one. In bytes.
const LARGEST: u64 = 64 << 20;

/// Reads and parses the configuration file.
pub(crate) fn load(path: &Path) -> Result<Loaded, PlanError> {
    parse(&read(path)?)
}

fn read(path: &Path) -> Result<Vec<u8>, PlanError> {
    // A FIFO in the file's place must not block the runtime.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_found(path),
            _ => unreadable(path, &error),
        })?;
    let size = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    if size > LARGEST {
        return Err(PlanError::invalid(
            "",
            format!("{} has {size} bytes; a configuration has at most {LARGEST}", path.display()),
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// Says whether the file is missing or the whole bundle.
fn not_found(path: &Path) -> PlanError {
    let bundle = path.parent().unwrap_or(path);
    let rule = match std::fs::symlink_metadata(bundle) {
        Ok(_) => format!("JSON specification file {} not found", path.display()),
        Err(_) => format!("bundle {}: no such file or directory", bundle.display()),
    };
    PlanError::invalid("", rule)
}

fn unreadable(path: &Path, error: &io::Error) -> PlanError {
    let reason = error.raw_os_error().map_or_else(|| error.to_string(), crate::error::errno_text);
    PlanError::invalid("", format!("cannot read {}: {reason}", path.display()))
}

/// Parses a configuration.
pub(crate) fn parse(bytes: &[u8]) -> Result<Loaded, PlanError> {
    null_bytes::refuse(bytes)?;
    // The types would take a list for an object, its elements for the members in their order.
    let is_list = bytes.trim_ascii_start().starts_with(b"[");
    match serde_json::from_slice::<Spec>(bytes) {
        Ok(spec) if !is_list && !tolerant::may_be_overlooked(&spec) => {
            Ok(Loaded { spec, warnings: Vec::new() })
        }
        _ => tolerant::parse(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_and_a_truncated_document_say_where_they_end() {
        for text in ["", "{", "{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":"] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("EOF while parsing"), "{error}");
        }
    }

    #[test]
    fn a_list_is_no_configuration() {
        let error = parse(b" []").unwrap_err();
        assert_eq!(error.rule, "config.json must be a JSON object");
    }

    #[test]
    fn names_that_the_types_spell_differently_are_read() {
        let text =
            r#"{"ociVersion":"1.2.0","linux":{"intelRdt":{"enableCMT":true,"enableMBM":false}}}"#;
        let spec = parse(text.as_bytes()).unwrap().spec;
        let rdt = spec.linux().as_ref().unwrap().intel_rdt().as_ref().unwrap();
        #[allow(deprecated, reason = "it is what is tested")]
        let flags = (*rdt.enable_cmt(), *rdt.enable_mbm());
        assert_eq!(flags, (Some(true), Some(false)));
    }

    #[test]
    fn a_wrong_type_is_named_by_its_pointer() {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["sh",7]}}"#;
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.pointer, "/process/args/1");
        assert!(error.rule.contains("expected a string"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/proc/config.json")).unwrap_err();
        assert!(error.to_string().contains("JSON specification file /proc/config.json not found"));
        let error = load(Path::new("/nonexistent/config.json")).unwrap_err();
        assert!(error.to_string().contains("bundle /nonexistent: no such file or directory"));
    }
}
