//! `process.apparmorProfile`, `process.selinuxLabel`, `linux.mountLabel` (config.md#linux-process, config-linux.md#mount-label).
//!
//! The kernel takes the label of the program to come from the process itself, which writes it into a file of its own in procfs. That file
//! is opened before the container has mounted anything, so what an image has at `/proc` is never asked.

use super::step::{InitOp, InitStep, Label};
use crate::error::PlanError;
use crate::facts::Security;
use oci_spec::runtime::Spec;

/// runc's words.
const NO_APPARMOR: &str = "apparmor: config provided but apparmor not supported";
const NO_SELINUX: &str =
    "selinux label is specified in config, but selinux is disabled or not supported";

/// What has to be done about labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Labels {
    /// Label and field.
    process: Vec<(Label, &'static str)>,
    /// Label of mounts.
    mounts: Option<String>,
}

/// Whether the security modules have to be looked at.
pub(crate) fn needs_security(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    asked(process.and_then(|process| process.apparmor_profile().as_deref())).is_some()
        || asked(process.and_then(|process| process.selinux_label().as_deref())).is_some()
        || mount_label(spec).is_some()
}

fn asked(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn mount_label(spec: &Spec) -> Option<&str> {
    asked(spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()))
}

/// Reads the labels; one that no module of this host would look at is refused.
pub(super) fn plan(spec: &Spec, security: Security) -> Result<Labels, PlanError> {
    let mut labels = Labels::default();
    let process = spec.process().as_ref();
    if let Some(profile) = asked(process.and_then(|process| process.apparmor_profile().as_deref()))
    {
        let pointer = "/process/apparmorProfile";
        check(profile, pointer)?;
        match (security.apparmor, profile) {
            // What the process is anyway, where the runtime is: engines say so.
            (false, "unconfined") => {}
            (true, "unconfined") if security.unconfined => {}
            (true, profile) => {
                labels.process.push((Label::AppArmor(profile.to_owned()), pointer));
            }
            (false, _) => return Err(PlanError::unsupported(pointer, NO_APPARMOR).value(profile)),
        }
    }
    if let Some(label) = asked(process.and_then(|process| process.selinux_label().as_deref())) {
        let pointer = "/process/selinuxLabel";
        check(label, pointer)?;
        if !security.selinux {
            return Err(PlanError::unsupported(pointer, NO_SELINUX).value(label));
        }
        labels.process.push((Label::SeLinux(label.to_owned()), pointer));
    }
    if let Some(label) = mount_label(spec) {
        let pointer = "/linux/mountLabel";
        check(label, pointer)?;
        if label.contains('"') {
            return Err(PlanError::invalid(pointer, "a label has no quotation mark").value(label));
        }
        if !security.selinux {
            return Err(PlanError::unsupported(pointer, NO_SELINUX).value(label));
        }
        labels.mounts = Some(label.to_owned());
    }
    Ok(labels)
}

fn check(label: &str, pointer: &str) -> Result<(), PlanError> {
    if label.contains(['\0', '\n']) {
        return Err(
            PlanError::invalid(pointer, "a label is one line without null bytes").value(label)
        );
    }
    Ok(())
}

impl Labels {
    /// The steps before anything of the container is mounted.
    pub(super) fn open_steps(&self) -> Vec<InitStep> {
        let open = |(label, pointer): &(Label, &'static str)| {
            InitStep::new(InitOp::OpenLabel { file: label.file() }, *pointer)
        };
        let mut steps: Vec<_> = self.process.iter().map(open).collect();
        steps.extend(
            self.mounts
                .clone()
                .map(|label| InitStep::new(InitOp::LabelHidden(label), "/linux/mountLabel")),
        );
        steps
    }

    /// The steps that tell the kernel the label of the program.
    pub(super) fn write_steps(&self) -> Vec<InitStep> {
        let write = |(label, pointer): &(Label, &'static str)| {
            InitStep::new(InitOp::WriteLabel(label.clone()), *pointer)
        };
        self.process.iter().map(write).collect()
    }

    /// The steps before and after the making of a keyring. It gets the label of the program, which SELinux would not let look into a
    /// keyring of the runtime's (proc_pid_attr(5)).
    pub(super) fn around_keyring(&self) -> Option<[InitStep; 2]> {
        let label = self.process.iter().find_map(|(label, _)| match label {
            Label::SeLinux(label) => Some(label.clone()),
            Label::AppArmor(_) => None,
        })?;
        let path = || "thread-self/attr/keycreate".to_owned();
        // An empty line takes it back.
        let write = |text| InitOp::WriteProc { path: path(), text };
        Some(
            [label, "\n".to_owned()]
                .map(|text| InitStep::new(write(text), "/process/selinuxLabel")),
        )
    }

