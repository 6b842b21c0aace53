"""Limits over short windows: what may be used a minute, an hour, a day, and how processes share the counting."""
