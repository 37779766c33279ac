"""The report's page: HTML and CSS without scripts or anything that would have to be fetched."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, StrictUndefined

from GLIDERegLib.files.coordinates import patient_position

STYLE = """
:root { --ink: #1b2733; --muted: #5b6875; --line: #d5dbe1; --head: #17324d; --pale: #f3f6f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 0 20px 40px; color: var(--ink); background: #fff;
  font: 14px/1.45 "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
h1 { font-size: 25px; margin: 18px 0 2px; color: var(--head); }
h2 { font-size: 17px; margin: 26px 0 8px; padding-bottom: 4px; color: var(--head);
  border-bottom: 2px solid var(--head); break-after: avoid; }
h3 { font-size: 15px; margin: 0 0 2px; }
p { margin: 6px 0; }
.muted, caption { color: var(--muted); font-size: 12px; }
table.sheet { width: 100%; border-collapse: collapse; table-layout: fixed; }
table.sheet > thead > tr > th { padding: 7px 10px; background: var(--head); color: #fff; font-weight: 600;
  text-align: left; }
table.sheet > thead span { float: right; font-weight: 400; }
table.sheet > tbody > tr > td { padding: 0; }
table.data { width: 100%; border-collapse: collapse; margin: 6px 0; font-size: 13px; }
table.data th, table.data td { padding: 4px 8px; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: break-word; }
table.data thead th { background: var(--pale); font-size: 12px; }
table.data tr { break-inside: avoid; }
table.data .value { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
table.data td.place { white-space: nowrap; }
table.facts th { width: 25%; font-weight: 600; }
.warnings { border: 1px solid #d9a300; border-left-width: 6px; background: #fffaeb; padding: 6px 14px;
  margin: 12px 0; break-inside: avoid; }
.warnings ul { margin: 4px 0; padding-left: 18px; }
.overview { display: block; width: 100%; }
.card { border: 1px solid var(--line); border-radius: 4px; padding: 10px 12px; margin: 12px 0;
  break-inside: avoid; page-break-inside: avoid; }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; margin: 8px 0 4px; }
figure { margin: 0; }
.picture { position: relative; line-height: 0; background: #000; }
.picture img { width: 100%; height: auto; }
.picture i { position: absolute; color: #fff; font: 600 12px/1 Arial, sans-serif; text-shadow: 0 0 3px #000; }
.picture .left { left: 4px; top: 50%; } .picture .right { right: 4px; top: 50%; }
.picture .up { top: 4px; left: 50%; } .picture .down { bottom: 4px; left: 50%; }
.picture .bar { left: 6px; bottom: 7px; width: 16.6%; border-bottom: 2px solid #fff; padding-bottom: 3px;
  text-align: center; font-size: 10px; white-space: nowrap; }
figcaption { font-size: 12px; color: var(--muted); margin-top: 3px; }
dl.notes { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 6px 0 0; font-size: 12.5px; }
dl.notes div { display: flex; gap: 5px; } dl.notes dt { color: var(--muted); } dl.notes dd { margin: 0; }
@media screen { table.repeated > thead { display: none; } body > table.sheet > thead th { position: sticky;
  top: 0; z-index: 1; } }
@page { size: A4 portrait; margin: 12mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 8pt Arial, sans-serif; } }
@page wide { size: A4 landscape; margin: 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt;
    -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  table.data { font-size: 8.5pt; }
  .muted, caption { font-size: 8pt; }
  table.sheet > thead > tr > th { padding: 1.2mm 2mm; font-size: 8.5pt; }
  table.data th, table.data td { padding: 1mm 1.4mm; }
  .card { padding: 1.5mm 2.5mm; margin: 0 0.3mm 2.5mm 0; }
  .card p, .pictures { margin: 0.5mm 0; }
  .pictures { width: 92%; }
  .overview { width: auto; max-width: 100%; max-height: 145mm; margin: 0 auto; }
  table.wide { page: wide; break-before: page; break-after: page; }
}
"""

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Registration report</title>
<style>{{ style | safe }}</style>
</head>
<body>
{%- macro heading(kind) %}
<table class="sheet {{ kind }}"><thead><tr><th>For visual checking; not a diagnostic device
<span>GLIDE-Reg {{ version }}, {{ made }}</span></th></tr></thead><tbody><tr><td>
{%- endmacro %}
{%- macro row(number) %}
<tr><td>{{ number.name }}</td><td>{{ number.unit }}</td><td class="value">{{ number.before }}</td>
<td class="value">{{ number.after }}</td>
<td>{{ number.usual }}{% if number.source %} [{{ number.source }}]{% endif %}</td>
<td>{{ number.meaning }}</td></tr>
{%- endmacro %}
{{ heading("") }}
<h1>Registration report</h1>
<p>Moving scan{{ volumes[1] | called }} registered to fixed scan{{ volumes[0] | called }}.</p>
{%- if warnings %}
<div class="warnings"><b>Warnings</b><ul>{% for text in warnings %}<li>{{ text }}</li>{% endfor %}</ul></div>
{%- endif %}
<h2>Volumes</h2>
<table class="data"><thead><tr><th>Scan</th><th>Date</th><th>Size (voxels)</th><th>Spacing (mm)</th>
<th>Extent (mm)</th></tr></thead><tbody>
{%- for volume in volumes %}
<tr><td>{{ volume.role }}{% if volume.name %}: {{ volume.name }}<br>
<span class="muted">{{ volume.place }}</span>{% endif %}</td><td>{{ volume.when or "not known" }}</td>
<td>{{ volume.size | join(" x ") }}</td><td>{{ volume.spacing | map("shortened") | join(" x ") }}</td>
<td>{{ volume.extent | map("round") | map("int") | join(" x ") }}</td></tr>
{%- endfor %}
</tbody></table>
<h2>Numbers</h2>
<p class="muted">Before: the scans where they were stored. After: through the transform. What is usual depends
on the scans and on the use; a number beside it is no verdict. Sources are listed below the table.</p>
<table class="data"><thead><tr><th style="width: 25%">What</th><th>Unit</th><th class="value">Before</th>
<th class="value">After</th><th>Usual</th><th style="width: 33%">What it means</th></tr></thead><tbody>
{%- for number in numbers|rejectattr("of_field") %}{{ row(number) }}{%- endfor %}
<tr><th colspan="6">Properties of the displacement field: no evidence that it is accurate</th></tr>
{%- for number in numbers|selectattr("of_field") %}{{ row(number) }}{%- endfor %}
</tbody></table>
{%- for source in sources %}
<p class="muted">[{{ loop.index }}] {{ source }}</p>
{%- endfor %}
</td></tr></tbody></table>
{{ heading("wide repeated") }}
<h2>Overview</h2>
<img class="overview" src="{{ overview }}" alt="A coronal and an axial slice before and after the
registration, their differences, the displacement and the Jacobian determinant">
<p class="muted">The patient's right is on the left. The displacement and the Jacobian determinant are drawn
from samples {{ sampling }} mm apart.</p>
</td></tr></tbody></table>
{{ heading("repeated") }}
<h2>Nodules</h2>
{%- if nodules %}
<p class="muted">Each nodule was marked in one scan and propagated to the other one by the registration.
Positions are in mm towards the patient's right or left (R, L), front or back (A, P) and head or feet (S, I).

{%- if own_marks %} Own mark: how far the propagated point is from where the same label was marked in that
scan, to be compared with how two readers differ.{% endif %}</p>
<table class="data"><thead><tr><th>Label</th><th>Marked in</th><th>In the fixed scan</th>
<th>In the moving scan</th><th class="value">Displacement<br>(mm)</th>
<th>Inside<br>the field</th><th>Inside<br>the moving<br>scan</th>
{%- if own_marks %}<th class="value">Own mark<br>(mm)</th>{% endif %}</tr></thead><tbody>
{%- for entry in nodules %}{% set nodule = entry.nodule %}
<tr><td>{{ nodule.label }}</td><td>{{ nodule.marked_in }}</td>
<td class="place">{{ nodule.fixed | position }}</td><td class="place">{{ nodule.moving | position }}</td>
<td class="value">{{ nodule.displacement_mm | measure(1) }}</td>
<td>{{ nodule.inside_field | known }}</td><td>{{ nodule.inside_moving | known }}</td>
{%- if own_marks %}<td class="value">{{ nodule.own_mark_mm | measure(1) }}</td>{% endif %}</tr>
{%- endfor %}
</tbody></table>
<p class="muted">Pictures: 60 x 60 mm, all at one scale, of both scans as they were taken (nothing is
warped). The cross marks the point. Black to white: {{ window[0] | measure(0) }} to
{{ window[1] | measure(0) }} {{ unit }}.</p>
{%- for entry in nodules %}{% set nodule = entry.nodule %}
<section class="card">
<h3>{{ nodule.label }}</h3>
<p class="muted">Marked in the {{ nodule.marked_in }} scan. Fixed {{ nodule.fixed | position }}; moving
{{ nodule.moving | position }}.
{%- if nodule.inside_field is false %} <b>Outside the registered field, where the motion is not known.</b>
{%- endif %}
{%- if nodule.inside_moving is false %} <b>Outside the moving scan, where nothing could be compared.</b>
{%- endif %}
{%- if nodule.residual_mm is not none and nodule.residual_mm > returning_mm %} <b>The transform has no
inverse here (it misses by {{ nodule.residual_mm | measure(1) }} mm).</b>
{%- endif %}</p>
<div class="pictures">
{%- for picture in entry.pictures %}
<figure><div class="picture"><img src="{{ picture.uri }}" alt="{{ nodule.label }}: {{ picture.role }} scan,
{{ picture.plane }}"><i class="left">R</i><i class="right">L</i>
<i class="up">{{ "A" if picture.plane == "axial" else "S" }}</i>
<i class="down">{{ "P" if picture.plane == "axial" else "I" }}</i><i class="bar">10 mm</i></div>
<figcaption>{{ picture.role | capitalize }} scan
{%- if picture.when %} ({{ picture.when }}){% endif %}, {{ picture.plane }}
{%- if picture.outside %} (the point lies outside this scan){% endif %}</figcaption></figure>
{%- endfor %}
</div>
{%- if nodule.review %}
<dl class="notes">{% for name, text in nodule.review.items() if text.strip() %}
<div><dt>{{ name }}:</dt><dd>{{ text }}</dd></div>{% endfor %}</dl>
{%- endif %}
</section>
{%- endfor %}
{%- else %}
<p>No nodules were given.</p>
{%- endif %}
</td></tr></tbody></table>
{%- if review_columns %}
{{ heading("wide repeated") }}
<h2>Review</h2>
<table class="data"><thead><tr><th>Label</th><th>Marked in</th>
{%- for name in review_columns %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{%- for entry in nodules if entry.nodule.review %}{% set nodule = entry.nodule %}
<tr><td>{{ nodule.label }}</td><td>{{ nodule.marked_in }}</td>
{%- for name in review_columns %}<td>{{ nodule.review.get(name, "") }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table>
</td></tr></tbody></table>
{%- endif %}
{{ heading("repeated") }}
<h2>How it was registered</h2>
<table class="data facts"><tbody>
{%- for name, text in facts %}<tr><th>{{ name }}</th><td>{{ text }}</td></tr>{% endfor %}
</tbody></table>
{%- if stages %}
<h2>Time and memory by stage</h2>
<table class="data"><thead><tr><th>Stage</th><th class="value">Time (s)</th>
<th class="value">Peak memory (MB)</th></tr></thead><tbody>
{%- for name, seconds, memory in stages %}
<tr><td>{{ name }}</td><td class="value">{{ seconds }}</td><td class="value">{{ memory }}</td></tr>
{%- endfor %}
</tbody></table>
{%- endif %}
{%- if settings %}
<h2>All settings</h2>
<p class="muted">
{%- for name, value in settings %}{{ name }} = {{ value | plain }}{{ "; " if not loop.last }}{% endfor -%}
</p>
{%- endif %}
</td></tr></tbody></table>
</body>
</html>
"""


def render(content: dict[str, Any]) -> str:
    """The page as HTML; `content` holds what `TEMPLATE` names, and every text of it is escaped."""
    return environment().from_string(TEMPLATE).render(style=STYLE, **content)


def environment() -> Environment:
    """Where the pages of reports are filled in: escaping, strict about names, with filters for figures."""
    made = Environment(autoescape=True, undefined=StrictUndefined)
    made.filters |= {
        "position": patient_position,
        "measure": lambda value, digits: "" if value is None else f"{value:.{digits}f}",
        "known": lambda value: "not known" if value is None else "yes" if value else "no",
        "called": _called,
        "shortened": lambda value: f"{value:.4g}",
        "minus": lambda text: re.sub(r"(?<!\w)-(?=\d)", "−", text),
        "plain": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return made


def _called(volume: dict[str, Any]) -> str:
    """ "", " current, 2024-03-10" or with the scan's name before it."""
    words = [volume["name"], f"({volume['when']})" if volume["when"] else ""]
    return "".join(f" {word}" for word in words if word)
