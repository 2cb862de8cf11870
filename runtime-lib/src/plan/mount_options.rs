//! The one table of mount options (config.md#mounts, mount(8)): every name, and what it means to the kernel.

use super::step::Attributes;
use crate::error::PlanError;
use std::fmt;
use teu_init::program::MountAttributes;

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: the kernel's defaults.
    Default,
    /// Sets a flag of mount(2); for a bind mount, the attribute of mount_setattr(2) with the same meaning.
    Set(u64),
    /// Clears it.
    Clear(u64),
    /// Makes it a bind mount; with everything below when true.
    Bind(bool),
    /// Changes the propagation after the mount (mount_namespaces(7)).
    Propagation(u64),
    /// Sets attributes of the mount and of all below it.
    RecursiveSet(u64),
    /// Clears them.
    RecursiveClear(u64),
    /// Maps the ids of the mount; those of everything below as well when true.
    IdMap(bool),
    /// Changes what an earlier entry has mounted.
    Remount,
    /// Makes the link that the source is, instead of binding what it leads to.
    CopyLink,
    /// Binds the link that the source is.
    KeepSourceLink,
    /// Mounts on the link that the destination is.
    KeepDestinationLink,
    /// Fills it with what it covers.
    Fill(Fill),
}

/// What is filled with what the image has at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// A bind mount, if it is empty.
    Volume,
    /// A tmpfs.
    Tmpfs,
}

/// Attributes that are one field of several bits: setting one clears the others (mount_setattr(2)).
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
const REC: u64 = libc::MS_REC;

