//! The one table of commands and flags.
//!
//! The parser ([`crate::args`]) and the help text ([`crate::help`]) read nothing else, so they cannot drift apart, and
//! neither can whatever else is derived from the table (manual pages, shell completions).

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true` and `=false`; it never consumes the next word.
    Switch,
    /// Any text.
    Text,
    /// A whole number, zero or greater.
    Number,
}

/// One flag, of the program or of a command.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The long name, without dashes.
    pub(crate) name: &'static str,
    /// The other name, without a dash; empty where there is none.
    pub(crate) short: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// The default as help shows it; empty where there is nothing to show.
    pub(crate) default: &'static str,
    /// One line for the help text.
    pub(crate) help: &'static str,
    /// Accepted, but not shown.
    pub(crate) hidden: bool,
}

impl Flag {
    const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, short: "", kind: Kind::Switch, default: "", help, hidden: false }
    }

    const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, short: "", kind: Kind::Text, default: "", help, hidden: false }
    }

    const fn number(name: &'static str, help: &'static str) -> Self {
        Self { name, short: "", kind: Kind::Number, default: "0", help, hidden: false }
    }

    const fn short(mut self, short: &'static str) -> Self {
        self.short = short;
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// Which command a row of the table describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Delete,
    Features,
    Help,
    Kill,
    List,
    Plan,
    Run,
    Spec,
    Start,
    State,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) operation: Operation,
    pub(crate) name: &'static str,
    /// The other name; empty where there is none.
    pub(crate) alias: &'static str,
    /// What it does, in one line, lower case, without a full stop.
    pub(crate) summary: &'static str,
    /// The positional arguments as the usage line shows them.
    pub(crate) arguments: &'static str,
    /// The text of the help page.
    pub(crate) description: &'static str,
    pub(crate) flags: &'static [&'static Flag],
    /// The fewest positional arguments.
    pub(crate) min: usize,
    /// The most positional arguments.
    pub(crate) max: usize,
}

pub(crate) static DEBUG: Flag = Flag::switch("debug", "log what is being done, step by step");
pub(crate) static LOG: Flag =
    Flag::text("log", "append the log to this file (default: standard error)");
pub(crate) static LOG_FORMAT: Flag =
    Flag::text("log-format", "format of the log: 'text' or 'json'").default("\"text\"");
pub(crate) static ROOT: Flag =
    Flag::text("root", "directory for the state of containers; it should be on a tmpfs")
        .default("\"/run/teu\"");
pub(crate) static SYSTEMD_CGROUP: Flag = Flag::switch(
    "systemd-cgroup",
    "let systemd manage the cgroups; cgroupsPath is then \"slice:prefix:name\"",
);
pub(crate) static CGROUP_MANAGER: Flag = Flag::text(
    "cgroup-manager",
    "cgroup driver: 'cgroupfs', 'systemd' (as --systemd-cgroup) or 'disabled'",
)
.default("\"cgroupfs\"");
pub(crate) static ROOTLESS: Flag = Flag::text(
    "rootless",
    "whether cgroup permission errors are ignored: 'true', 'false' or 'auto'",
)
.default("\"auto\"");
pub(crate) static HELP: Flag = Flag::switch("help", "show help").short("h");
pub(crate) static VERSION: Flag = Flag::switch("version", "print the version").short("v");

/// The flags that come before the command.
pub(crate) static GLOBAL: &[&Flag] = &[
    &DEBUG,
    &LOG,
    &LOG_FORMAT,
    &ROOT,
    &SYSTEMD_CGROUP,
    &CGROUP_MANAGER,
    &ROOTLESS,
    &HELP,
    &VERSION,
];

pub(crate) static BUNDLE: Flag =
    Flag::text("bundle", "the bundle directory (default: the current directory)").short("b");
pub(crate) static CONFIG: Flag =
    Flag::text("config", "read this file instead of the bundle's config.json").short("f");
pub(crate) static CONSOLE_SOCKET: Flag = Flag::text(
    "console-socket",
    "AF_UNIX socket that receives the descriptor of the console's pseudoterminal master",
);
pub(crate) static PIDFD_SOCKET: Flag = Flag::text(
    "pidfd-socket",
    "AF_UNIX socket that receives a pidfd of the container's init process",
);
pub(crate) static PID_FILE: Flag =
    Flag::text("pid-file", "write the pid of the container's init process to this file");
pub(crate) static NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "move the root mount instead of pivot_root(2), for a rootfs on the initial ramdisk",
);
pub(crate) static NO_NEW_KEYRING: Flag =
    Flag::switch("no-new-keyring", "let the container keep the session keyring of the caller");
pub(crate) static PRESERVE_FDS: Flag =
    Flag::number("preserve-fds", "pass this many descriptors, from 3 on, to the container");
pub(crate) static DETACH: Flag =
    Flag::switch("detach", "return as soon as the container runs").short("d");
pub(crate) static KEEP: Flag = Flag::switch("keep", "do not delete the container when it exits");
pub(crate) static NO_SUBREAPER: Flag =
    Flag::switch("no-subreaper", "do not adopt and reap orphans of the container");
pub(crate) static ALL: Flag =
    Flag::switch("all", "signal every process of the container; success where it has stopped")
        .short("a")
        .hidden();
pub(crate) static FORCE: Flag =
    Flag::switch("force", "kill the container first; success where there is none").short("f");
pub(crate) static SPEC_ROOTLESS: Flag =
    Flag::switch("rootless", "write a configuration for a caller without privileges");
pub(crate) static FORMAT: Flag =
    Flag::text("format", "format of the list: 'table' or 'json'").short("f").default("\"table\"");
pub(crate) static QUIET: Flag = Flag::switch("quiet", "print only the ids, one a line").short("q");
pub(crate) static JSON: Flag = Flag::switch("json", "print JSON");

/// Every command, in the order in which help lists them.
pub(crate) static COMMANDS: &[Command] = &[
    Command {
        operation: Operation::Create,
        name: "create",
        alias: "",
        summary: "create a container",
        arguments: "<container-id>",
        description: "\
Creates a container from a bundle, a directory with a config.json and a root
filesystem. The container's process is set up completely and then waits:
`start` lets it execute the program that config.json names.

The id must be unique on this host. It consists of letters, digits and the
characters _ + . and -.",
        flags: &[
            &BUNDLE,
            &CONFIG,
            &CONSOLE_SOCKET,
            &PIDFD_SOCKET,
            &PID_FILE,
            &NO_PIVOT,
            &NO_NEW_KEYRING,
            &PRESERVE_FDS,
        ],
        min: 1,
        max: 1,
    },
    Command {
        operation: Operation::Delete,
        name: "delete",
        alias: "",
        summary: "delete a container and all that it holds on the host",
        arguments: "<container-id>",
        description: "\
Deletes a container that has stopped, or that was created and never started.
With --force also one that runs, and what an interrupted `create` left behind.",
        flags: &[&FORCE],
        min: 1,
        max: 1,
    },
    Command {
        operation: Operation::Features,
        name: "features",
        alias: "",
        summary: "show what this runtime can do",
        arguments: "",
        description: "\
Prints the features structure of the OCI runtime specification, as JSON.",
        flags: &[],
        min: 0,
        max: 0,
    },
    Command {
        operation: Operation::Kill,
        name: "kill",
        alias: "",
        summary: "send a signal to the container's init process",
        arguments: "<container-id> [signal]",
        description: "\
The signal is a name, with or without SIG, or a number; SIGTERM where none is
given. For example, to kill the container \"ubuntu01\":

    # teu kill ubuntu01 KILL",
        flags: &[&ALL],
        min: 1,
        max: 2,
    },
    Command {
        operation: Operation::List,
        name: "list",
        alias: "",
        summary: "list the containers of this state directory",
        arguments: "",
        description: "\
Lists the containers whose state is kept below --root, with the owner of each.",
        flags: &[&FORMAT, &QUIET],
        min: 0,
        max: 0,
    },
    Command {
        operation: Operation::Plan,
        name: "plan",
        alias: "",
        summary: "show what create would do, without doing it",
        arguments: "[container-id]",
        description: "\
Prints the clone flags, every cgroup write, every mount and every other step,
in order, that `create` would take for this bundle on this host. Nothing on
the host is changed.",
        flags: &[
            &BUNDLE,
            &CONFIG,
            &CONSOLE_SOCKET,
            &NO_PIVOT,
            &NO_NEW_KEYRING,
            &PRESERVE_FDS,
            &JSON,
        ],
        min: 0,
        max: 1,
    },
    Command {
        operation: Operation::Run,
        name: "run",
        alias: "",
        summary: "create a container and start it",
        arguments: "<container-id>",
        description: "\
Creates a container from a bundle and executes its program. Unless --detach is
given, waits for it, passes on the signals that it receives, deletes the
container, and exits with the container's exit status: 128 + N where signal N
ended it.",
        flags: &[
            &BUNDLE,
            &CONFIG,
            &CONSOLE_SOCKET,
            &PIDFD_SOCKET,
            &DETACH,
            &KEEP,
            &PID_FILE,
            &NO_SUBREAPER,
            &NO_PIVOT,
            &NO_NEW_KEYRING,
            &PRESERVE_FDS,
        ],
        min: 1,
        max: 1,
    },
    Command {
        operation: Operation::Spec,
        name: "spec",
        alias: "",
        summary: "create a new specification file",
        arguments: "",
        description: "\
Writes a config.json to start from: a shell on a terminal, in a read-only root
filesystem in the directory \"rootfs\" of the bundle.",
        flags: &[&BUNDLE, &SPEC_ROOTLESS],
        min: 0,
        max: 0,
    },
    Command {
        operation: Operation::Start,
        name: "start",
        alias: "",
        summary: "execute the program of a created container",
        arguments: "<container-id>",
        description: "\
Lets the process of a container in the created state execute the program that
config.json names.",
        flags: &[],
        min: 1,
        max: 1,
    },
    Command {
        operation: Operation::State,
        name: "state",
        alias: "",
        summary: "output the state of a container",
        arguments: "<container-id>",
        description: "\
Prints the state structure of the OCI runtime specification, as JSON.",
        flags: &[],
        min: 1,
        max: 1,
    },
    Command {
        operation: Operation::Help,
        name: "help",
        alias: "h",
        summary: "show the list of commands, or help for one command",
        arguments: "[command]",
        description: "\
Shows the same text as `--help` before or after the command.",
        flags: &[],
        min: 0,
        max: 1,
    },
];

/// The command called `name`.
pub(crate) fn command(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| command.name == name || (!name.is_empty() && command.alias == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_in_a_flag_set_is_unique() {
        for command in COMMANDS {
            assert_unique(command.name, command.flags.iter().chain([&&HELP]));
        }
        assert_unique("global", GLOBAL.iter());
    }

    fn assert_unique<'a>(set: &str, flags: impl Iterator<Item = &'a &'static Flag>) {
        let mut seen = BTreeSet::new();
        for flag in flags {
            for name in [flag.name, flag.short].into_iter().filter(|name| !name.is_empty()) {
                assert!(seen.insert(name), "{set}: {name} twice");
            }
        }
    }

    #[test]
    fn every_command_is_found_by_its_names_and_no_other() {
        for row in COMMANDS {
            assert_eq!(command(row.name).unwrap().operation, row.operation);
            assert!(row.min <= row.max);
        }
        assert_eq!(command("h").unwrap().operation, Operation::Help);
        for unknown in ["", "-", "CREATE", "exec", "init"] {
            assert!(command(unknown).is_none(), "{unknown}");
        }
    }

    /// The flags that engines pass; a runtime without one of them cannot stand in runc's place.
    #[test]
    fn the_flags_of_the_engines_are_there() {
        let expected = [
            ("create", "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring"),
            ("create", "preserve-fds config f"),
            ("run", "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring"),
            ("run", "preserve-fds detach d keep no-subreaper"),
            ("kill", "all a"),
            ("delete", "force f"),
            ("spec", "bundle b rootless"),
        ];
        for (name, flags) in expected {
            let row = command(name).unwrap();
            for flag in flags.split(' ') {
                assert!(
                    row.flags.iter().any(|known| known.name == flag || known.short == flag),
                    "{name} --{flag}"
                );
            }
        }
    }
}
