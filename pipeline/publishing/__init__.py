"""Publishing: one DuckDB file and one page that people open.

- `publish.py` builds, checks and swaps in `warehouse/almanac.duckdb`: `tables.sql` fills it, `views.sql` declares views
  and macros together with their comments, `checks.py` says whether it may be swapped in.
- `season_report.py` writes `report/index.html` from the published file.
- `query.py` answers `almanac sql`; `summary.py` prints what a night ended with.
"""
