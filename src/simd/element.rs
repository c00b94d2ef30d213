//! Element types: how numbers are stored in memory, and the two types in which rows are computed.

use super::Vector;
use super::instruction_set::InstructionSet;
use crate::math;
use fearless_simd::{f32x16, f64x8};
use std::sync::Mutex;

/// How an element is stored in memory, in native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One byte: 0 is false, anything else true. For masks only.
    Bool,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Signed integer. All integer types are for labels.
    I8,
    /// Signed integer.
    I16,
    /// Signed integer.
    I32,
    /// Signed integer; also for indices of classes that are written.
    I64,
    /// Unsigned integer.
    U8,
    /// Unsigned integer.
    U16,
    /// Unsigned integer.
    U32,
    /// Unsigned integer.
    U64,
}

impl Storage {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Storage::Bool | Storage::I8 | Storage::U8 => 1,
            Storage::F16 | Storage::Bf16 | Storage::I16 | Storage::U16 => 2,
            Storage::F32 | Storage::I32 | Storage::U32 => 4,
            Storage::F64 | Storage::I64 | Storage::U64 => 8,
        }
    }

    /// Is it a type of real numbers?
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Storage::F16 | Storage::Bf16 | Storage::F32 | Storage::F64)
    }

    /// The type in which rows of both storage types are computed. The 16-bit types are storage types only.
    #[must_use]
    pub fn compute_with(self, other: Storage) -> Storage {
        if self == Storage::F64 || other == Storage::F64 { Storage::F64 } else { Storage::F32 }
    }
}

/// Scratch memory for threads, one slice for each.
pub type Slices<F> = Vec<Mutex<Vec<F>>>;

/// The element type of a slice that holds rows.
///
/// # Safety
/// - Elements are stored in memory as `STORAGE` says.
pub unsafe trait Element: Copy {
    /// How this type is stored in memory.
    const STORAGE: Storage;
}

macro_rules! elements {
    ($($type:ident: $storage:ident,)+) => {
        // SAFETY: the type of that name.
        $(unsafe impl Element for $type {
            const STORAGE: Storage = Storage::$storage;
        })+
    };
}

elements! {
    f32: F32, f64: F64, i8: I8, i16: I16, i32: I32, i64: I64, u8: U8, u16: U16, u32: U32, u64: U64,
}

/// A type in which rows are computed: f32 or f64. Unsafe code relies on no other type having their storage. Other
/// crates cannot implement it, since vectors can be named only here.
pub trait Float: Element + PartialOrd + Default + Send + Sync + 'static {
    /// Vectors of this type for an instruction set.
    #[doc(hidden)]
    type Vector<S: InstructionSet>: Vector<Scalar = Self, Token = S>;
    /// Is it f64, the type whose rows keep rounding errors?
    const IS_DOUBLE: bool = size_of::<Self>() == size_of::<f64>();
    /// −∞
    const NEG_INFINITY: Self;
    /// Not a number
    const NAN: Self;
    /// The smallest positive number.
    const SMALLEST: Self;
    /// The smallest positive normal number. Smaller probabilities are flushed to zero.
    const MIN_POSITIVE: f64;
    /// Constants of the exponential core.
    #[doc(hidden)]
    const EXP: math::ExpCore<Self>;

    /// Converts a double, rounded to nearest.
    fn from_f64(value: f64) -> Self;
    /// The same, but what is not 0 does not become 0.
    #[inline(always)]
    #[must_use]
    fn nonzero(value: f64) -> Self {
        let rounded = Self::from_f64(value);
        if value != 0.0 && rounded.to_f64() == 0.0 { Self::SMALLEST } else { rounded }
    }
    /// Converts to a double, exactly.
    fn to_f64(self) -> f64;
    /// Converts floats, exactly.
    fn from_floats<const N: usize>(floats: [f32; N]) -> [Self; N];
    /// Scratch memory of earlier calls, for the next call.
    #[doc(hidden)]
    fn kept() -> &'static [Mutex<Slices<Self>>; 2];
}

macro_rules! float {
    ($float:ident, $vector:ident, $exp:expr) => {
        impl Float for $float {
            type Vector<S: InstructionSet> = $vector<S>;
            const NEG_INFINITY: $float = $float::NEG_INFINITY;
            const NAN: $float = $float::NAN;
            const SMALLEST: $float = $float::from_bits(1);
            const MIN_POSITIVE: f64 = $float::MIN_POSITIVE as f64;
            const EXP: math::ExpCore<$float> = $exp;

            #[allow(clippy::cast_possible_truncation, reason = "f64 is rounded to f32 here only")]
            fn from_f64(value: f64) -> $float {
                value as $float
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn from_floats<const N: usize>(floats: [f32; N]) -> [$float; N] {
                each!(N, |i| $float::from(floats[i]))
            }
            fn kept() -> &'static [Mutex<Slices<$float>>; 2] {
                static KEPT: [Mutex<Slices<$float>>; 2] = [const { Mutex::new(Vec::new()) }; 2];
                &KEPT
            }
        }
    };
}

float!(f32, f32x16, math::EXP_F32);
float!(f64, f64x8, math::EXP_F64);
