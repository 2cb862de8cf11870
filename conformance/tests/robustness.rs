//! Several commands at once, commands that are killed, and a root file system that changes while it is set up: whatever
//! happens, each command does its work or says why not, and nothing stays behind.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test reports by panicking, and its paths are its own"
)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use teu_conformance::{Canary, Command, Container, Outcome, Runtime, json, mountinfo, sys};

/// Runs `work` in that many threads at once, and gives what they return.
fn in_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        let results: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|panic| panic::resume_unwind(panic)))
            .collect()
    })
}

/// The host's mounts, but for those of other programs in directories of their own.
fn host_mounts() -> Vec<String> {
    let other =
        |mount: &mountinfo::Mount| Path::new(&mount.destination).starts_with(std::env::temp_dir());
    let mounts = mountinfo::host().into_iter().filter(|mount| !other(mount));
    mounts.map(|mount| format!("{mount:?}")).collect()
}

/// When a `create` was killed.
#[derive(Debug, Default)]
struct Kills {
    before_it_made_anything: usize,
    in_the_middle: usize,
    after_it_had_ended: usize,
}

impl Kills {
    /// Kills one `create` after `delay`, deletes what is there, and looks for remains.
    fn add(&mut self, c: &Container, delay: Duration) {
        let killed = killed_create(c, delay);
        let made = c.root().join(c.id()).is_dir();
        let count = match killed.code() {
            0 => &mut self.after_it_had_ended,
            137 if made => &mut self.in_the_middle,
            137 => &mut self.before_it_made_anything,
            _ => panic!("neither killed nor done: {killed}"),
        };
        *count += 1;
        let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
        c.must_be_gone();
        c.must_be_unknown(c.command(["state", c.id()]).run());
    }

    fn and(self, other: Self) -> Self {
        Self {
            before_it_made_anything: self.before_it_made_anything + other.before_it_made_anything,
            in_the_middle: self.in_the_middle + other.in_the_middle,
            after_it_had_ended: self.after_it_had_ended + other.after_it_had_ended,
        }
    }
}

/// `create`, killed after `delay`; exit code 137 says that it was (timeout(1)). Only the runtime itself is killed: in the
/// foreground there is no process group that takes its children along.
fn killed_create(c: &Container, delay: Duration) -> Outcome {
    // config.json is written by what would run it.
    let _saved = c.launch("create", &[]);
    let delay = format!("{:.6}", delay.as_secs_f64());
    let words = ["--foreground", "--preserve-status", "--signal=KILL", &delay].map(PathBuf::from);
    let create = [c.runtime().program().to_owned(), "--root".into(), c.root().to_owned()];
    let rest = ["create".into(), "--bundle".into(), c.bundle.directory().to_owned(), c.id().into()];
    let words = words.into_iter().chain(create).chain(rest);
    Command::new(Path::new("timeout"), words).mounts(c.mounts).run()
}

/// How long a `create` takes at most, of a few.
fn time_of_create(c: &Container) -> Duration {
    let times = (0..8).map(|_| {
        let began = Instant::now();
        let _created = killed_create(c, Duration::from_secs(20)).ok();
        let time = began.elapsed();
        let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
        time
    });
    times.max().expect("some")
}

/// One of the moments of `time`, which are spread evenly: multiples of the golden ratio.
fn moment(time: Duration, number: usize) -> Duration {
    let number = u32::try_from(number).expect("a small number");
    time.mul_f64((f64::from(number) * 0.618_033_988_75).fract())
}

/// Says that something is over when it goes, also when it goes by a panic: others wait for it.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// runtime.md, "Delete": also what a killed `create` has made is removed, wherever it was.
#[test]
fn robustness_create_killed_at_any_moment_is_removed_by_delete() {
    const KILLS: usize = 300;
    const WORKERS: usize = 4;
    let differs = Runtime::under_test().differs("runc", "leaves what a killed create has made")
        || Runtime::under_test().differs("crun", "leaves what a killed create has made");
    if differs {
        return;
    }
    let before = host_mounts();
    let kills = in_threads(WORKERS, |worker| {
        let c = Container::new();
        let time = time_of_create(&c);
        let mut kills = Kills::default();
        for number in (worker..KILLS).step_by(WORKERS) {
            kills.add(&c, moment(time, number));
        }
        kills
    });
    let kills = kills.into_iter().fold(Kills::default(), Kills::and);
    println!("{kills:?}");
    assert!(kills.in_the_middle >= KILLS / 10, "too few tell anything: {kills:?}");
    assert_eq!(host_mounts(), before);
}

