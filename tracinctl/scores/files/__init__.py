"""Files of scores, lists and records."""
