//! What the elements of an array are: formats of the buffer protocol, and names of dtypes.

use crate::simd::Storage;

/// What the elements of an array are, in native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Float(Storage),
    Signed(usize),
    Unsigned(usize),
}

impl Kind {
    /// From a `struct` format: one number in native byte order, or nothing.
    pub(super) fn of(format: &[u8], size: usize) -> Option<Self> {
        let code = match format {
            [code] | [b'@' | b'=' | b'^', code] => *code,
            #[cfg(target_endian = "little")]
            [b'<', code] => *code,
            #[cfg(target_endian = "big")]
            [b'>' | b'!', code] => *code,
            _ => return None,
        };
        match code {
            b'?' if size == 1 => Some(Kind::Bool),
            b'e' if size == 2 => Some(Kind::Float(Storage::F16)),
            b'f' if size == 4 => Some(Kind::Float(Storage::F32)),
            b'd' if size == 8 => Some(Kind::Float(Storage::F64)),
            b'b' | b'h' | b'i' | b'l' | b'q' | b'n' => Some(Kind::Signed(size)),
            b'B' | b'H' | b'I' | b'L' | b'Q' | b'N' => Some(Kind::Unsigned(size)),
            _ => None,
        }
    }

    /// The name of the dtype.
    pub(super) fn name(self) -> String {
        match self {
            Kind::Bool => "bool".to_owned(),
            Kind::Float(Storage::Bf16) => "bfloat16".to_owned(),
            Kind::Float(storage) => format!("float{}", storage.size() * 8),
            Kind::Signed(size) => format!("int{}", size * 8),
            Kind::Unsigned(size) => format!("uint{}", size * 8),
        }
    }
}
