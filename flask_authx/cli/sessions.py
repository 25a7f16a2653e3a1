"""``flask authx sessions``: a user's logins from the command line. Exit codes as for ``revoke``."""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import click
from flask.cli import with_appcontext

from flask_authx.actions.list_sessions import list_sessions as sessions_of_user
from flask_authx.actions.revoke import revoke_session, revoke_subject
from flask_authx.app.state import AppState
from flask_authx.sessions.revocations import check_sid
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session

from .group import as_json_option, authx, chosen, failures, name_option, shared, user

_COLUMNS = ("sid", "name", "created", "last seen", "expires", "user agent", "address")
#: Characters of a user agent that are shown.
_AGENT = 40


class _Sessions(click.Group):
    """A group whose first word may be a uid: then it is that user's logins that are wanted."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in that is left out."""
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@authx.group("sessions", cls=_Sessions, subcommand_metavar="UID | revoke ...")
def sessions() -> None:
    """List a user's logins, or end some.

    A user whose uid is the name of a command is listed with `flask authx sessions list UID`.
    """


@sessions.command("list")
@click.argument("uid")
@as_json_option
@name_option
@with_appcontext
def list_sessions(*, uid: str, as_json: bool, name: str | None) -> None:
    """List a user's logins that go on, the latest seen first."""
    state = shared(chosen(name))
    with failures():
        listed = sessions_of_user(state, uid)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in listed], indent=2))
        return
    if not listed:
        click.echo(f"{uid} has no logins.", err=True)
    for line in table(listed):
        click.echo(line)


def table(listed: Sequence[Session]) -> Iterator[str]:
    """The lines of a table, if there is anything to show. Times are in UTC."""
    if not listed:
        return
    rows = [_COLUMNS, *(_row(session) for session in listed)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(session: Session) -> tuple[str, ...]:
    times = (session.created_at, session.last_seen_at, session.expires_at)
    return (
        session.sid,
        session.name or "-",
        *(time.strftime("%Y-%m-%d %H:%M:%SZ") for time in times),
        textwrap.shorten(session.user_agent or "-", _AGENT, placeholder=" ..."),
        session.address or "-",
    )


@sessions.command("revoke")
@click.argument("sids", nargs=-1, metavar="[SID]...")
@click.option("--subject", metavar="UID", help="All logins of a user that have begun so far.")
@click.option("--keep", metavar="SID", help="With --subject: a login that goes on.")
@click.option("--reason", metavar="TEXT", help="Why, for signals and the audit trail.")
@name_option
@with_appcontext
def revoke_sessions(
    *, sids: tuple[str, ...], name: str | None, reason: str | None, **who: Any
) -> None:
    """End logins: those named, or all of a user.

    When this ends with 0, no process accepts their tokens any more.
    """
    subject, keep = who["subject"], who["keep"]
    if bool(sids) == (subject is not None):
        raise click.UsageError("Give the sid of a login or several, or --subject.")
    if keep is not None and subject is None:
        raise click.UsageError("--keep goes with --subject.")
    state = shared(chosen(name))
    with failures():
        state.require_sessions()
        if subject is None:
            _revoke_each(state, sids, reason)
        else:
            actor = f"cli:{user()}"
            revoke_subject(state, subject, keep, reason, actor=actor)
            kept = "" if keep is None else f", but for the login {keep}"
            click.echo(f"Revoked all logins of {subject} that have begun so far{kept}.")


def _revoke_each(state: AppState, sids: Sequence[str], reason: str | None) -> None:
    for sid in sids:
        check_sid(sid)
    for sid in sids:
        said = f"Revoked the login {sid}."
        # If the store fails, the revocation says so.
        with contextlib.suppress(StoreError):
            if state.require_sessions().find(sid) is None:
                said = f"No login {sid} is kept. If there are tokens of it, they are revoked."
        revoke_session(state, sid, reason, actor=f"cli:{user()}")
        click.echo(said)
