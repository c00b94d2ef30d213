//! The instruction sets, the best available one, and the environment variable that limits it.

use super::{Float, Vector, VectorJob};
use fearless_simd::{Fallback, Level as Detected};
use std::env;
use std::sync::OnceLock;

/// An instruction set for which kernels are compiled. Levels are ordered from narrow to wide.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// The index of its name in [`NAMES`].
    rank: u8,
    detected: Detected,
}

/// The environment variable that limits the level of [`Level::current`].
pub const LEVEL_VARIABLE: &str = "SMOOTHXENT_MAX_ISA";

impl Level {
    /// All levels that this machine can run, the narrowest first.
    #[must_use]
    pub fn available() -> &'static [Level] {
        static AVAILABLE: OnceLock<Box<[Level]>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let best = Detected::new();
            let levels = [
                (0, Some(Detected::Fallback(Fallback::new()))),
                #[cfg(target_arch = "aarch64")]
                (1, best.as_neon().map(Detected::Neon)),
                #[cfg(target_arch = "x86_64")]
                (2, best.as_avx2().map(Detected::Avx2)),
                #[cfg(target_arch = "x86_64")]
                (3, best.as_avx512().map(Detected::Avx512)),
            ];
            let level = |(rank, detected)| Some(Level { rank, detected: detected? });
            levels.into_iter().filter_map(level).collect()
        })
    }

    /// The widest available level that `SMOOTHXENT_MAX_ISA` allows. An unknown name is ignored;
    /// [`Level::override_problem`] reports it.
    #[must_use]
    pub fn current() -> Level {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let cap = NAMES.iter().position(|name| variable() == Some(*name));
            let is_allowed = |level: &&Level| cap.is_none_or(|cap| usize::from(level.rank) <= cap);
            let available = Level::available();
            *available.iter().rfind(is_allowed).unwrap_or(&available[0])
        })
    }

    /// Runs `job` on the vectors of the level.
    #[inline(always)]
    pub(crate) fn run<F: Float, J: VectorJob<F>>(self, job: J) -> J::Output {
        match self.detected {
            #[cfg(target_arch = "aarch64")]
            Detected::Neon(token) => run::<F::Vector<_>, _>(token, job),
            #[cfg(target_arch = "x86_64")]
            Detected::Avx2(token) => run::<F::Vector<_>, _>(token, job),
            #[cfg(target_arch = "x86_64")]
            Detected::Avx512(token) => run::<F::Vector<_>, _>(token, job),
            // The library has other levels, but they are never among the available ones here.
            _ => run::<F::Vector<_>, _>(Fallback::new(), job),
        }
    }

    /// Runs `job`, which must be inlined, compiled for the level.
    pub(crate) fn compiled<R>(self, job: impl FnOnce() -> R) -> R {
        struct Compiled<J>(J);
        impl<R, J: FnOnce() -> R> VectorJob<f32> for Compiled<J> {
            type Output = R;

            #[inline(always)]
            fn run<V: Vector<Scalar = f32>>(self, _: V::Token) -> R {
                (self.0)()
            }
        }
        self.run(Compiled(job))
    }

    /// What is wrong with the value of `SMOOTHXENT_MAX_ISA`, if anything.
    #[must_use]
    pub fn override_problem() -> Option<String> {
        let (cap, names) = (variable()?, NAMES.join(", "));
        (!NAMES.contains(&cap))
            .then(|| format!("{LEVEL_VARIABLE} is {cap:?}, expected one of {names}; it is ignored"))
    }

    /// The name that `SMOOTHXENT_MAX_ISA` and `show_config` use.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.rank)]
    }
}

/// The value of `SMOOTHXENT_MAX_ISA`, which is read once per process. An empty variable counts as unset.
fn variable() -> Option<&'static str> {
    static VALUE: OnceLock<Option<String>> = OnceLock::new();
    let read = || env::var_os(LEVEL_VARIABLE).map(|value| value.to_string_lossy().into_owned());
    VALUE.get_or_init(read).as_deref().filter(|value| !value.is_empty())
}

/// Names from narrow to wide. For a level that this machine does not have, the next narrower level is used.
const NAMES: [&str; 4] = ["portable", "neon", "avx2", "avx512"];

#[inline(always)]
fn run<V: Vector, J: VectorJob<V::Scalar>>(token: V::Token, job: J) -> J::Output {
    outlined!(V, token, job.run::<V>(token))
}
