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
    /// Which NumPy itself does not have.
    pub(super) const BFLOAT16: Kind = Kind::Float(Storage::Bf16);

    /// Each with the name of its dtype, the most usual first.
    pub(super) const ALL: [(Kind, &str); 13] = [
        (Kind::Float(Storage::F32), "float32"),
        (Kind::Signed(8), "int64"),
        (Kind::Float(Storage::F64), "float64"),
        (Kind::Float(Storage::F16), "float16"),
        (Kind::Signed(4), "int32"),
        (Kind::Bool, "bool"),
        (Kind::Signed(1), "int8"),
        (Kind::Signed(2), "int16"),
        (Kind::Unsigned(1), "uint8"),
        (Kind::Unsigned(2), "uint16"),
        (Kind::Unsigned(4), "uint32"),
        (Kind::Unsigned(8), "uint64"),
        (Kind::BFLOAT16, "bfloat16"),
    ];

    /// The name of the dtype.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).expect("one of all").1
    }

    pub(super) fn is_real(self) -> bool {
        matches!(self, Kind::Float(_))
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Kind::Bool => 1,
            Kind::Float(storage) => storage.size(),
            Kind::Signed(size) | Kind::Unsigned(size) => usize::from(size),
        }
    }

    /// What the core stores real numbers, a mask or int64 as.
    pub(super) fn storage(self) -> Storage {
        match self {
            Kind::Bool => Storage::Bool,
            Kind::Float(storage) => storage,
            // New arrays of int64; all others are labels, which are never asked.
            Kind::Signed(_) | Kind::Unsigned(_) => Storage::I64,
        }
    }
}
