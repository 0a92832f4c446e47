"""The looks of the pictures: signs and colours for statuses, in a light and a dark scheme.

A status never shows by its colour alone: a sign and a word go with it.
"""

from __future__ import annotations

from typing import Final

_SIGNS: Final = {
    "completed": "✓",
    "complete": "✓",
    "success": "✓",
    "failed_final": "✗",
    "failed": "✗",
    "failure": "✗",
    "timeout": "◷",
    "skipped": "○",
    "cancelled": "■",
    "running": "▸",
    "interrupted": "■",
}


def word(status: str) -> str:
    """Return a status as people say it."""
    return "failed" if status == "failed_final" else status.replace("_", " ")


def sign(status: str) -> str:
    """Return the sign of a status; a dot for one that has not begun."""
    return _SIGNS.get(status, "·")


_LIGHT: Final = """
--paper:#f7f7f5;--panel:#fff;--ink:#1b1f24;--soft:#5b6270;--rule:#dfe1e6;--track:#f0f1f4;
--ok:#18794e;--bad:#c4302b;--late:#a05a00;--off:#7b818c;--now:#1f62d0;--slow:#6d3fd1;
--okfill:#eaf6ef;--badfill:#fdeceb;--latefill:#fdf1e0;--offfill:#f3f4f6;--nowfill:#e9f0fd"""
_DARK: Final = """
--paper:#101216;--panel:#181b21;--ink:#eceef2;--soft:#a2a9b6;--rule:#2d323b;--track:#21252d;
--ok:#4cc38a;--bad:#ff7a70;--late:#f1a950;--off:#8f97a5;--now:#75a9ff;--slow:#b79cff;
--okfill:#142a20;--badfill:#35191a;--latefill:#33260f;--offfill:#1f232a;--nowfill:#16243c"""

_SCHEME: Final = f":root{{color-scheme:light dark;{_LIGHT}}}\n@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"

_GRAPH: Final = """
.graph text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--ink)}
.graph .name{font-weight:600}
.graph .facts{font-size:11px;fill:var(--soft)}
.edge{fill:none;stroke:var(--off);stroke-width:1.2;opacity:.75}
.edge.slow{stroke:var(--slow);stroke-width:2.6;opacity:1}
.box{fill:var(--panel);stroke:var(--rule);stroke-width:1.2}
.completed .box{fill:var(--okfill);stroke:var(--ok)}.completed .sign{fill:var(--ok)}
.failed_final .box{fill:var(--badfill);stroke:var(--bad)}.failed_final .sign{fill:var(--bad)}
.cancelled .box{fill:var(--latefill);stroke:var(--late)}.cancelled .sign{fill:var(--late)}
.running .box{fill:var(--nowfill);stroke:var(--now)}.running .sign{fill:var(--now)}
.skipped .box{fill:var(--offfill);stroke:var(--off);stroke-dasharray:4 3}.skipped .name{fill:var(--soft)}
.node.slow .box{stroke-width:2.6;stroke:var(--slow)}
"""

STANDALONE_STYLE: Final = _SCHEME + _GRAPH
"""Of a drawing in a file of its own."""

