"""Enrichment: what explains demand besides demand, known by its day.

- `calendar.py` brings the calendar of each country up to date, from `public_holidays.py`, `festivals.py`, `lunar.py` and
  `solar_terms.py`; `events.py` says what an event is; `calendar_features.py` turns a night's calendar into columns.
- `promotions.py` takes delivered promotions over into the ledger and reads them as an array; `prices.py` reads prices.
- `texts.py` encodes item texts once per text and model with `language_model.py`, and reads the vectors.
"""