    /// Labels filesystems as they are mounted. The kernel labels the files of procfs, sysfs and cgroups itself; message queues take no
    /// such option.
    pub(super) fn apply_to(&self, mounts: &mut [InitStep]) {
        const OWN: &[&str] = &["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];
        let Some(label) = &self.mounts else { return };
        for step in mounts {
            if let InitOp::MountFilesystem { kind, data, .. } = &mut step.op
                && !OWN.contains(&kind.as_str())
            {
                let separator = if data.is_empty() { "" } else { "," };
                data.push_str(&format!("{separator}context=\"{label}\""));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPARMOR: Security = Security { apparmor: true, unconfined: true, selinux: false };
    const SELINUX: Security = Security { apparmor: false, unconfined: false, selinux: true };

    fn spec(process: &str, linux: &str) -> Spec {
        let text = format!(
            r#"{{"ociVersion":"1.3.0","process":{{"user":{{"uid":0,"gid":0}},"cwd":"/"{process}}},"linux":{{{linux}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn profile(name: &str, security: Security) -> Result<Vec<String>, PlanError> {
        let spec = spec(&format!(r#","apparmorProfile":"{name}""#), "");
        let labels = plan(&spec, security)?;
        let steps = labels.open_steps().into_iter().chain(labels.write_steps());
        Ok(steps.map(|step| step.op.to_string()).collect())
    }

    #[test]
    fn a_profile_is_opened_early_and_written_late() {
        assert_eq!(
            profile("teu-default", APPARMOR).unwrap(),
            [
                "open /proc/thread-self/attr/apparmor/exec",
                "apply AppArmor profile \"teu-default\": write /proc/thread-self/attr/apparmor/exec",
            ]
        );
    }

    #[test]
    fn no_profile_is_accepted_where_there_is_none() {
        let nothing = Vec::<String>::new();
        assert_eq!(profile("unconfined", APPARMOR).unwrap(), nothing);
        assert_eq!(profile("unconfined", Security::default()).unwrap(), nothing);
        assert_eq!(profile("", Security::default()).unwrap(), nothing);
        let confined = Security { unconfined: false, ..APPARMOR };
        assert_eq!(profile("unconfined", confined).unwrap().len(), 2);
        let error = profile("teu-default", Security::default()).unwrap_err();
        assert!(error.unsupported && error.pointer == "/process/apparmorProfile", "{error}");
        assert!(profile(r"a\nb", APPARMOR).is_err());
    }

    #[test]
    fn selinux_labels_need_selinux() {
        let process = r#","selinuxLabel":"system_u:system_r:svirt_t:s0""#;
        let labels = plan(&spec(process, ""), SELINUX).unwrap();
        assert_eq!(
            labels.write_steps()[0].op.to_string(),
            "apply SELinux label \"system_u:system_r:svirt_t:s0\": write /proc/thread-self/attr/exec"
        );
        let [before, after] = labels.around_keyring().unwrap().map(|step| step.op.to_string());
        assert_eq!(
            before,
            "write \"system_u:system_r:svirt_t:s0\" to /proc/thread-self/attr/keycreate"
        );
        assert_eq!(after, "write \"\" to /proc/thread-self/attr/keycreate");
        let error = plan(&spec(process, ""), APPARMOR).unwrap_err();
        assert!(error.unsupported && error.pointer == "/process/selinuxLabel", "{error}");
        let process = r#","apparmorProfile":"teu-default""#;
        assert_eq!(plan(&spec(process, ""), APPARMOR).unwrap().around_keyring(), None);
        let error = plan(&spec("", r#""mountLabel":"a:b:c:s0""#), APPARMOR).unwrap_err();
        assert!(error.unsupported && error.pointer == "/linux/mountLabel", "{error}");
    }

    #[test]
    fn filesystems_are_labelled_but_those_that_label_themselves() {
        let labels = plan(&spec("", r#""mountLabel":"u:r:t:s0:c1,c2""#), SELINUX).unwrap();
        let mount = |kind: &str, data: &str| {
            InitStep::from(InitOp::MountFilesystem {
                destination: "/x".to_owned(),
                kind: kind.to_owned(),
                source: kind.to_owned(),
                flags: 0,
                data: data.to_owned(),
                no_symlinks: false,
                inherit_mode: false,
            })
        };
        let mut steps = [
            mount("tmpfs", "mode=755"),
            mount("devpts", ""),
            mount("proc", ""),
            mount("mqueue", ""),
        ];
        labels.apply_to(&mut steps);
        let data = steps.map(|step| match step.op {
            InitOp::MountFilesystem { data, .. } => data,
            other => panic!("{other}"),
        });
        let context = "context=\"u:r:t:s0:c1,c2\"";
        assert_eq!(
            data,
            [format!("mode=755,{context}"), context.to_owned(), String::new(), String::new()]
        );
        assert_eq!(labels.open_steps()[0].op, InitOp::LabelHidden("u:r:t:s0:c1,c2".to_owned()));
        assert!(plan(&spec("", r#""mountLabel":"a\"b""#), SELINUX).is_err());
    }

    #[test]
    fn the_modules_are_looked_at_only_when_there_is_a_label() {
        assert!(!needs_security(&spec(r#","apparmorProfile":"""#, "")));
        assert!(needs_security(&spec(r#","apparmorProfile":"unconfined""#, "")));
        assert!(needs_security(&spec("", r#""mountLabel":"x""#)));
    }
}
