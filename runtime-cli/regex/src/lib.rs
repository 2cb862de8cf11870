//! `regex-lite` under the name of `regex`.
//!
//! The one user of regular expressions in the `teu` binary is `oci-spec`, which checks the two short strings of
//! `process.execCPUAffinity` with one. The full crate would be a quarter of the binary for that. `[patch.crates-io]` in the
//! workspace's Cargo.toml puts this in its place; programs that link the library get the real one.

pub use regex_lite::*;

#[cfg(test)]
mod tests {
    use super::Regex;

    #[test]
    fn the_one_expression_means_the_same() {
        let list = Regex::new(r"^(\d+(-\d+)?)(,\d+(-\d+)?)*$").unwrap();
        assert!(["0", "0-3", "0-3,7,10-11"].iter().all(|text| list.is_match(text)));
        assert!(["", "a", "0-", ",1", "1\n"].iter().all(|text| !list.is_match(text)));
    }
}
