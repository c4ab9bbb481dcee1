"""Fuzz the codec with atheris, from the dialogs on.

Usage: python -m tests.fuzz.codec [SECONDS]   (make fuzz: 60; exit code 1 when something was found)
       python -m tests.fuzz.codec FILE        plays one input again
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FINDINGS = Path(".fuzz")
INPUT_BYTES_MAX = 4096
_DONE = re.compile(r"#(?P<runs>\d+)\s+DONE\s+cov: (?P<edges>\d+) ft: (?P<features>\d+) corp: (?P<inputs>\d+)")


def fuzz(arguments: list[str]) -> None:
    """Run libFuzzer in this process; does not return."""
    import atheris  # noqa: PLC0415 - the development machine's, on x86-64 only

    with atheris.instrument_imports(include=["wire.milter"]):
        from tests.fuzz.properties import check  # noqa: PLC0415 - instrumented as it is imported
    from tests.fuzz.mutator import mutate  # noqa: PLC0415 - it imports the codec too

    def other(data: bytes, size_max: int, seed: int) -> bytes:
        return mutate(data, size_max, seed, atheris.Mutate)

    atheris.Setup([sys.argv[0], *arguments], check, custom_mutator=other)
    atheris.Fuzz()


def run(seconds: int) -> int:
    """A fuzzer of its own process over a fresh corpus. The exit code."""
    from tests.fuzz.seeds import write  # noqa: PLC0415 - it imports the codec, which the fuzzer instruments

    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tamis-fuzz-") as directory:
        seeds = write(Path(directory))
        options = (
            f"-max_total_time={seconds}",
            f"-max_len={INPUT_BYTES_MAX}",
            f"-artifact_prefix={FINDINGS}/",
            "-timeout=10",
            "-rss_limit_mb=1024",
        )
        command = [sys.executable, "-m", "tests.fuzz.codec", "--libfuzzer", *options, directory]
        # A finding ends in one line of its own: the text of the fuzzer is shown only then.
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = _DONE.search(done.stderr)
    if done.returncode or found is None:
        print((done.stdout + done.stderr)[-6000:])
        print(f"fuzz: FOUND something (exit code {done.returncode}); the input is in {FINDINGS}/")
        return 1
    runs = int(found["runs"])
    print(
        f"fuzz: {runs} runs in {seconds} s ({runs // max(seconds, 1)}/s), {seeds} seeds, "
        f"{found['inputs']} inputs kept, {found['edges']} edges, {found['features']} features, nothing found"
    )
    return 0


def main() -> int:
    """See the module's docstring."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--libfuzzer"]:
        fuzz(arguments[1:])
    if arguments and not arguments[0].isdigit():
        fuzz(arguments)
    return run(int(arguments[0]) if arguments else int(os.environ.get("FUZZ_SECONDS", "60")))


if __name__ == "__main__":
    sys.exit(main())
