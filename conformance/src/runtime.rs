//! The runtime under test: which one it is, and how to invoke it.

use crate::cgroups;
use crate::command::{Command, Mounts, in_path};
use crate::{capability, report, sys};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;

/// A runtime: `$RUNTIME`, or else the `teu` of this workspace.
#[derive(Debug)]
pub struct Runtime {
    program: PathBuf,
    name: String,
    version: (u32, u32),
    mounts: Mounts,
    device_rules: bool,
}

impl Runtime {
    /// The runtime that this process tests.
    ///
    /// # Panics
    ///
    /// When there is none, or it does not answer `--version`, or the caller is not root.
    pub fn under_test() -> &'static Self {
        // The failure is kept too: a build that fails is not tried again for every test.
        static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            assert!(sys::is_root(), "the conformance suite creates containers as root: run it so");
            sys::become_subreaper().expect("becoming a subreaper");
            let runtime = Self::new(chosen()?);
            report::begin(&runtime.name);
            Ok(runtime)
        });
        runtime.as_ref().unwrap_or_else(|problem| panic!("no runtime to test: {problem}"))
    }

    fn new(program: PathBuf) -> Self {
        let outcome = Command::new(&program, ["--version"]).run().ok();
        let mut words = outcome.out().split_whitespace();
        let name = words.next().unwrap_or("unknown").to_owned();
        let version = words.nth(1).and_then(version).unwrap_or_default();
        // crun 1.8 refuses a host where v1 and v2 hierarchies both have controllers.
        let asked = std::env::var_os("UNIFIED_CGROUPS").is_some_and(|value| !value.is_empty());
        let unified_cgroups = cgroups::host_is_hybrid() && (asked || name == "crun");
        if unified_cgroups {
            let note = "runs in a mount namespace of its own, with cgroup v2 only";
            report::note(&format!("{name} {note}"));
        }
        // It raises RLIMIT_MEMLOCK before it loads the device filter, and gives up if it must not.
        let device_rules = name != "crun" || capability::is_held("CAP_SYS_RESOURCE");
        if !device_rules {
            report::note("crun runs without device rules: it needs CAP_SYS_RESOURCE for them");
        }
        let mounts = Mounts { unified_cgroups, ..Mounts::default() };
        Self { program, name, version, mounts, device_rules }
    }

    /// Another runtime of this host, if it is installed.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let program = in_path(Path::new(name))?;
        // One for each test that asks: the process ends soon.
        Some(Box::leak(Box::new(Self::new(program))))
    }

    /// False when it cannot set up `linux.resources.devices` here.
    #[must_use]
    pub fn can_restrict_devices(&self) -> bool {
        self.device_rules
    }

    /// The first word of what it says about its version: `runc`, `crun`, `teu`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the executable.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The last component of the executable's path, as its usage text shows it.
    #[must_use]
    pub fn base_name(&self) -> String {
        self.program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into())
    }

    /// The mount namespace it needs.
    #[must_use]
    pub fn mounts(&self) -> Mounts {
        self.mounts
    }

    /// True when it sees only the unified cgroup hierarchy, whatever the host has.
    #[must_use]
    pub fn sees_unified_cgroups_only(&self) -> bool {
        self.mounts.unified_cgroups
    }

    /// Its executable where ordinary users reach it, too: a copy in `directory`, unless it is anyhow.
    #[must_use]
    pub fn program_for_all(&self, directory: &Path) -> PathBuf {
        let open = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 1 == 1)
        };
        if self.program.ancestors().all(open) {
            return self.program.clone();
        }
        let copy = directory.join(self.base_name());
        if !copy.exists() {
            crate::copy_program(&self.program, &copy);
        }
        copy
    }

    /// A command line of this runtime.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        Command::new(&self.program, words).mounts(self.mounts)
    }

    /// True for the named runtime, or for its versions before one (`runc < 1.4`); then the test
    /// asserts what that one does instead. `fact` says what it does and goes into the report.
    ///
    /// # Panics
    ///
    /// When the version is not a major and a minor number.
    #[must_use]
    pub fn differs(&self, which: &str, fact: &str) -> bool {
        let (name, before) = which.split_once(" < ").unwrap_or((which, ""));
        let in_time = before.is_empty() || self.version < version(before).expect("MAJOR.MINOR");
        let differs = self.name == name && in_time;
        if differs {
            report::differs(which, fact);
        }
        differs
    }
}

/// Major and minor number at the beginning of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn chosen() -> Result<PathBuf, String> {
    let Some(name) = std::env::var_os("RUNTIME").filter(|name| !name.is_empty()) else {
        return build_ours();
    };
    let name = PathBuf::from(name);
    in_path(&name).ok_or_else(|| format!("RUNTIME={}: not found in PATH", name.display()))
}

/// Builds `teu` with the profile of this test executable, beside it. Always, because an executable
/// that merely exists may be an old one; cargo does nothing when it is fresh.
fn build_ours() -> Result<PathBuf, String> {
    let profile_dir = report::profile_directory();
    let profile = profile_dir.file_name().and_then(OsStr::to_str).expect("a profile has a name");
    let profile = if profile == "debug" { "dev" } else { profile };
    let target_dir = profile_dir.parent().expect("a profile directory has a parent");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = process::Command::new(cargo)
        .args(["build", "--quiet", "--package", "teu-cli", "--profile", profile, "--target-dir"])
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("RUNTIME is not set, and starting cargo failed: {error}"))?;
    if output.status.success() {
        return Ok(profile_dir.join("teu"));
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("RUNTIME is not set, and building teu failed:\n{errors}"))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_begins_with_two_numbers() {
        assert_eq!(version("1.1.5+ds1"), Some((1, 1)));
        assert_eq!(version("0.10"), Some((0, 10)));
        assert_eq!(version("dev"), None);
    }
}
