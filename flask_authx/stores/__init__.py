"""The stores of revocations and sessions, and what each of them can guarantee.

``base``, ``blocklist`` and ``session_store`` define what a store holds and must be able to do.
Stores import neither Flask nor the request nor the token: they take keys, times and entries.
"""
