"""From OpenDKIM's settings to ours: what is carried, and what is not and why. Pure but for the lists that it reads.

Each keyword is looked up in cli/opendkim_keywords.py; how its value is read is a method of `_Import` named there.
Domain, Selector and KeyFile become the two tables in cli/opendkim_single.py. No remark quotes a value: it may hold a
password.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from actors.adapters.dkim_files import is_looked_up, unsupported_kind
from actors.dkim.signing.tables import Entry, TableError
from cli.imported import Imported, carry, last_settings, number, switch
from cli.opendkim_conf import Setting
from cli.opendkim_keywords import (
    BASES,
    CARRIED,
    DIFFERENT,
    FORMER,
    HARMLESS,
    KNOWN,
    NOT_CARRIED,
    ON_ACTIONS,
    SPECIAL,
    SWITCHES,
)
from cli.opendkim_single import NeedsFiles, single_key_tables
from cli.opendkim_tables import Line, TableNotHere, key_problems, macro_names

ReadLines = Callable[[str], Sequence[Line]]
"""What a data set holds that stands in a file or in the setting. Raises TableError, for a missing file TableNotHere."""

_ACTIONS = ("accept", "discard", "quarantine", "reject", "tempfail")
_RSA_SHA1 = "rsa-sha1 holds nowhere any more (RFC 8301); the key's kind says rsa-sha256 or ed25519-sha256"
_OWNER = (
    "keys belong to the user that Tamis runs as, or to root and a group of that user (`require_safe_keys`): run it as "
    "this user, or chown them"
)
_LINES_TOLD = 20
"""Of a table that is broken, so many lines."""


def import_opendkim(settings: Sequence[Setting], read: ReadLines, out_dir: Path | None = None) -> Imported:
    """Ours. With `out_dir` a single key becomes files there, without it stands in the settings."""
    imported = Imported()
    last = last_settings(settings, KNOWN, "OpenDKIM 2.11", imported)
    _Import(imported, last, read, out_dir).run()
    return imported


class _Import:
    def __init__(self, imported: Imported, last: dict[str, Setting], read: ReadLines, out_dir: Path | None) -> None:
        self._imported = imported
        self._last = last
        self._read = read
        self._out_dir = out_dir

    def run(self) -> None:
        for setting in list(self._last.values()):
            carry(setting, self._last, self._imported, self._one)
        self._actions()
        self._tables()
        self._owner_of_keys()
        said = {*self._last, *(ON_ACTIONS if "On-Default" in self._last else ())}
        self._imported.different += [f"{keyword}: {text}" for keyword, text in DIFFERENT.items() if keyword not in said]

    def _one(self, setting: Setting) -> None:
        """Raises TableError for what cannot be carried, ValueError for what OpenDKIM would not take."""
        keyword = setting.keyword
        if keyword in SWITCHES:
            switch(setting)
        if keyword in FORMER:
            self._imported.lose(setting, f"of a former version: {FORMER[keyword]}")
        elif keyword in CARRIED:
            form, key = CARRIED[keyword]
            table, _, name = key.rpartition(".")
            self._imported.put(table, {name: (getattr(self, f"_read_{form}")(setting), setting)})
        elif keyword == "SignatureAlgorithm" and setting.value.lower() == "rsa-sha1":
            self._imported.lose(setting, _RSA_SHA1)
        elif keyword in NOT_CARRIED and not self._asks_for_nothing(setting):
            self._imported.lose(setting, NOT_CARRIED[keyword])
        elif keyword not in SPECIAL and keyword not in ON_ACTIONS:
            self._imported.without_object.append(keyword)

    def _asks_for_nothing(self, setting: Setting) -> bool:
        if setting.keyword in SWITCHES:
            return not switch(setting)
        return setting.value.lower() == HARMLESS.get(setting.keyword)

    # -- how a value is read; each raises TableError and ValueError as `_one` says

    def _read_switch(self, setting: Setting) -> bool:
        return switch(setting)

    def _read_word(self, setting: Setting) -> str:
        return setting.value.lower()

    def _read_number(self, setting: Setting) -> int:
        return number(setting)

    def _read_key_bits(self, setting: Setting) -> int:
        bits = number(setting)
        self._imported.put("dkim.signing", {"key_bits_min": (bits, setting)})
        return bits

    def _read_authserv_id(self, setting: Setting) -> str:
        if setting.value == "HOSTNAME":
            raise TableError(
                "write the name of this host in `[headers] authserv_id`; without it the MTA's name is taken"
            )
        return setting.value

    def _read_minimum(self, setting: Setting) -> str:
        if setting.value.replace(" ", "") not in ("100%", "0+"):
            raise TableError('`[dkim] unsigned_tail` knows no amounts: "pass", "policy" (as it is) or "fail"')
        return "fail"

    def _read_names(self, setting: Setting) -> list[str]:
        return [name.strip() for name in setting.value.split(",") if name.strip()]

    def _read_list(self, setting: Setting) -> list[str]:
        return [entry.name.lower() for entry in self._entries(setting)]

    def _read_form(self, setting: Setting) -> str:
        return "reject" if switch(setting) else "accept"

    def _read_fields(self, setting: Setting) -> list[str]:
        """A list of fields, or with `*` what is added to and taken from OpenDKIM's own (opendkim.conf(5))."""
        names = [entry.name.lower() for entry in self._entries(setting)]
        base = BASES[setting.keyword]
        if "*" not in names or not base:
            return names
        kept = [name for name in base if f"-{name}" not in names]
        return kept + [name[1:] for name in names if name.startswith("+")]

    def _read_data_set(self, setting: Setting) -> str:
        """By reference."""
        kind = unsupported_kind(setting.value)
        if kind:
            raise TableError(f"data sets of the kind `{kind}:` are not supported; write it as a file")
        kind, colon, rest = setting.value.partition(":")
        if colon and kind in ("file", "refile"):
            return f"{kind}:{self._based(rest.strip())}"
        return setting.value

    def _read_macros(self, setting: Setting) -> str:
        """The gateway passes on those that it is told of."""
        names = macro_names(self._read(self._read_data_set(setting)))
        self._imported.put("gateway", {"macros": (names, setting)})
        return self._read_data_set(setting)

    def _entries(self, setting: Setting) -> Sequence[Entry]:
        return [line.entry for line in self._read(self._read_data_set(setting))]

    def _based(self, path: str) -> str:
        """A path below BaseDirectory, where OpenDKIM runs."""
        base = self._last.get("BaseDirectory")
        return str(Path(base.value) / path) if base else path

    # -- what several keywords say together

    def _actions(self) -> None:
        default = self._last.get("On-Default")
        for keyword, action in ON_ACTIONS.items():
            setting = self._last.get(keyword, default)
            if setting is None:
                continue
            word = next((word for word in _ACTIONS if setting.value.lower() in (word, word[0])), "")
            told = Setting(keyword, word, setting.place)
            if not word:
                self._imported.mistakes.append(f"{setting.place}: {setting.keyword}: is none of {', '.join(_ACTIONS)}")
            elif word in action.words:
                table, _, name = action.key.rpartition(".")
                self._imported.put(table, {name: (action.words[word], told)})
            elif word == action.ours:
                self._imported.without_object.append(keyword)
            else:
                self._imported.lose(told, f"{word} is not what is done here; {action.instead}")

    def _tables(self) -> None:
        keys, signing = self._last.get("KeyTable"), self._last.get("SigningTable")
        if keys is None and signing is None:
            self._single_key()
            return
        single = [keyword for keyword in ("Domain", "Selector", "KeyFile", "SubDomains") if keyword in self._last]
        self._imported.without_object += single
        if keys is None or signing is None:
            for setting in filter(None, (keys, signing)):
                self._imported.lose(setting, "KeyTable and SigningTable need each other; was the rest in a script?")
            return
        place = keys
        try:
            key_table = self._read_data_set(keys)
            place = signing
            signing_table = self._read_data_set(signing)
            self._imported.put(
                "dkim.signing", {"key_table": (key_table, keys), "signing_table": (signing_table, signing)}
            )
        except TableError as error:
            place = keys if str(error).startswith("`key_table`") else place
            self._imported.lose(place, f"{error}; so nothing is signed")
            return
        if not is_looked_up(key_table):
            self._keys(keys, key_table)

    def _keys(self, setting: Setting, key_table: str) -> None:
        """What is wrong with a KeyTable that can be looked at."""
        try:
            lines = self._read(key_table)
        except TableNotHere:
            return
        except TableError as error:
            self._imported.lose(setting, str(error))
            return
        problems = key_problems(lines)
        for place, reason in problems[:_LINES_TOLD]:
            self._imported.lose(Setting(setting.keyword, "", place or setting.place), reason)
        if len(problems) > _LINES_TOLD:
            self._imported.lose(setting, f"{len(problems) - _LINES_TOLD} more lines of this kind")
        if "BaseDirectory" in self._last and any(
            ":./" in one.entry.value or ":../" in one.entry.value for one in lines
        ):
            self._imported.lose(
                self._last["BaseDirectory"], "the KeyTable's relative paths are below the directory in which Tamis runs"
            )

    def _owner_of_keys(self) -> None:
        user = self._last.get("UserID")
        if user is not None and self._last.keys() & {"KeyTable", "KeyFile"}:
            self._imported.different.append(f"{user.place}: {user.keyword}: {_OWNER}")
        elif user is not None:
            self._imported.without_object.append(user.keyword)

    def _single_key(self) -> None:
        domain, selector, key_file = (self._last.get(keyword) for keyword in ("Domain", "Selector", "KeyFile"))
        if domain is None or selector is None or key_file is None:
            present = [setting for setting in (domain, selector, key_file) if setting is not None]
            if present:
                self._imported.lose(present[0], "Domain, Selector and KeyFile need each other")
            return
        path = self._based(key_file.value)
        subdomains = self._last.get("SubDomains")
        try:
            tables = single_key_tables(
                self._entries(domain),
                selector.value,
                path if path.startswith(("/", "./", "../")) else f"./{path}",
                subdomains=subdomains is not None and switch(subdomains),
                patterns=domain.value.startswith("refile:"),
                out_dir=self._out_dir,
            )
            self._imported.put(
                "dkim.signing",
                {"key_table": (tables.key_table, key_file), "signing_table": (tables.signing_table, domain)},
            )
            self._imported.files.update(tables.files)
        except TableError as error:
            self._imported.lose(domain, str(error))
        except NeedsFiles as error:
            self._imported.lose(domain, f"{error}: say --out-dir")
