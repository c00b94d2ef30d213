//! The allocator of the extension: the system's, with a reserve for when it has nothing left.
//!
//! Large memory is asked for in a way that can fail (alloc.rs). What is left is hundreds of bytes here
//! and there, most of them in PyO3 and the pool's library, which know no error and would end the
//! process. Those come from here then, from memory that was there before: a call goes on, or ends
//! with the MemoryError that Python or a large allocation raises.
//!
//! ```text
//! alloc:    from the system, else a free block that is large enough, else failure as ever
//! free:     back to where it came from
//! ```
#![allow(unsafe_code, reason = "a home of unsafe: an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Tasks for the pool, exceptions, axes of arrays: 64 KiB.
static SMALL: Blocks<128, 8> = Blocks::new();
/// Messages, queues of the pool, what it knows of a thread: 256 KiB. No page is touched before it is
/// needed.
static LARGE: Blocks<4096, 1> = Blocks::new();

/// The system's allocator, and the reserve.
pub struct WithReserve;

/// 64 × `WORDS` blocks of `SIZE` bytes, aligned to their size. No lock: a process may fork at any time.
#[repr(C, align(4096))]
struct Blocks<const SIZE: usize, const WORDS: usize> {
    memory: UnsafeCell<[[[u8; SIZE]; 64]; WORDS]>,
    /// A bit for each block that is in use.
    used: [AtomicU64; WORDS],
}

// SAFETY: a block of the memory belongs to whoever has set its bit, until the bit is cleared.
unsafe impl<const SIZE: usize, const WORDS: usize> Sync for Blocks<SIZE, WORDS> {}

impl<const SIZE: usize, const WORDS: usize> Blocks<SIZE, WORDS> {
    const fn new() -> Self {
        let memory = UnsafeCell::new([[[0; SIZE]; 64]; WORDS]);
        Self { memory, used: [const { AtomicU64::new(0) }; WORDS] }
    }

    /// A block for `layout`, null where it fits none or all are in use.
    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > SIZE || layout.align() > SIZE {
            return ptr::null_mut();
        }
        let free = |used: u64| (used != u64::MAX).then(|| used | (used + 1));
        for (word, used) in self.used.iter().enumerate() {
            if let Ok(before) = used.fetch_update(Acquire, Relaxed, free) {
                let block = word * 64 + before.trailing_ones() as usize;
                return self.start().wrapping_add(block * SIZE);
            }
        }
        ptr::null_mut()
    }

    /// Takes back a block, if it is one of these.
    fn take_back(&self, block: *mut u8) -> bool {
        let index = block.addr().wrapping_sub(self.start().addr()) / SIZE;
        let Some(used) = self.used.get(index / 64) else { return false };
        used.fetch_and(!(1 << (index % 64)), Release);
        true
    }

    fn start(&self) -> *mut u8 {
        self.memory.get().cast()
    }
}

#[cold]
fn from_reserve(layout: Layout) -> *mut u8 {
    let small = SMALL.take(layout);
    if small.is_null() { LARGE.take(layout) } else { small }
}

// SAFETY: a block is that of the system or of the reserve, whose blocks are as large and as aligned as
// was asked for, and belong to one owner at a time (`Blocks`). Where it came from, its address tells.
// The contracts of the functions are those that the system's are called under; blocks that grow are new ones.
unsafe impl GlobalAlloc for WithReserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for the whole.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { from_reserve(layout) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !SMALL.take_back(block) && !LARGE.take_back(block) {
            // SAFETY: not of the reserve, so it is the system's.
            unsafe { System.dealloc(block, layout) }
        }
    }
}

#[cfg(test)]
mod tests;
