"""Commands whose ordinary arguments are read at once.

typer hands every value to pydantic, which takes longer to load than most commands to run. What is plainly
right (a text, a path, a number within its bounds, one of the choices) needs no library; anything else goes
typer's way, which has the words for what is wrong with it.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer import Typer
from typer.core import TyperCommand, TyperGroup

_UNSURE = object()


class QuickCommand(TyperCommand):
    """A command of typer's; only the way of plain values is shorter."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _shorten(self, ctx)
        return super().parse_args(ctx, args)


class QuickGroup(TyperGroup):
    """The same for options before the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _shorten(self, ctx)
        return super().parse_args(ctx, args)


def _shorten(command: Any, ctx: Any) -> None:
    hints = get_type_hints(command.callback, include_extras=True) if command.callback else {}
    for param in command.get_params(ctx):
        param.process_value = partial(_value, param, param.process_value, hints.get(param.name, object))


def quicken(app: Typer) -> None:
    """Make all commands of ``app``, and of the apps in it, quick."""
    for command in app.registered_commands:
        command.cls = QuickCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            quicken(group.typer_instance)


def _value(param: Any, longer: Callable[[Any, Any], Any], hint: Any, ctx: Any, value: Any) -> Any:
    found = _missing(param) if value is None else plainly(hint, value)
    if found is _UNSURE:
        return longer(ctx, value)
    return param.callback(ctx, param, found) if param.callback else found


def _missing(param: Any) -> Any:
    """What is handed on where nothing was given."""
    if param.required:
        return _UNSURE
    return () if param.multiple or param.nargs == -1 else None


def plainly(hint: Any, value: Any) -> Any:
    """The value as the parameter's type ``hint`` wants it, or ``_UNSURE``."""
    kind, info = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
    if get_origin(kind) is UnionType:
        kinds = [each for each in get_args(kind) if each is not NoneType]
        kind = kinds[0] if len(kinds) == 1 else object
    if get_origin(kind) is list:
        return _all(get_args(kind)[0], value)
    return _UNSURE if any(map(_is_special, info)) else _one(kind, value, info)


def _all(kind: Any, values: Any) -> Any:
    if not isinstance(values, tuple | list):
        return _UNSURE
    found = [_one(kind, value, ()) for value in values]
    return _UNSURE if _UNSURE in found else found


def _one(kind: Any, value: Any, info: Iterable[Any]) -> Any:
    if not isinstance(kind, type):
        return _UNSURE
    if isinstance(value, kind):
        return value
    if not isinstance(value, str):
        return _UNSURE
    if issubclass(kind, Enum):
        return next((member for member in kind if member.value == value), _UNSURE)
    if kind is Path:
        return Path(value)
    if kind is int and value.isascii() and value.isdecimal():
        number = int(value)
        return number if all(_allows(each, number) for each in info) else _UNSURE
    return _UNSURE


def _allows(info: Any, number: int) -> bool:
    least, most = getattr(info, "min", None), getattr(info, "max", None)
    return (least is None or number >= least) and (most is None or number <= most)


def _is_special(info: Any) -> bool:
    """More is wanted of the value than its type says."""
    names = ("parser", "exists", "writable", "resolve_path", "allow_dash", "formats")
    return any(getattr(info, name, None) for name in names)