/// `(name, effect)` in alphabetical order.
const OPTIONS: &[(&str, Effect)] = &[
    ("async", Effect::Clear(libc::MS_SYNCHRONOUS)),
    ("atime", Effect::Clear(libc::MS_NOATIME)),
    ("bind", Effect::Bind(false)),
    (COPY_LINK, Effect::CopyLink),
    ("copyup", Effect::Fill(Fill::Volume)),
    ("defaults", Effect::Default),
    ("dest-nofollow", Effect::KeepDestinationLink),
    ("dev", Effect::Clear(libc::MS_NODEV)),
    ("diratime", Effect::Clear(libc::MS_NODIRATIME)),
    ("dirsync", Effect::Set(libc::MS_DIRSYNC)),
    ("exec", Effect::Clear(libc::MS_NOEXEC)),
    ("idmap", Effect::IdMap(false)),
    ("iversion", Effect::Set(libc::MS_I_VERSION)),
    ("lazytime", Effect::Set(libc::MS_LAZYTIME)),
    ("loud", Effect::Clear(libc::MS_SILENT)),
    ("mand", Effect::Set(libc::MS_MANDLOCK)),
    ("noatime", Effect::Set(libc::MS_NOATIME)),
    ("nodev", Effect::Set(libc::MS_NODEV)),
    ("nodiratime", Effect::Set(libc::MS_NODIRATIME)),
    ("noexec", Effect::Set(libc::MS_NOEXEC)),
    ("noiversion", Effect::Clear(libc::MS_I_VERSION)),
    ("nolazytime", Effect::Clear(libc::MS_LAZYTIME)),
    ("nomand", Effect::Clear(libc::MS_MANDLOCK)),
    ("norelatime", Effect::Clear(libc::MS_RELATIME)),
    ("nostrictatime", Effect::Clear(libc::MS_STRICTATIME)),
    ("nosuid", Effect::Set(libc::MS_NOSUID)),
    ("nosymfollow", Effect::Set(MS_NOSYMFOLLOW)),
    ("private", Effect::Propagation(libc::MS_PRIVATE)),
    ("ratime", Effect::RecursiveClear(libc::MOUNT_ATTR_NOATIME)),
    ("rbind", Effect::Bind(true)),
    ("rdev", Effect::RecursiveClear(libc::MOUNT_ATTR_NODEV)),
    ("rdiratime", Effect::RecursiveClear(libc::MOUNT_ATTR_NODIRATIME)),
    ("relatime", Effect::Set(libc::MS_RELATIME)),
    ("remount", Effect::Remount),
    ("rexec", Effect::RecursiveClear(libc::MOUNT_ATTR_NOEXEC)),
    ("ridmap", Effect::IdMap(true)),
    ("rnoatime", Effect::RecursiveSet(libc::MOUNT_ATTR_NOATIME)),
    ("rnodev", Effect::RecursiveSet(libc::MOUNT_ATTR_NODEV)),
    ("rnodiratime", Effect::RecursiveSet(libc::MOUNT_ATTR_NODIRATIME)),
    ("rnoexec", Effect::RecursiveSet(libc::MOUNT_ATTR_NOEXEC)),
    ("rnorelatime", Effect::RecursiveClear(libc::MOUNT_ATTR_RELATIME)),
    ("rnostrictatime", Effect::RecursiveClear(libc::MOUNT_ATTR_STRICTATIME)),
    ("rnosuid", Effect::RecursiveSet(libc::MOUNT_ATTR_NOSUID)),
    ("rnosymfollow", Effect::RecursiveSet(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("ro", Effect::Set(libc::MS_RDONLY)),
    ("rprivate", Effect::Propagation(libc::MS_PRIVATE | REC)),
    ("rrelatime", Effect::RecursiveSet(libc::MOUNT_ATTR_RELATIME)),
    ("rro", Effect::RecursiveSet(libc::MOUNT_ATTR_RDONLY)),
    ("rrw", Effect::RecursiveClear(libc::MOUNT_ATTR_RDONLY)),
    ("rshared", Effect::Propagation(libc::MS_SHARED | REC)),
    ("rslave", Effect::Propagation(libc::MS_SLAVE | REC)),
    ("rstrictatime", Effect::RecursiveSet(libc::MOUNT_ATTR_STRICTATIME)),
    ("rsuid", Effect::RecursiveClear(libc::MOUNT_ATTR_NOSUID)),
    ("rsymfollow", Effect::RecursiveClear(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("runbindable", Effect::Propagation(libc::MS_UNBINDABLE | REC)),
    ("rw", Effect::Clear(libc::MS_RDONLY)),
    ("shared", Effect::Propagation(libc::MS_SHARED)),
    ("silent", Effect::Set(libc::MS_SILENT)),
    ("slave", Effect::Propagation(libc::MS_SLAVE)),
    ("src-nofollow", Effect::KeepSourceLink),
    ("strictatime", Effect::Set(libc::MS_STRICTATIME)),
    ("suid", Effect::Clear(libc::MS_NOSUID)),
    ("symfollow", Effect::Clear(MS_NOSYMFOLLOW)),
    ("sync", Effect::Set(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Effect::Fill(Fill::Tmpfs)),
    ("unbindable", Effect::Propagation(libc::MS_UNBINDABLE)),
];

/// The option that needs to know whether a source is a link.
pub(super) const COPY_LINK: &str = "copy-symlink";

/// `MS_NOSYMFOLLOW`, Linux 5.10.
const MS_NOSYMFOLLOW: u64 = 256;

/// Every option name that is understood.
#[must_use]
pub fn mount_option_names() -> Vec<&'static str> {
    OPTIONS.iter().map(|(name, _)| *name).collect()
}

/// The options of one mount, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Options {
    /// `Some(recursive)` for a bind mount.
    pub(super) bind: Option<bool>,
    /// `MS_*` to set.
    pub(super) set: u64,
    /// `MS_*` to clear.
    pub(super) clear: u64,
    /// Propagation changes, in order.
    pub(super) propagation: Vec<u64>,
    /// Attributes for the mount and all below it.
    pub(super) recursive: MountAttributes,
    /// `Some(recursive)` for mapped ids.
    pub(super) id_map: Option<bool>,
    /// Whether an earlier entry's mount is changed instead of a new one made.
    pub(super) remount: bool,
    /// What happens to symbolic links that the source and the destination are.
    pub(super) links: Links,
    /// What is filled with what it covers.
    pub(super) fill: Option<Fill>,
    /// Everything else, for the filesystem.
    pub(super) data: String,
}

/// What happens to symbolic links, if not that they are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Links {
    /// A source is made again instead of bound.
    pub(super) copy: bool,
    /// A source is bound itself.
    pub(super) keep_source: bool,
    /// A destination is mounted over itself.
    pub(super) keep_destination: bool,
}

/// Reads the options of the mount at `pointer`.
pub(super) fn parse(options: &[String], pointer: &str) -> Result<Options, PlanError> {
    let mut parsed = Options::default();
    let mut data = Vec::new();
    for (index, option) in options.iter().enumerate() {
        let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
        if matches!(name, "idmap" | "ridmap") && name != option {
            let rule = "id maps in the option itself are not supported: put them into uidMappings and gidMappings of the mount";
            let pointer = format!("{pointer}/options/{index}");
            return Err(PlanError::unsupported(pointer, rule).value(option));
        }
        match OPTIONS.binary_search_by_key(&option.as_str(), |(name, _)| name) {
            Ok(found) => {
                parsed.apply(OPTIONS.get(found).map_or(Effect::Default, |(_, effect)| *effect))
            }
            Err(_) if option.contains('\0') => {
                let pointer = format!("{pointer}/options/{index}");
                return Err(
                    PlanError::invalid(pointer, "mount field contains null byte").value(option)
                );
            }
            Err(_) => data.push(option.as_str()),
        }
    }
    parsed.data = data.join(",");
    Ok(parsed)
}

impl Options {
    /// Applies one option; a later one overrides an earlier one that says the opposite.
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Default => {}
            Effect::Set(flag) => {
                self.set |= flag;
                self.clear &= !flag;
            }
            Effect::Clear(flag) => {
                self.set &= !flag;
                self.clear |= flag;
            }
            Effect::Bind(recursive) => self.bind = Some(recursive),
            Effect::Fill(fill) => self.fill = Some(fill),
            Effect::Propagation(flags) => self.propagation.push(flags),
            Effect::IdMap(recursive) => self.id_map = Some(recursive),
            Effect::Remount => self.remount = true,
            Effect::CopyLink => self.links.copy = true,
            Effect::KeepSourceLink => self.links.keep_source = true,
            Effect::KeepDestinationLink => self.links.keep_destination = true,
            Effect::RecursiveSet(attributes) => {
                self.recursive.set = (self.recursive.set & !field(attributes)) | attributes;
                self.recursive.clear =
                    (self.recursive.clear & !attributes) | (field(attributes) & ATIME);
                self.recursive.recursive = AT_RECURSIVE;
            }
            Effect::RecursiveClear(attributes) => {
                self.recursive.set &= !attributes;
                // The kernel takes the time attributes as one field, which is cleared as a whole.
                self.recursive.clear |=
                    if attributes & ATIME == attributes { ATIME } else { attributes };
                self.recursive.recursive = AT_RECURSIVE;
            }
        }
    }

    /// The changes that a bind mount needs: only what was said, everything else as the source has it (mount(8), `bind`).
    pub(super) fn bind_attributes(&self) -> MountAttributes {
        let mut attributes = MountAttributes::default();
        for &(flag, attribute) in FLAG_ATTRIBUTES {
            if self.set & flag != 0 {
                attributes.set |= attribute;
            } else if self.clear & flag != 0 {
                attributes.clear |= attribute;
            }
        }
        let times = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
        if (self.set | self.clear) & times != 0 {
            attributes.clear |= ATIME;
            attributes.set |= match self.set & times {
                flags if flags & libc::MS_NOATIME != 0 => libc::MOUNT_ATTR_NOATIME,
                flags if flags & libc::MS_STRICTATIME != 0 => libc::MOUNT_ATTR_STRICTATIME,
                _ => libc::MOUNT_ATTR_RELATIME,
            };
        }
        attributes
    }
}

