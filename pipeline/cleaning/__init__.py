"""Cleaning: from accepted order lines to the ledgers of demand and items.

- `clean.py` runs it, delivery by delivery; the `.sql` files beside it say what each table is.
- `netting.py` matches cancellations and returns with the orders they cancel.
- `texts.py` normalises item texts.
- `closed_days.py` says which days ahead the shop will be closed.
"""
