"""Requests and responses: tokens and cookies are found, checked and set here, without Flask."""
