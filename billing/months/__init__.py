"""A team's months: what they came to, closed and opened again."""
