"""The geometry of charts that are no stacked bars: numbers in, places out. No words are made here, and no Django."""
