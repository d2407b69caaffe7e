"""The difference of two JSON values as a JSON Patch (RFC 6902), and the patch applied.

The law of this file: `apply(old, diff(old, new)) == new`, exactly: 1, 1.0 and true are three
values. Pure. Made for values that grow, as a model's structured output does: what is new is
added, what is there stays untold.
"""

from typing import Any

Patch = list[dict[str, Any]]


def diff(old: Any, new: Any, *, settled: bool = True) -> Patch:
    """Return what makes `new` of `old`.

    With `settled=False` a string that has grown by less than an eighth is left as it is: a patch
    can only tell it whole, so telling each of its steps would cost its length squared.
    """
    patch: Patch = []
    _diff(old, new, "", patch, settled)
    return patch


def _diff(old: Any, new: Any, path: str, patch: Patch, settled: bool) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() - new.keys():
            patch.append({"op": "remove", "path": f"{path}/{_escape(key)}"})
        for key, value in new.items():
            at = f"{path}/{_escape(key)}"
            if key in old:
                _diff(old[key], value, at, patch, settled)
            else:
                patch.append({"op": "add", "path": at, "value": value})
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            _diff(before, after, f"{path}/{index}", patch, settled)
        for index in range(len(old) - 1, len(new) - 1, -1):
            patch.append({"op": "remove", "path": f"{path}/{index}"})
        patch += [{"op": "add", "path": f"{path}/-", "value": value} for value in new[len(old) :]]
    elif (type(old) is not type(new) or old != new) and (settled or not _grows_a_little(old, new)):
        patch.append({"op": "replace", "path": path, "value": new})


def _grows_a_little(old: Any, new: Any) -> bool:
    both = isinstance(old, str) and isinstance(new, str)
    return both and new.startswith(old) and 8 * (len(new) - len(old)) < len(old)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def apply(document: Any, patch: Patch) -> Any:
    """Apply a patch as `diff` makes them; the document itself is left as it was."""
    holder: dict[str, Any] = {"": _copied(document)}
    for step in patch:
        *way, last = step["path"].split("/") if step["path"] else [""]
        target: Any = holder
        for name in way:
            target = target[int(name) if isinstance(target, list) else _unescape(name)]
        if isinstance(target, dict):
            name = _unescape(last)
            if step["op"] == "remove":
                del target[name]
            else:
                target[name] = _copied(step["value"])
        elif step["op"] == "remove":
            del target[int(last)]
        elif step["op"] == "add":
            target.append(_copied(step["value"]))
        else:
            target[int(last)] = _copied(step["value"])
    return holder[""]


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _unescape(name: str) -> str:
    return name.replace("~1", "/").replace("~0", "~")
