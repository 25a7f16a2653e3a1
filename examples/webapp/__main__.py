"""Serve the example on this machine and say what to try."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from werkzeug.serving import make_server

from flask_authx import BadConfigurationError

from .app import SETTINGS, create_app

SESSION = """\
Flask-AuthX, the example webapp, on {url}
Its database and its secret are in {folder}

Open {url} in a browser, make an account and write a note.

  - Wait for half a minute and write another: access tokens last {lifetime} s, and nobody notices.
  - Sign in from a second browser too, and sign it out under "Devices" in the first.
  - Change the password: you are asked for the one you have, and the other browser is signed out.

Stop with Ctrl-C. Who is signed in stays so when this is started again.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.webapp", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    parser.add_argument("--instance", type=Path, help="the folder of the database and the secret")
    options = parser.parse_args()
    folder = str(options.instance.resolve()) if options.instance else None
    try:
        listener = socket.create_server(("127.0.0.1", options.port))
    except OSError as error:
        sys.exit(
            f"Port {options.port} can't be used: {error.strerror}. Stop what uses it, or take "
            f"another one: {sys.executable} -m examples.webapp --port 5001"
        )
    try:
        app = create_app(instance_path=folder)
    except BadConfigurationError as error:
        sys.exit(f"The settings are wrong (in the environment, JWT_X is FLASK_JWT_X):\n{error}")
    except SQLAlchemyError as error:
        sys.exit(f"The database can't be used:\n{error}")
    port = listener.getsockname()[1]
    session = SESSION.format(
        # Browsers send Secure cookies over plain http to this name.
        url=f"http://localhost:{port}",
        folder=app.instance_path,
        lifetime=SETTINGS["JWT_ACCESS_TOKEN_EXPIRES"],
    )
    print(session, flush=True)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())
    server.serve_forever()


main()
