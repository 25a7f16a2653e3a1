"""Signals (blinker), with the app as their sender. They carry ids and never a token.

Those about a token that was sent carry the keywords ``name`` (of the ``AuthX`` object), ``jti``,
``sid``, ``sub`` and ``type``; the ids are ``None`` if the token was not verified.
"""

from __future__ import annotations

from typing import Any

from blinker import Namespace, Signal

from .errors import AuthXException, RevokedTokenError
from .tokens.token import Token

_signals = Namespace()

#: A guard or ``verify_token`` accepted a token.
token_accepted: Signal = _signals.signal("token-accepted")
#: A guard or ``verify_token`` refused a request. Also carries ``error``, the exception that is the
#: response: its ``error_type`` is sent to the client and its ``reason`` says more, in fixed words.
token_refused: Signal = _signals.signal("token-refused")
#: A revoked token was used. Sent besides ``token_refused``.
revoked_token_used: Signal = _signals.signal("revoked-token-used")
#: A token was accepted though its revocation could not be checked: the store failed, and
#: ``JWT_BLOCKLIST_ON_ERROR`` says "accept". Sent besides ``token_accepted``.
token_unchecked: Signal = _signals.signal("token-unchecked")

#: A token has been revoked in the store, for good. This and the two below carry ``name``, ``actor``
#: (the subject of the token with which that was asked for, or ``None``) and ``reason`` beside what
#: is named here: ``jti``, ``sid`` and ``sub`` of the token.
token_revoked: Signal = _signals.signal("token-revoked")
#: A session has been revoked: ``sid``.
session_revoked: Signal = _signals.signal("session-revoked")
#: All sessions of a subject have been revoked: ``sub``, and ``keep``, the sid of one that goes on.
subject_revoked: Signal = _signals.signal("subject-revoked")

#: A refresh token was used after its successor: its owner's or a copy. The session has been
#: revoked, with its access tokens: tell its owner. Carries ``name``, ``sid``, ``sub`` and the
#: ``jti`` of the refresh token. Sent once for a session.
refresh_reuse_detected: Signal = _signals.signal("refresh-reuse-detected")


class Announcer:
    """Sends the signals of one ``AuthX`` object on one app.

    :param sender: the app.
    :param name: of the ``AuthX`` object.
    """

    def __init__(self, sender: object, name: str) -> None:
        self._sender = sender
        self._name = name

    def accepted(self, token: Token) -> None:
        """Send ``token_accepted``."""
        if token_accepted.receivers:
            self._send(token_accepted, **_ids(token))

    def refused(self, token: Token | None, error: AuthXException) -> None:
        """Send ``token_refused``, and ``revoked_token_used`` if it is revoked."""
        if token_refused.receivers:
            self._send(token_refused, error=error, **_ids(token))
        if revoked_token_used.receivers and isinstance(error, RevokedTokenError):
            self._send(revoked_token_used, **_ids(token))

    def unchecked(self, token: Token) -> None:
        """Send ``token_unchecked``."""
        self._send(token_unchecked, **_ids(token))

    def revoked(
        self, signal: Signal, ids: dict[str, Any], *, actor: str | None, reason: str | None
    ) -> None:
        """Send one of ``token_revoked``, ``session_revoked`` and ``subject_revoked``."""
        if signal.receivers:
            self._send(signal, actor=actor, reason=reason, **ids)

    def reuse_detected(self, token: Token) -> None:
        """Send ``refresh_reuse_detected``."""
        self._send(refresh_reuse_detected, sid=token.sid, sub=token.sub, jti=token.jti)

    def _send(self, signal: Signal, **keywords: Any) -> None:
        signal.send(self._sender, name=self._name, **keywords)


def _ids(token: Token | None) -> dict[str, Any]:
    if token is None:
        return dict.fromkeys(("jti", "sid", "sub", "type"))
    return {"jti": token.jti, "sid": token.sid, "sub": token.sub, "type": token.type.value}
