//! The environment of the caller is not used, and is restored.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[cfg(target_arch = "x86_64")]
mod environments {
    use super::register::Saved;
    pub(super) const DEFAULT: Saved = 0x1f80;
    /// FTZ and DAZ, rounding towards zero.
    pub(super) const FLUSH_TO_ZERO: Saved = 0x1f80 | 0x8040 | 0x6000;
    /// Rounding towards zero, inexact raised.
    pub(super) const TRUNCATING_INEXACT: Saved = 0x7fa0;
    /// The first two, rounding down, rounding up, overflow and underflow raised, nothing masked.
    pub(super) const ALL: [Saved; 6] = [DEFAULT, FLUSH_TO_ZERO, 0x3f80, 0x5f80, 0x1f98, 0];

    pub(super) fn is_default(environment: Saved) -> bool {
        environment & 0xffc0 == DEFAULT
    }
}

#[cfg(target_arch = "aarch64")]
mod environments {
    use super::register::Saved;
    pub(super) const DEFAULT: Saved = (0, 0);
    /// FZ, rounding towards zero.
    pub(super) const FLUSH_TO_ZERO: Saved = (1 << 24 | 3 << 22, 0);
    /// Rounding towards zero, inexact raised.
    pub(super) const TRUNCATING_INEXACT: Saved = (3 << 22, 1 << 4);
    /// The first two, rounding down, rounding up, overflow and underflow raised.
    pub(super) const ALL: [Saved; 5] =
        [DEFAULT, FLUSH_TO_ZERO, (2 << 22, 0), (1 << 22, 0), (0, 0b1100)];

    pub(super) fn is_default(environment: Saved) -> bool {
        environment.0 == 0
    }
}

/// Runs `f` in `environment` and checks that `f` does not change it, including the sticky bits.
fn under<R>(environment: register::Saved, f: impl FnOnce() -> R) -> R {
    let before = register::read();
    register::write(environment);
    let outcome = catch_unwind(AssertUnwindSafe(|| black_box(call(black_box(f)))));
    let after = register::read();
    register::write(before);
    let result = outcome.unwrap_or_else(|panic| resume_unwind(panic));
    assert_eq!(after, environment);
    result
}

/// For tests of functions that promise the default environment to the functions they call.
pub(crate) fn under_flush_to_zero(f: impl FnOnce()) {
    under(environments::FLUSH_TO_ZERO, f);
}

/// Invalid, division by zero, overflow, underflow, inexact and a denormal operand.
fn raise_everything() {
    let [zero, one, tiny, huge] = black_box([0.0, 1.0, f32::MIN_POSITIVE, f32::MAX]);
    black_box([
        zero / black_box(0.0),
        one / zero,
        huge * huge,
        tiny * tiny,
        tiny / 3.0,
        tiny / 2.0 * 3.0,
    ]);
}

#[test]
fn f_runs_under_the_default_environment() {
    for environment in environments::ALL {
        let inside = under(environment, || with_default_fp_env(register::read));
        assert!(environments::is_default(inside), "{environment:x?} became {inside:x?}");
    }
}

#[test]
fn the_environment_comes_back() {
    for environment in environments::ALL {
        under(environment, || with_default_fp_env(raise_everything));
        under(environment, || {
            let panic = catch_unwind(|| {
                with_default_fp_env(|| {
                    raise_everything();
                    panic!("f panics");
                })
            });
            assert!(panic.is_err());
        });
    }
}

/// The operands are known before the first write of the register and the quotient is used after the second: if the
/// compiler moved the division across either, the quotient would be truncated.
#[test]
fn arithmetic_stays_between_the_switches() {
    const NEAREST: u32 = 0x3eaa_aaab;
    const TRUNCATED: u32 = 0x3eaa_aaaa;
    let (x, y): (f32, f32) = black_box((1.0, 3.0));
    let quotients = under(environments::TRUNCATING_INEXACT, || {
        let inside = with_default_fp_env(|| x / y);
        [inside, black_box(x) / black_box(y)].map(f32::to_bits)
    });
    assert_eq!(quotients, [NEAREST, TRUNCATED]);
}
