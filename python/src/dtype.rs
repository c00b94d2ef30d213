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

/// The dtype of an array of numbers in native byte order.
pub(super) struct Dtype {
    pub(super) kind: Kind,
    /// The object of bfloat16, as ml_dtypes has it: NumPy itself does not.
    pub(super) bfloat16: Option<Py<PyAny>>,
}

impl Dtype {
    /// NumPy's own.
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, bfloat16: None }
    }

    /// NumPy's own for real numbers.
    pub(super) fn real(storage: Storage) -> Self {
        Self::of(Kind::Float(storage))
    }

    /// That of a dtype object, if its elements are such numbers.
    pub(super) fn of_object(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let kind = match Known::get().kind_of(dtype) {
            None => kind_by_name(dtype)?,
            known => known,
        };
        Ok(kind.map(|kind| {
            let bfloat16 = (kind == Kind::BFLOAT16).then(|| dtype.clone().unbind());
            Self { kind, bfloat16 }
        }))
    }

    pub(super) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.bfloat16.as_ref().unwrap_or_else(|| Known::get().dtype_of(self.kind)).bind(py)
    }
}

/// What the elements of a dtype are that is none of the known objects: it may be equal to one all the same, as another
/// C type, with metadata, or unpickled; or bfloat16, whose package need not be there. Not by `==`, for which NumPy takes
/// memory that it does not check.
fn kind_by_name(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Kind>> {
    let known = Known::get();
    let name = dtype.getattr(&known.name)?.cast_into::<PyString>()?;
    let (name, size) = (name.to_cow()?, dtype.getattr(&known.itemsize)?.extract::<usize>()?);
    let is_native = dtype.getattr(&known.isnative)?.is_truthy()?;
    let mut all = Kind::ALL.into_iter().filter(|_| is_native);
    Ok(all.find(|(kind, own)| *own == name && kind.size() == size).map(|(kind, _)| kind))
}
