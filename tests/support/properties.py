"""What the property tests share: the settings of Hypothesis, strategies, apps."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from flask import Flask
from hypothesis import settings
from hypothesis import strategies as st

from flask_authx import AuthX
from tests.support import NOW, access_token, make_app, private_key_for

#: The same examples each time: what fails once fails again.
fixed = settings(derandomize=True, deadline=None, max_examples=200)
#: For properties whose examples take long: a part of them is fast, all of them are slow.
in_two_sizes = pytest.mark.parametrize("examples", [40, pytest.param(200, marks=pytest.mark.slow)])

surrogates = st.characters(exclude_categories=())
#: Text without surrogates. The default of st.text() is the same set, for which Hypothesis encodes
#: each code point by itself: seconds in each process.
scalar_values = st.characters(exclude_categories=["Cs"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(int(NOW) - 100, int(NOW) + 2000)
    | st.floats()
    | st.text(surrogates, max_size=20)
    | st.sampled_from(["ann", "access", "refresh", "a b", "a:*", "", "\0", "a" * 256])
)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


anything = nested(scalars, st.text(surrogates, max_size=8))
plain = nested(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Databases and logs choke on surrogates, so no claim holds one.
    | st.text(scalar_values, max_size=20),
    st.text(scalar_values, max_size=8),
)


@functools.cache
def setup(algorithm: str = "HS256") -> tuple[Flask, AuthX, str]:
    """An app that looks everywhere, and a token that it accepts."""
    config: dict[str, Any] = {"TOKEN_LOCATION": ["headers", "cookies", "query", "json"]}
    if algorithm != "HS256":
        config |= {"ALGORITHM": algorithm, "PRIVATE_KEY": private_key_for(algorithm)}
    app, authx = make_app(CSRF_CHECK_FORM=True, **config)
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @app.route("/refresh", methods=["POST"])
    @authx.refresh_token_required
    def refresh() -> str:
        return "seen"

    return app, authx, access_token(app, authx)
