"""Pictures of scores for the terminal, as Rich renderables."""
