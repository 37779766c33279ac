"""A record as a page of HTML to print and file: no scripts, nothing to fetch."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined

from GLIDERegLib.evaluation.record.record import LEVELS, NO_LOGIN, Record, State

TEMPLATE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Record of a registration</title><style>
body { margin: 0 auto; max-width: 860px; padding: 0 20px 40px; color: #1b2733;
  font: 14px/1.45 Arial, sans-serif; }
h1 { font-size: 24px; color: #17324d; }
h2 { font-size: 17px; color: #17324d; border-bottom: 2px solid #17324d; }
table { width: 100%; border-collapse: collapse; } th, td { padding: 4px 8px; border-bottom: 1px solid #d5dbe1;
  text-align: left; vertical-align: top; } th { background: #f3f6f9; } .value { text-align: right; }
.muted { color: #5b6875; font-size: 12px; } code { font-size: 11px; overflow-wrap: anywhere; }
.superseded { border: 3px solid #b00020; color: #b00020; padding: 8px 14px; font-size: 18px;
  font-weight: 700; }
.outside { color: #b00020; font-weight: 700; }
tr, .superseded { break-inside: avoid; } h2 { break-after: avoid; } .facts th { width: 28%; }
@page { size: A4 portrait; margin: 12mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 8pt Arial, sans-serif; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
</style></head><body>
<h1>Record of a registration</h1>
{%- if state.superseded %}
<p class="superseded">{{ state }}</p>
{%- endif %}
<h2>Request</h2>
<table class="facts">
<tr><th>Purpose</th><td>{{ record.request.purpose }}</td></tr>
<tr><th>Region that matters</th><td>{{ record.request.region }}</td></tr>
<tr><th>Accuracy wanted</th><td>{{ "%g" | format(record.request.accuracy_mm) }} mm</td></tr>
</table>
<p>{{ record.reached }}</p>
<h2>Looked at</h2>
{%- if record.looked %}
<table>
{%- for look in record.looked %}
<tr><td>{{ look.what }}</td><td>{{ "seen by the program" if look.by_tool else "stated" }}</td>
<td>{{ look.when }}</td></tr>
{%- endfor %}
</table>
{%- else %}
<p>Nothing is recorded.</p>
{%- endif %}
<h2>Numbers</h2>
<table><tr><th>Number</th><th class="value">Value</th><th class="value">Site's tolerance</th><th></th></tr>
{%- for number in record.numbers %}
<tr><td>{{ number.name }}</td>
<td class="value">{{ "not known" if number.value is none
else "%.2f %s" | format(number.value, number.unit) }}</td>
<td class="value">{{ "" if number.tolerance is none
else "%g %s" | format(number.tolerance, number.unit) }}</td>
<td{{ ' class="outside"' | safe if number.within is false }}>{{ "" if number.within is none else
"within" if number.within else "exceeded" }}</td></tr>
{%- endfor %}
</table>
<h2>Decision</h2>
<table class="facts">
<tr><th>Level</th><td>{{ record.decision.level }}: {{ level }}</td></tr>
<tr><th>Remarks</th><td>{{ record.decision.text }}</td></tr>
<tr><th>Name as typed</th><td>{{ record.decision.name }}</td></tr>
<tr><th>Time</th><td>{{ record.decision.time }}</td></tr>
</table>
<p class="muted">{{ note }}</p>
<h2>Locked to</h2>
<table>
{%- for what, hash in record.hashes.items() %}
<tr><th>{{ what }}</th><td><code>{{ hash }}</code></td></tr>
{%- endfor %}
<tr><th>seal</th><td><code>{{ record.seal }}</code></td></tr>
</table>
<p class="muted">SHA-256. GLIDE-Reg {{ record.version }}. Research software, not a medical device.</p>
</body></html>
"""


def page(record: Record, state: State) -> str:
    """The record as HTML, with a banner where it is superseded; every text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    level = LEVELS[record.decision.level]
    return environment.from_string(TEMPLATE).render(record=record, state=state, level=level, note=NO_LOGIN)
