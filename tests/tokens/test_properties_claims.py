"""Any claim comes back as it was created, or is refused (SECURITY.md A.19)."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import JWTDecodeError, TokenType
from tests.support import bearer, make_app, parts, reforge
from tests.support.answers import ask
from tests.support.corpus import check_all
from tests.support.properties import (
    anything,
    fixed,
    in_two_sizes,
    plain,
    scalar_values,
    setup,
    surrogates,
)


def well_formed(token: Any) -> bool:
    """Whether everything that a view may rely on is of the type that it says."""
    texts = [token.sub, token.jti, token.sid, *token.scopes, *token.aud]
    times = [token.iat, token.exp, token.auth_time, *([] if token.nbf is None else [token.nbf])]
    return bool(
        repr(token)
        and all(isinstance(text, str) and text for text in texts)
        and len(token.sub) <= 255
        and re.fullmatch(r"[A-Za-z0-9._~:-]{1,255}", token.jti) is not None
        and all(isinstance(moment, int) and moment >= 0 for moment in times)
        and token.iat < token.exp
        and isinstance(token.type, TokenType)
        and token.fresh in (True, False)
        and (token.csrf is None or isinstance(token.csrf, str))
        and (token.iss is None or isinstance(token.iss, str))
        and token.issued_at.tzinfo is UTC
        and token.expires_at > token.issued_at
        and token.claims
    )


NAMES = [
    *("sub", "jti", "sid", "iat", "exp", "nbf", "auth_time", "type", "fresh", "scope", "scopes"),
    *("csrf", "iss", "aud", "cnf", "gen", "app"),
]


@pytest.mark.parametrize("examples", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_any_claim_is_well_formed_or_refused(examples: int) -> None:
    """SECURITY A.4, A.19.1: with a valid signature, so only the claims decide.

    Each value is tried in each claim.
    """
    app, authx, valid = setup()

    def check(token: str) -> None:
        with app.app_context():
            try:
                accepted = well_formed(authx.decode_token(token))
            except JWTDecodeError:
                accepted = False
            else:
                assert accepted, "an accepted token is not well formed"
        status = ask(app, headers=bearer(token)).status_code
        assert status in ({200, 401} if accepted else {401})

    @settings(fixed, max_examples=examples)
    @given(value=anything)
    def one_value(value: Any) -> None:
        check_all({name: reforge(valid, **{name: value}) for name in NAMES}, check)

    one_value()


uids = (
    st.text(scalar_values, min_size=1, max_size=255).filter(
        lambda text: "\0" not in text and not text.isspace()
    )
    | st.integers(-(10**250), 10**250)
    | st.uuids()
)
#: RFC 6749 section 3.3.
scope_characters = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\')
own_names = st.text(scalar_values, max_size=10).filter(
    lambda name: (
        name
        not in {
            *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "auth_time", "gen", "type"),
            *("fresh", "scope", "scopes", "csrf", "cnf"),
        }
    )
)


@in_two_sizes
def test_a_created_token_comes_back(examples: int) -> None:
    """SECURITY A.19.10"""
    app, authx, _ = setup()

    @settings(fixed, max_examples=examples)
    @given(
        uid=uids,
        claims=st.dictionaries(own_names, plain, max_size=5),
        scopes=st.none() | st.lists(st.text(scope_characters, min_size=1, max_size=9)),
        fresh=st.booleans(),
        life=st.integers(1, 30 * 86400),
    )
    def one_token(
        uid: Any, claims: dict[str, Any], scopes: list[str] | None, fresh: bool, life: int
    ) -> None:
        with app.app_context():
            try:
                created = authx.create_access_token(
                    uid, data=claims, scopes=scopes, fresh=fresh, expiry=life
                )
            except ValueError as error:
                assert "characters long" in str(error)  # noqa: PT017 - only some are too long
                return
            token = authx.verify_token(created)
            assert well_formed(token)
        assert (token.sub, token.fresh) == (str(uid), fresh)
        assert (token.scopes, token.exp - token.iat) == (frozenset(scopes or ()), life)
        assert {name: token.claims[name] for name in claims} == claims
        header, stated, _ = parts(created)
        assert (header["typ"], stated["type"]) == ("at+jwt", "access")
        assert {"iat", "exp", "jti", "sid", "sub", "csrf"} <= stated.keys()

    one_token()


@fixed
@given(
    headers=st.dictionaries(
        st.sampled_from(["x", "cty", "iss", "x5t", "ver"]) | st.text(surrogates, max_size=9),
        anything | st.text(scalar_values, min_size=1, max_size=3).map(lambda text: text * 800),
        max_size=3,
    )
)
def test_no_token_is_created_with_a_header_that_is_refused(headers: dict[str, Any]) -> None:
    """SECURITY A.19.10"""
    app, authx, _ = setup()
    with app.app_context():
        try:
            created = authx.create_access_token("ann", headers=headers)
        except (ValueError, TypeError):
            return
        assert authx.verify_token(created).sub == "ann"


@fixed
@given(audience=anything)
def test_no_token_is_created_with_an_audience_that_is_refused(audience: Any) -> None:
    """SECURITY A.19.10"""
    app, authx, _ = setup()
    with app.app_context():
        try:
            created = authx.create_access_token("ann", audience=audience)
        except (ValueError, TypeError):
            return
    named = [audience] if isinstance(audience, str) else [*(audience or ())]
    there, elsewhere = make_app(DECODE_AUDIENCE=named) if named else (app, authx)
    with there.app_context():
        assert elsewhere.decode_token(created).aud == frozenset(named)
