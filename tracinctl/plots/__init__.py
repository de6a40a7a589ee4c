"""Pictures of scores for the terminal, each a Rich renderable."""
