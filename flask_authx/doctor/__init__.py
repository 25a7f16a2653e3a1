"""``flask authx doctor``: what is risky, missing or left over in an app's settings."""
