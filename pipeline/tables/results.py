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
            kind | VARCHAR | full (a new network) or update (the champion trained on)
            parent | VARCHAR | version that an update started from; empty for a new network
            reason | VARCHAR | why the night trained
            made_at | TIMESTAMP | when it was registered, UTC
        """),
    ),
    Table(
        "champion_decisions",
        "training",
        "lake",
        "Which version became champion and why: challenger and champion on the same days, unseen by both; and roll-backs.",
        ("as_of", "challenger", "rule"),
        ("as_of",),
        columns("""
            as_of | DATE | night of the decision
            challenger | VARCHAR | model version that was trained, or that a person put back
            champion | VARCHAR | version that it was set against; empty when there was none
            promoted | BOOLEAN | the challenger became champion from this night on
            rule | VARCHAR | first, renewal (same recipe, newer data), challenge (another recipe), served-out (the champion could not serve any more) or rollback (by a person)
            reason | VARCHAR | why, in words
            origins | BIGINT | past origins at which both recipes were tried, see champion_evidence; 0 but for a challenge
            first_day | DATE | first of the days that both were scored on; null when they were not
            last_day | DATE | last of them
            series | BIGINT | series scored; of a challenge the items of all origins
            challenger_wql | DOUBLE | WQL of the challenger; of a challenge that of its recipe, all origins pooled
            champion_wql | DOUBLE | WQL of the champion
            change_low | DOUBLE | lower end of the 95 % bootstrap interval of challenger_wql / champion_wql - 1, over series
            change_high | DOUBLE | upper end
            challenger_bias | DOUBLE | signed bias of the challenger
            champion_bias | DOUBLE | signed bias of the champion
            forgetting | DOUBLE | WQL on past seasons by that of the champion, less 1; above 0: the challenger forgot
            made_at | TIMESTAMP | when it was decided, UTC
        """),
    ),
    Table(
        "champion_evidence",
        "training",
        "lake",
        "What a challenge was judged by: the recipes of challenger and champion at past origins, each trained there anew.",
        ("as_of", "challenger", "origin"),
        ("as_of",),
        columns("""
            as_of | DATE | night of the decision
            challenger | VARCHAR | model version that was trained
            champion | VARCHAR | version that it was set against
            origin | DATE | last day that both recipes knew
            challenger_wql | DOUBLE | WQL of the challenger's recipe
            champion_wql | DOUBLE | WQL of the champion's recipe
            challenger_bias | DOUBLE | signed bias of the challenger's recipe
            champion_bias | DOUBLE | signed bias of the champion's recipe
            series | BIGINT | series scored
        """),
    ),
    Table(
        "drift",
        "training",
        "lake",
        "How far data and errors have moved since the champion was trained, measured every night.",
        ("as_of", "measure"),
        ("as_of",),
        columns("""
            as_of | DATE | night
            measure | VARCHAR | psi:units, psi:price, psi:assortment, …, or error:wql_ratio, error:bias
            value | DOUBLE | the measure
            threshold | DOUBLE | beyond it the night trains a new network; null for a measure that only informs
            is_drift | BOOLEAN | the value lies beyond its threshold
            model_version | VARCHAR | champion that it is measured against
            days | BIGINT | days compared
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
        "backtest_sums",
        "backtesting",
        "lake",
        "Sums forecast at past origins, weeks after the origin and the whole stretch, beside what came.",
        ("as_of", "model", "origin", "item_id", "location", "period_start", "period_end"),
        ("as_of",),
        columns(
            """
            as_of | DATE | night on which the backtest ran
            model | VARCHAR | forecaster
            origin | DATE | last day known to the forecaster
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            period_start | DATE | first day
            period_end | DATE | last day
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
            metric | VARCHAR | of days: wql, wape, bias, mae, rmse, rmsse, mase, coverage_50, coverage_90, …; of sums: wql_week, coverage_80_total, …
            score | DOUBLE | the score
            forecasts | BIGINT | number of forecasts (item-days, or sums) behind it
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
            """
        ),
        published=columns("made_at | TIMESTAMP | when the vintage was made, UTC"),
    ),
    Table(
        "similar_items",
        "forecasting",
        "lake",
        "What new items sell like: for each item that is announced or was first sold lately, the items whose texts are nearest "
        "to its own, from which level and season of its forecast are read.",
        ("item_id", "location", "rank", "as_of", "model_version"),
        ("as_of",),
        columns("""
            item_id | VARCHAR | new item
            location | VARCHAR | location, empty for all
            rank | INTEGER | 1 for the nearest
            similar_item_id | VARCHAR | item that it is like
            similarity | DOUBLE | cosine of the vectors of both texts, 1 for the same text
            on_sale_from | DATE | first sale of the new item; of one that has not sold yet the first day on which it may
            days_on_sale | INTEGER | days since the first sale of the new item, its own counted; null while it has not sold
            launch_share | DOUBLE | share of the new item's forecast that comes from launches like it, 0 to 1; the rest comes from its own sales
            as_of | DATE | night
            model_version | VARCHAR | version that made the forecast
        """),
    ),
    Table(
        "item_seasons",
        "forecasting",
        "lake",
        "When in the year items sell: for every item forecast, and every month, quarter of the weather and event of the calendar, "
        "how much more it sells than the shop does then, how sure that is, and from what it is known.",
        ("item_id", "location", "season", "as_of", "model_version"),
        ("as_of",),
        columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            season | VARCHAR | month, quarter (june_to_august is the summer of the north), or event of the calendar
            kind | VARCHAR | month, quarter or event
            begins_on | DATE | first day of the season that is on or comes next; of an event, of its run-up of two or four weeks
            ends_on | DATE | last day of it; of an event, its first day
            probability | DOUBLE | chance that the item sells at least 1.5 times what the shop's seasons say, by words and sales
            probability_text | DOUBLE | the same by its words alone, as items of like words sold; null where no text is like its own
            probability_history | DOUBLE | the same by its own sales alone; null where it was on sale for less than half of the season
            sells_for | BOOLEAN | the probability reaches the threshold
            threshold | DOUBLE | 0.5 with a history; by words alone, what told the shop's items best (highest F1)
            times_usual | DOUBLE | expected sales ÷ what they were had the item the shop's own seasons
            share | DOUBLE | share of the item's year that falls into the season; months sum to 1
            shop_share | DOUBLE | the same of an item that sells as the shop does
            evidence | VARCHAR | text, history, both or none
            as_of | DATE | night
            model_version | VARCHAR | version whose library read the words
        """),
    ),
    Table(
        "vintages",
        "forecasting",
        "lake",
        "One row per night and version that forecast it: what a replay needs, and what it must give. Written last, it marks "
        "the night's forecasts as whole.",
        ("as_of", "model_version"),
        ("as_of",),
        columns("""
            as_of | DATE | night
            model_version | VARCHAR | version that made the forecasts
            trained_as_of | DATE | night whose knowledge the version was trained on
            is_named | BOOLEAN | the version was named by a person, not chosen by what the night knew
            data_snapshot | VARCHAR | hash of the as-of inputs
            series | BIGINT | series forecast
            forecast_rows | BIGINT | rows of forecasts
            total_rows | BIGINT | rows of forecast_totals
            forecasts_hash | VARCHAR | SHA-256 of the stored file of forecasts
            totals_hash | VARCHAR | SHA-256 of the stored file of forecast_totals
            settings_hash | VARCHAR | hash of the settings that shape a forecast
            device | VARCHAR | where the forecasts were made, cpu or cuda
            threads | INTEGER | CPU threads that they were made with
            libraries | VARCHAR | versions of Almanac and of what computes, as JSON
            degraded | VARCHAR | members of the model that could not be fitted or could not answer, and why; empty when all did
            made_at | TIMESTAMP | when they were made, UTC
            removed_on | DATE | day on which retention removed the forecasts; null while they stand
        """),
        published=columns(
            "is_current | BOOLEAN | what the night said: the vintage made last by a version that no person named, else made last"
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
            """
        ),
        published=columns("made_at | TIMESTAMP | when the vintage was made, UTC"),
    ),
)
