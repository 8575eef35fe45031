"""The page of a paper: each claim with its verdict and the rows that it rests on."""

from collections import Counter
from collections.abc import Mapping, Sequence

from medrobust.metric.definition import unit_of
from medrobust.report.atlas.config import VERDICTS, AtlasError, Claim, Paper
from medrobust.report.bundle.bundle import Bundle
from medrobust.report.render.markdown import paragraph
from medrobust.report.table.measure import printed

SIGNS = dict(zip(VERDICTS, ("✓", "◐", "✗", "—", "…"), strict=True))


def paper_page(paper: Paper, tables: Mapping[str, tuple[str, Bundle]], folder: str) -> str:
    """Return the Markdown page of a paper.

    Args:
        paper: its claims.
        tables: name of each table, such as `medrdf/table3` -> its title and rows.
        folder: folder of the paper in the atlas.

    Raises:
        AtlasError: a claim names a table, row or metric that is not there.
    """
    own = [name for name in tables if name.startswith(f"{folder}/")]
    lines = [f"# {paper.title}", "", _counted([paper]), ""]
    for claim in paper.claims:
        lines += [
            f"## {SIGNS[claim.verdict]} {paragraph(claim.claim)}",
            "",
            f"{paragraph(claim.where)}. **{_verdict(claim)}.** {_because(claim, tables, folder)}",
            "",
        ]
    if own:
        lines += ["## Tables", ""]
        lines += [
            f"- [{tables[name][0]}]({name.removeprefix(folder + '/')}/README.md)" for name in own
        ]
    return "\n".join(lines).rstrip() + "\n"


def index_page(papers: Mapping[str, Paper], tables: Mapping[str, tuple[str, Bundle]]) -> str:
    """Return the Markdown page of the whole atlas.

    Args:
        papers: folder of each paper -> its claims.
        tables: name of each table -> its title and rows.
    """
    lines = [
        "# Atlas",
        "",
        "What papers claim and what was measured here: each claim with its verdict, each verdict "
        "with its rows. Every number was computed on real images, and is rebuilt from the rows "
        "next to its page.",
        "",
        f"| paper | {' | '.join(VERDICTS)} |",
        f"|:---|{'---:|' * len(VERDICTS)}",
    ]
    for folder, paper in papers.items():
        counts = Counter(claim.verdict for claim in paper.claims)
        cells = " | ".join(str(counts[verdict]) for verdict in VERDICTS)
        lines.append(f"| [{paragraph(paper.title)}]({folder}/README.md) | {cells} |")
    lines += ["", "## Tables", ""]
    for name, (title, bundle) in tables.items():
        done = f"{len(bundle.sweep.rows)} of {bundle.note.jobs} cells"
        lines.append(f"- [{title}]({name}/README.md), {done}")
    lines += [
        "",
        "## Rebuilding",
        "",
        "```sh",
        "make atlas                    # the pages, from the rows",
        "make atlas-run HOURS=8        # the rows, most informative first; resumable",
        "```",
        "",
        "`medrobust report MY_SWEEP --verify atlas/PAPER/TABLE` compares rows made elsewhere with "
        "these: equal ids, proportions within 0.02.",
    ]
    return "\n".join(lines) + "\n"


def _counted(papers: Sequence[Paper]) -> str:
    counts = Counter(claim.verdict for paper in papers for claim in paper.claims)
    said = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    return f"{sum(counts.values())} claims: {', '.join(said)}."


def _verdict(claim: Claim) -> str:
    text = claim.verdict[0].upper() + claim.verdict[1:]
    return f"{text} {paragraph(claim.condition)}" if claim.condition else text


def _because(claim: Claim, tables: Mapping[str, tuple[str, Bundle]], folder: str) -> str:
    shown = {
        name: _number(address, tables, folder, claim) for name, address in claim.numbers.items()
    }
    return paragraph(claim.because).replace("\\{", "{").format(**shown)


def _number(
    address: str, tables: Mapping[str, tuple[str, Bundle]], folder: str, claim: Claim
) -> str:
    """Return a value with its interval, linked to its table.

    Raises:
        AtlasError: the address does not lead to one number.
    """
    parts = address.split()
    place = f"claim {claim.claim!r}: the number {address!r}"
    if len(parts) != 3 or parts[0] not in tables:
        raise AtlasError(f"{place} is unknown, expected TABLE ROW METRIC of {sorted(tables)}")
    name, start, metric = parts
    rows = [row for row in tables[name][1].sweep.rows if row.id.startswith(start)]
    if len(rows) != 1:
        raise AtlasError(f"{place} fits {len(rows)} rows of {name}, expected one")
    row = rows[0]
    if metric not in row.metrics:
        raise AtlasError(f"{place}: its row has the metrics {sorted(row.metrics)}")
    unit = unit_of(metric)
    text = printed(row.metrics[metric], unit, percent=True) + " %" * (unit == "proportion")
    ends = row.intervals.get(metric)
    if ends:
        text += f" [{', '.join(printed(end, unit, percent=True) for end in ends)}]"
    return f"[{text}](../{name}/README.md)".replace(f"../{folder}/", "")
