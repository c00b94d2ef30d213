//! The number of threads that a call may use.
//!
//! It is the first of these that is set: [`set_num_threads`], then the environment variables in `VARIABLES`, then
//! the number of CPUs that this process may use according to its affinity and its cgroup.
//!
//! The environment is read once. No state here is behind a lock: see the parent module.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use once_cell::race::OnceBox;

/// The environment variables, in the order in which they are read. The first that is a number of at least 1 is used.
const VARIABLES: [&str; 3] = ["SMOOTHXENT_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"];

/// The argument of the last call of [`set_num_threads`]; 0 before the first.
static SET: AtomicUsize = AtomicUsize::new(0);

/// The largest number of threads that a call may use, the caller included.
#[must_use]
pub fn num_threads() -> usize {
    current().0
}

/// Sets [`num_threads`], which must be at least 1, for the whole process.
///
/// Threads are started by the first call that needs them. If `n` is smaller than their number, the others sleep.
pub fn set_num_threads(n: usize) {
    debug_assert!(n > 0);
    SET.store(n, Relaxed);
}

/// [`num_threads`] and the setting it comes from: "`set_num_threads`", the name of an environment variable, or
/// "`available_parallelism`".
#[must_use]
pub fn current() -> (usize, &'static str) {
    match SET.load(Relaxed) {
        0 => (Initial::get().width, Initial::get().source),
        width => (width, "set_num_threads"),
    }
}

/// The number of threads until [`set_num_threads`] is called.
pub(super) struct Initial {
    width: usize,
    source: &'static str,
    /// One sentence for each environment variable that was ignored.
    pub(super) ignored: Vec<String>,
}

impl Initial {
    pub(super) fn get() -> &'static Self {
        static INITIAL: OnceBox<Initial> = OnceBox::new();
        INITIAL.get_or_init(|| {
            Box::new(Self::read(|name| {
                env::var_os(name).map(|value| value.to_string_lossy().into_owned())
            }))
        })
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut ignored = Vec::new();
        for name in VARIABLES {
            // An empty variable counts as unset.
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
            // OpenMP lists one number per level of nesting; ours is the outermost.
            let number = match name {
                "OMP_NUM_THREADS" => value.split(',').next().unwrap_or_default(),
                _ => &value,
            };
            match number.trim().parse() {
                Ok(width @ 1..) => return Self { width, source: name, ignored },
                _ => ignored.push(format!(
                    "{name} is {value:?}, expected a whole number of at least 1; it is ignored"
                )),
            }
        }
        // If the system does not report the number, one thread is used.
        let width = thread::available_parallelism().map_or(1, usize::from);
        Self { width, source: "available_parallelism", ignored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Initial {
        Initial::read(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn precedence() {
        let all = [("OMP_NUM_THREADS", "4"), ("RAYON_NUM_THREADS", "3"), (VARIABLES[0], "2")];
        for (set, width, source) in [
            (&all[..], 2, "SMOOTHXENT_NUM_THREADS"),
            (&all[..2], 3, "RAYON_NUM_THREADS"),
            (&all[..1], 4, "OMP_NUM_THREADS"),
        ] {
            let initial = read(set);
            assert_eq!((initial.width, initial.source), (width, source));
            assert!(initial.ignored.is_empty());
        }
        let initial = read(&[]);
        assert_eq!(initial.source, "available_parallelism");
        assert_eq!(initial.width, thread::available_parallelism().unwrap().get());
    }

    #[test]
    fn values() {
        assert_eq!(read(&[("OMP_NUM_THREADS", " 4 , 2")]).width, 4);
        assert_eq!(read(&[("SMOOTHXENT_NUM_THREADS", "100000")]).width, 100_000);
        assert!(read(&[("SMOOTHXENT_NUM_THREADS", "")]).ignored.is_empty());
        for bad in ["0", "-1", "two", "2.0", "4,2", " ", "99999999999999999999"] {
            let initial = read(&[("SMOOTHXENT_NUM_THREADS", bad), ("OMP_NUM_THREADS", "3")]);
            assert_eq!((initial.width, initial.source), (3, "OMP_NUM_THREADS"));
            assert_eq!(
                initial.ignored,
                [format!(
                    "SMOOTHXENT_NUM_THREADS is {bad:?}, expected a whole number of at least 1; \
                     it is ignored"
                )]
            );
        }
    }
}
