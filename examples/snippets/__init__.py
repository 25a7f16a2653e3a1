"""The code of the how-to pages in docs/, which include these files."""
