//! `process.env` and `process.args` (config.md#process): what the program gets, and where it is looked for.

use crate::error::PlanError;
use std::collections::HashMap;

/// The environment: entries in order, of several with one name the last, and HOME.
pub(super) fn environment(env: &[String], home: Option<&str>) -> Result<Vec<String>, PlanError> {
    let mut last: HashMap<&str, usize> = HashMap::with_capacity(env.len());
    for (index, entry) in env.iter().enumerate() {
        last.insert(name(entry, index)?, index);
    }
    let mut kept: Vec<String> = env
        .iter()
        .enumerate()
        .filter(|(index, entry)| {
            entry.split_once('=').and_then(|(name, _)| last.get(name)) == Some(index)
        })
        .map(|(_, entry)| entry.clone())
        .collect();
    if value(&kept, "HOME").is_none_or(str::is_empty) {
        kept.retain(|entry| !entry.starts_with("HOME="));
        kept.push(format!("HOME={}", home.unwrap_or("/")));
    }
    Ok(kept)
}

/// Whether the home directory has to be looked up.
pub(super) fn needs_home(env: &[String]) -> bool {
    !env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty()))
}

/// The name of an entry.
fn name(entry: &str, index: usize) -> Result<&str, PlanError> {
    let refuse =
        |rule: &str| Err(PlanError::invalid(format!("/process/env/{index}"), rule).value(entry));
    match entry.split_once('=') {
        None => refuse("invalid environment variable: missing '='"),
        Some(("", _)) => refuse("invalid environment variable: name cannot be empty"),
        Some(_) if entry.contains('\0') => {
            refuse("invalid environment variable: contains nul byte (\\x00)")
        }
        Some((name, _)) => Ok(name),
    }
}

fn value<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// The paths to try for the program, as execvp(3) would: the name itself when it has a slash, else one in each directory of the
/// container's PATH.
pub(super) fn candidates(program: &str, env: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    value(env, "PATH")
        .into_iter()
        .flat_map(|path| path.split(':'))
        .map(|directory| if directory.is_empty() { "." } else { directory.trim_end_matches('/') })
        .map(|directory| format!("{directory}/{program}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn order_is_kept_and_the_last_duplicate_wins() {
        let env = environment(&strings(&["A=1", "B=2", "A=3", "HOME=/h"]), None).unwrap();
        assert_eq!(env, ["B=2", "A=3", "HOME=/h"]);
    }

    #[test]
    fn home_is_added_when_absent_or_empty() {
        assert_eq!(environment(&strings(&["A=1"]), Some("/root")).unwrap(), ["A=1", "HOME=/root"]);
        assert_eq!(environment(&strings(&["HOME="]), None).unwrap(), ["HOME=/"]);
    }

    #[test]
    fn entries_without_a_name_are_refused() {
        assert_eq!(
            environment(&strings(&["A=1", "B"]), None).unwrap_err().pointer,
            "/process/env/1"
        );
        assert!(environment(&strings(&["=x"]), None).is_err());
    }

    #[test]
    fn a_program_is_looked_for_in_the_containers_path() {
        let env = strings(&["PATH=/bin/::/usr/bin"]);
        assert_eq!(candidates("sh", &env), ["/bin/sh", "./sh", "/usr/bin/sh"]);
        assert_eq!(candidates("./sh", &env), ["./sh"]);
        assert_eq!(candidates("sh", &[]), Vec::<String>::new());
    }
}
