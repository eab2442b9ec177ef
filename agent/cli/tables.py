"""What `sync-agent tables` shows: the tables of a source, or `[[resource]]` blocks for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from agent.cli import app
from agent.cli.terminal import as_json as as_json_text
from agent.config import Settings
from agent.config.drafts import draft
from agent.config.loading import invalid, read_file
from agent.connectors.opening import discovery_of
from agent.errors import EX_CONFIG
from agent.files import act_as_owner
from agent.messages import mark, translate
from agent.setup.blocks import block, both
from agent.setup.listing import listing, plain
from agent.setup.patterns import matching
from agent.setup.proposals import Proposal, Proposals, fitted


def show_tables(
    config: Path,
    patterns: Sequence[str],
    admin_url: str | None,
    *,
    as_toml: bool,
    as_json: bool,
) -> int:
    """Lists the tables that fit a pattern; the configuration needs its source only.

    Returns 78 where the source cannot be asked, 1 where no table fits.
    """
    data = read_file(config)
    settings = _settings(config, data)
    act_as_owner(Path(settings.state_directory), settings.directory)

    discovery = discovery_of(settings.source, admin_url)
    troubles = discovery.troubles()
    if troubles:
        app.show_findings(troubles)
        return EX_CONFIG

    default_schema = settings.source.place("table")[0]
    found = discovery.tables(matching(patterns, default_schema))
    if not found:
        text = mark("no table of {address} fits {patterns}")
        told = translate(text, address=discovery.address, patterns=", ".join(patterns))
        click.echo(told, err=True)
        return 1

    resources = _resources(data)
    proposals = Proposals(polled=settings.source.type == "polling", resources=resources)
    made = fitted([proposals.of(table) for table in found], settings.front.url, resources)
    if as_toml:
        click.echo(_blocks(settings, made, resources), nl=False)
    elif as_json:
        click.echo(as_json_text([plain(table) for table in found]))
    else:
        app.console().print(listing(made))
    return 0


def _settings(config: Path, data: Mapping[str, Any]) -> Settings:
    """Returns settings with the source and the front end of a file. Raises ConfigInvalid."""
    settings, problems = draft(data, [name for name in ("source", "front") if name in data])
    if "source" not in data or settings is None:
        # The sections that stand in say what a source needs
        _, missing = draft({**data, "source": data.get("source", {})}, ["source"])
        raise invalid(config, [*problems, *missing])
    return settings


def _resources(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the tables that are configured, as far as they are tables."""
    listed = data.get("resource", [])
    if not isinstance(listed, list):
        return []
    return [resource for resource in listed if isinstance(resource, Mapping)]


def _blocks(
    settings: Settings, proposals: Sequence[Proposal], resources: Sequence[Mapping[str, Any]]
) -> str:
    """Returns the blocks of the tables that are not configured yet."""
    place = settings.source.place
    shared = {place(str(resource.get("table", ""))) for resource in resources}
    texts = []
    for proposal in proposals:
        if place(proposal.found.full_name) in shared:
            text = mark("{table}: configured already")
            texts.append(f"# {both(text, table=proposal.found.full_name)}\n")
        else:
            texts.append(block(proposal))
    return "\n".join(texts)
