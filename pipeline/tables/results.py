"""What a night makes of the facts: model versions, backtests, forecasts."""

from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tables.declare import Table, columns

_DISTRIBUTION = "mean | DOUBLE | expected units (a real mean, not the mean of the quantiles)\n" + "\n".join(
    f"{name} | DOUBLE | {int(name[1:])} % quantile of units, in whole units" for name in QUANTILE_COLUMNS
)

TABLES = (
    Table(
        "model_versions",
        "training",
        "lake",
        "Registered model versions; a night may use only those trained on what was known by then.",
        ("model_version",),
        ("as_of",),
        columns("""
            model_version | VARCHAR | name and number in the MLflow registry
            as_of | DATE | night whose knowledge it was trained on
            data_snapshot | VARCHAR | hash of the as-of inputs of the training
            run_id | VARCHAR | MLflow run
            trained_seconds | DOUBLE | seconds of training
            device | VARCHAR | where it was trained
            settings_hash | VARCHAR | hash of the training settings
            made_at | TIMESTAMP | when it was registered, UTC
        """),
    ),
    Table(
        "backtest_forecasts",
        "backtesting",
        "lake",
        "Forecasts made at past origins with what was known then, beside what came.",
        ("as_of", "model", "origin", "item_id", "location", "target_date"),
        ("as_of",),
        columns(
            """
            as_of | DATE | night on which the backtest ran
            model | VARCHAR | forecaster
            origin | DATE | last day known to the forecaster
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            target_date | DATE | day forecast
            horizon_days | INTEGER | days after the origin, from 1
            actual | DOUBLE | units that came, as known on `as_of`
            """
            + _DISTRIBUTION
        ),
    ),
    Table(
        "backtest_scores",
        "backtesting",
        "lake",
        "Scores of the backtest, pooled and by slice.",
        ("as_of", "model", "origin", "slice", "value_of_slice", "metric"),
        ("as_of",),
        columns("""
            as_of | DATE | night on which the backtest ran
            model | VARCHAR | forecaster
            origin | VARCHAR | origin (ISO date), or 'all' for all pooled
            slice | VARCHAR | all, horizon, volume, intermittency, age or holiday
            value_of_slice | VARCHAR | value of the slice, for example A or 1-7
            metric | VARCHAR | wql, wape, bias, mae, rmse, rmsse, mase, coverage_50, coverage_90, …
            score | DOUBLE | the score
            forecasts | BIGINT | number of forecasts (item-days) behind it
        """),
    ),
    Table(
        "forecasts",
        "forecasting",
        "lake",
        "Daily forecasts per item: every night's vintage is kept and never updated.",
        ("item_id", "location", "target_date", "as_of", "model_version"),
        ("as_of",),
        columns(
            """
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            target_date | DATE | day forecast
            as_of | DATE | night that made the forecast
            horizon_days | INTEGER | days after the night, from 1
            """
            + _DISTRIBUTION
            + """
            model_version | VARCHAR | version that made it
            data_snapshot | VARCHAR | hash of the as-of inputs
            made_at | TIMESTAMP | when it was made, UTC
            """
        ),
    ),
    Table(
        "forecast_totals",
        "forecasting",
        "lake",
        "Forecasts of sums with quantiles of the sum, from joint sample paths.",
        ("level", "id", "location", "period_start", "as_of", "model_version"),
        ("as_of",),
        columns(
            """
            level | VARCHAR | item-week, item-month, category-day, category-week, total-day, total-week, …
            id | VARCHAR | item or category; empty for the total
            location | VARCHAR | location, empty for all
            period_start | DATE | first day of the period within the horizon
            period_end | DATE | last day of the period within the horizon, included
            as_of | DATE | night that made the forecast
            """
            + _DISTRIBUTION
            + """
            model_version | VARCHAR | version that made it
            data_snapshot | VARCHAR | hash of the as-of inputs
            made_at | TIMESTAMP | when it was made, UTC
            """
        ),
    ),
)
