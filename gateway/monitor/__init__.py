"""What runs now, in all web processes together: each tells of itself, and a page shows the sum while it changes."""
