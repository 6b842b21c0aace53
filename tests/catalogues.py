"""The message catalogues: brought up to date, or checked to be complete.

    python -m tests.catalogues             fails on a missing, fuzzy or outdated translation
    python -m tests.catalogues --update    collects the texts into locale/

Needs GNU gettext's xgettext, msgmerge and msgfmt; only developers and CI do.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("es", "fr")
TOOLS = ("xgettext", "msgmerge", "msgfmt")


def main(words: list[str]) -> int:
    need_gettext()
    if words == ["--update"]:
        collect(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        copy_sources(copy)
        collect(copy)
        problems = [problem for language in LANGUAGES for problem in check(copy, language)]
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201  # a command's output
    return 1 if problems else 0


def need_gettext() -> None:
    if all(shutil.which(tool) for tool in TOOLS):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for step in (["update", "-qq"], ["install", "-y", "-qq", "gettext"]):
            subprocess.run(["apt-get", *step], check=True, stdout=subprocess.DEVNULL)
        return
    sys.exit("The translations are collected by GNU gettext: install the package gettext and run this again.")


def copy_sources(target: Path) -> None:
    """What git knows, or would take up, of the tree: the copy is what a clone would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.suffix in {".py", ".html", ".txt", ".po"} and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / name)


def collect(tree: Path) -> None:
    locales = [word for language in LANGUAGES for word in ("--locale", language)]
    command = [sys.executable, "-m", "django", "makemessages", *locales, "--no-location", "--no-wrap", "--no-obsolete"]
    ignored = [word for pattern in ("tests/*", "bench/*", ".venv*") for word in ("--ignore", pattern)]
    for language in LANGUAGES:
        (tree / "locale" / language / "LC_MESSAGES").mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, *ignored], cwd=tree, check=True, stdout=subprocess.DEVNULL)


def check(tree: Path, language: str) -> list[str]:
    """What is wrong with one language, a line each."""
    name = Path("locale") / language / "LC_MESSAGES" / "django.po"
    wanted, kept = read(tree / name, language), read(ROOT / name, language)
    problems = [f"{language}: not translated: {m.id!r}" for m in wanted if m.id and not is_translated(m)]
    problems += [f"{language}: fuzzy: {message.id!r}" for message in wanted if message.id and message.fuzzy]
    used = {message.id for message in wanted}
    problems += [f"{language}: no longer used: {message.id!r}" for message in kept if message.id not in used]
    formats = subprocess.run(
        ["msgfmt", "--check", "--output-file", os.devnull, ROOT / name], check=False, capture_output=True, text=True
    )
    return problems + formats.stderr.splitlines() if formats.returncode else problems


def read(path: Path, language: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=language)


def is_translated(message: Message) -> bool:
    return all(message.string) if isinstance(message.string, tuple | list) else bool(message.string)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
