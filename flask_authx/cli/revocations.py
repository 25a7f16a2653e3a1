"""``flask authx revoke``, ``blocklist`` and ``prune``: revocations from the command line.

Exit codes: 0 if the command succeeded, 1 if the request or the configuration is at fault, 2 for a
wrong command line, 3 if a store fails and a later attempt may succeed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from flask_authx.sessions.revocations import Revocations
from flask_authx.sessions.rotation import Sessions
from flask_authx.stores.blocklist import Kind

from .group import (
    as_json_option,
    authx,
    echo_json,
    name_option,
    reported_errors,
    require_shared_store,
    selected_state,
)
from .revoking import Request, dry_run_option

#: Columns for the time until entries expire, with the upper limit in seconds from now.
_LIMITS = {"expired": 0, "in 1 hour": 3600, "in 1 day": 86400, "in 7 days": 604800}
_COLUMNS = (*_LIMITS, "later")


@authx.command("revoke")
@click.option("--token-stdin", is_flag=True, help="A token, read from the standard input.")
@click.option("--session", metavar="SID", help="A session: all its tokens.")
@click.option("--subject", metavar="UID", help="A user: all sessions that have begun so far.")
@click.option("--keep", metavar="SID", help="With --subject: a session that is not revoked.")
@click.option("--all", "everything", is_flag=True, help="All sessions of all users.")
@click.option("--reason", metavar="TEXT", help="The reason, for signals and the audit trail.")
@dry_run_option
@name_option
def revoke(*, name: str | None, reason: str | None, dry_run: bool, **target: Any) -> None:
    """Revoke a token, a session, all sessions of a user, or all sessions.

    If the exit code is 0, every process refuses the tokens from now on. A token is read from the
    standard input, since all users of a machine can see the arguments of its processes. The exit
    code is 1 if the request or the configuration is at fault, and 3 if the store fails.

    Where sessions are stored, the output says which were found. What is unknown is revoked as well.
    """
    session, subject, keep = target["session"], target["subject"], target["keep"]
    given = [target["token_stdin"], target["everything"], session is not None, subject is not None]
    if given.count(True) != 1:
        raise click.UsageError("Give one of --token-stdin, --session, --subject and --all.")
    if keep is not None and subject is None:
        raise click.UsageError("--keep requires --subject.")
    state = selected_state(name)
    require_shared_store(state)
    request = Request(state, reason, dry_run=dry_run)
    with reported_errors():
        if session is not None:
            request.session(session)
        elif subject is not None:
            request.subject(subject, keep)
        elif target["everything"]:
            request.everything()
        else:
            request.token(sys.stdin.read().strip())


@authx.command("blocklist")
@as_json_option
@name_option
def blocklist(*, as_json: bool, name: str | None) -> None:
    """Count revocations, by kind and by expiry.

    Reads all entries, which may take a while. The exit code is 1 if there is no store, and 3 if the
    store fails.
    """
    state = selected_state(name)
    require_shared_store(state)
    with reported_errors():
        revocations = state.require_revocations()
        counts = revocations.inspect_store(revocations.store.count, [*_LIMITS.values()])
    if as_json:
        by_kind = {kind.value: dict(zip(_COLUMNS, counts[kind], strict=True)) for kind in Kind}
        echo_json({"at": int(state.clock()), "counts": by_kind})
        return
    for line in table(counts):
        click.echo(line)


def table(counts: Mapping[Kind, Sequence[int]]) -> Iterator[str]:
    """The lines of a table: a row for each kind and one for the sums."""
    rows = {kind.value: counts[kind] for kind in Kind}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    yield _row("", [*_COLUMNS, "all"])
    for label, numbers in rows.items():
        yield _row(label, [f"{number:,}" for number in (*numbers, sum(numbers))])


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:8}" + "".join(f"{cell:>12}" for cell in cells)


@authx.command("prune")
@name_option
def prune(*, name: str | None) -> None:
    """Remove expired revocations, expired sessions and old audit records.

    Works in small batches, while the app serves requests. The exit code is 1 if there is no store
    to prune, and 3 if a store fails.
    """
    state = selected_state(name)
    if state.trail is None:
        # With an audit trail, old records can be removed even if the stores are in memory.
        require_shared_store(state)
    with reported_errors():
        revocations = state.require_revocations()
        _prune("revocations", revocations)
        if state.sessions is not None:
            _prune("sessions", state.sessions)
        if state.trail is not None and state.settings.audit is not None:
            records = state.trail.prune(state.name, state.settings.audit)
            click.echo(f"Removed {records:,} old audit records.")


def _prune(noun: str, stored: Revocations | Sessions) -> None:
    if stored.store.per_process:
        return
    if getattr(stored.store, "prunes_itself", False):
        click.echo(f"Redis removes expired {noun} by itself.")
    else:
        click.echo(f"Removed {_remove_expired(stored):,} expired {noun}.")


def _remove_expired(stored: Revocations | Sessions) -> int:
    if not sys.stderr.isatty():
        # Without a terminal, as in a cron job, a progress bar would only fill logs.
        return sum(batch.removed for batch in stored.prune())
    total, done = 0, 0
    with click.progressbar(length=1000, label="Pruning", file=sys.stderr) as bar:
        for batch in stored.prune():
            total += batch.removed
            position = int(batch.share * 1000)
            bar.update(max(0, position - done))
            done = max(done, position)
    return total
