"""Pages as a browser reads them."""

import html.parser

VOID = {"meta", "img", "wbr", "link", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
    """What is in a page, and whether its elements close."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.attributes, self.open, self.words = text, [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def pictures(self):
        return [value for name, value in self.attributes if name == "src"]


def assert_needs_nothing_else(page):
    """Asserts that a page has no scripts and asks the network for nothing."""
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            assert value.startswith(("data:image/", "#"))
        assert not name.startswith("on")
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    assert "@import" not in page.text
    assert "url(http" not in page.text
