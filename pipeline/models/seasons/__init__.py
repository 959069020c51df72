"""Seasons of items: when in the year each sells more than the shop does, read from words, from sales, and from both.

- `sums.py`: what the sales of items say of their seasons.
- `belief.py`: words and sales put together.
- `heads.py`, `training.py`, `tuned.py`: a language model fine-tuned on them, where the shop wants one.
- `library.py`: the seasons of the items that others are set beside, and how well words tell them.
"""
