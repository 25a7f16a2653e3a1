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
Flask-AuthX, the example mobile_api, on {url}
Its database and its secret are in {folder}

In another terminal, in this folder: create an account, then log in on a phone and on a tablet. The
client prints a line for each request: the request, the status, and what it did about it.

    client() {{ {python} -m examples.mobile_api.terminal --url {url} "$@"; }}
    client --device phone sign-up ann
    client --device phone login ann
    client --device tablet login ann
    client --device tablet me

List the sessions on the phone, and revoke that of the tablet. The tablet's next request is refused.

    client --device phone devices
    client --device phone sign-out tablet
    client --device tablet me

An access token lasts 15 minutes, then the client refreshes it. To see that, stop this server with
Ctrl-C, start it again with FLASK_JWT_ACCESS_TOKEN_EXPIRES=10 before the command, log in on the
phone, wait for ten seconds, and run

    client --device phone me
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.mobile_api", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="0 takes a free one")
    parser.add_argument("--instance", type=Path, help="the folder of the database and the secret")
    options = parser.parse_args()
    folder = str(options.instance.resolve()) if options.instance else None
    listener = listen(options.port, "examples.mobile_api", "demo-mobile")
    try:
        app = create_app(folder)
    except BadConfigurationError as error:
        sys.exit(f"The settings are wrong (in the environment, JWT_X is FLASK_JWT_X):\n{error}")
    except SQLAlchemyError as error:
        sys.exit(f"The database can't be used:\n{error}")
    port = listener.getsockname()[1]
    session = SESSION.format(
        url=f"http://127.0.0.1:{port}",
        folder=app.instance_path,
        python=sys.executable,
    )
    print(session, flush=True)
    server = make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())
    server.serve_forever()


main()
