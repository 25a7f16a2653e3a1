"""Notes in a browser: logins that last, that no other site can use, and that end from anywhere.

Run it with ``python -m examples.webapp``, or serve ``create_app()`` with any WSGI server.
``flask --app examples.webapp authx sessions 1`` lists the first user's logins.
"""

from .app import create_app

__all__ = ["create_app"]
