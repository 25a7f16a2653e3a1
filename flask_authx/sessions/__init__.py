"""Sessions and revocations: their rules, which are the same for every store."""
