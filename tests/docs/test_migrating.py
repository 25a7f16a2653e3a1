"""The guide for migrations is right about the tokens and settings of Flask-JWT-Extended."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask_jwt_extended
from flask import Flask

from flask_authx import AuthX, BadConfigurationError, JWTDecodeError
from tests.docs.support import page
from tests.support import ROOT, SECRET, bearer
from tests.support.corpus import check_all

#: Its types are only partly known.
fje: Any = flask_jwt_extended


def tokens_of_flask_jwt_extended() -> dict[str, str]:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    fje.JWTManager(app)
    with app.app_context():
        create = fje.create_access_token
        return {
            "access": create("ann"),
            "fresh": create("ann", fresh=True),
            "refresh": fje.create_refresh_token("ann"),
            "fresh for some time": create("ann", fresh=timedelta(minutes=5)),
            "no end": create("ann", expires_delta=False),
            "too long": create("ann", expires_delta=timedelta(days=31)),
        }


def accepted(**settings: Any) -> set[str]:
    app = Flask(__name__)
    app.config.from_mapping({"JWT_SECRET_KEY": SECRET, **settings})
    authx, found = AuthX(app), set[str]()
    with app.app_context():
        for name, token in tokens_of_flask_jwt_extended().items():
            with suppress(JWTDecodeError):
                assert (verified := authx.decode_token(token)).sid == verified.jti
                found.add(name)
    return found


def test_tokens_of_flask_jwt_extended_are_accepted_as_the_guide_says() -> None:
    assert accepted() == set()
    assert accepted(JWT_ACCEPT_UNTYPED=True) == {"access", "fresh", "refresh"}


def test_an_old_table_and_a_store_both_count() -> None:
    tokens = tokens_of_flask_jwt_extended()
    headers = [bearer(tokens[name]) for name in ("access", "fresh")]
    with page("migrating") as names:
        client = names.app.test_client()

        def statuses() -> list[int]:
            return [client.get("/profile", headers=header).status_code for header in headers]

        assert statuses() == [200, 200]
        with names.app.app_context():
            jti = names.authx.decode_token(tokens["access"]).jti
            names.db.session.add(names.TokenBlocklist(jti=jti))
            names.db.session.commit()
        assert statuses() == [401, 200]
        assert client.delete("/logout", headers=headers[1]).json == {"logged_out": True}
        assert statuses() == [401, 401]


def test_settings_of_flask_jwt_extended_are_known_or_in_the_guide() -> None:
    """Each of its settings means the same here, or the guide says what became of it."""
    folder = Path(str(fje.__file__)).parent
    theirs = {
        name
        for file in folder.glob("*.py")
        for name in re.findall(r'"(JWT_[A-Z_]+)"', file.read_text("utf-8"))
    }
    guide = (ROOT / "docs" / "migrating.md").read_text("utf-8")
    named: list[re.Pattern[str]] = [
        re.compile(name.replace("*", "[A-Z]+")) for name in re.findall(r"`(JWT_[A-Z_*]+)", guide)
    ]
    assert "JWT_VERIFY_SUB" in theirs

    def is_known_or_named(setting: str) -> None:
        app = Flask(__name__)
        app.config.from_mapping({"JWT_SECRET_KEY": SECRET, setting: None})
        with suppress(BadConfigurationError):
            AuthX(app)
            return
        assert any(one.fullmatch(setting) for one in named), "not known, nor in the guide"

    check_all({setting: setting for setting in theirs}, is_known_or_named)
