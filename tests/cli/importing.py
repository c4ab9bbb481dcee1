"""`tamis import` in this process: what it says of a file, and the configuration it makes."""

import contextlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.__main__ import main
from cli.config import TamisConfig
from wire.config import parse


@dataclass(frozen=True, slots=True)
class Result:
    exit_code: object
    told: dict[str, Any]

    @property
    def config(self) -> TamisConfig:
        return parse(self.told["config"], TamisConfig)

    def all_remarks(self) -> str:
        return json.dumps({name: value for name, value in self.told.items() if name != "config"})


def imported(directory: Path, text: str, *words: object, name: str = "opendkim.conf") -> Result:
    path = directory / name
    path.write_text(text)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        code: object = 0
        try:
            main(["import", str(path), "--json", *map(str, words)])
        except SystemExit as ended:
            code = ended.code
    return Result(code, json.loads(out.getvalue()))


def imported_in_thread(directory: Path, text: str, *words: object) -> Result:
    """The command has a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(imported, directory, text, *words).result()