PAGE_STYLE: Final = (
    _SCHEME
    + """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 -apple-system,"Segoe UI",Roboto,"Helvetica Neue",
Arial,"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1240px;margin:0 auto;padding:28px 20px 56px;overflow-wrap:break-word}
h1{font-size:26px;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 12px}
header{display:flex;flex-wrap:wrap;gap:6px 14px;align-items:center}
.badge{display:inline-block;padding:2px 10px;border-radius:99px;font-weight:600;font-size:13px;border:1px solid}
.badge.complete{color:var(--ok);background:var(--okfill)}
.badge.failed{color:var(--bad);background:var(--badfill)}
.badge.cancelled,.badge.interrupted{color:var(--late);background:var(--latefill)}
.badge.running{color:var(--now);background:var(--nowfill)}
.facts-list{display:flex;flex-wrap:wrap;gap:4px 22px;margin:12px 0 0;padding:0;list-style:none;color:var(--soft)}
.facts-list b{color:var(--ink);font-weight:600}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px}
.trouble{margin:16px 0 0;padding:10px 14px;border:1px solid var(--bad);border-left-width:5px;border-radius:8px;
background:var(--badfill);overflow-wrap:anywhere}
section{margin-top:24px;padding:18px 20px;background:var(--panel);border:1px solid var(--rule);border-radius:12px}
.scroll{overflow:auto;max-height:85vh}
.scroll:focus-visible,a:focus-visible,summary:focus-visible{outline:3px solid var(--now);outline-offset:2px;
border-radius:6px}
svg.graph{display:block;margin:0 auto;max-width:100%;height:auto}
svg.graph.wide{max-width:none}
.narrow{display:none}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:0 0 12px;padding:0;list-style:none;font-size:13px;
color:var(--soft)}
.legend .track{display:inline-block;width:22px;height:10px;margin-right:6px}
"""
    + _GRAPH
    + """
.rows{list-style:none;margin:0;padding:0}
.rows>li{border-top:1px solid var(--rule);scroll-margin-top:12px}
.rows>li:target{background:var(--nowfill)}
.rows summary,.axis{display:grid;grid-template-columns:minmax(0,15rem) minmax(0,1fr) 6.5rem;gap:0 14px;
align-items:center;padding:5px 4px}
summary{cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}
.label::before{content:"";flex:none;width:6px;height:6px;border:solid var(--soft);border-width:0 1.5px 1.5px 0;
transform:rotate(-45deg);align-self:center}
details[open] .label::before{transform:rotate(45deg)}
.label{display:flex;gap:7px;min-width:0;align-items:baseline}
.label .mono{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;font-weight:600}
.label .sign{flex:none;width:1em;text-align:center;font-weight:700}
.slowmark{flex:none;color:var(--slow);font-size:12px}
.took{text-align:right;font-variant-numeric:tabular-nums;font-size:13px;color:var(--soft);white-space:nowrap}
.completed>details>summary .sign,.success .sign{color:var(--ok)}
.failed_final>details>summary .sign,.failure .sign,.timeout .sign{color:var(--bad)}
.cancelled>details>summary .sign,.cancelled .sign{color:var(--late)}
.running>details>summary .sign{color:var(--now)}
.skipped>details .label .mono{color:var(--soft);font-weight:400}
.track{display:block;width:100%;overflow:visible}
.track .ground{fill:var(--track)}
.track .success,.track .completed{fill:var(--ok)}
.track .failure,.track .failed_final{fill:var(--bad)}
.track .timeout,.track .cancelled{fill:var(--late)}
.track .running{fill:var(--now)}
.track .skipped{fill:var(--off)}
.track .wait{stroke:var(--off);stroke-width:2;stroke-dasharray:1 3}
.track .queue{stroke:var(--off);stroke-width:1.5}
.track .slowline{fill:var(--slow)}
.axis{color:var(--soft);font-size:12px}
.axis text{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.axis line{stroke:var(--rule)}
.more{padding:4px 4px 14px 26px;font-size:14px}
.more p{margin:6px 0;overflow-wrap:anywhere}
.more ul{margin:6px 0;padding-left:18px}
table{border-collapse:collapse;width:100%;margin:8px 0;font-size:13.5px}
caption{text-align:left;font-weight:600;padding-bottom:4px}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top}
td:last-child{overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft)}
.number{font-variant-numeric:tabular-nums;white-space:nowrap}
.hint{color:var(--soft)}
footer{margin-top:20px;color:var(--soft);font-size:13px}
.aside{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media(max-width:720px){
main{padding:18px 12px 40px}section{padding:14px 12px}
.broad{display:none}.narrow{display:block}
.rows summary{grid-template-columns:minmax(0,1fr) auto;padding:7px 0}
.rows summary .bar{grid-column:1/-1;grid-row:2}
.axis{grid-template-columns:minmax(0,1fr)}
.axis .gap{display:none}
.more{padding-left:4px}
th,td{padding-right:8px}
}
@media print{.scroll{max-height:none}}
"""
)
"""Of the page of a run."""
