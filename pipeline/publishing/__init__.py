"""Publishing: one DuckDB file and one page that people open.

- `publish.py` makes `warehouse/almanac.duckdb` beside the old one and swaps it in: `plan.py` decides whether a copy is brought
  up to date or the file is built in full, `fill.py` fills it from the lake (`parts.py`: which of the lake's files changed) and
  from the as-of view, `checks.py` says whether it may be swapped in.
- `views.sql`, `rising.sql`, `as_known.sql` and `seasons.sql` declare views and macros together with their comments.
- `retention.py` forgets forecasts of old nights, when the settings say so.
- `season_report.py` writes `report/index.html` from the published file.
- `query.py` answers `almanac sql`; `summary.py` prints what a night ended with.
"""
