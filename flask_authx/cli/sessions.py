"""``flask authx sessions``: lists and revokes sessions. Exit codes as for ``revoke``."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext

from flask_authx.actions.list_sessions import active_sessions
from flask_authx.sessions.revocations import check_sid
from flask_authx.stores.session_store import Session

from .group import (
    as_json_option,
    authx,
    echo_json,
    name_option,
    reported_errors,
    require_shared_store,
    selected_state,
)
from .layout import client_name, printable, table, terminal_width, utc
from .revoking import Request, dry_run_option

_COLUMNS = ("sid", "name", "created", "last seen", "expires", "client", "address")


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
    """List a user's active sessions, the last seen first.

    Times are UTC. The output fits the terminal, or the columns that COLUMNS names. With --json, the
    User-Agent is as the client has sent it.
    """
    state = selected_state(name)
    require_shared_store(state)
    with reported_errors():
        listed = active_sessions(state, uid)
    if as_json:
        echo_json([session.to_dict() for session in listed])
        return
    if not listed:
        click.echo(f"{uid} has no active sessions.", err=True)
        return
    for line in table(_COLUMNS, [_row(session) for session in listed], terminal_width()):
        click.echo(line)


def _row(session: Session) -> tuple[str, ...]:
    times = (session.created, session.last_seen, session.expires)
    return (
        session.sid,
        printable(session.name or "-"),
        *map(utc, times),
        client_name(session.user_agent),
        printable(session.address or "-"),
    )


@sessions.command("revoke")
@click.argument("sids", nargs=-1, metavar="[SID]...")
@click.option("--subject", metavar="UID", help="All sessions of a user that have begun so far.")
@click.option("--keep", metavar="SID", help="With --subject: a session that is not revoked.")
@click.option("--reason", metavar="TEXT", help="The reason, for signals and the audit trail.")
@dry_run_option
@name_option
@with_appcontext
def revoke_sessions(
    *, sids: tuple[str, ...], name: str | None, reason: str | None, dry_run: bool, **target: Any
) -> None:
    """Revoke the named sessions, or all sessions of a user.

    If the exit code is 0, every process refuses their tokens from now on. The output says which
    sessions were found. What is unknown is revoked as well.
    """
    subject, keep = target["subject"], target["keep"]
    if bool(sids) == (subject is not None):
        raise click.UsageError("Give one or more sids, or --subject.")
    if keep is not None and subject is None:
        raise click.UsageError("--keep requires --subject.")
    state = selected_state(name)
    require_shared_store(state)
    request = Request(state, reason, dry_run=dry_run)
    with reported_errors():
        state.require_sessions()
        if subject is not None:
            request.subject(subject, keep)
        # A malformed sid is refused before any session is revoked.
        for sid in sids:
            check_sid(sid)
        for sid in sids:
            request.session(sid)
