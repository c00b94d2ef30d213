//! Blocks of the reserve, one owner at a time.

use super::*;
use std::collections::HashSet;
use std::thread;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn each_block_has_one_owner_until_it_is_taken_back() {
    static BLOCKS: Blocks<128, 2> = Blocks::new();
    let whole = layout(128, 128);
    for _ in 0..2 {
        let taken: Vec<_> = (0..128).map(|_| BLOCKS.take(whole)).collect();
        let starts: HashSet<_> = taken.iter().map(|block| block.addr()).collect();
        assert_eq!(starts.len(), 128);
        assert!(starts.iter().all(|start| start % 128 == 0));
        assert!(BLOCKS.take(whole).is_null());
        for block in taken {
            assert!(BLOCKS.take_back(block));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    static BLOCKS: Blocks<128, 1> = Blocks::new();
    assert!(BLOCKS.take(layout(129, 1)).is_null());
    assert!(BLOCKS.take(layout(1, 256)).is_null());
}

#[test]
fn the_memory_of_others_is_left_to_them() {
    static BLOCKS: Blocks<128, 1> = Blocks::new();
    let end = BLOCKS.start().wrapping_add(64 * 128);
    for other in [ptr::null_mut(), BLOCKS.start().wrapping_sub(1), end] {
        assert!(!BLOCKS.take_back(other));
    }
}

#[test]
fn threads_share_the_blocks() {
    static BLOCKS: Blocks<128, 1> = Blocks::new();
    thread::scope(|scope| {
        for own in 0..8 {
            scope.spawn(move || {
                for _ in 0..10_000 {
                    let block = BLOCKS.take(layout(128, 1));
                    assert!(!block.is_null());
                    // SAFETY: a block of 128 bytes that is this thread's until it is taken back.
                    unsafe {
                        block.write_bytes(own, 128);
                        assert_eq!(block.wrapping_add(127).read(), own);
                    }
                    BLOCKS.take_back(block);
                }
            });
        }
    });
}

#[test]
fn a_block_grows_and_shrinks_with_its_bytes() {
    let (small, large) = (layout(100, 1), layout(4000, 1));
    let block = RESERVE.take(small);
    // SAFETY: the block has the layout that is passed: 100 bytes, then 4000, then 10.
    unsafe {
        block.write_bytes(7, 100);
        let grown = WithReserve.realloc(block, small, 4000);
        assert!(!RESERVE.take_back(grown));
        assert_eq!((grown.read(), grown.add(99).read()), (7, 7));
        let shrunk = WithReserve.realloc(grown, large, 10);
        assert_eq!((shrunk.read(), shrunk.add(9).read()), (7, 7));
        WithReserve.dealloc(shrunk, layout(10, 1));
    }
}
