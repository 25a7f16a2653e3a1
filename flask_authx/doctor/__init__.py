"""``flask authx doctor``: what is risky, missing or obsolete in an app's settings and stores."""
