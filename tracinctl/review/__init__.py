"""Review: a person listens, looks and decides; decisions go to a CSV file."""
