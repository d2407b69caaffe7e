"""Annotations to JSON Schema, and inputs to arguments.

The law of this file: what cannot be described stays undescribed (None), and is then not checked;
what can be described is what users' own annotations say, through pydantic.
"""

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Any, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)

from tailrace.errors import InvalidInput
from tailrace.flow.ir import Schema


def annotations(fn: Callable[..., Any]) -> dict[str, Any]:
    """A function's annotations, as objects; none of them if one cannot be looked up."""
    try:
        return inspect.get_annotations(fn, eval_str=True)
    except NameError:  # a name that exists only for the type checker: the schema is unknown
        return {}


def summary_of(fn: Callable[..., Any]) -> str | None:
    """The first line of a docstring."""
    doc = inspect.getdoc(fn)
    return doc.splitlines()[0] if doc else None


def is_stream(hint: Any) -> bool:
    """Whether an annotation stands for many values over time."""
    return get_origin(hint) in (AsyncIterator, AsyncIterable)


def item_annotation(hint: Any) -> Any:
    """The annotation of one value of a stream."""
    return get_args(hint)[0] if get_args(hint) else Any


def schema_of(hint: Any) -> Schema | None:
    """The JSON Schema of an annotation."""
    if hint is None or hint is inspect.Parameter.empty:
        return None
    try:
        return TypeAdapter(hint).json_schema()
    except PydanticUserError:  # a type that has no JSON form stays opaque
        return None


def parameters_schema(signature: inspect.Signature, hints: dict[str, Any]) -> Schema:
    """The JSON Schema of a node's parameters; of a stream, that of one value."""
    properties = {}
    for name in signature.parameters:
        hint = hints.get(name)
        properties[name] = schema_of(item_annotation(hint) if is_stream(hint) else hint) or {}
    return {"type": "object", "properties": properties}


def input_model(name: str, signature: inspect.Signature, hints: dict[str, Any]) -> type[BaseModel]:
    """A model of what an execution is started with."""
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return create_model(f"{name}_input", __config__=config, **fields)


def _message(found: Mapping[str, Any]) -> str:
    """What pydantic found; of a model of ours nobody has heard."""
    if not found["loc"] and found["type"] == "model_type":
        return "the input is an object, with the parameters' names as its keys"
    return str(found["msg"])


def validate_arguments(name: str, model: type[BaseModel], value: Any) -> dict[str, Any]:
    """Validate an input and return it as arguments. Raises InvalidInput."""
    try:
        made = model.model_validate({} if value is None else value)
    except ValidationError as error:
        problems = [
            {"at": ".".join(str(part) for part in found["loc"]), "message": _message(found)}
            for found in error.errors()
        ]
        first = problems[0]
        at = f" {first['at']}:" if first["at"] else ""
        raise InvalidInput(f"{name}:{at} {first['message']}", problems=problems) from None
    return {field: getattr(made, field) for field in model.model_fields}
