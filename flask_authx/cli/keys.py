"""``flask authx generate-key``: a new secret or key pair."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import click

from flask_authx.enums import Algorithm
from flask_authx.errors import BadConfigurationError
from flask_authx.keys.asymmetric import new_key_pair
from flask_authx.keys.weak_secrets import problem_with

from .group import authx


@authx.command("generate-key", with_appcontext=False)
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.HS256.value,
    show_default=True,
    help="The algorithm that will sign the tokens.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write the key to a new file, readable by you alone; the public key goes to FILE.pub.",
    metavar="FILE",
)
def generate_key(algorithm: str, out: Path | None) -> None:
    """Create a new secret or private key.

    Writes only the key to the standard output or to a file, and hints to the standard error. No app
    is needed.
    """
    chosen = Algorithm(algorithm)
    if chosen.symmetric:
        key, public = _new_secret(), ""
    else:
        try:
            key, public = new_key_pair(chosen)
        except BadConfigurationError as error:
            raise click.ClickException(str(error)) from None
    if out is None:
        click.echo(key.rstrip("\n"))
    else:
        _write_new({out: (key, 0o600), Path(f"{out}.pub"): (public, 0o644)})
    for line in _hints(chosen, out):
        click.echo(line, err=True)


def _new_secret() -> str:
    """A random secret that is long enough for every HMAC algorithm."""
    while True:
        secret = secrets.token_urlsafe(64)
        # By chance, one of thousands looks like an encoded key, and init_app refuses that.
        if problem_with(secret.encode(), Algorithm.HS512) is None:
            return secret + "\n"


def _write_new(files: dict[Path, tuple[str, int]]) -> None:
    """Create files with these texts and modes; an empty text creates no file.

    :raises ClickException: if a file exists or can't be written.
    """
    new_files = {path: (text, mode) for path, (text, mode) in files.items() if text}
    for path in new_files:
        if os.path.lexists(path):
            raise click.ClickException(
                f"{path} exists and was not overwritten: choose another name"
            )
    for path, (text, mode) in new_files.items():
        try:
            # O_EXCL: a file or link created in the meantime is neither overwritten nor followed.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise click.ClickException(f"can't write {path}: {error.strerror}") from None
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)


def _hints(algorithm: Algorithm, out: Path | None) -> Iterator[str]:
    setting = "JWT_SECRET_KEY" if algorithm.symmetric else "JWT_PRIVATE_KEY"
    yield "Keep the key out of the source code and the repository."
    yield "Set it before authx.init_app(app):"
    if out is not None:
        yield f'  app.config["{setting}"] = pathlib.Path({str(out)!r})'
    elif algorithm.symmetric:
        yield f"  FLASK_{setting}=... in the environment, and app.config.from_prefixed_env()"
    else:
        yield f'  app.config["{setting}"] = pathlib.Path(...)  # the file with the key'
    if algorithm is not Algorithm.HS256:
        yield f'  app.config["JWT_ALGORITHM"] = "{algorithm}"'
    if not algorithm.symmetric:
        public_key = "openssl pkey -pubout" if out is None else f"{out}.pub"
        yield f"Services that only verify tokens need JWT_PUBLIC_KEY instead ({public_key})."
    yield 'The settings of AuthX(name="admin") begin with ADMIN_JWT_ instead of JWT_.'
