//! Which SIMD library: one kernel over each of them, verified, then timed in turns.
//!
//! ```text
//! for each K:
//!     every variant's losses and gradients have the same bits, and are right against plain f64
//!     for each round: run every variant once, in a random order
//!     report the median time and the median over the rounds of time / time of the level's best
//! ```
//!
//! The times of a round are neighbours, so a busy machine blurs their ratios but does not shift
//! them. "again" times `std::arch` a second time: how far its ratio is from 1 is noise.

mod fearless;
mod intrinsics;
mod kernel;
mod pulp;

use kernel::{Batch, LABEL_SMOOTHING, QUAD_LEN, Vector, losses_and_grads};
use std::time::Instant;

/// (K, rows): 256 KB of logits, or one row of 200 KB: it all stays in a second-level cache of 1 MB.
const SHAPES: [(usize, usize); 3] = [(10, 6400), (1000, 64), (50_000, 1)];

struct Variant {
    name: &'static str,
    level: &'static str,
    run: Box<dyn Fn(&mut Batch)>,
}

fn variants() -> Vec<Variant> {
    type Tokens<A, B> = (Option<<A as Vector>::Token>, Option<<B as Vector>::Token>);
    type List = Vec<Variant>;
    fn add<A, B>(list: &mut List, name: &'static str, (avx2, avx512): Tokens<A, B>)
    where
        A: Vector<Token: 'static>,
        B: Vector<Token: 'static>,
    {
        if let Some(token) = avx2 {
            let run = Box::new(move |batch: &mut Batch| losses_and_grads::<A>(token, batch));
            list.push(Variant { name, level: "AVX2", run });
        }
        if let Some(token) = avx512 {
            let run = Box::new(move |batch: &mut Batch| losses_and_grads::<B>(token, batch));
            list.push(Variant { name, level: "AVX-512", run });
        }
    }
    use fearless_simd::f32x16;
    let mut list = List::new();
    add::<f32x16<_>, f32x16<_>>(&mut list, "fearless_simd", fearless::tokens());
    add::<pulp::Avx2, pulp::Avx512>(&mut list, "pulp", pulp::tokens());
    add::<intrinsics::Avx2, intrinsics::Avx512>(&mut list, "std::arch", intrinsics::tokens());
    add::<intrinsics::Avx2, intrinsics::Avx512>(&mut list, "again", intrinsics::tokens());
    list
}

/// A linear congruential generator; the upper bits are used.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }

    fn batch(&mut self, classes: usize, rows: usize) -> Batch {
        Batch {
            classes,
            logits: (0..rows * classes)
                .map(|_| self.below(1 << 20) as f32 / 65_536.0 - 8.0)
                .collect(),
            labels: (0..rows).map(|_| self.below(classes)).collect(),
            losses: vec![0.0; rows],
            grads: vec![0.0; rows * classes],
            exps: vec![0.0; classes.next_multiple_of(QUAD_LEN)],
        }
    }
}

fn verify(variants: &[Variant], batch: &mut Batch) {
    let mut first = None;
    for Variant { name, level, run } in variants {
        batch.losses.fill(f64::NAN);
        batch.grads.fill(f32::NAN);
        run(batch);
        let losses: Vec<_> = batch.losses.iter().map(|x| x.to_bits()).collect();
        let grads: Vec<_> = batch.grads.iter().map(|x| x.to_bits()).collect();
        let bits = (losses, grads);
        assert!(
            *first.get_or_insert(bits.clone()) == bits,
            "{name} on {level}, K = {}",
            batch.classes
        );
    }
    // Plain f64; p is wrong by less than 2^-20 of itself.
    let k = batch.classes;
    for (row, z) in batch.logits.chunks(k).enumerate() {
        let lse = z.iter().map(|z| f64::from(*z).exp()).sum::<f64>().ln();
        let mut loss = 0.0;
        for (class, z) in z.iter().map(|z| f64::from(*z)).enumerate() {
            let spike = if class == batch.labels[row] { 1.0 - LABEL_SMOOTHING } else { 0.0 };
            let q = LABEL_SMOOTHING / k as f64 + spike;
            loss += q * (lse - z);
            let (p, grad) = ((z - lse).exp(), f64::from(batch.grads[row * k + class]));
            assert!((grad - (p - q)).abs() <= 1e-6 * (p + q), "gradient {row}, {class}, K = {k}");
        }
        assert!((batch.losses[row] / loss - 1.0).abs() <= 1e-6, "loss {row}, K = {k}");
    }
}

fn quantile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * fraction) as usize]
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(500, |text| text.parse().expect("rounds"));
    let variants = variants();
    let mut random = Random(1);
    println!("| K | level | variant | ns/row | ratio to the best | quartiles |");
    println!("|--:|---|---|--:|--:|---|");
    for (classes, rows) in SHAPES {
        let mut batch = random.batch(classes, rows);
        verify(&variants, &mut batch);
        let mut times = vec![Vec::new(); variants.len()];
        for _ in 0..rounds {
            let mut waiting: Vec<_> = (0..variants.len()).collect();
            while !waiting.is_empty() {
                let variant = waiting.swap_remove(random.below(waiting.len()));
                let start = Instant::now();
                (variants[variant].run)(&mut batch);
                times[variant].push(start.elapsed().as_secs_f64() * 1e9 / rows as f64);
            }
        }
        for level in ["AVX2", "AVX-512"] {
            let members = (0..variants.len()).filter(|i| variants[*i].level == level);
            let median = |i: &usize| quantile(&times[*i], 0.5);
            let rivals = members.clone().filter(|i| variants[*i].name != "again");
            let Some(best) = rivals.min_by(|a, b| median(a).total_cmp(&median(b))) else {
                continue;
            };
            for i in members {
                let pairs = times[i].iter().zip(&times[best]);
                let ratios: Vec<_> = pairs.map(|(time, best)| time / best).collect();
                let [low, middle, high] = [0.25, 0.5, 0.75].map(|f| quantile(&ratios, f));
                let (name, time) = (variants[i].name, median(&i));
                println!(
                    "| {classes} | {level} | {name} | {time:.0} | {middle:.3} | {low:.3}–{high:.3} |"
                );
            }
        }
    }
}
