"""Serve the example on this machine and print what to try."""

from __future__ import annotations

import argparse
import shlex
import sys
from urllib.parse import urlsplit

from click import ClickException
from werkzeug.serving import make_server

from examples.ports import listen
from flask_authx import BadConfigurationError

from . import DEFAULT, INSTANCE, STORE, create_app

SESSION = """\
Flask-AuthX, the example stores, with {kind}, on {url}
Its files, if it has any, are in {folder}

In another terminal, log in on a phone and on a laptop. The profile needs an access token.

    PHONE="Authorization: Bearer $(curl -s -X POST {url}/login/ann | cut -d '"' -f 4)"
    LAPTOP="Authorization: Bearer $(curl -s -X POST {url}/login/ann | cut -d '"' -f 4)"
    curl -H "$PHONE" {url}/profile

Change the password on the laptop. The sessions on other devices are revoked: 401 for the phone.

    curl -X POST -H "$LAPTOP" {url}/password
    curl -i -H "$PHONE" {url}/profile
    curl -H "$LAPTOP" {url}/profile

Log out. This revokes the session: its access token and its refresh token. You may log out twice.

    curl -X POST -H "$LAPTOP" {url}/logout
    curl -X POST -H "$LAPTOP" {url}/logout
    curl -i -H "$LAPTOP" {url}/profile

An admin revokes all sessions of a user, and gives a reason.

    LAPTOP="Authorization: Bearer $(curl -s -X POST {url}/login/ann | cut -d '"' -f 4)"
    ADMIN="Authorization: Bearer $(curl -s -X POST {url}/login/admin | cut -d '"' -f 4)"
    JSON='Content-Type: application/json'
    curl -H "$ADMIN" -H "$JSON" -d '{{"reason": "laptop stolen"}}' {url}/admin/revoke/ann
    curl -i -H "$LAPTOP" {url}/profile
    curl -H "$ADMIN" {url}/admin/revocations

{commands}
Stop with Ctrl-C. Revoked tokens stay revoked after a restart. A restart with memory:// makes all
tokens invalid.
"""
COMMANDS = """\
The same on the command line, in this folder{but_first}.

{exports}\
    {python} -m flask --app examples.stores authx revoke --subject ann --reason 'asked by phone'
    {python} -m flask --app examples.stores authx blocklist
    {python} -m flask --app examples.stores authx doctor
"""
NO_COMMANDS = """\
The command line can't revoke here: each process has its own memory store.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.stores", description=__doc__)
    parser.add_argument(
        "--store",
        metavar="URL",
        default=STORE,
        help="memory://, sqlite:///FILE, postgresql://..., mysql://..., redis://..., "
        "redis+sentinel://... or redis+cluster://...; by default FLASK_STORE, or an SQLite file",
    )
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    parser.add_argument(
        "--instance",
        metavar="FOLDER",
        default=INSTANCE,
        help="the folder of the SQLite file and the secrets; by default FLASK_INSTANCE, or Flask's",
    )
    options = parser.parse_args()
    store: str = options.store
    folder: str | None = options.instance
    listener = listen(options.port, "examples.stores", "demo-stores")
    try:
        app = create_app(store, folder)
    except BadConfigurationError as error:
        sys.exit(f"The settings are wrong (in the environment, JWT_X is FLASK_JWT_X):\n{error}")
    except ClickException as error:
        sys.exit(error.message)
    port = listener.getsockname()[1]
    session = SESSION.format(
        url=f"http://127.0.0.1:{port}",
        # Not the whole URL: it may contain a password.
        kind=urlsplit(store).scheme,
        folder=app.instance_path,
        commands=commands(store, None if folder is None else app.instance_path),
    )
    print(session, flush=True)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())
    server.serve_forever()


def commands(store: str, folder: str | None) -> str:
    """The lines for the command line, with the variables that another terminal needs."""
    if store.startswith("memory:"):
        return NO_COMMANDS
    exports, but_first = "", ""
    if folder is not None:
        exports += f"    export FLASK_INSTANCE={shlex.quote(folder)}\n"
    if may_have_a_password(store):
        but_first = ". Before that, set FLASK_STORE there\nto the URL of this store"
    elif store != DEFAULT:
        exports += f"    export FLASK_STORE={shlex.quote(store)}\n"
    return COMMANDS.format(exports=exports, but_first=but_first, python=sys.executable)


def may_have_a_password(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or bool(parts.query)


main()
