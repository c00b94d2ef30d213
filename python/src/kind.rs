//! What the elements of an array are.

use smoothxent::Storage;

/// What the elements of an array are, in native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Float(Storage),
    Signed(u8),
    Unsigned(u8),
}

impl Kind {
    /// Those that NumPy itself has, the most usual first.
    pub(super) const ALL: [Kind; 12] = [
        Kind::Float(Storage::F32),
        Kind::Signed(8),
        Kind::Float(Storage::F64),
        Kind::Float(Storage::F16),
        Kind::Signed(4),
        Kind::Bool,
        Kind::Signed(1),
        Kind::Signed(2),
        Kind::Unsigned(1),
        Kind::Unsigned(2),
        Kind::Unsigned(4),
        Kind::Unsigned(8),
    ];

    /// From the number and the size of a type of NumPy's own.
    pub(super) fn of(number: usize, size: usize) -> Option<Self> {
        let size = u8::try_from(size).ok()?;
        match number {
            0 => Some(Kind::Bool),
            1 | 3 | 5 | 7 | 9 => Some(Kind::Signed(size)),
            2 | 4 | 6 | 8 | 10 => Some(Kind::Unsigned(size)),
            11 => Some(Kind::Float(Storage::F32)),
            12 => Some(Kind::Float(Storage::F64)),
            23 => Some(Kind::Float(Storage::F16)),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Kind::Bool => 1,
            Kind::Float(storage) => storage.size(),
            Kind::Signed(size) | Kind::Unsigned(size) => usize::from(size),
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
