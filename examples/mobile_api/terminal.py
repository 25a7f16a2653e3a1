"""The client in a terminal: ``python -m examples.mobile_api.terminal --help``."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from .client import Client, LogInAgainError, RefusedError, UnavailableError
from .storage import TokenFile


def main() -> None:
    options = parser().parse_args()
    file = TokenFile(options.folder / f"{options.device}.json")
    client = Client(options.url, file, device=options.device)
    try:
        carry_out(client, options)
    except LogInAgainError as error:
        sys.exit(f"Log in again: {error}.")
    except UnavailableError as error:
        sys.exit(f"Try again later: {error}. You are still logged in.")
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
            for one in client.ask("GET", "/auth/sessions")["sessions"]:
                if one["user_agent"] == options.other:
                    client.ask("DELETE", f"/auth/sessions/{one['sid']}")
        case _:
            for one in client.ask("GET", "/auth/sessions")["sessions"]:
                print(one["user_agent"], "(this one)" if one["current"] else "")


def password() -> str:
    # Not on the command line, which everybody on the machine can read.
    return getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m examples.mobile_api.terminal", description="A client of the example."
    )
    made.add_argument("--url", default="http://127.0.0.1:5000", help="by default %(default)s")
    made.add_argument("--device", default="terminal", type=word, help="by default %(default)s")
    folder = Path.home() / ".cache" / "authx-mobile-api"
    made.add_argument("--folder", type=Path, default=folder, help="of the tokens")
    commands = made.add_subparsers(dest="command", required=True)
    for name, what in (("sign-up", "make an account"), ("login", "log in")):
        commands.add_parser(name, help=what).add_argument("name")
    commands.add_parser("me", help="whom the API takes you for")
    commands.add_parser("devices", help="where you are logged in")
    commands.add_parser("sign-out", help="end those of a device").add_argument("other", type=word)
    commands.add_parser("logout", help="end this login")
    return made


def word(text: str) -> str:
    if not text.replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError("letters, digits, - and _ only")
    return text


if __name__ == "__main__":
    main()
