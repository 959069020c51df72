"""Closed YAML files: read into typed models, every mistake in one message that names the file and the field."""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import SettingsError

M = TypeVar("M", bound=BaseModel)


class Closed(BaseModel):
    """Base of all settings: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Loader(yaml.SafeLoader):
    """Safe YAML in which only true and false are booleans.

    YAML 1.1 reads on, off, yes, no, y and n as booleans too: the key `on` of a backtest and the country NO (Norway)
    came out as True and False.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own name and shape
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))


def load_yaml(path: Path, model: type[M], *, missing: str) -> M:
    """Read a YAML file into a closed model, turning every problem into one `SettingsError`.

    Args:
        path: the file.
        model: the pydantic model that it must fit.
        missing: the way out when the file does not exist.

    Raises:
        SettingsError: names the file, each field at fault, and what is allowed there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; {missing}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {error}") from error
    try:
        return model.model_validate(content if content is not None else {})
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem, model)}" for problem in error.errors())
        raise SettingsError(f"{path}: {error.error_count()} problem(s):\n{problems}") from error


def _describe(problem: Any, model: type[BaseModel]) -> str:
    """One line for one pydantic problem: place, what is wrong, and the nearest known key for a typo."""
    where = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, problem["loc"][:-1]))
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    given = "" if problem["type"] == "missing" else f" (given: {problem['input']!r})"
    return f"{where}: {problem['msg']}{given}"


def _keys_at(model: type[BaseModel], path: tuple[Any, ...]) -> set[str]:
    """Keys allowed at a place inside a model."""
    here: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = here.model_fields.get(part) if hasattr(here, "model_fields") else None
        if field is None:
            return set()
        here = next((a for a in _candidates(field.annotation) if hasattr(a, "model_fields")), None)
    return set(here.model_fields) if here is not None else set()


def _candidates(annotation: Any) -> list[Any]:
    found = [annotation]
    for inner in getattr(annotation, "__args__", ()):
        found += _candidates(inner)
    return found
