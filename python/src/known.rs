//! Python objects and names that are looked up once, while the module is imported, and never later. An import during a
//! call would let other threads run; a child process that one of them forks would then wait forever for the end of an
//! import that no thread of it is executing.

use super::call::warn;
use super::dtype::STORAGES;
use super::errors::Result;
use super::objects::{NewArray, refuse_subinterpreters};
use pyo3::prelude::*;
use pyo3::types::PyString;
use smoothxent::{Level, Storage, pool};
use std::sync::OnceLock;

static KNOWN: OnceLock<Known> = OnceLock::new();

/// Initializes what must not be initialized while another thread forks, and warns of environment variables that are
/// ignored. Starts no thread.
pub(super) fn init(py: Python<'_>) -> Result<()> {
    refuse_subinterpreters(py)?;
    pool::init();
    let _ = Level::current();
    // The first time, PyO3 asks whether the interpreter is initialized. While it shuts down, it is not, and that would be
    // a panic.
    py.detach(|| Python::attach(|_| ()));
    // It is already set only if the module is imported again. Errors keep the classes of the first import.
    let _ = KNOWN.set(Known::of(py)?);
    let mut ignored = pool::describe().ignored.iter().cloned().chain(Level::override_problem());
    ignored.try_for_each(|message| warn(py, &message))
}

macro_rules! known {
    (
        objects { $($object:ident: $object_of:literal . $object_name:literal,)* }
        names { $($name:ident,)* }
    ) => {
        pub(super) struct Known {
            $(pub(super) $object: Py<PyAny>,)*
            $(pub(super) $name: Py<PyString>,)*
            pub(super) new_array: NewArray,
            /// The dtypes of [`STORAGES`], except for bfloat16.
            dtypes: Vec<(Py<PyAny>, Storage)>,
            /// The dtype of bfloat16, once one has been seen: its package is not looked up before.
            pub(super) bfloat16: OnceLock<Py<PyAny>>,
        }

        impl Known {
            fn of(py: Python<'_>) -> Result<Self> {
                let found = |(module, name)| Ok(py.import(module)?.getattr(name)?.unbind());
                let dtype = found(("numpy", "dtype"))?;
                let dtype = |(storage, name)| Ok((dtype.call1(py, (name,))?, storage));
                let own = STORAGES.into_iter().filter(|(storage, _)| *storage != Storage::Bf16);
                let (new_array, dtypes) = (NewArray::find(py)?, own.map(dtype).collect::<Result<_>>()?);
                $(let $name = PyString::intern(py, stringify!($name).trim_start_matches("r#")).unbind();)*
                // Collected first, and last of all: otherwise there would be code for each object that releases those
                // before it if something fails.
                let objects = [$(($object_of, $object_name)),*].into_iter().map(found);
                let objects = objects.collect::<Result<Vec<Py<PyAny>>>>()?;
                let Ok([$($object),*]) = <[_; _]>::try_from(objects) else { unreachable!() };
                Ok(Self { $($object,)* $($name,)* new_array, dtypes, bfloat16: OnceLock::new() })
            }
        }
    };
}

known! {
    objects {
        getattr: "builtins"."getattr",
        repr: "builtins"."repr",
        ndarray: "numpy"."ndarray",
        numpy_bool: "numpy"."bool",
        main_thread: "threading"."main_thread",
        get_ident: "threading"."get_ident",
        axis_error: "numpy.exceptions"."AxisError",
        label_error: "smoothxent._errors"."LabelError",
        internal_error: "smoothxent._errors"."InternalError",
        dtype_type: "numpy"."dtype",
        as_logits: "smoothxent._arrays"."as_logits",
        as_real: "smoothxent._arrays"."as_real",
        as_targets: "smoothxent._arrays"."as_targets",
        as_mask: "smoothxent._arrays"."as_mask",
        as_indices: "smoothxent._arrays"."as_indices",
        as_output: "smoothxent._outputs"."as_native_output",
        refuse_overlap: "smoothxent._outputs"."refuse_overlap",
        share_memory: "smoothxent._outputs"."share_memory",
        number: "smoothxent._options"."number",
        integer: "smoothxent._options"."integer",
        shape_error: "smoothxent._target_shapes"."shape_error",
        warn: "smoothxent._warnings"."warn",
    }
    names {
        get, ident, isnative, itemsize, logits, mean, name, r#type,
    }
}

impl Known {
    pub(super) fn get() -> &'static Self {
        KNOWN.get().expect("the module has been imported")
    }

    /// The dtype of new arrays with elements of this type.
    pub(super) fn dtype_of(&self, storage: Storage) -> &Py<PyAny> {
        let own = self.dtypes.iter().find(|known| known.1 == storage).map(|known| &known.0);
        own.or_else(|| self.bfloat16.get()).expect("of elements that were seen")
    }

    /// The element type of a dtype, if the dtype is one of the known objects.
    #[inline(always)]
    pub(super) fn storage_of(&self, dtype: &Bound<'_, PyAny>) -> Option<Storage> {
        let own = self.dtypes.iter().find(|known| dtype.is(&known.0)).map(|known| known.1);
        let is_bfloat16 = || self.bfloat16.get().is_some_and(|own| dtype.is(own));
        own.or_else(|| is_bfloat16().then_some(Storage::Bf16))
    }
}
