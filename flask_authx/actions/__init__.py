"""What ``AuthX`` does, one file for each of its verbs."""
