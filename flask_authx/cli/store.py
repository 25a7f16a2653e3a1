"""``flask authx store init``: the entry by which a store that has lost its revocations is known.

Exit codes as for ``revoke``.
"""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_authx.actions.revoke import revoke_all

from .group import (
    authx,
    name_option,
    reported_errors,
    require_shared_store,
    selected_state,
    system_actor,
)


@authx.group("store")
def store() -> None:
    """Prepare a store, or take back one that was restored."""


@store.command("init")
@click.option(
    "--trust-older",
    is_flag=True,
    help="For a store that is added to a running app: sessions that began before stay active.",
)
@click.option(
    "--restored",
    is_flag=True,
    help="After a restore from a backup: all sessions that have begun so far are revoked.",
)
@name_option
@with_appcontext
def init(*, trust_older: bool, restored: bool, name: str | None) -> None:
    """Write the entry of the scope, from which a store is known to have kept its revocations.

    Without this command it is written when it is first missed: sessions that began before are
    revoked then. If the exit code is 0, the entry is there. It is 1 with --trust-older if the store
    had its entry already, and nothing was changed; 3 if the store fails.
    """
    if trust_older and restored:
        raise click.UsageError("--trust-older and --restored contradict each other.")
    state = selected_state(name)
    require_shared_store(state)
    scope = state.settings.scope_name(state.name)
    with reported_errors():
        revocations = state.require_revocations()
        if restored:
            revoke_all(state, "the store was restored from a backup", actor=system_actor())
            click.echo(f"Revoked all sessions of the scope {scope} that have begun so far.")
            return
        existed = revocations.has_mark()
        cutoff = None if existed else revocations.mark(trust_older=trust_older)
    # A request of the running app may have written the entry meanwhile.
    if existed or (trust_older and cutoff is not None and cutoff.until >= 0):
        problem = f"The store has the entry of the scope {scope} already."
        if trust_older:
            raise click.ClickException(f"{problem} Nothing was changed")
        click.echo(problem)
    else:
        click.echo(f"Wrote the entry of the scope {scope}.")
