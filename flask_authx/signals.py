"""The signals (blinker). Their sender is the app; they carry ids and never a token.

An exception in a receiver is logged, and has no effect on the request or on other receivers.

Signals about the token of a request carry the keywords ``name`` (of the ``AuthX`` object), ``jti``,
``sid``, ``sub`` and ``type``. All but ``name`` are ``None`` if the token was not verified.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from typing import Any, NewType

from blinker import Namespace, Signal

from .errors import AuthXException, RevokedTokenError
from .tokens.token import Token
from .tracebacks import outline

_log = logging.getLogger("flask_authx")
_signals = Namespace()

#: A guard or ``verify_token`` accepted a token.
token_accepted: Signal = _signals.signal("token-accepted")
#: A guard or ``verify_token`` refused a request. Also carries ``error``, the exception: its
#: ``error_type`` is sent to the client, and its ``reason`` is a more specific, fixed text.
token_refused: Signal = _signals.signal("token-refused")
#: The refused token has been revoked, and a client still uses it. Sent in addition to
#: ``token_refused``.
revoked_token_used: Signal = _signals.signal("revoked-token-used")
#: A token was accepted without a check of its revocation: the store failed, and
#: ``JWT_BLOCKLIST_ON_ERROR`` is "accept". Sent in addition to ``token_accepted``.
token_unchecked: Signal = _signals.signal("token-unchecked")

#: A token has been revoked, and the store has confirmed it. Carries ``jti``, ``sid`` and ``sub`` of
#: the token. This signal and the next three also carry ``name``, ``reason`` and ``actor``: who
#: revoked, as ``user:`` and the subject of the request's token, or as ``cli:`` and the name of the
#: system's user for a command; else ``None``.
token_revoked: Signal = _signals.signal("token-revoked")
#: A session has been revoked. Carries ``sid``.
session_revoked: Signal = _signals.signal("session-revoked")
#: All sessions of a subject have been revoked. Carries ``sub``, and ``keep``, the sid of the one
#: session that was excepted, or ``None``.
subject_revoked: Signal = _signals.signal("subject-revoked")
#: All sessions of all subjects have been revoked.
all_revoked: Signal = _signals.signal("all-revoked")

#: A refresh token has been replaced by the next tokens of its session. Carries ``name``, ``sid``,
#: ``sub`` and the ``jti`` of the replaced token.
session_refreshed: Signal = _signals.signal("session-refreshed")
#: A replaced refresh token was reused, by the user's client or by an attacker. The session has been
#: revoked with its access tokens: inform the user. Carries ``name``, ``sid``, ``sub`` and the
#: ``jti`` of the refresh token. Sent once for a session, or by each process that detects it if the
#: store's answers are lost: then also if it is unknown whether the session could be revoked.
refresh_reuse_detected: Signal = _signals.signal("refresh-reuse-detected")

#: A store fails, and is called once a second until it works. Carries ``name``, ``store``
#: ("revocations", "sessions" or "audit records"), ``operation`` ("read", "write", "list",
#: "inspect" or "prune") and ``error_class``, the name of the last error's class.
store_failed: Signal = _signals.signal("store-failed")
#: A store that failed works again. Carries ``name``, ``store``, ``operation`` and ``seconds``, for
#: how long it was not in use.
store_recovered: Signal = _signals.signal("store-recovered")


#: Who revoked: a kind, a colon and a name. A uid may be any text, so a user that is called
#: ``cli:root`` must not be taken for the command line's root.
Actor = NewType("Actor", str)
#: Characters of an actor that the table of the audit trail can store.
_MAX_ACTOR = 255


def user_actor(sub: str) -> Actor:
    """A user: ``user:`` and the subject, or ``user-sha256:`` and its digest if that is too long."""
    actor = f"user:{sub}"
    if len(actor) > _MAX_ACTOR:
        actor = f"user-sha256:{hashlib.sha256(sub.encode()).hexdigest()}"
    return Actor(actor)


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
        self, signal: Signal, ids: dict[str, Any], *, actor: Actor | None, reason: str | None
    ) -> None:
        """Send a signal that something has been revoked."""
        if signal.receivers:
            self._send(signal, actor=actor, reason=reason, **ids)

    def refreshed(self, token: Token) -> None:
        """Send ``session_refreshed``."""
        if session_refreshed.receivers:
            self._send(session_refreshed, sid=token.sid, sub=token.sub, jti=token.jti)

    def reuse_detected(self, token: Token) -> None:
        """Send ``refresh_reuse_detected``."""
        self._send(refresh_reuse_detected, sid=token.sid, sub=token.sub, jti=token.jti)

    def store_failed(self, store: str, operation: str, error_class: str) -> None:
        """Send ``store_failed``."""
        self._send(store_failed, store=store, operation=operation, error_class=error_class)

    def store_recovered(self, store: str, operation: str, seconds: float) -> None:
        """Send ``store_recovered``."""
        self._send(store_recovered, store=store, operation=operation, seconds=seconds)

    def _send(self, signal: Signal, **keywords: Any) -> None:
        if signal.is_muted:
            return
        for receiver in signal.receivers_for(self._sender):
            try:
                result = receiver(self._sender, name=self._name, **keywords)
                if inspect.iscoroutine(result):
                    result.close()
                    _log_failure(signal, receiver, "is async and was not run")
            except Exception as error:  # noqa: BLE001 - an app's receiver may raise any exception
                _log_failure(signal, receiver, f"raised {outline(error)}")


def _log_failure(signal: Signal, receiver: Callable[..., Any], what: str) -> None:
    name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
    _log.error("the receiver %s of the signal %s %s", name, getattr(signal, "name", signal), what)


def _ids(token: Token | None) -> dict[str, Any]:
    if token is None:
        return dict.fromkeys(("jti", "sid", "sub", "type"))
    return {"jti": token.jti, "sid": token.sid, "sub": token.sub, "type": token.type.value}
