//! The library inside a program with many threads, as an engine is: it must neither wait for one of them for ever nor
//! change anything that they share.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test reports by panicking, and its paths are its own"
)]

#[path = "../support/bundle.rs"]
mod bundle;
mod caller;
mod noise;

use bundle::Bundle;
use caller::Caller;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use teu::{Container, ContainerId, CreateOptions, ErrorKind};

/// Containers in all.
const CYCLES: usize = 1000;
/// Threads that make them.
const MAKERS: usize = 4;
/// Threads in all, but for the test runner's.
const THREADS: usize = 64;
/// How long all of it may take before it counts as a deadlock.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn a_program_with_many_threads_is_as_it_was_after_a_thousand_containers() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED threads: containers without a user namespace need root");
        return;
    }
    let _watchdog = watchdog();
    let bundle = Bundle::new("threads");
    let before = Caller::look();
    let began = Instant::now();
    let made = all_threads(&bundle, &before);
    eprintln!("{made} containers beside {THREADS} threads: {:?}", began.elapsed());
    assert_eq!(made, CYCLES);
    before.must_be_as_it_was();
    bundle.must_be_alone();
}

/// Runs every thread until the makers have made [`CYCLES`] containers; gives their number.
fn all_threads(bundle: &Bundle, before: &Caller) -> usize {
    let (next, noise) = (AtomicUsize::new(0), noise::Noise::default());
    std::thread::scope(|scope| {
        scope.spawn(|| noise.run(|_| before.must_have_its_settings()));
        for _ in MAKERS + 1..THREADS {
            scope.spawn(|| noise.run(noise::everything));
        }
        let makers: Vec<_> = (0..MAKERS).map(|_| scope.spawn(|| make(bundle, &next))).collect();
        let results: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
        noise.stop();
        // A maker's panic goes on only now: until the others are told to stop, the scope would wait for them.
        results
            .into_iter()
            .map(|made| made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum()
    })
}

/// Makes containers until there have been enough; gives the number of its own.
fn make(bundle: &Bundle, next: &AtomicUsize) -> usize {
    let mask = caller::signal_mask();
    let mut made = 0;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CYCLES {
            return made;
        }
        cycle(bundle, number);
        assert_eq!(caller::signal_mask(), mask, "the signal mask of the calling thread");
        made += 1;
    }
}

/// The life of one container.
fn cycle(bundle: &Bundle, number: usize) {
    let id = ContainerId::new(&format!("threads-{number}")).expect("an id");
    let mut options = CreateOptions::new(bundle.state_root(), bundle.directory());
    options.config = Some(bundle.config(number, &[]));
    let container = Container::create(&id, &options).expect("create");
    container.start().expect("start");
    let status = container.wait().expect("wait");
    assert!(status.success(), "container {number}: {status}");
    container.delete(false).expect("delete");
    let gone = Container::load(&bundle.state_root(), &id).expect_err("it is deleted");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

/// Aborts the whole program when the test is not done in time: a deadlock would hang it for ever. Dropping the sender ends it.
fn watchdog() -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        if receiver.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("threads: not done after {LIMIT:?}; a thread waits for ever");
            std::process::abort();
        }
    });
    sender
}