/// The same for 64 containers at once: nothing is shared that one of them could miss.
#[test]
fn robustness_many_creates_at_once() {
    const CONTAINERS: usize = 64;
    let together = Barrier::new(CONTAINERS);
    let codes = in_threads(CONTAINERS, |number| {
        let mut c = Container::new();
        c.bundle.ask(&[&format!("exit {number}")]);
        together.wait();
        c.create();
        c.start();
        let code = c.wait();
        let _deleted = c.delete().ok();
        c.must_be_gone();
        usize::try_from(code)
    });
    assert_eq!(codes, (0..CONTAINERS).map(Ok).collect::<Vec<_>>());
}

/// runtime.md, "Create": an id is unique; of two that ask for it at once, one gets it.
#[test]
fn robustness_one_id_is_given_once() {
    const ROUNDS: usize = 50;
    if Runtime::under_test().differs("runc < 1.2", "refuses both of two creates now and then") {
        return;
    }
    let mut first = Container::new();
    let mut second = first.beside();
    let own = second.id().to_owned();
    second.set_id(first.id());
    for c in [&mut first, &mut second] {
        c.bundle.ask(&["pause"]);
    }
    let together = Barrier::new(2);
    for round in 0..ROUNDS {
        let create = |c: &Container| {
            let create = c.launch("create", &[]);
            together.wait();
            create.run()
        };
        let outcomes = in_threads(2, |number| create(if number == 0 { &first } else { &second }));
        let (made, failed): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|outcome| outcome.code() == 0);
        assert_eq!(made.len(), 1, "round {round}: {failed:?}");
        for outcome in failed {
            let failed = outcome.fails();
            if !first.runtime().differs("crun", "1.8: may say `cannot create state directory`") {
                let _said = failed.saying("exist");
            }
        }
        assert_eq!(first.status(), "created");
        let _deleted = first.command(["delete", "--force", first.id()]).run().ok();
        first.must_be_gone();
        second.must_be_gone();
    }
    second.set_id(&own);
}

/// What a command may say that finds the container not, or no longer, as it needs it.
const DOCUMENTED: &[&str] = &[
    "does not exist",
    "not running",
    "that is not stopped: running",
    "cannot start a container that has stopped",
    "cannot start an already running container",
    "the container is being started or deleted by another process",
    "the container is being created, started or deleted by another process",
];

/// The command did its work, or said why not in words that are known.
#[track_caller]
fn must_be_documented(outcome: &Outcome) {
    let known = DOCUMENTED.iter().any(|words| outcome.err().contains(words));
    assert!(outcome.code() == 0 || (outcome.code() == 1 && known), "{outcome}");
}

/// runtime.md, "Operations": each at any time and beside any other. One of them comes first; the others find what it left.
#[test]
fn robustness_operations_on_one_container_at_once() {
    const ROUNDS: usize = 40;
    let words = Runtime::under_test()
        .differs("runc", "words of its own for what vanishes meanwhile")
        || Runtime::under_test().differs("crun", "words of its own for what vanishes meanwhile");
    if words {
        return;
    }
    let commands: [&[&str]; 6] =
        [&["start"], &["start"], &["kill"], &["delete"], &["delete", "--force"], &["state"]];
    let together = Barrier::new(commands.len());
    for round in 0..ROUNDS {
        let mut c = Container::new();
        c.bundle.ask(&["pause"]);
        c.create();
        let outcomes = in_threads(commands.len(), |number| {
            // Each is the first one sometimes.
            let words = commands[(number + round) % commands.len()];
            let signal = (words == ["kill"]).then_some("KILL");
            let command = c.command(words.iter().copied().chain([c.id()]).chain(signal));
            together.wait();
            command.run()
        });
        outcomes.iter().for_each(must_be_documented);
        let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
        c.must_be_gone();
    }
}

