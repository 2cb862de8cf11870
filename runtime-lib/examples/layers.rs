//! Two containers that share read-only layers, as an engine makes them: each has an upper directory, which in the end holds exactly
//! what it changed, and an init layer with its own `/etc/hosts`, which is in no upper directory. The host's mount table never
//! shows any of it.
//!
//! Needs root: `cargo run -p teu --example layers`. The lines in braces are what the programs in the containers print.

use serde_json::json;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use teu::{Container, ContainerId, CreateOptions, HostEntry, InitLayer, Layers};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[allow(dead_code, reason = "a test calls `demonstrate` by itself")]
fn main() -> Result<()> {
    let place = std::env::temp_dir().join(format!("teu-layers-{}", std::process::id()));
    let shown = demonstrate(&place, &mut std::io::stdout());
    fs::remove_dir_all(&place)?;
    shown
}

/// Everything, in a directory that is made for it.
pub(crate) fn demonstrate(place: &Path, out: &mut impl Write) -> Result<()> {
    let engine = Engine::new(place)?;
    let layers = tree(&engine.layers())?;

    let change = "read /greeting , write /greeting changed , mkdir /made , write /made/file text";
    let first = engine.create("first", change)?;
    let second = engine.create("second", "read /etc/hosts , read /greeting , remove /unwanted")?;
    let seen = is_mounted(place)?;
    writeln!(out, "with both containers there, the host's mount table shows them: {seen}")?;

    for (name, container) in [("first", &first), ("second", &second)] {
        container.start()?;
        writeln!(out, "{name}: {}", container.wait()?)?;
    }
    for name in ["first", "second"] {
        let changes = tree(&[engine.container(name).join("upper")])?;
        writeln!(out, "{name} changed: {}", changes.join(" "))?;
    }
    let unchanged = tree(&engine.layers())? == layers;
    writeln!(out, "the shared layers are unchanged: {unchanged}")?;

    first.delete(false)?;
    second.delete(false)?;
    let seen = is_mounted(place)?;
    writeln!(out, "with both containers gone, the host's mount table shows them: {seen}")?;
    let states = fs::read_dir(place.join("state"))?.count();
    writeln!(out, "what is left of their states: {states}")?;
    Ok(())
}

/// The little that an engine needs: layers, and a directory for each container.
struct Engine<'a> {
    place: &'a Path,
}

impl<'a> Engine<'a> {
    /// Makes two layers, the upper one with another version of a file of the lower.
    fn new(place: &'a Path) -> Result<Self> {
        let engine = Self { place };
        let [app, base] = engine.layers();
        fs::create_dir_all(base.join("etc"))?;
        fs::create_dir_all(&app)?;
        fs::copy(teu_fixtures::probe(), base.join("probe"))?;
        for (layer, name, text) in [
            (&base, "greeting", "from the base"),
            (&base, "unwanted", "from the base"),
            (&base, "etc/hosts", "from the image, and never seen"),
            (&app, "greeting", "from the app"),
        ] {
            File::create(layer.join(name))?.write_all(text.as_bytes())?;
        }
        Ok(engine)
    }

    /// The shared layers, the top first.
    fn layers(&self) -> [PathBuf; 2] {
        ["app", "base"].map(|name| self.place.join(name))
    }

    fn container(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// A container whose program answers questions, separated by commas.
    fn create(&self, name: &str, questions: &str) -> Result<Container> {
        let directory = self.container(name);
        let [upper, work] = ["upper", "work"].map(|name| directory.join(name));
        for path in [&upper, &work] {
            fs::create_dir_all(path)?;
        }
        let args: Vec<&str> = ["/probe"].into_iter().chain(questions.split(' ')).collect();
        let config = config(&args, &format!("/teu-layers-{}-{name}", std::process::id()));
        File::create(directory.join("config.json"))?.write_all(config.as_bytes())?;

        let mut init = InitLayer::default();
        init.hosts = Some(vec![HostEntry::new([10, 0, 0, 2], [name])]);
        let mut layers = Layers::new(self.layers()).writable(upper, work);
        layers.init = init;
        let mut options = CreateOptions::new(self.place.join("state"), directory);
        options.layers = Some(layers);
        Ok(Container::create(&ContainerId::new(name)?, &options)?)
    }
}

/// A configuration without a root: that is what the layers are for.
fn config(args: &[&str], cgroup: &str) -> String {
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.3.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/var/lib/nowhere", "type": "tmpfs", "source": "tmpfs" }
        ],
        "linux": { "cgroupsPath": cgroup, "namespaces": namespaces }
    })
    .to_string()
}

/// Whether the host's mount table has a mount below this directory, or one that is made of what is there.
fn is_mounted(place: &Path) -> Result<bool> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    Ok(table.contains(&*place.to_string_lossy()))
}

/// The paths of everything below these directories, sorted; what overlayfs put there to hide a file is marked.
fn tree(roots: &[PathBuf]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut left: Vec<(PathBuf, String)> =
        roots.iter().map(|root| (root.clone(), String::new())).collect();
    while let Some((directory, prefix)) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata()?;
            let hides = metadata.file_type().is_char_device() && metadata.rdev() == 0;
            found.push(if hides { format!("{path}(removed)") } else { path.clone() });
            if metadata.is_dir() {
                left.push((entry.path(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}
