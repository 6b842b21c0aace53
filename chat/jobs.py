"""The chat has no work for the one leader: each web process sweeps for what dead ones left (`chat.generations`)."""

from accounts.background import Job

JOBS: list[Job] = []
