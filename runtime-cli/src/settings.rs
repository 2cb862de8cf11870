//! What the flags of the program come to on this host: the second stage of the arguments, which may fail.

use crate::args::{self, Values};
use crate::environment::Environment;
use crate::exit::Failure;
use crate::flags;
use crate::log::Log;
use crate::sys;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

/// Where containers are kept by default.
const DEFAULT_ROOT: &str = "/run/teu";

/// The name of that directory inside `XDG_RUNTIME_DIR`.
const NAME_IN_RUNTIME_DIR: &str = "teu";

/// The settings that every command shares.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The directory for the state of containers; absolute.
    pub(crate) root: PathBuf,
    /// Somebody chose `root` by --root.
    pub(crate) root_is_chosen: bool,
    /// `root` is below `XDG_RUNTIME_DIR`, because nobody chose one.
    root_in_runtime_dir: bool,
    /// systemd manages the cgroups.
    pub(crate) systemd_cgroup: bool,
    /// Whether a container may do without a cgroup; `None` to let the library see who the caller is.
    pub(crate) rootless: Option<bool>,
}

impl Settings {
    /// The settings for these flags; `log` takes the warnings.
    pub(crate) fn new(globals: &Values, log: &Log) -> Result<Self, Failure> {
        let rootless = rootless(globals)?;
        let systemd_manager = match globals.text(&flags::CGROUP_MANAGER).map(|name| name.to_str()) {
            None | Some(Some("cgroupfs")) => false,
            Some(Some("systemd")) => true,
            Some(Some("disabled")) => {
                log.warning("--cgroup-manager=disabled is not implemented: a cgroup is used");
                false
            }
            Some(_) => {
                return Err(Failure::new(
                    "invalid --cgroup-manager: use cgroupfs, systemd or disabled",
                ));
            }
        };
        let (root, root_in_runtime_dir) = match globals.text(&flags::ROOT) {
            Some(root) => (chosen_root(Path::new(root))?, false),
            None => {
                default_root(&Environment::read(), sys::effective_uid(), teu::in_user_namespace)
            }
        };
        let systemd_cgroup = globals.switch(&flags::SYSTEMD_CGROUP) || systemd_manager;
        let root_is_chosen = globals.text(&flags::ROOT).is_some();
        Ok(Self { root, root_is_chosen, root_in_runtime_dir, systemd_cgroup, rootless })
    }

    /// Creates a root below `XDG_RUNTIME_DIR`, with the sticky bit: it tells those who clean that directory up to leave
    /// this alone (XDG Base Directory Specification). A command that creates a container calls this first.
    pub(crate) fn prepare_root(&self) -> Result<(), Failure> {
        if !self.root_in_runtime_dir {
            return Ok(());
        }
        let prepare = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
            fs::set_permissions(&self.root, Permissions::from_mode(0o1700))
        };
        prepare().map_err(|error| {
            Failure::new(format!("create state directory {}: {error}", self.root.display()))
        })
    }
}

/// `--rootless`: whether a container that asks for no cgroup does without one where none may be made. `None` for `auto`.
fn rootless(globals: &Values) -> Result<Option<bool>, Failure> {
    let Some(value) = globals.text(&flags::ROOTLESS) else { return Ok(None) };
    match args::boolean(value) {
        None if value != "auto" => Err(Failure::new(format!(
            "invalid --rootless {:?}: use true, false or auto",
            value.to_string_lossy()
        ))),
        choice => Ok(choice),
    }
}

/// The root that `--root` names.
fn chosen_root(path: &Path) -> Result<PathBuf, Failure> {
    let root = std::path::absolute(path)
        .map_err(|error| Failure::new(format!("--root {:?}: {error}", path.display())))?;
    if is_slash(&root) {
        return Err(Failure::new("Option --root argument should not be set to /"));
    }
    Ok(root)
}

/// Whether an absolute path is `/`, also when written with `.` and `..`.
fn is_slash(path: &Path) -> bool {
    let depth = path.components().fold(0_usize, |depth, component| match component {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => depth,
    });
    depth == 0
}

