"""Serve the example on this machine and print what to try."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError
from werkzeug.serving import make_server

from flask_authx import BadConfigurationError

from . import STORE, create_app

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

The same from the command line, in this folder. There FLASK_STORE says which store, unless it is
the file that this takes by default. (In memory, each process has its own.)

    {python} -m flask --app examples.stores authx revoke --subject ann --reason 'asked by phone'
    {python} -m flask --app examples.stores authx blocklist
    {python} -m flask --app examples.stores authx doctor

Stop with Ctrl-C. What is revoked stays revoked when this is started again (but for memory://).
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
    parser.add_argument("--instance", type=Path, help="the folder of the file and the secrets")
    options = parser.parse_args()
    store: str = options.store
    folder = str(options.instance.resolve()) if options.instance else None
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
    except (SQLAlchemyError, ValueError) as error:
        sys.exit(f"The database can't be used:\n{error}")
    port = listener.getsockname()[1]
    session = SESSION.format(
        url=f"http://127.0.0.1:{port}",
        # Not the whole URL: it may hold a password.
        kind=urlsplit(store).scheme,
        folder=app.instance_path,
        python=sys.executable,
    )
    print(session, flush=True)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())
    server.serve_forever()


main()
