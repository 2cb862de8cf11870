//! Null bytes: the kernel ends a text at the first one, so what stands behind it would be dropped without a word.

use crate::error::PlanError;
use serde_json::Value;

/// A null byte as JSON has to write it (RFC 8259, section 7).
const ESCAPED: &[u8] = b"\\u0000";

/// What never comes near the kernel, and may hold anything.
const FREE: &[&str] = &["/annotations"];

/// Refuses a document with a null byte in a text or a key. A document without one costs a look at its bytes.
pub(super) fn refuse(bytes: &[u8]) -> Result<(), PlanError> {
    if !bytes.windows(ESCAPED.len()).any(|window| window == ESCAPED) {
        return Ok(());
    }
    // What is no JSON is refused elsewhere, with better words.
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    match find(&document, String::new()) {
        None => Ok(()),
        Some(pointer) if pointer.starts_with("/mounts/") => {
            Err(PlanError::invalid(pointer, "mount field contains null byte"))
        }
        Some(pointer) => Err(PlanError::invalid(pointer, "a text must not contain a null byte")),
    }
}

/// The pointer of the first text with a null byte, or of what has a key with one.
fn find(value: &Value, pointer: String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then_some(pointer),
        Value::Array(list) => {
            let place = |(index, element)| find(element, format!("{pointer}/{index}"));
            list.iter().enumerate().find_map(place)
        }
        Value::Object(_) if FREE.contains(&pointer.as_str()) => None,
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            if key.contains('\0') {
                return Some(pointer.clone());
            }
            find(member, format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer_of(text: &str) -> Option<String> {
        refuse(text.as_bytes()).err().map(|refusal| refusal.pointer)
    }

    #[test]
    fn a_null_byte_is_found_wherever_the_kernel_would_stop() {
        assert_eq!(pointer_of(r#"{"hostname":"a\u0000b"}"#).as_deref(), Some("/hostname"));
        assert_eq!(pointer_of(r#"{"a":[1,{"b/c":"\u0000"}]}"#).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(pointer_of(r#"{"sysctl":{"net.\u0000x":"1"}}"#).as_deref(), Some("/sysctl"));
        let mount = refuse(br#"{"mounts":[{"type":"tmpfs\u0000"}]}"#).unwrap_err();
        assert_eq!(
            mount.to_string(),
            "invalid configuration: mount field contains null byte (/mounts/0/type)"
        );
    }

    #[test]
    fn what_only_looks_like_one_and_what_the_kernel_never_sees_is_free() {
        assert_eq!(pointer_of(r#"{"hostname":"a\\u0000b"}"#), None);
        assert_eq!(pointer_of(r#"{"annotations":{"a":"\u0000"}}"#), None);
        assert_eq!(pointer_of(r#"{"hostname":"\u0000""#), None);
    }
}
