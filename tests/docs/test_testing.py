"""Runs the tests that docs/testing.md shows."""

from __future__ import annotations

from tests.docs.support import page


def test_testing() -> None:
    with page("testing") as names:
        shown = {name: test for name, test in vars(names).items() if name.startswith("test_")}
        assert [*shown] == [
            "test_profile_of_the_user",
            "test_a_revoked_user_is_logged_out",
            "test_a_token_expires_after_15_minutes",
            "test_a_token_expires_in_frozen_time",
            "test_an_unused_session_expires_after_20_days",
        ]
        for test in shown.values():
            test()
