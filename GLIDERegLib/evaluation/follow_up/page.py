"""The report's page of a study: what its first page tells a reader who never saw it, then details."""

from __future__ import annotations

from typing import Any

from GLIDERegLib.evaluation.report_page import STYLE, environment

OWN_STYLE = """
.curves, .spans { display: grid; grid-template-columns: repeat(2, 1fr); gap: 4px 14px; }
.spans > div { break-inside: avoid; }
.curve { width: 100%; height: auto; }
table.data td.now { font-weight: 600; }
table.grid { table-layout: fixed; }
table.grid td { white-space: pre-line; }
table.data.grid th, table.data.grid td { padding: 3px 4px; }
h3 .muted { font-weight: 400; margin-left: 8px; }
.day { white-space: nowrap; }
.words { font-size: 12.5px; }
.grown { font-weight: 600; }
ul.rules { margin: 4px 0; padding-left: 18px; break-inside: avoid; font-size: 13px; }
.pictures.dates { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
@media print {
  .pictures.dates { grid-template-columns: repeat({{ [shown | length, 4] | max }}, 1fr); width: 78%; }
  .together { break-inside: avoid; }
  .words, ul.rules { font-size: 8.5pt; } .spans .rules { font-size: 8pt; }
  table.data thead th { font-size: 8pt; } p { margin: 1mm 0; break-inside: avoid; }
  h1 { margin: 3mm 0 0; } h2 { margin: 4mm 0 1mm; }
  .picture i { font-size: 7pt; } figcaption { font-size: 7pt; }
  .card .rules, .card .words { margin: 0.5mm 0; line-height: 1.3; }
}
{%- if shown | length > 4 %}
@page { size: A4 landscape; }
.curves { width: 75%; }
{%- endif %}
"""

