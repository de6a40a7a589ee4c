"""Review: a person listens, looks and decides; decisions are kept in a CSV file. Prints nothing."""
