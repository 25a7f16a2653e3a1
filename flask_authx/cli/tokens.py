"""``flask authx inspect``: what a token says, and whether it would be accepted."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import click

from flask_authx.app.state import AppState
from flask_authx.errors import (
    AuthXException,
    JWTDecodeError,
    RevokedTokenError,
    StoreUnavailableError,
    TokenInvalidAudienceError,
    TokenInvalidIssuerError,
)
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.tokens.token import RequestToken, Token

from .group import as_json_option, authx, echo_json, name_option, reported_errors, selected_state
from .layout import pairs, terminal_width, utc

#: Longer texts are not taken apart: no server reads such a header.
_MAX_LENGTH = 1_000_000
#: The claims that are times in seconds (RFC 7519 section 4.1, OpenID Connect).
_TIMES = ("iat", "nbf", "exp", "auth_time")
_HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is found out about a token.

    :param header: the JOSE header; ``None`` if it can't be read.
    :param claims: the claims, without the CSRF value; ``None`` if they can't be read.
    :param verified: whether the signature is valid, so that the app has written the claims.
    :param error: why the token is refused; ``None`` if it would be accepted.
    :param revoked: whether it is revoked; ``None`` if that can't be known here.
    """

    header: Any
    claims: Any
    verified: bool
    error: AuthXException | None
    revoked: bool | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "header": self.header,
            "claims": self.claims,
            "verified": self.verified,
            "accepted": self.error is None,
            "error": None if self.error is None else type(self.error).__name__,
            "reason": None if self.error is None else self.error.reason,
            "revoked": self.revoked,
        }


@authx.command("inspect")
@as_json_option
@name_option
@click.pass_context
def inspect(ctx: click.Context, *, as_json: bool, name: str | None) -> None:
    """Show what a token says, and whether a guard would accept it.

    The token is read from the standard input, since all users of a machine can see the arguments of
    its processes. Neither its signature nor its CSRF value is shown, and nothing is written. The
    exit code is 0 if the token would be accepted, 1 if not, and 3 if the store fails.
    """
    state = selected_state(name)
    if sys.stdin.isatty():
        click.echo("Paste the token, then press Enter and Ctrl-D:", err=True)
    with reported_errors():
        found = inspection(state, sys.stdin.read().strip())
    if as_json:
        echo_json(found.to_dict())
    else:
        for line in report(state, found, terminal_width()):
            click.echo(line)
    ctx.exit(0 if found.error is None else 1)


def inspection(state: AppState, raw: str) -> Inspection:
    """What a token says, whether it would be accepted, and why not.

    :raises StoreUnavailableError: if a store or the revocation callback fails.
    """
    header, claims = _unverified(raw)
    verified, token = _verified(state, raw)
    if token is not None:
        claims = token.claims
    if isinstance(claims, dict) and "csrf" in claims:
        claims = {**claims, "csrf": _HIDDEN}
    context = RequestContext()
    revoked: bool | None = None
    reason: str | None = None
    if token is not None and _has_lost_entries(state):
        # The next request would find all older sessions revoked, and write that.
        revoked, reason = True, "the store is new or has lost its revocations"
    elif token is not None and state.revocable and not state.per_process:
        revoked = state.verifier.is_revoked(raw, token, context)
    return Inspection(
        header=header,
        claims=claims,
        verified=verified,
        error=_refusal(state, raw, context, revoked=revoked, reason=reason),
        revoked=revoked,
    )


def _refusal(
    state: AppState,
    raw: str,
    context: RequestContext,
    *,
    revoked: bool | None,
    reason: str | None,
) -> AuthXException | None:
    """Why a guard would refuse the token, if it would.

    :param reason: why it is revoked, if the verifier would not find that.
    """
    if not raw.isascii() or len(raw.split()) != 1:
        return JWTDecodeError(
            "this is not one token: paste one token alone, without a scheme such as Bearer, other "
            "words or a byte order mark"
        )
    try:
        # An expired token has passed until here.
        type = state.verifier.decode(raw).type
        if reason is not None:
            raise RevokedTokenError(reason)
        requirement = Requirement(
            type=type,
            check_revocation=revoked is not None,
            check_rotation=not state.per_process,
        )
        state.verifier.verify(RequestToken(raw, type=type), requirement, None, context)
    except StoreUnavailableError:
        raise
    except AuthXException as error:
        return error
    return None


def _has_lost_entries(state: AppState) -> bool:
    """Whether the store is new or has lost its revocations: the entry of the scope is missing."""
    revocations = state.revocations
    return revocations is not None and not state.per_process and not revocations.has_mark()


def _verified(state: AppState, raw: str) -> tuple[bool, Token | None]:
    """Whether the signature is valid, and the token if it is one for this app."""
    try:
        # Whatever the time: whether it has expired, or is not valid yet, is a question of its own.
        return True, Token(state.codec.decode(raw, math.inf, expired=True))
    except (TokenInvalidIssuerError, TokenInvalidAudienceError):
        return True, None
    except JWTDecodeError:
        return False, None


def _unverified(raw: str) -> tuple[Any, Any]:
    """The header and the claims as anybody can read them."""
    parts = raw.split(".") if len(raw) <= _MAX_LENGTH else []
    header, claims = (_decoded(part) for part in (*parts, "", "")[:2])
    return header, claims


def _decoded(part: str) -> Any:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars="-_", validate=True)
        value: Any = json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _finite(text: str) -> float:
    """A number that JSON can hold, unlike NaN and 1e400.

    :raises ValueError: if it is another.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a number of JSON")
    return value


def report(state: AppState, found: Inspection, width: int) -> Iterator[str]:
    """The lines to print."""
    yield "Header"
    yield from _members(found.header, width)
    yield "Claims" if found.verified else "Claims (not verified: anybody may have written them)"
    yield from _members(found.claims, width)
    error = found.error
    rows = [("Accepted", "yes" if error is None else f"no: {error.reason}")]
    if error is not None:
        rows.append(("Error", type(error).__name__))
    if found.revoked is None:
        rows.append(("Revoked", _why_unknown(state, found)))
    else:
        rows.append(("Revoked", "yes" if found.revoked else "no"))
    yield from pairs(rows, width)


def _why_unknown(state: AppState, found: Inspection) -> str:
    if not found.verified:
        return "not checked: the token is invalid"
    if not state.revocable:
        return "not checked: there is neither a store nor a revocation callback"
    if state.per_process:
        return "not checked: the store is in the memory of each process"
    return "not checked"


def _members(value: Any, width: int) -> Iterator[str]:
    if value is None:
        yield "  (can't be read)"
        return
    rows: list[tuple[str, str]] = []
    for name, one in value.items():
        # As ASCII: a terminal obeys control characters.
        text = json.dumps(one)
        if name in _TIMES and isinstance(one, int) and not isinstance(one, bool):
            text += f" ({utc(one)})"
        rows.append((json.dumps(name)[1:-1], text))
    yield from pairs(rows, width, indent=2)
