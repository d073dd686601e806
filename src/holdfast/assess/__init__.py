"""Plan checks, run them, judge their records."""
