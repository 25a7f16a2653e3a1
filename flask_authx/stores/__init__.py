"""Where revocations and sessions are kept, and what each store can promise.

``base``, ``blocklist`` and ``session_store`` say what a store holds and must be able to do. None
knows Flask, a request or a token: they are given keys, times and entries.
"""
