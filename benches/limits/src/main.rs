//! The limits that memory sets: how fast these threads can read, copy and rescale so many bytes.
//!
//! ```text
//! limits THREADS BYTES...    a table: for each size, the three sweeps in turns, best and median
//! limits THREADS             answers lines "SWEEP BYTES PASSES" with seconds per pass
//! ```
//!
//! - `read`  adds up an array: a loss, which reads its logits once, cannot be faster;
//! - `copy`  reads an array and writes another with streaming stores: nor can a softmax or a
//!   gradient that goes to memory of its own;
//! - `scale` multiplies an array by a constant: nor can a softmax in place.
//!
//! Threads are started once. Each has a contiguous share and is awake before a pass is timed.

mod affinity;
mod sweep;
mod team;

use std::io::{BufRead, Write};
use std::time::Instant;
use sweep::{Buffer, Sweep};
use team::Team;

/// Rounds of the table.
const ROUNDS: usize = 15;

/// The arrays of one size.
struct Arrays {
    bytes: usize,
    source: Buffer,
    target: Buffer,
}

impl Arrays {
    fn new(bytes: usize) -> Self {
        Arrays { bytes, source: Buffer::new(bytes, 1.0), target: Buffer::new(bytes, 0.0) }
    }

    /// Seconds per pass. A pass that is not timed comes first, so that caches are as they will be.
    fn time(&mut self, team: &Team, sweep: Sweep, passes: usize) -> f64 {
        team.awake(|| {
            team.run(sweep, &mut self.source, &mut self.target);
            let start = Instant::now();
            for _ in 0..passes {
                team.run(sweep, &mut self.source, &mut self.target);
            }
            start.elapsed().as_secs_f64() / passes as f64
        })
    }
}

fn table(team: &Team, sizes: &[usize]) {
    println!("| bytes | sweep | best, ms | median, ms | GB/s at the median |");
    println!("|--:|---|--:|--:|--:|");
    for &bytes in sizes {
        let mut arrays = Arrays::new(bytes);
        let mut seconds = Sweep::ALL.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (sweep, times) in Sweep::ALL.into_iter().zip(&mut seconds) {
                times.push(arrays.time(team, sweep, 1));
            }
        }
        for (sweep, mut times) in Sweep::ALL.into_iter().zip(seconds) {
            times.sort_by(f64::total_cmp);
            let (best, median) = (times[0], times[ROUNDS / 2]);
            let rate = (sweep.streams() * bytes) as f64 / median / 1e9;
            println!(
                "| {bytes} | {} | {:.3} | {:.3} | {rate:.1} |",
                sweep.name(),
                1e3 * best,
                1e3 * median
            );
        }
    }
}

/// Answers each line of the standard input; a line it does not understand with `error: ...`.
fn serve(team: &Team) {
    let mut arrays = Arrays::new(0);
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = match request(&line) {
            Some((sweep, bytes, passes)) => {
                if arrays.bytes != bytes {
                    drop(std::mem::replace(&mut arrays, Arrays::new(0)));
                    arrays = Arrays::new(bytes);
                }
                format!("{:e}", arrays.time(team, sweep, passes))
            }
            None => format!("error: not a request: {line:?}"),
        };
        println!("{answer}");
        if std::io::stdout().flush().is_err() {
            break;
        }
    }
}

fn request(line: &str) -> Option<(Sweep, usize, usize)> {
    let mut words = line.split_whitespace();
    let sweep = words.next().and_then(Sweep::named)?;
    let bytes = words.next()?.parse().ok()?;
    let passes: usize = words.next()?.parse().ok()?;
    (words.next().is_none() && passes > 0).then_some((sweep, bytes, passes))
}

fn main() {
    let numbers: Option<Vec<usize>> = std::env::args().skip(1).map(|it| it.parse().ok()).collect();
    match numbers.as_deref() {
        Some([threads, sizes @ ..]) if *threads > 0 => {
            let team = Team::new(*threads);
            if sizes.is_empty() {
                serve(&team)
            } else {
                table(&team, sizes)
            }
            team.dismiss();
        }
        _ => {
            eprintln!("usage: limits THREADS [BYTES...]");
            std::process::exit(2);
        }
    }
}
