"""Does what one JSON Schema describes fit another? For the wiring of nodes.

The law of this file: it says no only where it is sure. What it does not understand fits: a check
that cries wolf is switched off, and pydantic still looks at the real value.
"""

from typing import Any

Schema = dict[str, Any]
_WIDER = {("integer", "number")}


def mismatch(given: Schema, taken: Schema) -> str | None:
    """Why a value of one schema cannot be one of the other, or None if it may be."""
    return _mismatch(given, taken, given.get("$defs", {}), taken.get("$defs", {}), "", 8)


def _mismatch(
    given: Schema, taken: Schema, given_defs: Schema, taken_defs: Schema, at: str, depth: int
) -> str | None:
    given, taken = _resolved(given, given_defs), _resolved(taken, taken_defs)
    if not given or not taken or not depth:
        return None

    def inner(one: Schema, other: Schema, place: str) -> str | None:
        return _mismatch(one, other, given_defs, taken_defs, place, depth - 1)

    if choices := given.get("anyOf"):
        return next((why for choice in choices if (why := inner(choice, taken, at))), None)
    if choices := taken.get("anyOf"):
        reasons = [inner(given, choice, at) for choice in choices]
        return None if None in reasons else reasons[0]
    have, want = given.get("type"), taken.get("type")
    if isinstance(have, str) and isinstance(want, str) and have != want:
        if (have, want) not in _WIDER:
            return f"{at or 'it'} is {have}, and {want} is taken"
        return None
    if have == want == "array" and "items" in given and "items" in taken:
        return inner(given["items"], taken["items"], f"{at}[]")
    if have == want == "object":
        return _object(given, taken, inner, at)
    return None


def _object(given: Schema, taken: Schema, inner: Any, at: str) -> str | None:
    properties = given.get("properties")
    if properties is None:
        return None
    for name, schema in (taken.get("properties") or {}).items():
        place = f"{at}.{name}" if at else name
        if name not in properties:
            if name in taken.get("required", ()):
                return f"{place} is missing, and must be there"
        elif why := inner(properties[name], schema, place):
            return str(why)
    return None


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = definitions.get(reference.rpartition("/")[2], {})
        return found if isinstance(found, dict) else {}
    return schema
