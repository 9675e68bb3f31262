//! What stays resident, by the kernel's own count. Alone in its process, since it counts all of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

/// Of each thread: pieces, bytes in each, and of how many one is kept.
const PIECES: usize = 40_000;
const PIECE: usize = 100;
const KEPT: usize = 1_000;
const THREADS: usize = 8;

/// Anonymous memory that is resident, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// Bytes of a large piece, whose end has an allocator that nobody has set keep that much more.
const LARGE: usize = 20 << 20;

/// Some of what many threads take at a time, of the first half of each.
fn take_and_keep_some() -> Vec<Vec<u8>> {
    let all_took = Barrier::new(THREADS);
    let take = || {
        let all: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; PIECE]).collect();
        all_took.wait();
        all.into_iter().take(PIECES / 2).step_by(KEPT).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
#[cfg(target_env = "gnu")]
fn what_threads_needed_for_a_moment_goes_back_though_some_of_it_is_kept() {
    hopsack_memory::share_one_heap();
    drop(black_box(vec![1_u8; LARGE]));
    let before = resident();
    let kept = take_and_keep_some();
    let held = resident() - before;
    hopsack_memory::give_back();
    let after = resident().saturating_sub(before);
    assert!(held > THREADS * PIECES * PIECE / 2, "only {held} bytes were held: the test shows nothing");
    // Each piece that is kept holds a page at most, and the heap's own accounts take some.
    let most = (kept.len() * 4096) + (512 << 10);
    assert!(after < most, "{after} bytes are resident, {held} were before; at most {most} should be");
}
