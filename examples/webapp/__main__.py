"""Serve the example on this machine and print what to try."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from werkzeug.serving import make_server

from examples.ports import listen
from flask_authx import BadConfigurationError

from .app import SETTINGS, create_app

SESSION = """\
Flask-AuthX, the example webapp, on {url}
Its database and its secret are in {folder}

Open {url} in a browser, create an account and write a note.

  - Wait for half a minute and write another. Access tokens expire after {lifetime} seconds, the
    page renews them, and you stay signed in.
  - Sign in with a second browser, and sign it out under "Devices" in the first.
  - Change the password. The app asks for the old password, and signs the other browser out.

Stop with Ctrl-C. Users stay signed in after a restart.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.webapp", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    parser.add_argument("--instance", type=Path, help="the folder of the database and the secret")
    options = parser.parse_args()
    folder = str(options.instance.resolve()) if options.instance else None
    listener = listen(options.port, "examples.webapp", "demo-web")
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
