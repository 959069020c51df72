"""Forecasting: every active item, every night, with quantiles of days and of sums.

- `nightly.py` runs the night: slices of the panel through the champion, into `forecasts` and `forecast_totals`.
- `paths.py` draws joint sample paths from marginal forecasts.
- `totals.py` adds the paths up by item, category, location and shop, and takes the quantiles of the sums.
- `periods.py` cuts the horizon into days, ISO weeks, months and the whole season ahead.
"""
