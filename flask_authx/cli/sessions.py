"""``flask authx sessions``: lists and revokes sessions. Exit codes as for ``revoke``."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import click
from flask.cli import with_appcontext

from flask_authx.actions.list_sessions import active_sessions
from flask_authx.actions.revoke import revoke_session, revoke_subject
from flask_authx.app.state import AppState
from flask_authx.sessions.revocations import check_sid
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session

from .group import (
    as_json_option,
    authx,
    echo_json,
    name_option,
    reported_errors,
    require_shared_store,
    selected_state,
    system_actor,
)
from .revocations import subject_revoked_message

_COLUMNS = ("sid", "name", "created", "last seen", "expires", "user agent", "address")
#: Longer user agents are shortened to so many characters.
_MAX_USER_AGENT = 40


class _SessionsGroup(click.Group):
    """A group with the default command ``list``: ``sessions UID`` is ``sessions list UID``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``list`` if the first argument is no command."""
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@authx.group("sessions", cls=_SessionsGroup, subcommand_metavar="UID | revoke ...")
def sessions() -> None:
    """List or revoke a user's sessions.

    If the uid is the name of a command, type `flask authx sessions list UID`.
    """


@sessions.command("list")
@click.argument("uid")
@as_json_option
@name_option
@with_appcontext
def list_sessions(*, uid: str, as_json: bool, name: str | None) -> None:
    """List a user's active sessions, the last seen first."""
    state = selected_state(name)
    require_shared_store(state)
    with reported_errors():
        listed = active_sessions(state, uid)
    if as_json:
        echo_json([session.to_dict() for session in listed])
        return
    if not listed:
        click.echo(f"{uid} has no active sessions.", err=True)
    for line in table(listed):
        click.echo(line)


def table(listed: Sequence[Session]) -> Iterator[str]:
    """The lines of a table, none without sessions. Times are in UTC."""
    if not listed:
        return
    rows = [_COLUMNS, *(_row(session) for session in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(session: Session) -> tuple[str, ...]:
    times = (session.created_at, session.last_seen_at, session.expires_at)
    return (
        session.sid,
        session.name or "-",
        *(time.strftime("%Y-%m-%d %H:%M:%SZ") for time in times),
        textwrap.shorten(session.user_agent or "-", _MAX_USER_AGENT, placeholder=" ..."),
        session.address or "-",
    )


@sessions.command("revoke")
@click.argument("sids", nargs=-1, metavar="[SID]...")
@click.option("--subject", metavar="UID", help="All sessions of a user that have begun so far.")
@click.option("--keep", metavar="SID", help="With --subject: a session that is not revoked.")
@click.option("--reason", metavar="TEXT", help="The reason, for signals and the audit trail.")
@name_option
@with_appcontext
def revoke_sessions(
    *, sids: tuple[str, ...], name: str | None, reason: str | None, **target: Any
) -> None:
    """Revoke the named sessions, or all sessions of a user.

    If the exit code is 0, every process refuses their tokens from now on.
    """
    subject, keep = target["subject"], target["keep"]
    if bool(sids) == (subject is not None):
        raise click.UsageError("Give one or more sids, or --subject.")
    if keep is not None and subject is None:
        raise click.UsageError("--keep requires --subject.")
    state = selected_state(name)
    require_shared_store(state)
    with reported_errors():
        state.require_sessions()
        if subject is None:
            _revoke_each(state, sids, reason)
        else:
            revoke_subject(state, subject, keep, reason, actor=system_actor())
            click.echo(subject_revoked_message(subject, keep))


def _revoke_each(state: AppState, sids: Sequence[str], reason: str | None) -> None:
    # A malformed sid is refused before any session is revoked.
    for sid in sids:
        check_sid(sid)
    for sid in sids:
        message = f"Revoked the session {sid}."
        # A failure of the session store is reported by revoke_session.
        with contextlib.suppress(StoreError):
            if state.require_sessions().find(sid) is None:
                message = f"No session {sid} is stored. Tokens with this sid are revoked."
        revoke_session(state, sid, reason, actor=system_actor())
        click.echo(message)
