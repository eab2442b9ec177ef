"""Writes the pages for man(1) of what the command line says itself: `python -m tools.manual`.

The texts are those of `sync-agent COMMAND --help`, in each language; the language is chosen when
the program is loaded, so each page is made by a process of its own. The form is man(7).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from agent import __version__
from agent.cli.commands import commands

FOLDER = Path(__file__).parent.parent / "deploy" / "man"
# By language: the page, relative to the folder
PAGES = {
    "en": Path("man1/sync-agent.1"),
    "zh_CN": Path("zh_CN/man1/sync-agent.1"),
}
_TITLES = {
    "en": ("NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "FILES", "SEE ALSO"),
    "zh_CN": ("名称", "概要", "选项", "命令", "文件", "参见"),
}
_FILES = {
    "/etc/unit-sync-agent/agent.toml": ("configuration", "配置文件"),
    "/var/lib/unit-sync-agent": ("state", "状态目录"),
}
_WORDS = {"en": ("FILE", "COMMAND"), "zh_CN": ("文件", "命令")}
_FURTHER = {
    "en": "The handbook comes with the program: \\fBsync-agent docs OPERATIONS\\fR; what to do "
    "after an error: \\fBsync-agent docs\\fR \\fICODE\\fR.",
    "zh_CN": "手册随程序安装：\\fBsync-agent docs OPERATIONS\\fR；某个错误的处理办法："
    "\\fBsync-agent docs\\fR \\fI错误代码\\fR。",
}


def page(language: str) -> str:
    """Returns the page in the language that this process was started in."""
    name, synopsis, options, of_commands, files, further = _TITLES[language]
    file, command_word = _WORDS[language]
    lines = [
        f'.TH SYNC-AGENT 1 "" "sync-agent {__version__}"',
        f".SH {name}",
        rf"sync-agent \- {_text(commands.help)}",
        f".SH {synopsis}",
        rf"\fBsync-agent\fR [\fB-c\fR \fI{file}\fR] \fI{command_word}\fR ...",
        f".SH {options}",
        *_options(commands),
        f".SH {of_commands}",
    ]
    for title, command in sorted(commands.commands.items()):
        if not command.hidden:
            lines += [f".SS {_usage(title, command)}", _text(command.help), *_options(command)]

    lines.append(f".SH {files}")
    for path, meaning in _FILES.items():
        lines += [".TP", rf"\fI{path}\fR", meaning[0 if language == "en" else 1]]
    lines += [f".SH {further}", _FURTHER[language]]
    return "\n".join(lines) + "\n"


def _usage(title: str, command: click.Command) -> str:
    """Returns a command's name with its arguments."""
    arguments = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            word = (parameter.name or "").upper()
            arguments.append(rf"\fI{word}\fR" + " ..." * (parameter.nargs < 0))
    return " ".join([rf"\fB{title}\fR", *arguments])


def _options(command: click.Command) -> Iterator[str]:
    """Yields the options of a command, each with what it does."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join(rf"\fB{_text(name)}\fR" for name in parameter.opts)
            value = "" if parameter.is_flag else rf" \fI{parameter.metavar or 'VALUE'}\fR"
            yield ".TP"
            yield names + value
            yield _text(parameter.help)


def _text(text: str | None) -> str:
    """Escapes what man(7) would take for its own: backslashes, hyphens, and points that begin."""
    escaped = (text or "").replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def made(language: str) -> str:
    """Returns the page of a language, made by a process that speaks it."""
    return subprocess.run(
        [sys.executable, "-m", "tools.manual", language],
        env={**os.environ, "SYNC_AGENT_LANG": language},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def write() -> None:
    """Writes all pages."""
    for language, path in PAGES.items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(made(language), encoding="utf-8")
        sys.stdout.write(f"manual: {target}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(page(sys.argv[1]))
    else:
        write()
