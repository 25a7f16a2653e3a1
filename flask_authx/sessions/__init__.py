"""Sessions and their revocations: the rules that stand between verified tokens and stores."""
