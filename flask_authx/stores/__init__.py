"""Stores of revocations: where they are kept, and what each of them can promise.

``entries`` says what a store holds and must be able to do; the rest are stores. None of them knows
Flask, a request or a token: they are given keys, times and entries.
"""
