//! placeholder
pub fn for_each_block(blocks: usize, _threads: usize, body: &(dyn Fn(usize) + Sync)) { for b in 0..blocks { body(b) } }
pub fn num_threads() -> usize { 1 }
pub fn set_num_threads(_n: usize) {}
pub fn take_spawn_warning() -> Option<String> { None }
pub struct PoolState { pub width: usize, pub source: &'static str, pub spawned: usize }
pub fn describe() -> PoolState { PoolState { width: 1, source: "x", spawned: 0 } }
