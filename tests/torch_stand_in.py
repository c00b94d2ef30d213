"""The part of a torch tensor that this package uses, for machines without torch.

torch from PyPI cannot be imported without three gigabytes of CUDA libraries, too many for a test. This
module replaces it: it has the part of torch's interface that the tests use, and its tensors implement
the array protocols exactly as those of torch 2.15, including error texts. If torch is installed, the
same tests run with torch itself and so check this file.
"""

from types import SimpleNamespace

import ml_dtypes
import numpy as np


class DType:
    def __init__(self, name, numpy):
        self.name = name
        self.numpy = np.dtype(numpy)

    def __repr__(self):
        return f"torch.{self.name}"


bfloat16 = DType("bfloat16", ml_dtypes.bfloat16)
int16 = DType("int16", np.int16)
NAMES = {"float16", "float32", "float64", "int16", "int32", "int64", "uint8", "bool"}
NAMES |= {"complex64", "complex128"}
DTYPES = {np.dtype(name): DType(name, name) for name in NAMES} | {
    int16.numpy: int16,
    bfloat16.numpy: bfloat16,
}


class Tensor:
    requires_grad = False
    layout = "torch.strided"
    device = "cpu"
    _version = 0

    def __init__(self, memory):
        self._memory = memory

    @property
    def dtype(self):
        return DTYPES[self._memory.dtype]

    def bfloat16(self):
        return Tensor(self._memory.astype(ml_dtypes.bfloat16))

    def float(self):
        return Tensor(self._memory.astype(np.float32))

    def t(self):
        return Tensor(self._memory.T)

    def view(self, dtype):
        return Tensor(self._memory.view(dtype.numpy))

    def data_ptr(self):
        return self._memory.ctypes.data

    def is_inference(self):
        return False

    def __float__(self):
        return float(self._memory.item().real)

    def __index__(self):
        if self._memory.size != 1 or self._memory.dtype.kind not in "biu":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._memory.item())

    @property
    def shape(self):
        return self._memory.shape

    def detach(self):
        return Tensor(self._memory)

    def requires_grad_(self):
        self.requires_grad = True
        return self

    def to(self, device):
        moved = Tensor(self._memory)
        moved.device = device
        return moved

    def to_sparse(self):
        sparse = Tensor(self._memory)
        sparse.layout = "torch.sparse_coo"
        return sparse

    def to_dense(self):
        return Tensor(self._memory)

    def numpy(self):
        if self.layout != "torch.strided":
            raise TypeError(
                "can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first."
            )
        if self.requires_grad:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. "
                "Use tensor.detach().numpy() instead."
            )
        if self.dtype is bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._memory

    def __array__(self, dtype=None):
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        return self.numpy().__dlpack__(**options)

    def __len__(self):
        return len(self._memory)

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        return Tensor(self._memory[(*index, ...)])  # one element is still a view


def increment_version(tensor):
    tensor._version += 1


from_numpy = Tensor
autograd = SimpleNamespace(graph=SimpleNamespace(increment_version=increment_version))
