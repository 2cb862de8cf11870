//! The version text. Line by line it has runc's prefixes, which its callers parse.

use crate::help;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this program was built from, where the build was told.
pub(crate) const COMMIT: Option<&str> = option_env!("TEU_COMMIT");

/// The newest version of the OCI runtime specification that is implemented.
pub(crate) const SPEC: &str = "1.3.0";

/// What `--version` prints.
///
/// The first word is the name by which the program was called: a link named `runc` satisfies those who look for
/// `runc version`.
pub(crate) fn text(program: &str) -> String {
    let commit = COMMIT.map(|commit| format!("commit: {commit}\n")).unwrap_or_default();
    format!("{} version {VERSION}\n{commit}spec: {SPEC}\n", help::base(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_have_the_prefixes_that_callers_parse() {
        let text = text("/usr/bin/runc");
        assert!(text.starts_with(&format!("runc version {VERSION}\n")), "{text}");
        assert!(text.ends_with("\nspec: 1.3.0\n"), "{text}");
        assert_eq!(text.contains("\ncommit: "), COMMIT.is_some());
    }
}
