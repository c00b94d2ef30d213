//! One share of one sweep, and the memory it goes over.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Buffers begin on a huge page, and shares on a cache line.
const HUGE_PAGE: usize = 2 << 20;
const LINE: usize = 64;
/// Floats of one turn of a loop: eight vectors of 32 bytes, enough to hide the latency of an add.
const STEP: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    Read,
    Copy,
    Scale,
}

impl Sweep {
    pub const ALL: [Sweep; 3] = [Sweep::Read, Sweep::Copy, Sweep::Scale];

    pub fn name(self) -> &'static str {
        match self {
            Sweep::Read => "read",
            Sweep::Copy => "copy",
            Sweep::Scale => "scale",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// How often each byte crosses between the processor and memory.
    pub fn streams(self) -> usize {
        if self == Sweep::Read { 1 } else { 2 }
    }
}

/// Floats, in huge pages where the system gives them, as NumPy asks for its arrays too.
pub struct Buffer {
    start: *mut f32,
    length: usize,
}

impl Buffer {
    fn layout(length: usize) -> Layout {
        Layout::from_size_align(4 * length.max(1), HUGE_PAGE).expect("a size that fits")
    }

    pub fn new(bytes: usize, value: f32) -> Self {
        let length = bytes / 4;
        let layout = Self::layout(length);
        // SAFETY: the layout is never of size 0.
        let start = unsafe { alloc(layout) }.cast::<f32>();
        if start.is_null() {
            handle_alloc_error(layout);
        }
        huge_pages(start, layout.size());
        for index in 0..length {
            // SAFETY: `index` is below the length that was allocated.
            unsafe { start.add(index).write(value) };
        }
        Buffer { start, length }
    }

    /// The floats of one thread of several: whole cache lines, the last thread has what is left.
    pub fn share(&mut self, thread: usize, threads: usize) -> (*mut f32, usize) {
        let lines = self.length.div_ceil(LINE / 4);
        let begin = (lines * thread / threads * (LINE / 4)).min(self.length);
        let end = (lines * (thread + 1) / threads * (LINE / 4)).min(self.length);
        // SAFETY: begin <= length.
        (unsafe { self.start.add(begin) }, end - begin)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout.
        unsafe { dealloc(self.start.cast(), Self::layout(self.length)) };
    }
}

#[cfg(target_os = "linux")]
fn huge_pages(start: *mut f32, bytes: usize) {
    const MADV_HUGEPAGE: i32 = 14;
    // SAFETY: as the C library declares it.
    unsafe extern "C" {
        fn madvise(address: *mut f32, length: usize, advice: i32) -> i32;
    }
    // SAFETY: advice about memory we own, which begins on a page; it may be refused, that is fine.
    unsafe { madvise(start, bytes, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn huge_pages(_: *mut f32, _: usize) {}

/// Does one share of a sweep, as fast as this processor can.
///
/// # Safety
///
/// - `source` and `target` are each valid for `length` floats, for reads and for writes;
/// - nothing else touches them meanwhile;
/// - both begin on a cache line.
pub unsafe fn run(sweep: Sweep, source: *mut f32, target: *mut f32, length: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: AVX is there; the rest is this function's own contract.
        return unsafe { avx(sweep, source, target, length) };
    }
    // SAFETY: this function's own contract.
    unsafe { plain(sweep, source, target, length) }
}

/// # Safety
///
/// As `run`, and the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn avx(sweep: Sweep, source: *mut f32, target: *mut f32, length: usize) {
    use std::arch::x86_64::{
        _mm_sfence, _mm256_add_ps, _mm256_load_ps, _mm256_mul_ps, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_store_ps, _mm256_stream_ps,
    };
    let whole = length - length % STEP;
    let (mut sums, factor) = ([_mm256_setzero_ps(); STEP / 8], _mm256_set1_ps(factor()));
    for index in (0..whole).step_by(STEP) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: index + 8 lane + 8 <= whole <= length; both arrays begin on a cache line.
            unsafe {
                let from = source.add(index + 8 * lane);
                let value = _mm256_load_ps(from);
                match sweep {
                    Sweep::Read => *sum = _mm256_add_ps(*sum, value),
                    Sweep::Copy => _mm256_stream_ps(target.add(index + 8 * lane), value),
                    Sweep::Scale => _mm256_store_ps(from, _mm256_mul_ps(value, factor)),
                }
            }
        }
    }
    _mm_sfence();
    std::hint::black_box(sums);
    // SAFETY: whole <= length.
    unsafe { plain(sweep, source.add(whole), target.add(whole), length - whole) };
}

/// # Safety
///
/// As `run`, but for the cache line.
unsafe fn plain(sweep: Sweep, source: *mut f32, target: *mut f32, length: usize) {
    if length == 0 {
        return;
    }
    // SAFETY: the caller's contract: valid for so many floats, and touched by nobody else.
    let (source, target) = unsafe {
        (
            std::slice::from_raw_parts_mut(source, length),
            std::slice::from_raw_parts_mut(target, length),
        )
    };
    match sweep {
        Sweep::Read => {
            let mut sums = [0.0; STEP];
            for chunk in source.chunks(STEP) {
                for (sum, value) in sums.iter_mut().zip(chunk) {
                    *sum += value;
                }
            }
            std::hint::black_box(sums);
        }
        Sweep::Copy => target.copy_from_slice(source),
        Sweep::Scale => {
            let factor = factor();
            source.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// 1, but the compiler does not know; so that a thousand passes change nothing.
fn factor() -> f32 {
    std::hint::black_box(1.0)
}
