"""A device that no machine has: tensors that say they are elsewhere and compute on the CPU.

`pytest --device pretend` finds without a GPU what a GPU would refuse: two devices in one operation,
NumPy on a tensor that is not in main memory, random numbers by another device's generator. It
stands on parts of PyTorch for back ends in Python, which may change; tests of it skip where they
are not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

NAME = "pretend"
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
aten = torch.ops.aten
INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
"""What takes places of another device, as CUDA does."""
COPIES = {aten._to_copy.default, aten.copy_.default, aten.to.device, aten.to.dtype_layout}
"""What brings values from one device to another."""
CAST = ("conv1d", "conv2d", "conv3d", "linear", "matmul", "bmm", "mm", "addmm", "baddbmm")
CAST_BACK = ("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input")
"""What autocast computes in half precision."""
libraries: list[Any] = []
generators: dict[int, Any] = {}
"""Those of the pretended device, by address."""
CpuGenerator = torch.Generator


class There(Tensor):
    """A tensor that lives on the pretended device; its values are in `here`."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        with torch.inference_mode(False):
            made = Tensor._make_wrapper_subclass(
                cls,
                here.size(),
                strides=here.stride(),
                storage_offset=here.storage_offset(),
                dtype=here.dtype,
                layout=here.layout,
                device=torch.device(NAME, 0),
            )
        made.here = here
        return made

    def tolist(self) -> Any:
        return self.here.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.here.__reduce_ex__(protocol)

    def __repr__(self, **_: object) -> str:
        return f"There({self.here!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Pretending(TorchDispatchMode):
    """Tensors that are made on the pretended device are such."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or seconds go to the import of a compiler

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Generator(torch.Generator):
    """A generator that can say it belongs to the pretended device."""

    def __new__(cls, device: Any = "cpu") -> Any:
        there = torch.device(device).type == NAME
        made = CpuGenerator.__new__(cls, "cpu" if there else device)
        if there:
            generators[made._cdata] = made  # wrapped anew wherever it is handed on
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        here = self._cdata not in generators
        return super().device if here else torch.device(NAME, 0)

    def __init__(self, device: Any = "cpu") -> None:
        pass


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation: refused where a GPU would, else done on the CPU."""
    tensors = [x for x in flat(args) if isinstance(x, Tensor)]
    there = [x for x in tensors if isinstance(x, There)]
    places = [x for x in args if isinstance(x, torch.device)]  # some functions by position
    asked = kwargs.get("device", places[0] if places else None)
    target = None if asked is None else torch.device(asked).type
    if not there and target != NAME:
        return func(*args, **kwargs)
    if func is aten._has_compatible_shallow_copy_type.default:
        return False
    copies = func in COPIES
    strangers = [x for x in tensors if not isinstance(x, There) and x.ndim]
    if func in INDEXED:
        strangers = [x for x in strangers if x.dtype not in (torch.int64, torch.bool, torch.uint8)]
    if there and strangers and not copies:
        raise RuntimeError(f"all tensors must be on one device, found {NAME} and cpu in {func}")
    generator = kwargs.get("generator")
    if generator is not None and generator._cdata not in generators:
        raise RuntimeError(f"expected a '{NAME}' device type for generator but found cpu in {func}")
    known = {id(x.here): x for x in there}
    given, named = (
        [mapped(inner, x) for x in args],
        {k: mapped(inner, x) for k, x in kwargs.items()},
    )
    if "device" in named and target is not None:
        named["device"] = torch.device("cpu") if target == NAME else asked
    made = func(*given, **named)
    if func is aten.copy_.default:
        return args[0]
    if target not in (None, NAME):  # back into main memory: never the same values
        return made.clone() if made is given[0] else made

    def handed_back(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) in known:
            return known[id(x)]
        return There(x.resolve_conj().resolve_neg())  # what it says of itself holds no such marks

    return mapped(handed_back, made)


def inner(x: Any) -> Any:
    """The values of a tensor; where they are in truth."""
    if isinstance(x, torch.device) and x.type == NAME:
        return torch.device("cpu")
    return x.here if isinstance(x, There) else x


def flat(args: Any) -> Iterator[Any]:
    """Arguments, and what is in their lists."""
    for x in args:
        if isinstance(x, list | tuple):
            yield from x
        else:
            yield x


def mapped(change: Any, x: Any) -> Any:
    """`change` done to an argument or to what is in a list of them."""
    return type(x)(map(change, x)) if type(x) in (list, tuple) else change(x)


class Backend(backend_registration._DummyBackendModule):  # type: ignore[name-defined,misc]
    """What PyTorch requests of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def register() -> None:
    """Tells PyTorch of the device; once for each process."""
    if libraries:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    rest = torch.library.Library("_", "IMPL")
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    libraries.append(rest)
    own = torch.library.Library("aten", "IMPL")
    for name in CAST:
        own.impl(name, cast(getattr(aten, name).default), "AutocastPrivateUse1")
    for name in CAST_BACK:
        kind, _, version = name.partition(".")
        operation = getattr(getattr(aten, kind), version or "default")
        own.impl(name, cast(operation), "AutocastPrivateUse1")
    libraries.append(own)


def cast(operation: Any) -> Any:
    """The operation in the precision of autocast."""

    def half(x: Any) -> Any:
        single = isinstance(x, Tensor) and x.dtype == torch.float32
        return x.to(torch.get_autocast_dtype(NAME)) if single else x

    def inner(*args: Any, **kwargs: Any) -> Any:
        given, named = tree_map(half, (args, kwargs))
        with torch.autocast(NAME, enabled=False):
            return operation(*given, **named)

    return inner


@contextmanager
def pretending() -> Iterator[torch.device]:
    """The device is there meanwhile."""
    register()
    generator, torch.Generator = torch.Generator, Generator  # type: ignore[misc]
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # lists become tensors here, then go there
    swapped = torch.__future__.get_overwrite_module_params_on_conversion()
    # Or only what a parameter says of its type would change, and not its values.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Pretending():
            yield torch.device(NAME, 0)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(swapped)
        torch._C._set_only_lift_cpu_tensors(before)
        torch.Generator = generator  # type: ignore[misc]
