"""The state of one app: how it is built, which stores it has, and which views are guarded."""
