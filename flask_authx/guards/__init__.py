"""Guards: the decorators, the rules of apps and blueprints, and the check that both make."""
