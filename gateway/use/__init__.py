"""Which models are used, by whom and how much; which are on the way out, and which nobody asks for."""
