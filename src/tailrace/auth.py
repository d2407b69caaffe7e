"""Who may do what: identities, rights, roles, and the one decision.

The law of this file: pure, and the only place where it is decided. Nobody is told of what they may
know nothing of: there is no difference between a workspace or an execution not theirs and
one that does not exist.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, get_args

Right = Literal["read", "write", "run", "admin"]
Kind = Literal["key", "jwt", "session", "ticket", "custom"]
Rights = frozenset[Right]

EVERYWHERE = "*"  # as a workspace: each one, and the server itself
RIGHTS: tuple[Right, ...] = get_args(Right)

# What a right also is. Reporting (`write`) shows nothing; starting (`run`) needs no looking.
IMPLIES: Mapping[Right, Rights] = {
    "read": frozenset({"read"}),
    "write": frozenset({"write"}),
    "run": frozenset({"run"}),
    "admin": frozenset(RIGHTS),
}
# What members of a workspace are, by the rights they have.
ROLES: Mapping[str, Rights] = {
    "viewer": frozenset({"read"}),
    "reporter": frozenset({"write"}),
    "operator": frozenset({"read", "run"}),
    "admin": frozenset({"admin"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks, and what they may.

    `workspaces` and `executions` give the rights in each of them, by name and id; they add up.
    `credentials` are the ids of what they showed, the first one above all: revoking any of them
    ends their streams. `expires_at` is when all this is over.
    """

    subject: str
    kind: Kind = "custom"
    workspaces: Mapping[str, Iterable[Right]] = field(default_factory=dict)
    executions: Mapping[str, Iterable[Right]] = field(default_factory=dict)
    expires_at: datetime | None = None
    credentials: tuple[str, ...] = ()

    @property
    def credential(self) -> str:
        """What they are counted by: the credential that everything else was made from."""
        return self.credentials[0] if self.credentials else f"subject:{self.subject}"

    def rights(self, workspace: str | None = None, execution: str | None = None) -> Rights:
        """What they may in a workspace, or with one execution of it."""
        given = [*self.workspaces.get(EVERYWHERE, ())]
        if workspace is not None:
            given += self.workspaces.get(workspace, ())
        if execution is not None:
            given += self.executions.get(execution, ())
        return frozenset[Right]().union(*(IMPLIES[right] for right in given))

    def anywhere(self) -> Rights:
        """What they may in some workspace."""
        return frozenset[Right]().union(*(self.rights(name) for name in self.workspaces))

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `from_dict` reads it."""
        return {
            "subject": self.subject,
            "kind": self.kind,
            "workspaces": {name: sorted(given) for name, given in self.workspaces.items()},
            "executions": {name: sorted(given) for name, given in self.executions.items()},
            "expires_at": self.expires_at and self.expires_at.isoformat(),
            "credentials": list(self.credentials),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Identity":
        """Read what `to_dict` wrote."""
        expires_at = body["expires_at"]
        return cls(
            subject=body["subject"],
            kind=body["kind"],
            workspaces={name: frozenset(given) for name, given in body["workspaces"].items()},
            executions={name: frozenset(given) for name, given in body["executions"].items()},
            expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
            credentials=tuple(body["credentials"]),
        )


class Verdict(Enum):
    """The decision, and the status it is told with."""

    ALLOWED = 200
    UNKNOWN = 401  # nobody has said who they are
    HIDDEN = 404  # they may not know whether there is such a thing
    FORBIDDEN = 403  # they know of it, and may not do that


def decide(
    identity: Identity | None,
    right: Right,
    *,
    workspace: str | None = None,
    execution: str | None = None,
) -> Verdict:
    """Whether someone may do something in a workspace, or with an execution of it.

    That the execution is of that workspace is for who looks it up.
    """
    if identity is None:
        return Verdict.UNKNOWN
    held = identity.rights(workspace, execution)
    if right in held:
        return Verdict.ALLOWED
    return Verdict.FORBIDDEN if held else Verdict.HIDDEN


def decide_somewhere(identity: Identity | None, right: Right) -> Verdict:
    """Whether someone may do something in any workspace: for what belongs to none."""
    if identity is None:
        return Verdict.UNKNOWN
    return Verdict.ALLOWED if right in identity.anywhere() else Verdict.FORBIDDEN


def rights_of(names: str | Iterable[str]) -> Rights:
    """Read a role's name, or names of rights. Raises ValueError for what is neither."""
    if isinstance(names, str):
        if names in ROLES:
            return ROLES[names]
        names = [names]
    found = frozenset(names)
    if not found or not found <= set(RIGHTS):
        known = ", ".join((*ROLES, *RIGHTS))
        raise ValueError(f"{', '.join(sorted(map(str, found))) or 'nothing'} is none of: {known}")
    return frozenset(right for right in RIGHTS if right in found)