/// Flags of mount(2) as attributes of a new mount.
pub(super) fn attributes(flags: u64) -> MountAttributes {
    Options { set: flags, ..Options::default() }.bind_attributes()
}

impl Options {
    /// The changes of `remount` together with `bind`: what is not said is cleared, but for the time attributes, which stay as they
    /// are when none of them is said (mount(2), `MS_REMOUNT | MS_BIND`).
    pub(super) fn replacing_attributes(&self) -> MountAttributes {
        let mut attributes = self.bind_attributes();
        let plain = FLAG_ATTRIBUTES.iter().filter(|(flag, _)| *flag != libc::MS_NODIRATIME);
        for &(_, attribute) in plain {
            attributes.clear |= attribute & !attributes.set;
        }
        attributes
    }

    /// Those of the options that belong to a filesystem, which a bind mount shares with its source.
    pub(super) fn of_filesystem(&self) -> Vec<String> {
        let times = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
        let own = FLAG_ATTRIBUTES.iter().fold(times, |flags, (flag, _)| flags | flag);
        flag_names(self.set & !own)
    }
}

/// The bits that a set attribute takes the place of.
fn field(attributes: u64) -> u64 {
    let is_time = attributes & ATIME != 0 || attributes == libc::MOUNT_ATTR_RELATIME;
    if is_time { ATIME } else { attributes }
}

