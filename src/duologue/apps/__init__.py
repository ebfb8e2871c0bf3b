"""What can be done with one text and one model: translate it, judge it, tell what it wants."""
