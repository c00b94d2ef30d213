//! The allocator of the extension: the system's allocator, with a reserve for when it runs out of memory.
//!
//! Large allocations are made in a way that can fail (alloc.rs). The others are small, some hundred bytes, and most
//! of them are made by PyO3 and the library of the pool, which would end the process if they failed. If the system
//! has no memory, they are taken from the reserve, which is static memory. Then the call continues, or ends with
//! the MemoryError that Python or a large allocation raises.
//!
//! ```text
//! alloc:    from the system; if that fails, a free block of the reserve if it is large enough; else null
//! free:     back to where the block came from
//! ```
#![allow(unsafe_code, reason = "a home of unsafe: an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// 512 blocks, large enough for messages, queues of the pool, and its data about a thread. A block is a page: the system
/// provides it when it is needed.
static RESERVE: Blocks<4096, 8> = Blocks::new();

/// The system's allocator with the reserve.
pub struct WithReserve;

/// 64 × `WORDS` blocks of `SIZE` bytes, aligned to their size. They have no lock, since a process may fork at any
/// time.
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

    /// Takes a block for `layout`; null if it does not fit into a block, or if all blocks are in use.
    #[cold]
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

    /// Takes back a block if it is one of these; returns whether it is.
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

// SAFETY: a block comes from the system or from the reserve, whose blocks are large enough and aligned for the layout,
// and belong to one owner at a time (`Blocks`). Its address tells where it came from. The contracts of these functions
// are those of the system's functions. A block that grows is a new one.
unsafe impl GlobalAlloc for WithReserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for the whole.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { RESERVE.take(layout) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !RESERVE.take_back(block) {
            // SAFETY: not of the reserve, so it is the system's.
            unsafe { System.dealloc(block, layout) }
        }
    }
}

#[cfg(test)]
mod tests;
