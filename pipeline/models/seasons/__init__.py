"""Seasons read from words: a language model fine-tuned to say when in the year an item sells, and for which events.

- `targets.py`: what the sales of a panel say of its items' seasons: month shares, events, level.
- `heads.py`: the tasks that are learned from it, all on one vector of the text.
- `training.py`: the fine-tuning.
- `fitted.py`: what was learned, kept and asked.
"""
