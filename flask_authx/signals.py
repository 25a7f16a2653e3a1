"""Signals (blinker), with the app as their sender. They carry ids and never a token.

Every receiver gets the keywords ``name`` (of the ``AuthX`` object), ``jti``, ``sid``, ``sub`` and
``type``; the ids are ``None`` if the token was not verified.
"""

from __future__ import annotations

from typing import Any

from blinker import Namespace, Signal
from flask import Flask

from .errors import AuthXException, RevokedTokenError
from .tokens import Token

_signals = Namespace()

#: A guard or ``verify_token`` accepted a token.
token_accepted: Signal = _signals.signal("token-accepted")
#: A guard or ``verify_token`` refused a request. Also carries ``error``, the exception that answers
#: it: its ``error_type`` is what the client is told and its ``reason`` says more, in fixed words.
token_refused: Signal = _signals.signal("token-refused")
#: The refused token is a revoked one: somebody keeps using it. Sent besides ``token_refused``.
token_revoked: Signal = _signals.signal("token-revoked")


def announce_accepted(app: Flask, name: str, token: Token) -> None:
    """Tell the receivers of a token that passed. Ask first whether there are any."""
    token_accepted.send(app, name=name, **_ids(token))


def announce_refused(app: Flask, name: str, token: Token | None, error: AuthXException) -> None:
    """Tell the receivers, if there are any, of a request that did not."""
    if token_refused.receivers:
        token_refused.send(app, name=name, error=error, **_ids(token))
    if token_revoked.receivers and isinstance(error, RevokedTokenError):
        token_revoked.send(app, name=name, **_ids(token))


def _ids(token: Token | None) -> dict[str, Any]:
    if token is None:
        return dict.fromkeys(("jti", "sid", "sub", "type"))
    return {"jti": token.jti, "sid": token.sid, "sub": token.sub, "type": token.type.value}
