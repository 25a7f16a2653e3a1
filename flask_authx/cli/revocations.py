"""``flask authx revoke``, ``blocklist`` and ``prune``: revocations from the command line.

Exit codes: 0 when it is done, 1 when it can't be done as asked, 2 for a wrong command line, 3 when
the store fails and it may help to try again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from flask_authx.actions.revoke import revoke_session, revoke_subject, revoke_token
from flask_authx.app.state import AppState
from flask_authx.errors import TokenExpiredError
from flask_authx.sessions.revocations import Revocations
from flask_authx.sessions.rotation import Sessions
from flask_authx.stores.blocklist import Kind

from .group import as_json_option, authx, chosen, failures, name_option, shared, user

#: The spans in which entries expire, and the seconds from now at which each ends.
SPANS = (("expired", 0), ("in 1 hour", 3600), ("in 1 day", 86400), ("in 7 days", 604800))
LATER = "later"


@authx.command("revoke")
@click.option("--token-stdin", is_flag=True, help="A token, which is read from standard input.")
@click.option("--session", metavar="SID", help="A login: all its tokens.")
@click.option("--subject", metavar="UID", help="A user: all logins that have begun so far.")
@click.option("--keep", metavar="SID", help="With --subject: a login that goes on.")
@click.option("--reason", metavar="TEXT", help="Why, for signals and the audit trail.")
@name_option
def revoke(*, name: str | None, reason: str | None, **what: Any) -> None:
    """Revoke a token, a login or all logins of a user.

    When this ends with 0, no process accepts them any more. A token comes from the standard input,
    since all users of a machine can read the arguments of its programs. Ends with 1 if it can't be
    done as asked, and with 3 if the store fails.
    """
    session, subject, keep = what["session"], what["subject"], what["keep"]
    if [bool(what["token_stdin"]), session is not None, subject is not None].count(True) != 1:
        raise click.UsageError("Give one of --token-stdin, --session and --subject.")
    if keep is not None and subject is None:
        raise click.UsageError("--keep goes with --subject.")
    state = shared(chosen(name))
    actor = f"cli:{user()}"
    with failures():
        if session is not None:
            revoke_session(state, session, reason, actor=actor)
            click.echo(f"Revoked the login {session}.")
        elif subject is not None:
            revoke_subject(state, subject, keep, reason, actor=actor)
            kept = "" if keep is None else f", but for the login {keep}"
            click.echo(f"Revoked all logins of {subject} that have begun so far{kept}.")
        else:
            _revoke_token(state, sys.stdin.read().strip(), reason, actor)


def _revoke_token(state: AppState, raw: str, reason: str | None, actor: str) -> None:
    try:
        token = state.verifier.decode(raw)
    except TokenExpiredError:
        click.echo("The token has expired by itself: there was nothing to revoke.")
        return
    revoke_token(state, token, reason, actor=actor)
    click.echo(f"Revoked the {token.type} token {token.jti} of {token.sub}.")


@authx.command("blocklist")
@as_json_option
@name_option
def blocklist(*, as_json: bool, name: str | None) -> None:
    """Count revocations, by kind and by expiry.

    Looks at all of them, so it may take a while. Ends with 1 if there is no store, and with 3 if it
    fails.
    """
    with failures():
        revocations = shared(chosen(name)).require_revocations()
        now = revocations.now()
        bounds = [now + seconds for _, seconds in SPANS]
        counts = revocations.inspect_store(revocations.store.count, bounds)
    if as_json:
        spans = [span for span, _ in SPANS]
        plain = {kind.value: dict(zip([*spans, LATER], counts[kind], strict=True)) for kind in Kind}
        click.echo(json.dumps({"at": now, "counts": plain}, indent=2))
        return
    for line in table(counts):
        click.echo(line)


def table(counts: Mapping[Kind, Sequence[int]]) -> Iterator[str]:
    """The lines of a table: a row for each kind and one for their sums."""
    head = ["", *(span for span, _ in SPANS), LATER, "all"]
    body = [(kind.value, [*counts[kind], sum(counts[kind])]) for kind in Kind]
    sums = [sum(column) for column in zip(*(numbers for _, numbers in body), strict=True)]
    yield f"{head[0]:8}" + "".join(f"{one:>12}" for one in head[1:])
    for kind, numbers in [*body, ("all", sums)]:
        yield f"{kind:8}" + "".join(f"{number:>12,}" for number in numbers)


@authx.command("prune")
@name_option
def prune(*, name: str | None) -> None:
    """Remove expired revocations, expired logins and old audit records.

    Works in small batches, beside traffic. Ends with 1 if there is nothing to prune in, and with 3
    if a store fails.
    """
    state = chosen(name)
    if state.trail is None:
        shared(state)
    with failures():
        revocations = state.require_revocations()
        for what, kept in (("revocations", revocations), ("logins", state.sessions)):
            if kept is None or kept.store.per_process:
                continue
            if getattr(kept.store, "prunes_itself", False):
                click.echo(f"Redis removes expired {what} by itself.")
            else:
                click.echo(f"Removed {_prune(kept):,} expired {what}.")
        if state.trail is not None and state.settings.audit is not None:
            before = revocations.now() - state.settings.audit
            records = state.trail.prune(state.name, before)
            click.echo(f"Removed {records:,} old audit records.")


def _prune(kept: Revocations | Sessions) -> int:
    total, done = 0, 0
    if not sys.stderr.isatty():
        # Nobody looks.
        return sum(batch.removed for batch in kept.prune())
    with click.progressbar(length=1000, label="Pruning", file=sys.stderr) as bar:
        for batch in kept.prune():
            total += batch.removed
            bar.update(max(0, int(batch.share * 1000) - done))
            done = max(done, int(batch.share * 1000))
    return total
