//! The floating-point environment of the kernels: the IEEE defaults, whatever the caller had set.
//!
//! A library that is built with -ffast-math, or the program itself, may make a thread flush denormals, round in another
//! direction or trap. A thread of the pool inherits the environment of the thread that started it. So one call could
//! mix several arithmetics. To prevent this, every task does
//!
//! ```text
//! saved = control and sticky bits
//! control = round to nearest, denormals kept, every exception masked     (unless it is that already)
//! result = f()
//! control and sticky bits = saved                                        (also when f panics)
//! ```
//!
//! The sticky bits are restored too: kernels overflow and divide 0 by 0 by design, which must not cause floating-point
//! warnings in the caller.
//!
//! The compiler assumes the default environment: for it, a division does not depend on the control register, and may be
//! moved across a write of this register. Three things keep `f` between the two writes:
//!
//! 1. The `asm!` blocks have none of the options `pure`, `nomem` and `readonly`: they are volatile
//!    and may write any memory, so no access to memory is moved across them.
//! 2. `f` and its result pass through `black_box`: what `f` captured by value is unknown before the
//!    first write, and its result is needed before the second.
//! 3. `f` is called in a function that is never inlined.

use std::hint::black_box;

/// Runs `f` in the IEEE default environment, then restores that of the caller, including the sticky bits; also if `f`
/// panics.
#[inline]
pub fn with_default_fp_env<R>(f: impl FnOnce() -> R) -> R {
    let restore = Restore(register::read());
    set_default(restore.0);
    let f = black_box(f);
    black_box(call(f)) // evaluated before `restore` is dropped
}

/// Sets the default environment again within [`with_default_fp_env`], after code that may have set another. What
/// follows must be a call that is not inlined.
#[inline]
pub fn set_default_fp_env() {
    set_default(register::read());
}

#[inline]
fn set_default(saved: register::Saved) {
    let default = register::default_of(saved);
    if saved != default {
        register::write(default);
    }
}

#[inline(never)]
fn call<R>(f: impl FnOnce() -> R) -> R {
    f()
}

struct Restore(register::Saved);

impl Drop for Restore {
    fn drop(&mut self) {
        if register::read() != self.0 {
            register::write(self.0);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    /// The whole of MXCSR.
    pub(super) type Saved = u32;

    /// Bits 0..=5, one sticky flag per exception; they influence no result.
    const STICKY: u32 = 0x003f;
    /// Bits 7..=12 mask the six exceptions. Rounding (13, 14), FTZ (15) and DAZ (6) are zero.
    const DEFAULT: u32 = 0x1f80;

    #[inline]
    pub(super) fn default_of(saved: Saved) -> Saved {
        DEFAULT | saved & STICKY
    }

    #[inline]
    pub(super) fn read() -> Saved {
        let mut value = 0;
        // SAFETY: stmxcsr, of the x86-64 baseline, stores four bytes at the address it is given: the
        // live local `value`. It changes nothing else.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    #[inline]
    pub(super) fn write(value: Saved) {
        // SAFETY: ldmxcsr loads four bytes from the address it is given: the live local `value`. It
        // faults on reserved bits only; `value` is DEFAULT or was read from the register. `preserves_flags`
        // is left out: it would promise that the sticky bits do not change.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    /// FPCR (control) and FPSR (sticky bits).
    pub(super) type Saved = (u64, u64);

    /// Round to nearest, no flushing, default-NaN off, no trap: every field is zero.
    const DEFAULT: u64 = 0;

    #[inline]
    pub(super) fn default_of(saved: Saved) -> Saved {
        (DEFAULT, saved.1)
    }

    #[inline]
    pub(super) fn read() -> Saved {
        let (control, status): (u64, u64);
        // SAFETY: user mode may read both registers, which changes nothing.
        unsafe {
            asm!("mrs {}, fpcr", "mrs {}, fpsr", out(reg) control, out(reg) status, options(nostack, preserves_flags));
        }
        (control, status)
    }

    #[inline]
    pub(super) fn write((control, status): Saved) {
        // SAFETY: user mode may write both registers; the values are the default or were read from them.
        // `preserves_flags` is left out: it would promise that FPSR does not change.
        unsafe {
            asm!("msr fpcr, {}", "msr fpsr, {}", in(reg) control, in(reg) status, options(nostack))
        };
    }
}

/// Elsewhere the environment is left as it is: there is no portable way to set it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub(super) type Saved = ();
    pub(super) fn default_of((): Saved) {}
    pub(super) fn read() {}
    pub(super) fn write((): Saved) {}
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) mod tests;
