"""docs/keys.rst: key pairs, and how keys change without anybody being logged out."""

from pathlib import Path

from flask import Flask

from flask_authx import AuthX


# [pair]
def issuer(key_file: Path) -> tuple[Flask, AuthX]:
    """An app that mints tokens; the public half is worked out from the private one."""
    app = Flask(__name__)
    app.config["JWT_ALGORITHM"] = "ES256"
    app.config["JWT_PRIVATE_KEY"] = key_file
    return app, AuthX(app)


def verifier(key_file: Path) -> tuple[Flask, AuthX]:
    """An app that can only verify them."""
    app = Flask(__name__)
    app.config["JWT_ALGORITHM"] = "ES256"
    app.config["JWT_PUBLIC_KEY"] = key_file
    return app, AuthX(app)


# [rotation]
def rotated(new_secret: str, old_secret: str) -> tuple[Flask, AuthX]:
    """An app that signs with the new secret and still accepts tokens of the old one."""
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = new_secret
    app.config["JWT_PREVIOUS_SECRET_KEY"] = old_secret
    return app, AuthX(app)


# [algorithm]
def moved_to_key_pair(key_file: Path, old_secret: str) -> tuple[Flask, AuthX]:
    """An app that signs with a key pair now and used to sign with a secret."""
    app = Flask(__name__)
    app.config["JWT_ALGORITHM"] = "ES256"
    app.config["JWT_PRIVATE_KEY"] = key_file
    app.config["JWT_PREVIOUS_SECRET_KEY"] = old_secret
    app.config["JWT_PREVIOUS_ALGORITHM"] = "HS256"
    return app, AuthX(app)
