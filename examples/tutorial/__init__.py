"""The steps of the tutorial in docs/tutorial.rst, which includes these files."""