/// runtime.md, "Delete": a container that is being created is not there yet; by force it is waited for or refused, never
/// taken apart under the hands of its maker.
#[test]
fn robustness_delete_while_create_is_running() {
    const ROUNDS: usize = 40;
    let differs = Runtime::under_test().differs("runc", "deletes what is being created")
        || Runtime::under_test().differs("crun", "deletes what is being created");
    if differs {
        return;
    }
    let refused = AtomicU32::new(0);
    for round in 0..ROUNDS {
        let mut c = Container::new();
        c.bundle.ask(&["pause"]);
        let done = AtomicBool::new(false);
        let delete: &[&str] = if round % 2 == 0 { &["delete"] } else { &["delete", "--force"] };
        let outcomes = in_threads(2, |number| {
            if number == 0 {
                let _done = Until(&done);
                return c.launch("create", &[]).run();
            }
            loop {
                let outcome = c.command(delete.iter().copied().chain([c.id()])).run();
                must_be_documented(&outcome);
                refused.fetch_add(u32::from(outcome.code() != 0), Ordering::Relaxed);
                if done.load(Ordering::Relaxed) {
                    return outcome;
                }
            }
        });
        let created = &outcomes[0];
        // By force, the directory may go in the moment in which it is made.
        assert!(created.code() == 0 || delete.len() == 2, "{created}");
        let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
        c.must_be_gone();
    }
    assert_ne!(refused.into_inner(), 0, "no delete met a create");
}

/// Swaps a directory and a link all the time; gives how often.
fn swap(directory: &Path, link: &Path, done: &AtomicBool) -> usize {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let (directory, link) = (name(directory), name(link));
    let mut swaps = 0;
    while !done.load(Ordering::Relaxed) {
        sys::exchange(&directory, &link).expect("swapping");
        swaps += 1;
    }
    swaps
}

/// Creates and deletes containers while `directory` is swapped for a link to the canary; gives how many could be created.
fn create_beside_swaps(c: &Container, directory: &Path, target: &Path, canary: &Canary) -> usize {
    const ROUNDS: usize = 50;
    let link = directory.with_extension("link");
    symlink(target, &link).expect("a link");
    let done = AtomicBool::new(false);
    let (created, swaps) = thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(directory, &link, &done));
        let created = {
            let _done = Until(&done);
            (0..ROUNDS).filter(|_| create_and_delete(c, canary)).count()
        };
        (created, swapper.join().expect("the swapper"))
    });
    assert!(swaps > ROUNDS, "swapped {swaps} times only");
    created
}

fn create_and_delete(c: &Container, canary: &Canary) -> bool {
    let outcome = c.launch("create", &[]).run();
    canary.must_be_untouched(&outcome.to_string());
    if outcome.code() == 0 {
        let _deleted = c.command(["delete", "--force", c.id()]).run().ok();
        canary.must_be_untouched("delete");
        return true;
    }
    let _failed = outcome.fails();
    c.must_be_gone();
    false
}

/// The runtimes that are known to be led out by a link.
fn is_led_out() -> bool {
    Runtime::under_test().differs("runc < 1.5", "CVE-2026-41579: follows a link at /dev")
        || Runtime::under_test().differs("crun", "1.8: makes devices behind a link of the image")
}

/// CVE-2026-41579 as a race: the image's /dev is a directory and a link in turn, whichever way the link leads out.
#[test]
fn robustness_dev_that_turns_into_a_link_stays_inside() {
    if is_led_out() {
        return;
    }
    let mut created = 0;
    for kind in 0..4 {
        let c = Container::new();
        let canary = Canary::new(&c);
        let target = &canary.names()[kind];
        created += create_beside_swaps(&c, &c.bundle.rootfs().join("dev"), target, &canary);
    }
    println!("{created} of 200 were created");
    assert_ne!(created, 0, "none got as far as to be led out");
}

/// CVE-2021-30465 and CVE-2024-45310 as a race: a directory of a volume, in which something is mounted.
#[test]
fn robustness_volume_that_turns_into_a_link_stays_inside() {
    if is_led_out() {
        return;
    }
    let mut created = 0;
    for kind in 0..4 {
        let mut c = Container::new();
        let canary = Canary::new(&c);
        let volume = c.bundle.outside("volume");
        let way = c.bundle.outside("volume/way");
        let source = c.bundle.outside("source");
        let mount = |destination: &str, source: &Path| json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] });
        c.bundle.directory_in_rootfs("volume");
        c.bundle.push("/mounts", mount("/volume", &volume));
        c.bundle.push("/mounts", mount("/volume/way/deep/down", &source));
        created += create_beside_swaps(&c, &way, &canary.names()[kind], &canary);
    }
    println!("{created} of 200 were created");
    assert_ne!(created, 0, "none got as far as to be led out");
}
