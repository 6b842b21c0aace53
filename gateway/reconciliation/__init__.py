"""The accounts beside the engines' own counters."""
