"""An app of Flask-JWT-Extended, and the same app on Flask-AuthX through a bridge."""
