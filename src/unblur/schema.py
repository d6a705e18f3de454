"""Values from files that people and other programs write, checked against Python's own types.

Recipes, heads of projects and states of runs are plain values (JSON, YAML). Whatever is wrong with
one is said with the path of the value, such as `losses.charbonnier: must be a number, not 'x'`.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

DEEPEST = 32
"""Levels of lists and mappings in each other."""
MOST = 100_000
"""Values in all of a file."""
LONGEST = 10_000
"""Characters of a text."""


class MismatchError(ValueError):
    """A value is not of the type it must have; the message begins with its path."""


def conform(value: Any, kind: Any, path: str = "") -> Any:
    """A value as the type says: lists become tuples where it says so, whole numbers floats.

    Args:
        value: plain values.
        kind: `int`, `float`, `str`, `bool`, `None`, `Any` (plain values of any kind), `Literal`,
            a union, `Mapping`, `dict`, `list`, `Sequence` or `tuple` of these. Floats are finite.
        path: where the value was found.

    Raises:
        MismatchError: it is another.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return plain(value, path)
    if origin is Literal:
        if value not in args or isinstance(value, bool):
            raise _other(path, f"one of {', '.join(map(str, args))}", value)
        return value
    if origin in (Union, types.UnionType):
        return _of_union(value, args, path)
    if kind is None or kind is type(None):
        return _must(value is None, value, "empty", path)
    if kind is bool:
        return _must(isinstance(value, bool), value, "true or false", path)
    if kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return _must(whole, value, "a whole number", path)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _must(number and abs(value) < 1e300, value, "a number", path)
        return float(value)
    if kind is str:
        text = isinstance(value, str) and len(value) <= LONGEST and "\0" not in value
        return _must(text, value, "a text", path)
    if origin in (dict, Mapping):
        _must(isinstance(value, Mapping), value, "a mapping", path)
        return {
            conform(name, args[0], path): conform(inner, args[1], _below(path, name))
            for name, inner in value.items()
        }
    if origin in (list, Sequence, tuple):
        _must(isinstance(value, list | tuple), value, "a list", path)
        if origin is tuple and args[-1] is not Ellipsis:
            _must(len(value) == len(args), value, f"a list of {len(args)}", path)
            kinds = args
        else:
            kinds = (args[0],) * len(value)
        pairs = enumerate(zip(value, kinds, strict=True))
        made = [conform(inner, each, f"{path}[{n}]") for n, (inner, each) in pairs]
        return tuple(made) if origin is tuple else made
    raise TypeError(f"no rule for {kind}")


def plain(value: Any, path: str = "", level: int = 0, count: list[int] | None = None) -> Any:
    """The value, where it is made of texts, finite numbers, lists and mappings by text alone.

    Raises:
        MismatchError: there is another in it, or too much of all.
    """
    count = [0] if count is None else count
    count[0] += 1
    if count[0] > MOST or level > DEEPEST:
        raise MismatchError(f"{_named(path)}holds more than any such file: leave the rest out")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _must(isinstance(name, str), name, "named by texts", path)
            plain(inner, _below(path, name), level + 1, count)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            plain(inner, f"{path}[{number}]", level + 1, count)
    elif isinstance(value, str):
        conform(value, str, path)
    elif isinstance(value, float):
        _must(math.isfinite(value), value, "finite", path)
    elif value is not None and not isinstance(value, bool | int):
        raise _other(path, "a text, a number, a list or a mapping", value)
    return value


def changed(config: C, options: Mapping[str, Any], path: str) -> C:
    """A dataclass with other values in some of its fields, which are checked by their types.

    Raises:
        MismatchError: there is no such field, or a value is of another type.
    """
    kinds = get_type_hints(type(config))
    known = [field.name for field in fields(config)]
    for name in options:
        if name not in known:
            raise MismatchError(f"{path} has no {str(name)[:60]}: there are {', '.join(known)}")
    made = {name: conform(x, kinds[name], _below(path, name)) for name, x in options.items()}
    return replace(config, **made)


def read_json(text: str | bytes) -> Any:
    """Reads JSON of plain values.

    Raises:
        ValueError: it is none, or too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists in lists without an end") from None


def _of_union(value: Any, kinds: Sequence[Any], path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    failures = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return conform(value, kind, path)
            except MismatchError as error:
                failures.append(error)
    raise failures[0]


def _must(right: bool, value: Any, what: str, path: str) -> Any:
    if not right:
        raise _other(path, what, value)
    return value


def _other(path: str, what: str, value: Any) -> MismatchError:
    shown = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return MismatchError(f"{_named(path)}must be {what}, not {shown[:60]}")


def _named(path: str) -> str:
    return f"{path} " if path else ""


def _below(path: str, name: object) -> str:
    return f"{path}.{str(name)[:60]}" if path else str(name)[:60]
