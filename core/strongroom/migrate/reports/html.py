"""A report as one self-contained HTML page without values. Apart from the report, which most steps need without it."""

from __future__ import annotations

from html import escape

from strongroom.migrate.reports.report import ItemResult, ItemState, Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c1e; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; }
thead th { border-bottom: 2px solid #888; } tbody tr { border-bottom: 1px solid #ddd; }
td { overflow-wrap: anywhere; } .done { color: #1b6e3c; }
.failed, .conflict, .pending { font-weight: 600; color: #a4161a; }
@media (prefers-color-scheme: dark) {
  body { background: #1c1c1e; color: #eee; } .done { color: #7bd88f; }
  .failed, .conflict, .pending { color: #ff8a8a; }
}
"""


def html_report(report: Report) -> str:
    """Return the report as a page that has no script and loads nothing."""
    title = f"Migration {report.run}: {report.action.value}"
    facts = [
        ("From", ", ".join(report.sources)),
        ("To", report.target),
        ("Started", f"{report.started:%Y-%m-%d %H:%M:%S} UTC"),
        ("Finished", f"{report.finished:%Y-%m-%d %H:%M:%S} UTC"),
        *((state.value.capitalize(), f"{report.count(state):,}") for state in ItemState),
    ]
    if report.stopped:
        facts.append(("Stopped", report.stopped))
    # List failures first.
    results = sorted(report.results, key=lambda result: result.state in {ItemState.DONE, ItemState.SKIPPED})
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            "<table><tbody>",
            *(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts),
            "</tbody></table>",
            "<h2>Secrets</h2>",
            "<table><thead><tr><th>State<th>From<th>Path<th>To<th>Version<th>Reason</tr></thead><tbody>",
            *map(_row, results),
            "</tbody></table></body></html>",
            "",
        ]
    )


def _row(result: ItemResult) -> str:
    state = f'<td class="{escape(result.state.value)}">{escape(result.state.value)}</td>'
    version = "" if result.version is None else str(result.version)
    cells = (result.source, result.source_path, result.path, version, result.reason)
    return f"<tr>{state}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
