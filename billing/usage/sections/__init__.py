"""The lower half of the usage pages, and their budgets."""
