"""A page as a browser on this machine shows and prints it; needs Chromium or Chrome, and no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

# A4 between margins of 12 mm, at 96 pixels an inch.
PRINTED_PX, SHEET_PX = 703, 1032
# Asked of the page itself: what is wider than it (but a scale bar, whose label may be), and which table rows
# and paragraphs lie on its first sheet.
LOOK = """<script>addEventListener("load", () => {
const seen = [...document.body.querySelectorAll("*")].filter(e => !e.closest("svg") || e.tagName == "svg");
const beyond = e => e.getBoundingClientRect().right > innerWidth + 1;
const cut = e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1 &&
  getComputedStyle(e).display != "inline";
const wide = seen.filter(e => e.tagName != "I" && (beyond(e) || cut(e))).map(e =>
  e.tagName + " " + e.className + " " + e.textContent.slice(0, 40));
const first = [...document.querySelectorAll("tr, p, li, h1, h2")].filter(e =>
  e.getBoundingClientRect().bottom + scrollY < SHEET).map(e => e.innerText);
document.documentElement.innerHTML = "<pre id=told></pre>";
document.querySelector("pre").textContent = JSON.stringify({wide, first}); });</script>""".replace(
    "SHEET", str(SHEET_PX)
)


@dataclass(frozen=True)
class Printed:
    """pages: their number. console: what the browser complained of. wide: what is wider than the sheet.
    first: texts of the rows and paragraphs that lie wholly on the first sheet.
    """

    pages: int
    console: list[str]
    wide: list[str]
    first: list[str]


def browser() -> str | None:
    """The program, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def printed(page: Path, scratch: Path) -> Printed:
    """Prints a page to scratch/page.pdf, and asks it how it is laid out as it prints."""
    pdf, copy = scratch / "page.pdf", scratch / "asked.html"
    complaints = _run(page, scratch, f"--print-to-pdf={pdf}", "--no-pdf-header-footer").stderr
    # Print's own rules on the screen, and a script in spite of the page's policy.
    html = page.read_text("utf-8").replace("@media print", "@media screen")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    copy.write_text(html.replace("</body>", f"{LOOK}</body>"), "utf-8")
    window = f"--window-size={PRINTED_PX},{SHEET_PX}"
    found = _run(copy, scratch, "--dump-dom", "--hide-scrollbars", window).stdout
    told = json.loads(unescape(re.search(r"<pre[^>]*>(.*?)</pre>", found, re.DOTALL)[1]))
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    console = [line for line in complaints.splitlines() if "CONSOLE" in line]
    return Printed(pages, console, told["wide"], told["first"])


def _run(page: Path, scratch: Path, *options: str) -> subprocess.CompletedProcess[str]:
    own = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    command = [browser(), *own, f"--user-data-dir={scratch / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
