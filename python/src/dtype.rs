//! The element types of arrays.

use super::errors::{Result, answer, type_error};
use super::known::Known;
use super::objects::{Str, attribute, call, dtype_name, repr};
use pyo3::prelude::*;
use smoothxent::Storage;

/// The element types of arrays, in native byte order, with the names of their dtypes, the most frequent first. NumPy
/// itself does not have bfloat16.
pub(super) const STORAGES: [(Storage, &str); 13] = [
    (Storage::F32, "float32"),
    (Storage::I64, "int64"),
    (Storage::F64, "float64"),
    (Storage::F16, "float16"),
    (Storage::I32, "int32"),
    (Storage::Bool, "bool"),
    (Storage::I8, "int8"),
    (Storage::I16, "int16"),
    (Storage::U8, "uint8"),
    (Storage::U16, "uint16"),
    (Storage::U32, "uint32"),
    (Storage::U64, "uint64"),
    (Storage::Bf16, "bfloat16"),
];

/// The element type of a dtype, if it is one of [`STORAGES`]. A dtype that is none of the known objects may still be
/// equal to one: of another C type, with metadata, or unpickled. Or it is bfloat16, whose package may be missing. `==`
/// is not used, since NumPy does not check the memory that it allocates for it.
pub(super) fn storage_of(dtype: &Bound<'_, PyAny>) -> Result<Option<Storage>> {
    let known = Known::get();
    if let Some(storage) = known.storage_of(dtype) {
        return Ok(Some(storage));
    }
    // The name is computed by Python code in NumPy.
    let name = attribute(dtype, &known.name)?;
    let (name, size) = (name.extract()?, dtype.getattr(&known.itemsize)?.extract()?);
    let is_native = dtype.getattr(&known.isnative)?.is_truthy()?;
    let is_such = |known: &&(Storage, &str)| (known.1, known.0.size()) == (name, size);
    let found = STORAGES.iter().find(is_such).filter(|_| is_native).map(|known| known.0);
    if found == Some(Storage::Bf16) && known.bfloat16.get().is_none() {
        // The one object that arrays of this type have, which is kept for `Known::dtype_of`.
        let own = call(known.dtype_type.bind(dtype.py()), [&dtype.getattr(&known.r#type)?])?;
        let _ = known.bfloat16.set(own.unbind());
    }
    Ok(found)
}

/// The `dtype=` of a result.
pub(super) fn requested(obj: &Bound<'_, PyAny>) -> Result<Storage> {
    let py = obj.py();
    let refuse = |what: Str<'_>| {
        type_error!(py, "dtype must be float16, bfloat16, float32 or float64, got {what}")
    };
    let Some(dtype) = answer(py, call(Known::get().dtype_type.bind(py), [obj]))? else {
        return Err(refuse(repr(obj)?));
    };
    match storage_of(&dtype)?.filter(|storage| storage.is_float()) {
        // The rest of the dtype, such as metadata or fields, is ignored.
        Some(storage) => Ok(storage),
        None => Err(refuse(dtype_name(&dtype)?)),
    }
}