TEMPLATE = (
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Nodule follow-up</title>
<style>{{ style | safe }}"""
    + OWN_STYLE
    + """</style>
</head>
<body>
{%- macro change(told) %}
{%- if told.span %}<span class="muted">{{ told.span }}</span>{{ "\\n" if told.lines }}{% endif %}
{{- told.lines | join("\\n") | minus }}
{%- if told.by %}{{ "\\n" }}<span class="grown">growth by {{ told.by | join(", ") }}</span>{% endif %}
{%- endmacro %}
<table class="sheet"><thead><tr><th>Research software, to be checked by a reader; not a diagnostic device
<span>GLIDE-Reg {{ version }}, {{ made }}</span></th></tr></thead><tbody><tr><td>
<h1>Nodule follow-up</h1>
<p>Patient: {% if patient %}<b>{{ patient }}</b>{% else %}name and ID are left out of this page{% endif %}.
{{ scans | length }} CT scans of one patient. Current scan: <b class="day">{{ scans[-1].day }}</b>; prior
{{ "scan" if scans | length == 2 else "scans" }}:
{% for scan in scans[:-1] | reverse %}<b class="day">{{ scan.day }}</b> ({{ scan.before_current }} before)
{{- ", " if not loop.last }}{% endfor %}.</p>
{%- if warnings %}
<div class="warnings"><b>Warnings</b><ul>{% for text in warnings %}<li>{{ text }}</li>{% endfor %}</ul></div>
{%- endif %}
<h2>Nodules</h2>
{%- if nodules %}
<p>{{ nodules | length }} {{ "nodule" if nodules | length == 1 else "nodules" }}.
{%- for text, numbers in glance %} {{ text }}: <b>{{ numbers | join(", ") }}</b>.{% endfor %}</p>
{%- if trust %}
<p>{{ trust }}</p>
{%- endif %}
<table class="data grid"><thead><tr><th style="width: 7.5%">Nodule</th>{% for scan in shown %}<th>
<span class="day">{{ scan.day }}</span><br>
{{ scan.role }}</th>{% endfor %}
<th style="width: {{ 25 if shown | length < 5 else 19 }}%">Since the size before</th>
{%- if scans | length > 2 %}
<th style="width: {{ 25 if shown | length < 5 else 19 }}%">Since the first size</th>{% endif %}
</tr></thead><tbody>
{%- for nodule in nodules %}
<tr><td>{{ nodule.number }}</td>
{%- for cell in nodule.shown %}
<td{% if loop.last %} class="now"{% endif %}>{{ cell.shown | replace(", ", "\\n") }}
{%- if cell.doubtful %} *{% endif %}</td>{% endfor %}
<td>{{ change(nodule.headline) }}</td>
{%- if scans | length > 2 %}<td>{{ change(nodule.whole) }}</td>{% endif %}</tr>
{%- endfor %}
</tbody></table>
{%- if doubtful %}
<p class="muted">* See the remarks on this nodule: its identity, its size or its class.</p>
{%- endif %}
{%- if shown | length < scans | length %}
<p class="muted">Shown are the first date and the last {{ shown | length - 1 }} of {{ scans | length }}; all
are in nodules.csv.</p>
{%- endif %}
<p class="muted">A row is one nodule at all dates. Sizes: mean of the longest and its perpendicular axial
diameter, and volume, each measured in that date's original scan; changes with their 95 % interval.
<b>Not marked</b>: no reader marked it, which does not say that it is not there. <b>Not seen (searched)</b>: a
reader marked every nodule of that scan, and this is none of them. <b>Size not told</b>: marked, but the
software could not measure it; why stands in its remarks. <b>Outside</b>: beyond the scan or the
registration.</p>
{%- else %}
<p>No nodules were marked.</p>
{%- endif %}
<div class="together">
<h2>Rules, each for its own quantity only</h2>
<ul class="rules">
{%- for rule in rules %}<li>{{ rule.text }} <span class="muted">{{ rule.source }}</span></li>{% endfor %}
</ul>
<p class="muted">Intervals hold 95 % and come from the error of the measurement in these scans alone. Breath
and heartbeat change a nodule, too: two scans of an unchanged one on one day differ by up to 25 % of its
volume (British Thoracic Society 2015). Where the interval spans no change, or the change is smaller than
that, no doubling time is given. Whether a nodule is solid, and how large its solid part is, a reader
says.</p>
</div>
<div class="together">
<h2>Scans</h2>
<table class="data"><thead><tr>
<th>Date</th><th>Role</th><th>Before the current</th><th>Voxels (mm)</th>
<th class="value">Nodules<br>marked</th><th>All nodules<br>marked</th><th>Registration</th>
</tr></thead><tbody>
{%- for scan in scans %}
<tr><td><span class="day">{{ scan.day }}</span>
{%- if scan.name %}<br><span class="muted">{{ scan.name }}</span>{% endif %}</td>
<td class="day">{{ scan.role }}</td><td class="day">{{ scan.before_current or "" }}</td>
<td class="day">{{ scan.spacing | map("shortened") | join(" x ") }}</td>
<td class="value">{{ scan.marked }}</td>
<td>{{ "yes" if scan.searched else "not said" }}</td><td>{{ scan.registered }}</td></tr>
{%- endfor %}
</tbody></table>
<p class="muted">The registration only tells which place in one scan is which in another; how far the grey
values of two scans correlate (1: alike) is no measure of its accuracy. No
size was measured in an image that it has warped, since a warp hides growth.</p>
</div>
{%- if nodules %}
<h2>Each nodule</h2>
<p class="muted">Pictures: 60 x 60 mm of the original scans, axial, one scale and one window
({{ window[0] | measure(0) | minus }} to {{ window[1] | measure(0) }} {{ unit }}). The cross marks where the
nodule was marked or, in a scan in which it was not, where it is expected; blue is the outline that was
measured. Curves: bars are 95 % intervals, a cross on the time axis is a date without a size; on the
logarithmic scale of volumes a straight line has one doubling time. Changes: between the last two
sizes and over the whole time; all others are in growth.csv.</p>
{%- for nodule in nodules %}
<section class="card">
<h3>Nodule {{ nodule.number }}
<span class="muted">{{ nodule.place | position }} in the scan of {{ reference }}</span></h3>
{%- if nodule.curves %}
<div class="curves">{% for curve in nodule.curves %}{{ curve }}{% endfor %}</div>
{%- endif %}
<div class="pictures dates">
{%- for picture in nodule.pictures %}
<figure><div class="picture"><img src="{{ picture.uri }}" alt="Nodule {{ nodule.number }}, {{ picture.day }}">
<i class="left">R</i><i class="right">L</i><i class="up">A</i><i class="down">P</i>
<i class="bar">10 mm</i></div>
<figcaption><span class="day">{{ picture.day }}</span>: {{ picture.caption }}</figcaption></figure>
{%- endfor %}
</div>
{%- if nodule.changes %}
<div class="spans">
{%- for change in nodule.changes %}
<div><p class="words"><b>{{ change.span }}</b> ({{ change.interval }})</p>
<ul class="rules">
{%- for words in change.words %}{% set said = (words | minus).split("; ") %}
<li><b>{{ said[0] }}</b>{% for text in said[1:] %}<br>{{ text }}{% endfor %}</li>
{%- endfor %}
</ul></div>
{%- endfor %}
</div>
{%- endif %}
{%- if nodule.remarks %}
<p class="words"><b>Remarks</b></p>
<ul class="rules">
{%- for days, text in nodule.remarks %}<li>{{ days | join(", ") }}: {{ text }}.</li>{% endfor %}
</ul>
{%- endif %}
</section>
{%- endfor %}
{%- endif %}
</td></tr></tbody></table>
</body>
</html>
"""
)


def render(content: dict[str, Any]) -> str:
    """The page as HTML; `content` holds what `TEMPLATE` names, and every text of it is escaped."""
    return environment().from_string(TEMPLATE).render(style=STYLE, **content)
