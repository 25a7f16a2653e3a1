"""The cut-offs that apply to one session, and the moment at which a new session begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask_authx.stores.blocklist import Cutoff
from flask_authx.tokens.token import Epoch


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What a store has found for a token or a session.

    :param found: the cut-offs of the token, its session and its subject. ``None``: there is none.
    :param scope: the cut-off of the scope. A session that was opened since has noted it; one that
        has noted another is revoked. So a store that has lost it revokes all sessions, whatever its
        clock says now, and although it was told to trust older ones. A session that has noted none
        is revoked if it began before; none did if the cut-off lies before 1970, where older
        sessions are trusted.
    """

    found: Sequence[Cutoff | None]
    scope: Cutoff | None

    def cover(self, session: bytes, began: int, epoch: int | None) -> bool:
        """Whether the session is revoked.

        :param session: the key of its ``sid``.
        :param began: when it began, in microseconds since 1970-01-01 UTC.
        :param epoch: the cut-off of the scope that it has noted, if any.
        """
        for cutoff in self.found:
            if cutoff is not None and cutoff.covers(began, session):
                return True
        scope = self.scope
        if scope is None:
            return False
        return began <= scope.until if epoch is None else epoch != scope.until


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a session that is opened now.

    :param at: microseconds since 1970-01-01 UTC, by the store's clock, after all cut-offs of the
        subject.
    :param epoch: what it notes of the scope; ``None`` if that has no cut-off.
    :param cutoffs: those that apply to the subject's sessions.
    """

    at: int
    epoch: Epoch | None
    cutoffs: Cutoffs
