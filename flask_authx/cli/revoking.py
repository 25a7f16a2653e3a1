"""What ``flask authx revoke`` and ``flask authx sessions revoke`` do, and say about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

from flask_authx.actions.list_sessions import active_sessions, find_session
from flask_authx.actions.revoke import revoke_all, revoke_session, revoke_subject, revoke_token
from flask_authx.app.state import AppState
from flask_authx.errors import StoreUnavailableError, TokenExpiredError
from flask_authx.sessions.revocations import check_sid
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session
from flask_authx.tokens.new_token import subject
from flask_authx.tokens.token import Token

from .group import Option, system_actor

T = TypeVar("T")

dry_run_option: Option = click.option(
    "--dry-run", is_flag=True, help="Say what would be revoked, and write nothing."
)


@dataclass(frozen=True, slots=True)
class Request:
    """A revocation that the command line asks for. Each method says what it has found and done.

    Errors are those of the actions. If the store fails before anything is revoked, that is an error
    of a dry run only: else the revocation itself is tried, which matters more.

    :param dry_run: whether nothing is written.
    """

    state: AppState
    reason: str | None
    dry_run: bool

    def session(self, sid: str) -> None:
        """Revoke a session."""
        check_sid(sid)
        found = self._stored(lambda: [*filter(None, [find_session(self.state, sid)])])
        if not self.dry_run:
            revoke_session(self.state, sid, self.reason, actor=system_actor())
        if found == []:
            told = "would be" if self.dry_run else "are"
            click.echo(f"No session {sid} is stored. Tokens with this sid {told} revoked.")
        else:
            owner = f" of {found[0].sub}" if found else ""
            click.echo(f"{self._verb} the session {sid}{owner}.")

    def subject(self, uid: str, keep: str | None) -> None:
        """Revoke all sessions of a user that have begun so far, but for one that is kept."""
        subject(uid)
        if keep is not None:
            check_sid(keep)
        found = self._stored(lambda: self._active(uid))
        if not self.dry_run:
            revoke_subject(self.state, uid, keep, self.reason, actor=system_actor())
        exception = "" if keep is None else f", except the session {keep}"
        count = ""
        if found is not None:
            number = sum(session.sid != keep for session in found)
            tense = ("is", "are") if self.dry_run else ("was", "were")
            count = f" ({number or 'none'} {tense[number > 1]} active)"
        click.echo(f"{self._verb} all sessions of {uid} that have begun so far{exception}{count}.")
        if keep is not None and found is not None and all(keep != one.sid for one in found):
            click.echo(f"{uid} has no active session {keep}: none is kept.")

    def everything(self) -> None:
        """Revoke all sessions of all users that have begun so far."""
        if not self.dry_run:
            revoke_all(self.state, self.reason, actor=system_actor())
        click.echo(f"{self._verb} all sessions of all users that have begun so far.")

    def token(self, raw: str) -> None:
        """Revoke a token; where sessions are stored, a refresh token with its session."""
        try:
            token = self.state.verifier.decode(raw)
        except TokenExpiredError:
            click.echo("The token has already expired: there was nothing to revoke.")
            return
        revoked = self._found(lambda: self._is_revoked(token))
        if not self.dry_run:
            revoke_token(self.state, token, self.reason, actor=system_actor())
        what = f"the {token.type} token {token.jti}"
        if self.state.sessions is not None and self.state.settings.profiles[token.type].rotates:
            what = f"the session {token.sid} with {what}"
        before = ", which was revoked already" if revoked else ""
        click.echo(f"{self._verb} {what} of {token.sub}{before}.")

    @property
    def _verb(self) -> str:
        return "Would revoke" if self.dry_run else "Revoked"

    def _active(self, uid: str) -> list[Session]:
        return active_sessions(self.state, uid) if self._has_mark() else []

    def _is_revoked(self, token: Token) -> bool:
        return not self._has_mark() or self.state.require_revocations().is_revoked(token)

    def _has_mark(self) -> bool:
        """Whether the store has the entry of the scope. To look for others would write it.

        Without it, the next request finds all sessions revoked that began before.
        """
        return self.state.require_revocations().has_mark()

    def _stored(self, find: Callable[[], list[Session]]) -> list[Session] | None:
        """What is found; ``None`` if sessions are not stored, or that is unknown."""
        return None if self.state.sessions is None else self._found(find)

    def _found(self, find: Callable[[], T]) -> T | None:
        if self.dry_run:
            return find()
        with contextlib.suppress(StoreError, StoreUnavailableError):
            return find()
        return None
