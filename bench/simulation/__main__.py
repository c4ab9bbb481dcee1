"""The simulation's commands; figures on stdout, one JSON object with --json.

python -m bench.simulation refit [--corpora DIR]     measure, fit, check, and write fit.json and docs/capacity.md
python -m bench.simulation record FOLDER [PART...]   measure only, what is not there yet: a file for each part
python -m bench.simulation fit FOLDER                fit what `record` wrote
python -m bench.simulation check [--json]            what fit.json predicts beside what was measured
python -m bench.simulation predict --nodes 100       capacity and latencies of a cell
python -m bench.simulation page                      docs/capacity.md anew
"""

import argparse
import json
import os
import sys
import tempfile
from multiprocessing import Pool
from pathlib import Path

import msgspec

from bench.simulation.figures import FIT, Comparison, Fit, NodeType
from bench.simulation.fit import fit
from bench.simulation.page import write_page
from bench.simulation.predict import BOUND, CELLS, FIGURES, capacity, compare
from bench.simulation.record import PARTS, record, recorded

CORPORA = Path(__file__).resolve().parents[2] / ".test-data"


def main() -> int:
    """One command; 1 when a check of the model is beyond its bound."""
    options = _options()
    match options.command:
        case "record":
            options.folder.mkdir(parents=True, exist_ok=True)
            record(options.corpora, options.folder, _say, options.parts)
        case "fit":
            _fit(options.folder)
        case "check":
            return _check(as_json=options.json)
        case "predict":
            node = NodeType(options.cores, options.ingresses, options.replicas)
            print(json.dumps(msgspec.to_builtins(capacity(read_fit(), options.nodes, node))))
        case "page":
            write_page(read_fit())
        case "refit":
            with tempfile.TemporaryDirectory(prefix="tamis-record-", dir="/tmp") as folder:
                record(options.corpora, Path(folder), _say)
                _fit(Path(folder))
            return _check(as_json=options.json)
    return 0


def read_fit() -> Fit:
    """The committed one."""
    return msgspec.json.decode(FIT.read_bytes(), type=Fit)


def _say(line: str) -> None:
    print(line, flush=True)


def _fit(folder: Path) -> None:
    """Fit a recording, predict with it, and write both files; the cells are simulated side by side."""
    fitted = fit(recorded(folder))
    with Pool() as pool:
        compared = pool.apply_async(compare, (fitted,))
        capacities = pool.starmap(capacity, [(fitted, nodes, node) for nodes, node in reversed(CELLS)], chunksize=1)
        fitted = msgspec.structs.replace(fitted, comparisons=compared.get(), capacities=tuple(reversed(capacities)))
    FIT.write_bytes(msgspec.json.format(msgspec.json.encode(fitted), indent=0) + b"\n")
    write_page(fitted)


def _check(*, as_json: bool) -> int:
    compared = read_fit().comparisons
    if as_json:
        print(json.dumps([_row(one) for one in compared]))
    else:
        for one in compared:
            cells = (
                f"{figure} {one.measured(figure):7.1f} {one.error(figure):+5.0%} (noise {one.noise(figure):4.0%})"
                for figure in FIGURES
            )
            print(f"{'fit  ' if one.load.fit else 'check'} {one.load.name:<42} {'   '.join(cells)}")
    checks = [one for one in compared if not one.load.fit]
    return int(any(abs(one.error(figure)) > BOUND for one in checks for figure in FIGURES))


def _row(one: Comparison) -> dict[str, object]:
    measured = {f"measured_{figure}": one.measured(figure) for figure in FIGURES}
    errors = {f"error_{figure}": round(one.error(figure), 3) for figure in FIGURES}
    noise = {f"noise_{figure}": round(one.noise(figure), 3) for figure in FIGURES}
    return {"load": one.load.name, "fit": one.load.fit} | measured | errors | noise


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("refit", "record"):
        command = commands.add_parser(name)
        command.add_argument("--corpora", type=Path, default=Path(os.environ.get("TAMIS_CORPORA") or CORPORA))
    commands.choices["record"].add_argument("folder", type=Path)
    commands.choices["record"].add_argument(
        "parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=" ".join(PARTS)
    )
    commands.add_parser("fit").add_argument("folder", type=Path)
    commands.add_parser("page")
    for name in ("check", "refit"):
        (commands.choices.get(name) or commands.add_parser(name)).add_argument("--json", action="store_true")
    command = commands.add_parser("predict")
    command.add_argument("--nodes", type=int, required=True)
    command.add_argument("--cores", type=int, default=2)
    command.add_argument("--ingresses", type=int, default=1)
    command.add_argument("--replicas", type=int, default=1, help="of each actor on one node")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
