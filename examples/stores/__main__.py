"""Serve the example on this machine and print what to try."""

from __future__ import annotations

import argparse
import shlex
import socket
import sys
from urllib.parse import urlsplit

from click import ClickException
from werkzeug.serving import make_server

from flask_authx import BadConfigurationError

from . import DEFAULT, INSTANCE, STORE, create_app

SESSION = """\
Flask-AuthX, the example stores, with {kind}, on {url}
Its files, if it has any, are in {folder}

In another terminal, log in from a phone and from a laptop. A token opens the profile.

    PHONE="Authorization: Bearer $(curl -s -X POST {url}/login/ann | cut -d '"' -f 4)"
    LAPTOP="Authorization: Bearer $(curl -s -X POST {url}/login/ann | cut -d '"' -f 4)"
    curl -H "$PHONE" {url}/profile

Change the password on the laptop: 401 for the phone from now on, and the laptop stays logged in.

    curl -X POST -H "$LAPTOP" {url}/password
    curl -i -H "$PHONE" {url}/profile
    curl -H "$LAPTOP" {url}/profile

Log out. That ends the login's refresh token, too, and to do it twice does no harm.

    curl -X POST -H "$LAPTOP" {url}/logout
    curl -X POST -H "$LAPTOP" {url}/logout
    curl -i -H "$LAPTOP" {url}/profile

An admin ends all logins of a user, and says why.

    LAPTOP="Authorization: Bearer $(curl -s -X POST {url}/login/ann | cut -d '"' -f 4)"
    ADMIN="Authorization: Bearer $(curl -s -X POST {url}/login/admin | cut -d '"' -f 4)"
    JSON='Content-Type: application/json'
    curl -H "$ADMIN" -H "$JSON" -d '{{"reason": "laptop stolen"}}' {url}/admin/revoke/ann
    curl -i -H "$LAPTOP" {url}/profile
    curl -H "$ADMIN" {url}/admin/revocations

{commands}
Stop with Ctrl-C. What is revoked stays revoked when this is started again (but for memory://).
"""
COMMANDS = """\
The same from the command line, in this folder{but_first}.

{exports}\
    {python} -m flask --app examples.stores authx revoke --subject ann --reason 'asked by phone'
    {python} -m flask --app examples.stores authx blocklist
    {python} -m flask --app examples.stores authx doctor
"""
NO_COMMANDS = """\
The command line can't do the same: a memory is seen by its own process alone.
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
        help="of the file and the secrets; by default FLASK_INSTANCE, or Flask's",
    )
    options = parser.parse_args()
    store: str = options.store
    folder: str | None = options.instance
    try:
        listener = socket.create_server(("127.0.0.1", options.port))
    except OSError as error:
        sys.exit(
            f"Port {options.port} can't be used: {error.strerror}. Stop what uses it, or take "
            f"another one: {sys.executable} -m examples.stores --port 5001"
        )
    try:
        app = create_app(store, folder)
    except BadConfigurationError as error:
        sys.exit(f"The settings are wrong (in the environment, JWT_X is FLASK_JWT_X):\n{error}")
    except ClickException as error:
        sys.exit(error.message)
    port = listener.getsockname()[1]
    session = SESSION.format(
        url=f"http://127.0.0.1:{port}",
        # Not the whole URL: it may hold a password.
        kind=urlsplit(store).scheme,
        folder=app.instance_path,
        commands=commands(store, None if folder is None else app.instance_path),
    )
    print(session, flush=True)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())
    server.serve_forever()


def commands(store: str, folder: str | None) -> str:
    """The lines for the command line, and what another terminal must know to find this store."""
    if store.startswith("memory:"):
        return NO_COMMANDS
    exports, but_first = "", ""
    if folder is not None:
        exports += f"    export FLASK_INSTANCE={shlex.quote(folder)}\n"
    if may_hold_a_secret(store):
        but_first = ". Before that, set FLASK_STORE there\nto the URL that you have given here"
    elif store != DEFAULT:
        exports += f"    export FLASK_STORE={shlex.quote(store)}\n"
    return COMMANDS.format(exports=exports, but_first=but_first, python=sys.executable)


def may_hold_a_secret(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or bool(parts.query)


main()
