//! What is asked for by name again and again, found while the module is imported and never later: an
//! import lets other threads run, and a process that one of them forks would wait for ever for the
//! end of an import that nobody is at.

use super::arrays::check_fields;
use super::kind::Kind;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use smoothxent::{Level, Storage, pool};
use std::sync::OnceLock;

static KNOWN: OnceLock<Known> = OnceLock::new();

/// Does what must not happen for the first time while another thread forks. Starts no thread.
pub(super) fn init(py: Python<'_>) -> PyResult<()> {
    pool::init();
    let _ = Level::current();
    // PyO3 remembers that the interpreter is there.
    py.detach(|| Python::attach(|_| ()));
    let known = Known::of(py)?;
    // Set before only where the module is imported anew, with the same objects.
    let _ = KNOWN.set(known);
    check_fields(py)
}

#[inline(never)] // called for each of them
fn found<'py>(py: Python<'py>, module: &str, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(module)?.getattr(name)
}

macro_rules! known {
    (
        classes { $($class:ident: $class_of:literal . $class_name:literal,)* }
        objects { $($object:ident: $object_of:literal . $object_name:literal,)* }
        names { $($name:ident,)* }
    ) => {
        pub(super) struct Known {
            $(pub(super) $class: Py<PyType>,)*
            $(pub(super) $object: Py<PyAny>,)*
            $(pub(super) $name: Py<PyString>,)*
            /// The dtypes of [`Kind::ALL`].
            pub(super) kinds: Vec<(Py<PyAny>, Kind)>,
        }

        impl Known {
            fn of(py: Python<'_>) -> PyResult<Self> {
                let dtype = py.import("numpy")?.getattr("dtype")?;
                let dtype = |kind: Kind| Ok((dtype.call1((kind.name(),))?.unbind(), kind));
                Ok(Self {
                    $($class: found(py, $class_of, $class_name)?.cast_into()?.unbind(),)*
                    $($object: found(py, $object_of, $object_name)?.unbind(),)*
                    $($name: PyString::intern(py, stringify!($name)).unbind(),)*
                    kinds: Kind::ALL.into_iter().map(dtype).collect::<PyResult<_>>()?,
                })
            }
        }
    };
}

known! {
    classes {
        context_var: "contextvars"."ContextVar",
        ndarray: "numpy"."ndarray",
        numpy_bool: "numpy"."bool",
        axis_error: "numpy.exceptions"."AxisError",
        label_error: "smoothxent._errors"."LabelError",
        internal_error: "smoothxent._errors"."InternalError",
    }
    objects {
        dtype_type: "numpy"."dtype",
        empty: "numpy"."empty",
        as_logits: "smoothxent._arrays"."as_logits",
        as_real: "smoothxent._arrays"."as_real",
        as_targets: "smoothxent._arrays"."as_targets",
        as_mask: "smoothxent._arrays"."as_mask",
        as_indices: "smoothxent._arrays"."as_indices",
        as_output: "smoothxent._arrays"."as_output",
        shape_error: "smoothxent._target_shapes"."shape_error",
        warn: "smoothxent._warnings"."warn",
    }
    names {
        __index__, bfloat16, dtype, get, isnative, itemsize, logits, mask, mean, name, num, reset, set,
        shape,
    }
}

impl Known {
    pub(super) fn get() -> &'static Self {
        KNOWN.get().expect("the module has been imported")
    }

    /// NumPy's own type for `storage`, which bfloat16 does not have.
    pub(super) fn dtype_of(&self, storage: Storage) -> &Py<PyAny> {
        let kind = match storage {
            Storage::F16 | Storage::F32 => Kind::Float(storage),
            Storage::I64 => Kind::Signed(8),
            Storage::Bool | Storage::Bf16 | Storage::F64 => Kind::Float(Storage::F64),
        };
        &self.kinds.iter().find(|known| known.1 == kind).expect("one of all").0
    }
}
