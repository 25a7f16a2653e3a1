"""Signals (blinker), with the app as their sender. They carry ids and never a token.

Those about a token that was sent carry the keywords ``name`` (of the ``AuthX`` object), ``jti``,
``sid``, ``sub`` and ``type``; the ids are ``None`` if the token was not verified.
"""

from __future__ import annotations

from typing import Any

from blinker import Namespace, Signal
from flask import Flask

from flask_authx.tokens.token import Token

from .errors import AuthXException, RevokedTokenError

_signals = Namespace()

#: A guard or ``verify_token`` accepted a token.
token_accepted: Signal = _signals.signal("token-accepted")
#: A guard or ``verify_token`` refused a request. Also carries ``error``, the exception that answers
#: it: its ``error_type`` is what the client is told and its ``reason`` says more, in fixed words.
token_refused: Signal = _signals.signal("token-refused")
#: The refused token is a revoked one: somebody keeps using it. Sent besides ``token_refused``.
revoked_token_used: Signal = _signals.signal("revoked-token-used")
#: A token passed though nobody knows whether it is revoked: the store failed, and
#: ``JWT_BLOCKLIST_ON_ERROR`` says "accept". Sent besides ``token_accepted``.
token_unchecked: Signal = _signals.signal("token-unchecked")

#: A token has been revoked in the store, for good. This and the two below carry ``name``, ``actor``
#: (the subject of the token with which that was asked for, or ``None``) and ``reason`` beside what
#: is named here: ``jti``, ``sid`` and ``sub`` of the token.
token_revoked: Signal = _signals.signal("token-revoked")
#: A login has been revoked: ``sid``.
session_revoked: Signal = _signals.signal("session-revoked")
#: All logins of a subject have been revoked: ``sub``, and ``keep``, the sid of one that goes on.
subject_revoked: Signal = _signals.signal("subject-revoked")

#: A refresh token was used after its successor had been: its owner's or a thief's copy. The login
#: has been revoked, with its access tokens: tell its owner. Carries ``name``, ``sid``, ``sub`` and
#: the ``jti`` of the refresh token. Sent once for a login.
refresh_reuse_detected: Signal = _signals.signal("refresh-reuse-detected")


def announce_accepted(app: Flask, name: str, token: Token) -> None:
    """Tell the receivers of a token that passed. RevocationCallback first whether there are any."""
    token_accepted.send(app, name=name, **_ids(token))


def announce_refused(app: Flask, name: str, token: Token | None, error: AuthXException) -> None:
    """Tell the receivers, if there are any, of a request that did not."""
    if token_refused.receivers:
        token_refused.send(app, name=name, error=error, **_ids(token))
    if revoked_token_used.receivers and isinstance(error, RevokedTokenError):
        revoked_token_used.send(app, name=name, **_ids(token))


def announce_unchecked(app: Flask, name: str, token: Token) -> None:
    """Tell the receivers of a token that passed though the store could not be asked."""
    token_unchecked.send(app, name=name, **_ids(token))


def _ids(token: Token | None) -> dict[str, Any]:
    if token is None:
        return dict.fromkeys(("jti", "sid", "sub", "type"))
    return {"jti": token.jti, "sid": token.sid, "sub": token.sub, "type": token.type.value}


def announce_reuse(app: Flask, name: str, token: Token) -> None:
    """Tell the receivers of a refresh token that was used after its successor."""
    refresh_reuse_detected.send(app, name=name, sid=token.sid, sub=token.sub, jti=token.jti)
