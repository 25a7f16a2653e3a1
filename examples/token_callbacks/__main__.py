"""Serve the example on this machine and print what to try."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from werkzeug.serving import make_server

from examples.ports import listen
from flask_authx import BadConfigurationError

from . import create_app

SESSION = """\
Flask-AuthX, the example token_callbacks, on {url}
Its database and its secret are in {folder}

In another terminal, log in and save the token:

    JSON='Content-Type: application/json'
    TOKEN=$(curl -s {url}/login -H "$JSON" -d '{{"username": "ann"}}' | cut -d '"' -f 4)

This view finds a token and doesn't verify it: "No token found", then "Your token is: ...".

    curl {url}/token/optional
    curl -H "Authorization: Bearer $TOKEN" {url}/token/optional

These views need a valid token: 401, then "Your token is: ..." and "You are authenticated".

    curl -i {url}/token/mandatory
    curl -H "Authorization: Bearer $TOKEN" {url}/token/mandatory
    curl -H "Authorization: Bearer $TOKEN" {url}/profile

Log out. The token is revoked: 401, also after a restart of this server.

    curl -X DELETE -H "Authorization: Bearer $TOKEN" {url}/logout
    curl -i -H "Authorization: Bearer $TOKEN" {url}/profile

Stop with Ctrl-C.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.token_callbacks", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    parser.add_argument("--instance", type=Path, help="the folder of the database and the secret")
    options = parser.parse_args()
    folder = str(options.instance.resolve()) if options.instance else None
    listener = listen(options.port, "examples.token_callbacks", "demo")
    try:
        app = create_app(instance_path=folder)
    except BadConfigurationError as error:
        sys.exit(f"The settings are wrong (in the environment, JWT_X is FLASK_JWT_X):\n{error}")
    except SQLAlchemyError as error:
        sys.exit(f"The database can't be used:\n{error}")
    port = listener.getsockname()[1]
    print(SESSION.format(url=f"http://127.0.0.1:{port}", folder=app.instance_path), flush=True)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())
    server.serve_forever()


main()
