"""The client in a terminal: ``python -m examples.mobile_api.terminal --help``.

The standard output has the answer. The standard error has a line for each request: the request, the
status, and what the client did about it.
"""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import sys
from pathlib import Path

from .client import Client, LogInAgainError, RefusedError, UnavailableError
from .storage import TokenFile


def main() -> None:
    options = parser().parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    file = TokenFile(options.folder / f"{options.device}.json")
    client = Client(options.url, file, device=options.device)
    try:
        carry_out(client, options)
    except LogInAgainError as error:
        sys.exit(f"Log in again: {error}.")
    except UnavailableError as error:
        sys.exit(f"Try again later: {error}. Tokens that were saved are kept.")
    except RefusedError as error:
        sys.exit(f"Refused: {error}.")


def carry_out(client: Client, options: argparse.Namespace) -> None:
    match options.command:
        case "sign-up":
            client.sign_up(options.name, password())
        case "login":
            client.login(options.name, password())
        case "logout":
            client.logout()
        case "me":
            print(json.dumps(client.ask("GET", "/me")))
        case "sign-out":
            sessions = client.ask("GET", "/auth/sessions")["sessions"]
            sids = [one["sid"] for one in sessions if one["user_agent"] == options.other]
            for sid in sids:
                client.ask("DELETE", f"/auth/sessions/{sid}")
            if not sids:
                raise RefusedError(f"there is no session on the device {options.other}")
        case _:
            for one in client.ask("GET", "/auth/sessions")["sessions"]:
                print(one["user_agent"] + (" (this one)" if one["current"] else ""))


def password() -> str:
    # Not an argument: all users of the machine can see the arguments of its processes.
    return getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m examples.mobile_api.terminal",
        description="A client of the example. It logs each request on the standard error.",
    )
    made.add_argument("--url", default="http://127.0.0.1:5000", help="by default %(default)s")
    made.add_argument("--device", default="terminal", type=word, help="by default %(default)s")
    folder = Path.home() / ".cache" / "authx-mobile-api"
    made.add_argument("--folder", type=Path, default=folder, help="where the tokens are saved")
    commands = made.add_subparsers(dest="command", required=True)
    for name, what in (("sign-up", "create an account"), ("login", "log in")):
        commands.add_parser(name, help=what).add_argument("name")
    commands.add_parser("me", help="show the user of the access token")
    commands.add_parser("devices", help="list your sessions by device")
    sign_out = commands.add_parser("sign-out", help="revoke the sessions of a device")
    sign_out.add_argument("other", type=word, help="the device")
    commands.add_parser("logout", help="revoke the session of this device")
    return made


def word(text: str) -> str:
    if not text.replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError("letters, digits, - and _ only")
    return text


if __name__ == "__main__":
    main()
