//! Assigns a processor to each thread. Otherwise two threads may begin on the same one and stay there for milliseconds.

/// Holds the calling thread to its processor, if there are as many as threads and the system can.
#[cfg(target_os = "linux")]
pub fn pin(index: usize, threads: usize) {
    /// As many processors as the C library has bits for.
    const WORDS: usize = 16;
    // SAFETY: as the C library declares them; `pid_t` is an `int`, 0 is the calling thread.
    unsafe extern "C" {
        fn sched_getaffinity(thread: i32, bytes: usize, mask: *mut u64) -> i32;
        fn sched_setaffinity(thread: i32, bytes: usize, mask: *const u64) -> i32;
    }
    let mut mask = [0u64; WORDS];
    // SAFETY: the mask has as many bytes as are said.
    if unsafe { sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr()) } < 0 {
        return;
    }
    let bits = (0..64 * WORDS).filter(|bit| mask[bit / 64] >> (bit % 64) & 1 == 1);
    let bits: Vec<usize> = bits.collect();
    if bits.len() < threads {
        return;
    }
    let mut own = [0u64; WORDS];
    own[bits[index] / 64] = 1 << (bits[index] % 64);
    // SAFETY: the mask has as many bytes as are said. A refusal does no harm.
    unsafe { sched_setaffinity(0, size_of_val(&own), own.as_ptr()) };
}

#[cfg(not(target_os = "linux"))]
pub fn pin(_: usize, _: usize) {}
