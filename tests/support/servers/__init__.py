"""Real servers for the tests, and the raw requests that they are sent."""
