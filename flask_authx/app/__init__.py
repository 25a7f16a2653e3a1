"""What is kept for one app, and how it is built from the app's settings."""
