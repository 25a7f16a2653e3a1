"""The classes of tokens: what they show, what they hide, what they grant."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from flask_authx import Location, RequestToken, Token, TokenPair, TokenType
from tests.support import NOW, access_token, make_app, parts
from tests.support.corpus import by_repr, check_all


def decoded(**kwargs: Any) -> Token:
    app, authx = make_app()
    with app.app_context():
        return authx.decode_token(authx.create_access_token("ann", **kwargs))


# RequestToken


def test_a_found_token_is_its_own_text_and_hides_in_its_repr() -> None:
    """SECURITY A.16 296 and 297."""
    found = RequestToken("aaa.bbb.ccc", csrf="hidden", type="refresh", location="cookies")
    assert str(found) == f"{found}" == "aaa.bbb.ccc"
    shown = repr(found) + repr([found]) + f"{found!r}"
    assert "aaa" not in shown
    assert "hidden" not in shown
    assert "refresh" in shown
    assert "cookies" in shown


def test_a_found_token_takes_its_closed_sets_as_text() -> None:
    found = RequestToken("t", type="refresh", location="json")
    assert found.type is TokenType.REFRESH
    assert found.location is Location.JSON
    member = RequestToken("t", type=TokenType.REFRESH, location=Location.JSON)
    assert (member.type, member.location) == (found.type, found.location)


def test_a_found_token_is_an_access_token_from_a_header_unless_told() -> None:
    found = RequestToken("t")
    assert (found.csrf, found.type, found.location) == (None, TokenType.ACCESS, Location.HEADERS)


@pytest.mark.parametrize("field", ["type", "location"])
def test_a_found_token_refuses_an_unknown_member(field: str) -> None:
    values: list[Any] = ["other", "ACCESS", "", None, 5]
    for value in values:
        with pytest.raises(ValueError, match="is not a valid"):
            RequestToken("t", **{field: value})


def test_a_location_has_the_name_of_the_peer_too() -> None:
    found = RequestToken("t", location=Location("query_string"))
    assert found.location is Location.QUERY


# Token


def test_a_verified_token_is_read_only() -> None:
    token = decoded()
    for name in ("sub", "jti", "sid", "iat", "exp", "scopes", "type", "claims"):
        with pytest.raises(AttributeError):
            setattr(token, name, "other")


def test_a_verified_token_takes_no_further_attributes() -> None:
    with pytest.raises(AttributeError):
        setattr(decoded(), "user", "ann")  # noqa: B010 - a plain assignment would not type-check


def test_claims_are_a_copy_for_each_token() -> None:
    """SECURITY A.19: a view that changes its claims changes no others."""
    app, authx = make_app()
    raw = access_token(app, authx, data={"roles": ["reader"]})
    with app.app_context():
        first, second = authx.decode_token(raw), authx.decode_token(raw)
    first.claims["roles"].append("admin")
    first.claims["sub"] = "bob"
    assert first.sub == "ann"
    assert first.claims["roles"] == ["reader", "admin"]
    assert second.claims["roles"] == ["reader"]
    with app.app_context():
        assert authx.decode_token(raw).claims["sub"] == "ann"


def test_a_verified_token_says_what_was_created() -> None:
    token = decoded(fresh=True, scopes=["b", "a:read"], expiry=60)
    assert token.sub == "ann"
    assert token.type is TokenType.ACCESS
    assert (token.iat, token.nbf, token.auth_time) == (NOW, NOW, NOW)
    assert token.exp == NOW + 60
    assert token.fresh is True
    assert token.scopes == frozenset({"b", "a:read"})
    assert (token.iss, token.aud, token.csrf) == (None, frozenset(), None)
    assert token.issued_at == datetime.fromtimestamp(NOW, UTC)
    assert token.expires_at == datetime.fromtimestamp(NOW + 60, UTC)
    assert token.claims["jti"] == token.jti
    assert bool(token) is True


def test_the_repr_of_a_verified_token_shows_ids_only() -> None:
    """SECURITY A.16 296."""
    app, authx = make_app(TOKEN_LOCATION="cookies")
    raw = access_token(app, authx, data={"email": "ann@example.com"})
    with app.app_context():
        token = authx.decode_token(raw)
    assert token.csrf is not None
    for text in (repr(token), str(token)):
        assert token.jti in text
        assert token.csrf not in text
        assert "ann@example.com" not in text
        assert not any(part in text for part in raw.split("."))


SCOPES: list[tuple[list[str], str, bool]] = [
    (["admin:*"], "admin:users", True),
    (["admin:*"], "admin:users:read", True),
    (["admin:*"], "admin:*", True),
    (["admin:*"], "admin:", True),
    (["admin:*"], "admin", False),
    (["admin:*"], "administrator", False),
    (["admin:*"], "administrator:users", False),
    (["admin:*"], "Admin:users", False),
    (["admin:*"], "superadmin:users", False),
    (["admin:*"], "x:admin:users", False),
    (["admin:users:*"], "admin:users:read", True),
    (["admin:users:*"], "admin:users", False),
    (["admin:users:*"], "admin:groups", False),
    (["admin:users"], "admin:users", True),
    (["admin:users"], "admin:users:read", False),
    (["admin:users"], "admin:*", False),
    (["admin:users"], "*", False),
    (["admin:u*"], "admin:users", False),
    (["admin*"], "admin:users", False),
    (["*:users"], "admin:users", False),
    (["*"], "admin", False),
    (["*"], "admin:users", False),
    (["*"], "*", True),
    (["a.b"], "aXb", False),
    ([], "admin", False),
    (["a", "b:*"], "b:c", True),
]


def test_scopes_match_by_a_trailing_star_only() -> None:
    """USERS 111: the table of what a held scope grants."""

    def check(case: tuple[list[str], str, bool]) -> None:
        held, required, granted = case
        token = decoded(scopes=held)
        assert token.has_scopes(required) is granted
        assert token.has_scopes(required, all_required=False) is granted

    check_all(by_repr(SCOPES), check)


def test_all_or_any_of_several_scopes() -> None:
    token = decoded(scopes=["a", "b:*"])
    assert token.has_scopes("a", "b:x")
    assert not token.has_scopes("a", "c")
    assert token.has_scopes("a", "c", all_required=False)
    assert not token.has_scopes("c", "d", all_required=False)


def test_no_scope_at_all_is_all_of_none_and_any_of_none() -> None:
    token = decoded(scopes=["a"])
    assert token.has_scopes()
    assert not token.has_scopes(all_required=False)


# TokenPair


def test_a_pair_is_the_body_of_a_response_and_hides_in_its_repr() -> None:
    """RFC 6749 section 5.1; SECURITY A.16 297."""
    pair = TokenPair("aaa", "rrr", 900, 1800)
    assert pair.to_dict() == {
        "access_token": "aaa",
        "refresh_token": "rrr",
        "token_type": "Bearer",
        "expires_in": 900,
        "refresh_expires_in": 1800,
    }
    assert "aaa" not in repr(pair)
    assert "rrr" not in repr(pair)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.access_token = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - that it is read-only is the point


@pytest.mark.parametrize(
    "make",
    [lambda: RequestToken("t", "c"), lambda: TokenPair("a", "r", 1, 2), decoded],
    ids=["found", "pair", "verified"],
)
def test_a_value_survives_a_copy(make: Callable[[], object]) -> None:
    """A task queue may pickle them."""
    value = make()
    again = pickle.loads(pickle.dumps(value))
    assert repr(again) == repr(value)


# What it says beside its claims


def test_the_header_is_a_copy_that_can_be_sent_as_json() -> None:
    app, authx = make_app()
    raw = access_token(app, authx, headers={"tenant": "acme", "more": {"a": [1]}})
    with app.app_context():
        token = authx.decode_token(raw)
        header = token.header
        assert app.json.loads(app.json.dumps(header)) == parts(raw)[0]
        assert (header["typ"], header["tenant"]) == ("at+jwt", "acme")
        header["tenant"] = "other"
        assert token.header["tenant"] == "acme"
        header["more"]["a"].append(2)
        # The next request reads it from the same entry of the cache.
        assert authx.decode_token(raw).header["more"] == {"a": [1]}
        assert token.header["more"] == {"a": [1]}


def test_a_token_that_was_given_as_text_has_no_location() -> None:
    app, authx = make_app()
    raw = access_token(app, authx)
    with app.app_context():
        assert authx.decode_token(raw).location is None
        assert authx.verify_token(raw).location is None
        found = RequestToken(raw, location="query")
        assert authx.decode_token(found).location is Location.QUERY
        assert authx.verify_token(found).location is Location.QUERY
        assert authx.verify_token(found).expired is False