/// `AT_RECURSIVE`.
pub(super) const AT_RECURSIVE: u64 = 0x8000;

/// Flags of mount(2) that belong to one mount and not to the filesystem, and their attributes of mount_setattr(2).
const FLAG_ATTRIBUTES: &[(u64, u64)] = &[
    (libc::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
    (libc::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
    (libc::MS_NODEV, libc::MOUNT_ATTR_NODEV),
    (libc::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
    (libc::MS_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
    (MS_NOSYMFOLLOW, libc::MOUNT_ATTR_NOSYMFOLLOW),
];

/// The propagation types, all eight (config-linux.md#rootfs-mount-propagation).
pub(super) fn propagation(name: &str) -> Option<u64> {
    let index = OPTIONS.binary_search_by_key(&name, |(name, _)| name).ok()?;
    match OPTIONS.get(index)? {
        (_, Effect::Propagation(flags)) => Some(*flags),
        _ => None,
    }
}

/// The name of propagation flags.
pub(super) fn propagation_name(flags: u64) -> &'static str {
    OPTIONS
        .iter()
        .find(|(_, effect)| *effect == Effect::Propagation(flags))
        .map_or("of an unknown propagation", |(name, _)| name)
}

/// The names of the flags that are set.
pub(super) fn flag_names(flags: u64) -> Vec<String> {
    OPTIONS
        .iter()
        .filter(|(_, effect)| matches!(effect, Effect::Set(flag) if flags & flag != 0))
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

/// Attribute changes in words, beginning with a space when there are any.
pub(super) fn describe_attributes(
    change: MountAttributes,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    const NAMES: &[(u64, &str)] = &[
        (libc::MOUNT_ATTR_RDONLY, "ro"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid"),
        (libc::MOUNT_ATTR_NODEV, "nodev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec"),
        (libc::MOUNT_ATTR_NODIRATIME, "nodiratime"),
        (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
        (libc::MOUNT_ATTR_NOATIME, "noatime"),
        (libc::MOUNT_ATTR_STRICTATIME, "strictatime"),
    ];
    let mut words: Vec<String> = Vec::new();
    words.extend(
        NAMES.iter().filter(|(bit, _)| change.set & bit != 0).map(|(_, name)| (*name).to_owned()),
    );
    let cleared = change.clear & !change.set & !ATIME;
    words.extend(
        NAMES.iter().filter(|(bit, _)| cleared & bit != 0).map(|(_, name)| format!("not {name}")),
    );
    if change.clear & ATIME != 0 && change.set & ATIME == 0 {
        words.push("relatime".to_owned());
    }
    if change.propagation != 0 {
        words.push(propagation_name(change.propagation).to_owned());
    }
    if words.is_empty() {
        return Ok(());
    }
    let reach = if change.recursive == 0 { "" } else { ", with all below" };
    write!(f, " ({}{reach})", words.join(","))
}

impl From<MountAttributes> for Attributes {
    fn from(attributes: MountAttributes) -> Self {
        Self(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Options {
        let list: Vec<String> = list.iter().map(|&option| option.to_owned()).collect();
        parse(&list, "/mounts/0").unwrap()
    }

    #[test]
    fn the_table_is_sorted_and_has_no_name_twice() {
        assert!(OPTIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn unknown_options_are_data_in_order_and_defaults_is_nothing() {
        let parsed = options(&["nosuid", "mode=755", "defaults", "size=65536k"]);
        assert_eq!(parsed.set, libc::MS_NOSUID);
        assert_eq!(parsed.data, "mode=755,size=65536k");
    }

    #[test]
    fn the_last_of_two_opposites_counts() {
        assert_eq!(options(&["ro", "rw"]).set, 0);
        assert_eq!(options(&["rw", "ro"]).set, libc::MS_RDONLY);
    }

    #[test]
    fn a_bind_mount_changes_only_what_was_said() {
        assert!(options(&["rbind"]).bind_attributes().is_empty());
        let attributes = options(&["bind", "ro", "exec", "noatime"]).bind_attributes();
        assert_eq!(attributes.set, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME);
        assert_eq!(attributes.clear, libc::MOUNT_ATTR_NOEXEC | ATIME);
    }

    #[test]
    fn recursive_time_attributes_replace_each_other() {
        let parsed = options(&["rnoatime", "rstrictatime"]).recursive;
        assert_eq!((parsed.set, parsed.clear), (libc::MOUNT_ATTR_STRICTATIME, ATIME));
        assert_eq!(options(&["rro"]).recursive.set, libc::MOUNT_ATTR_RDONLY);
    }

    #[test]
    fn remounting_a_bind_mount_replaces_its_flags_and_keeps_its_times() {
        let attributes = options(&["remount", "bind", "ro"]).replacing_attributes();
        assert_eq!(attributes.set, libc::MOUNT_ATTR_RDONLY);
        let cleared = [libc::MOUNT_ATTR_NOSUID, libc::MOUNT_ATTR_NODEV, libc::MOUNT_ATTR_NOEXEC];
        assert!(cleared.iter().all(|attribute| attributes.clear & attribute != 0));
        assert_eq!(attributes.clear & (ATIME | libc::MOUNT_ATTR_NODIRATIME), 0);
    }

    #[test]
    fn what_belongs_to_a_filesystem_is_known() {
        assert_eq!(
            options(&["ro", "noatime", "sync", "lazytime"]).of_filesystem(),
            ["lazytime", "sync"]
        );
    }

    #[test]
    fn what_is_not_done_is_refused_and_not_given_to_the_filesystem() {
        let error = parse(&["idmap=uids=0-1-2".to_owned()], "/mounts/3").unwrap_err();
        assert_eq!(error.pointer, "/mounts/3/options/0");
        assert!(error.unsupported);
    }

    #[test]
    fn all_eight_propagation_types_are_known() {
        let names = ["shared", "slave", "private", "unbindable"];
        assert!(names.iter().all(|name| {
            propagation(&format!("r{name}")) == propagation(name).map(|flags| flags | REC)
        }));
        assert_eq!(propagation("ro"), None);
    }
}
