"""Guards: what stands in front of views, which guard is for which, and the check they make."""
