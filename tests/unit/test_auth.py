"""The decision: who may do what where, and what others are told."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.auth import (
    RIGHTS,
    ROLES,
    Identity,
    Right,
    Verdict,
    decide,
    decide_somewhere,
    rights_of,
)

ALLOWED, UNKNOWN, HIDDEN, FORBIDDEN = Verdict
MAY = {
    "viewer": {"read"},
    "reporter": {"write"},
    "operator": {"read", "run"},
    "admin": {"read", "write", "run", "admin"},
}


def member(role: str, workspace: str = "w") -> Identity:
    return Identity(subject="ann", workspaces={workspace: ROLES[role]})


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("right", RIGHTS)
def test_a_member_may_what_his_role_says_in_his_workspace(role: str, right: Right) -> None:
    expected = ALLOWED if right in MAY[role] else FORBIDDEN
    assert decide(member(role), right, workspace="w") is expected
    assert decide(member(role), right, workspace="w", execution="X") is expected


@pytest.mark.parametrize("right", RIGHTS)
def test_elsewhere_nobody_is_told_even_that_there_is_something(right: Right) -> None:
    for role in ROLES:
        assert decide(member(role), right, workspace="v") is HIDDEN
        assert decide(member(role), right, workspace="v", execution="X") is HIDDEN
        assert decide(member(role), right, workspace="*") is HIDDEN
    assert decide(None, right, workspace="w") is UNKNOWN
    assert decide_somewhere(None, right) is UNKNOWN


def test_rights_on_one_execution_show_no_other_and_no_list() -> None:
    one = Identity(subject="ann", executions={"X": ["read"]})
    assert decide(one, "read", workspace="w", execution="X") is ALLOWED
    assert decide(one, "run", workspace="w", execution="X") is FORBIDDEN
    assert decide(one, "read", workspace="w", execution="Y") is HIDDEN
    assert decide(one, "read", workspace="w") is HIDDEN
    assert decide_somewhere(one, "read") is FORBIDDEN


def test_everywhere_is_each_workspace_and_the_server() -> None:
    everywhere = member("viewer", "*")
    assert decide(everywhere, "read", workspace="any") is ALLOWED
    assert decide(everywhere, "read", workspace="*") is ALLOWED
    assert decide(everywhere, "run", workspace="any") is FORBIDDEN
    assert decide_somewhere(member("viewer"), "read") is ALLOWED
    assert decide_somewhere(member("reporter"), "read") is FORBIDDEN


names = st.sampled_from(["w", "v", "*"])
given_rights = st.dictionaries(names, st.sets(st.sampled_from(RIGHTS)))


@given(given_rights, given_rights, names, st.sampled_from(RIGHTS))
def test_more_rights_never_take_one_away(
    some: dict[str, set[Right]], more: dict[str, set[Right]], workspace: str, right: Right
) -> None:
    both = {name: some.get(name, set()) | more.get(name, set()) for name in some | more}
    verdicts = [
        decide(Identity(subject="a", workspaces=rights), right, workspace=workspace)
        for rights in (some, both)
    ]
    assert (verdicts[0] is not ALLOWED) or (verdicts[1] is ALLOWED)
    assert (verdicts[0] is HIDDEN) or (verdicts[1] is not HIDDEN)


@given(given_rights, given_rights, st.none() | st.datetimes(timezones=st.just(UTC)))
def test_an_identity_is_the_same_after_it_was_kept(
    workspaces: dict[str, set[Right]], executions: dict[str, set[Right]], until: datetime | None
) -> None:
    identity = Identity(
        subject="ann",
        kind="key",
        workspaces={name: frozenset(rights) for name, rights in workspaces.items()},
        executions={name: frozenset(rights) for name, rights in executions.items()},
        expires_at=until,
        credentials=("key:1", "session:2"),
    )
    assert Identity.from_dict(identity.to_dict()) == identity


def test_roles_and_rights_are_read_by_name() -> None:
    assert rights_of("operator") == {"read", "run"}
    assert rights_of("read") == {"read"}
    assert rights_of(["run", "read"]) == {"read", "run"}
    wrongs: list[str | list[str]] = ["owner", [], ["read", "fly"], "", ["viewer"]]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="none of"):
            rights_of(wrong)


def test_one_is_counted_by_the_credential_all_others_came_from() -> None:
    assert Identity(subject="ann", credentials=("key:1", "session:2")).credential == "key:1"
    assert Identity(subject="ann").credential == "subject:ann"
