//! What the elements of an array are.

use super::known::Known;
use pyo3::prelude::*;
use pyo3::types::PyString;
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

    /// What the elements of a dtype are, if they are such numbers. One that is none of the known objects may be equal to
    /// one all the same, as another C type, with metadata, or unpickled; or bfloat16, whose package need not be there.
    /// Not by `==`, for which NumPy takes memory that it does not check.
    pub(super) fn of_dtype(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let known = Known::get();
        if let Some(kind) = known.kind_of(dtype) {
            return Ok(Some(kind));
        }
        let name = dtype.getattr(&known.name)?.cast_into::<PyString>()?;
        let (name, size) = (name.to_cow()?, dtype.getattr(&known.itemsize)?.extract::<usize>()?);
        let is_native = dtype.getattr(&known.isnative)?.is_truthy()?;
        let mut all = Self::ALL.into_iter().filter(|_| is_native);
        Ok(all.find(|(kind, own)| *own == name && kind.size() == size).map(|(kind, _)| kind))
    }

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

    /// What the core stores real numbers, a mask or int64 as: of the same size.
    pub(super) fn storage(self) -> Storage {
        match self {
            Kind::Bool => Storage::Bool,
            Kind::Float(storage) => storage,
            Kind::Signed(8) => Storage::I64,
            Kind::Signed(_) | Kind::Unsigned(_) => {
                unreachable!("labels are copied by their own type")
            }
        }
    }
}

/// The dtype of a new array.
#[derive(Clone)]
pub(super) struct Dtype<'py> {
    pub(super) kind: Kind,
    /// NumPy's own, or of bfloat16 that of ml_dtypes.
    pub(super) object: Bound<'py, PyAny>,
}

impl<'py> Dtype<'py> {
    /// Of numbers that NumPy itself has.
    pub(super) fn of(py: Python<'py>, kind: Kind) -> Self {
        Self { kind, object: Known::get().dtype_of(kind).bind(py).clone() }
    }

    /// The same of real numbers.
    pub(super) fn real(py: Python<'py>, storage: Storage) -> Self {
        Self::of(py, Kind::Float(storage))
    }
}
