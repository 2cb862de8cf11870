//! What the threads of a busy program do all the time: take and give memory, take locks, ask the C library for things that it
//! keeps under a lock of its own.
#![allow(unsafe_code, reason = "calls of the C library")]

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// A lock that everybody wants.
static SHARED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Whether the noise goes on.
#[derive(Default)]
pub(crate) struct Noise(AtomicBool);

impl Noise {
    /// Does `work`, which gets the number of the turn, until it is told to stop.
    pub(crate) fn run(&self, work: impl Fn(usize)) {
        for turn in 0.. {
            work(turn);
            if self.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Ends every thread's noise.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One turn of everything.
pub(crate) fn everything(turn: usize) {
    const SIZES: [usize; 5] = [16, 300, 5000, 70_000, 1_000_000];
    let blocks: Vec<Vec<u8>> =
        SIZES.iter().map(|size| Vec::with_capacity(size + turn % 1024)).collect();
    assert!(blocks.iter().all(|block| block.is_empty()));
    // Memory of one thread is freed by another.
    let block = blocks.into_iter().nth(turn % SIZES.len()).unwrap_or_default();
    drop(std::mem::replace(&mut *SHARED.lock().expect("nobody panics under the lock"), block));
    assert!(std::env::var_os("TEU_NO_SUCH_VARIABLE").is_none());
    // The numbers of descriptors are shared too: any of them may become free, and be taken, at any moment.
    drop(File::open("/dev/null").expect("/dev/null"));
    local_time();
    if turn.is_multiple_of(1024) {
        identity();
    }
}

/// localtime_r(3) holds the lock of the time zone.
fn local_time() {
    // SAFETY: all zeroes is a valid struct tm.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let answer = unsafe { libc::localtime_r(&raw const MOMENT, &raw mut broken_down) };
    assert!(!answer.is_null() && broken_down.tm_year >= 70);
}

/// Some day in 2023.
static MOMENT: libc::time_t = 1_700_000_000;

/// The C library changes the ids of a process thread by thread: it signals every other one and waits for its answer
/// (nptl(7)). Nothing is changed here, but everybody is asked.
fn identity() {
    // SAFETY: minus one is "as it is".
    let answer = unsafe { libc::setresuid(libc::uid_t::MAX, libc::uid_t::MAX, libc::uid_t::MAX) };
    assert_eq!(answer, 0, "setresuid");
}
