"""Plain-data configs: an object's config is its name and its constructor's arguments, read from the signature."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pydantic

from tfaae.errors import InputError, choose, did_you_mean, mismatch


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The named constructor parameters of a class, its bases' included where it passes `**kwargs` on."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = inspect.signature(vars(base)["__init__"]).parameters
        found |= {name: own[name] for name in own if name != "self" and name not in found}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return {name: p for name, p in found.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def arguments(thing: object) -> dict[str, Any]:
    """The constructor call that makes `thing` again, as plain data: each parameter is an attribute of the same name."""
    return {name: _plain(getattr(thing, name)) for name in parameters(type(thing))}


def _plain(value: Any) -> Any:
    if hasattr(value, "get_config"):
        return value.get_config()
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    return list(value) if isinstance(value, tuple) else value


def subclasses(cls: type[Any]) -> list[type[Any]]:
    """Every class that is defined below this one."""
    return [found for sub in cls.__subclasses__() for found in (sub, *subclasses(sub))]


def make(what: str, spec: Any, classes: dict[str, Any]) -> Any:
    """An object from its name, from `{"name": ..., argument: ...}`, or itself.

    Raises:
        InputError: an unknown name or argument (with the closest valid one), a missing one, a value of the wrong type.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, dict):
        return spec
    if "name" not in spec:
        raise InputError(f"{what}: expected a name or a mapping with a `name`, got {spec}")
    cls = classes[choose(what, spec["name"], classes)]
    given = {key: value for key, value in spec.items() if key != "name"}
    check_arguments(f"{what} {spec['name']}", cls, given)
    return cls(**given)


def check_arguments(what: str, cls: type, given: dict[str, Any]) -> None:
    """Raises an InputError that names every unknown, missing or mistyped constructor argument."""
    known = parameters(cls)
    problems = [f"unknown argument {key!r}{did_you_mean(key, known)}" for key in given if key not in known]
    problems += [
        f"missing argument {name!r}"
        for name, parameter in known.items()
        if parameter.default is parameter.empty and name not in given
    ]
    takes = f" (it takes: {', '.join(known)})" if problems else ""
    for key in [key for key in given if key in known]:
        problems += _mismatches(key, known[key].annotation, given[key])
    if problems:
        raise InputError(f"{what}: {'; '.join(problems)}{takes}")


def _mismatches(name: str, annotation: Any, value: Any) -> Iterator[str]:
    """Where plain data does not fit an annotation. Objects, and annotations that are not of plain data, pass.

    Checked as JSON: strict, but a list is a tuple there and an integer a float.
    """
    if annotation is inspect.Parameter.empty:
        return
    try:
        adapter = pydantic.TypeAdapter(annotation, config={"allow_inf_nan": False})
        adapter.validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        for problem in error.errors():
            yield f"{'.'.join(map(str, (name, *problem['loc'])))}: {mismatch(problem)}"
    except (TypeError, ValueError, NameError, pydantic.errors.PydanticUserError):
        return
