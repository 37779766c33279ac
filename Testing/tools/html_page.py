"""A report's page as tests read it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Everything of a page that a test asks for: its tags, their attributes, its pictures and its text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.attributes, self.pictures, self._texts = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "img":
            self.pictures.append(dict(attributes))

    def handle_data(self, data):
        self._texts.append(data)

    @property
    def text(self) -> str:
        """What is to be read, runs of white space as one space."""
        return " ".join("".join(self._texts).split())
