"""Sound becomes samples and features here; nothing here knows text, models or engines."""
