"""Texts of tool tips and message boxes, which Qt reads as HTML where they look like it."""

from __future__ import annotations

from html import escape


def plain(text: str) -> str:
    """The text so that it is shown as it is: a scan's or a patient's name may hold what looks like a tag."""
    if "<" not in text and "&lt;" not in text:
        return text
    lines = escape(text, quote=False).replace("\n", "<br>")
    return f"<qt>{lines}</qt>"
