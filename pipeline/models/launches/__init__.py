"""Launches: items so young that their own sales say little, forecast from words, price and kind, as earlier launches went.

- `facts.py`: what a panel knew on any of its days: how well established items sell for their price, and when in the year.
- `similar.py`: which of them a new item is like, by the vectors of their texts.
- `examples.py`: the launches of a panel as they looked at some age, and what came of them.
- `regression.py`: how many units come of a launch, and how sure that is.
- `days.py`: those units spread over days.

What does not belong here: items with a history (every other forecaster), and where one hands over to the other
(`pipeline/models/ensemble.py`).
"""
