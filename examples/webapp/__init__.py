"""Notes in a browser: sessions in cookies with CSRF protection, and a list of the user's devices.

Run it with ``python -m examples.webapp``, or serve ``create_app()`` with any WSGI server.
``flask --app examples.webapp authx sessions 1`` lists the first user's sessions.
"""

from .app import create_app

__all__ = ["create_app"]
