//! What the process keeps of memory that it no longer needs, for a program that holds little, takes much for a moment, and
//! runs for months.
//!
//! Set by itself, the C library's allocator keeps most of what was ever needed at one time, once for every thread that
//! asked. Nothing here does anything with another C library than GNU's. What must not live here: who holds what, tasks.

/// Bytes from which a piece of memory is the kernel's own and goes back to it at once, and bytes free at the end of the heap
/// from which they do. They are the allocator's first values; being set keeps it from raising them (mallopt(3)).
#[cfg(target_env = "gnu")]
const THRESHOLD: nix::libc::c_int = 128 << 10;

/// Has all threads share one heap, which shrinks with what it holds. Threads that allocate much at the same time wait for
/// each other. Best called before there are any.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (nix::libc::M_ARENA_MAX, 1),
        (nix::libc::M_MMAP_THRESHOLD, THRESHOLD),
        (nix::libc::M_TRIM_THRESHOLD, THRESHOLD),
    ] {
        // An option that it does not take leaves it as it was, which costs memory and nothing else.
        #[expect(unsafe_code, reason = "nothing safe sets the allocator's options")]
        // SAFETY: it takes numbers only, and locks what it changes.
        let _ = unsafe { nix::libc::mallopt(option, value) };
    }
}

/// Gives the kernel back every page that holds nothing any more, also between what is still held. Nobody else can
/// allocate meanwhile.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "nothing safe asks the allocator for this")]
    // SAFETY: it takes no pointer, and touches free memory only.
    let _ = unsafe { nix::libc::malloc_trim(0) };
}