/// The root where `--root` is absent, and whether it is in `XDG_RUNTIME_DIR`: only for one who is not really root,
/// because `sudo` and the like may keep the variable of the user who called them.
fn default_root(
    environment: &Environment,
    uid: u32,
    in_user_namespace: impl Fn() -> bool,
) -> (PathBuf, bool) {
    match &environment.runtime_dir {
        Some(dir)
            if uid != 0
                || (environment.user.as_deref() != Some("root".as_ref())
                    && in_user_namespace()) =>
        {
            (dir.join(NAME_IN_RUNTIME_DIR), true)
        }
        Some(_) | None => (PathBuf::from(DEFAULT_ROOT), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Invocation;

    fn settings(line: &str) -> Result<Settings, String> {
        let words = ["teu"].into_iter().chain(line.split_whitespace()).map(Into::into);
        let invocation = Invocation::parse(words);
        Settings::new(&invocation.globals, &Log::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_chosen_root_is_absolute_and_not_slash() {
        assert_eq!(settings("--root /a/b").unwrap().root, Path::new("/a/b"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(settings("--root x").unwrap().root, here.join("x"));
        for slash in ["/", "//", "/.", "/..", "/a/..", "/a/b/../.."] {
            assert_eq!(
                settings(&format!("--root {slash}")).unwrap_err(),
                "Option --root argument should not be set to /"
            );
        }
        assert!(settings("--root=").unwrap_err().starts_with("--root \"\": "));
    }

    #[test]
    fn the_default_root_follows_the_user() {
        let environment = |dir: Option<&str>, user: Option<&str>| Environment {
            runtime_dir: dir.map(PathBuf::from),
            user: user.map(Into::into),
        };
        let root = |environment: &Environment, uid, mapped| {
            default_root(environment, uid, || mapped).0.display().to_string()
        };
        let (dir, xdg) = (Some("/run/user/7"), "/run/user/7/teu");
        assert_eq!(root(&environment(None, None), 7, true), DEFAULT_ROOT);
        assert_eq!(root(&environment(dir, None), 7, false), xdg);
        assert_eq!(root(&environment(dir, Some("root")), 7, false), xdg);
        assert_eq!(root(&environment(dir, None), 0, false), DEFAULT_ROOT);
        assert_eq!(root(&environment(dir, None), 0, true), xdg);
        assert_eq!(root(&environment(dir, Some("me")), 0, true), xdg);
        assert_eq!(root(&environment(dir, Some("root")), 0, true), DEFAULT_ROOT);
    }

    #[test]
    fn the_root_in_the_runtime_directory_is_private_and_sticky() {
        let scratch = std::env::temp_dir().join(format!("teu-cli-root-{}", std::process::id()));
        let root = scratch.join("teu");
        let settings = Settings {
            root: root.clone(),
            root_is_chosen: false,
            root_in_runtime_dir: true,
            systemd_cgroup: false,
            rootless: None,
        };
        let prepared = settings.prepare_root().and_then(|()| settings.prepare_root());
        let mode = fs::metadata(&root).map(|metadata| metadata.permissions().mode() & 0o7777);
        fs::remove_dir_all(&scratch).unwrap();
        assert!(prepared.is_ok());
        assert_eq!(mode.unwrap(), 0o1700);
    }

    #[test]
    fn who_manages_cgroups() {
        for (line, systemd) in [
            ("", false),
            ("--systemd-cgroup", true),
            ("--systemd-cgroup=false", false),
            ("--cgroup-manager systemd", true),
            ("--cgroup-manager=cgroupfs", false),
            ("--cgroup-manager=disabled", false),
            ("--systemd-cgroup --cgroup-manager=cgroupfs", true),
        ] {
            assert_eq!(settings(line).unwrap().systemd_cgroup, systemd, "{line}");
        }
        assert!(settings("--cgroup-manager=x").unwrap_err().contains("cgroup-manager"));
    }

    #[test]
    fn rootless_is_a_boolean_or_auto() {
        for (line, choice) in [
            ("", None),
            ("--rootless auto", None),
            ("--rootless true", Some(true)),
            ("--rootless=1", Some(true)),
            ("--rootless=false", Some(false)),
            ("--rootless 0", Some(false)),
        ] {
            assert_eq!(settings(line).unwrap().rootless, choice, "{line}");
        }
        assert_eq!(
            settings("--rootless maybe").unwrap_err(),
            "invalid --rootless \"maybe\": use true, false or auto"
        );
    }
}
