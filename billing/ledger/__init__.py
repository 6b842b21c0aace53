"""The log and its roll-ups: written, proved, corrected, closed, dropped."""
