"""What the parts of Office documents say, as expat tells of their elements (ECMA-376, part 1): running text, the cells
of tables, the numbers of charts.

A reader has ``start``, ``end`` and ``data`` for the parser's handlers, ``take`` for the text since the last time, and
``rest`` for what was held back to the end. Names of elements are local, which the transitional and the strict form of
the standard share.
"""

import math

from msgspec import Struct, field

_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}
_UNSAID = frozenset({"Fallback", "moveFrom", "del"})
"""``mc:Fallback`` says again what its ``mc:Choice`` has said; text that was moved stands where it is now (``moveTo``);
what was deleted is gone. The last two are also marks without content.
"""

_DIAGRAM = "/diagram"
"""The end of the namespace whose ``t`` holds paragraphs, and no characters of its own."""

_POINTS = 10_000
"""Points of a chart that are told."""


def local(name: str) -> str:
    """The name of an element without its namespace."""
    return name.rpartition(" ")[2]


class Body:
    """The running text of WordprocessingML and DrawingML: both have ``p``, ``t``, ``tab``, ``br``, ``tr``, ``tc``."""

    def __init__(self, between: str) -> None:
        self._between = between
        self._pieces: list[str] = []
        self._texts = 0
        self._cells = 0
        self._unsaid = 0
        """Depth inside what is passed over."""
        self._reading: list[str] | None = None
        self._readings: list[str] = []
        """How the base of a ruby is read: it stands before the base, and is told behind it, so that that is found."""

    def take(self) -> list[str]:
        """The text since the last time, but for its last piece, which the end of a cell may change."""
        pieces, self._pieces = self._pieces[:-1], self._pieces[-1:]
        return pieces

    def rest(self) -> list[str]:
        """What was held back."""
        return self._pieces

    def start(self, element: str, given: dict[str, str]) -> None:
        space, _, name = element.rpartition(" ")
        if name in _UNSAID:
            self._unsaid += 1
        elif self._unsaid:
            return
        elif _holds_text(space, name):
            self._texts += 1
        elif name == "tc":
            self._cells += 1
        elif name == "gridBefore":
            self._pieces.append("\t" * min(_number(given), 100))
        elif name == "rt":
            self._reading = []
        elif name in _SIGNS and "alignment" not in given and not any(key.endswith(" pos") for key in given):
            self._pieces.append(_SIGNS[name])

    def end(self, element: str) -> None:
        space, _, name = element.rpartition(" ")
        if name in _UNSAID:
            self._unsaid -= 1
        elif self._unsaid:
            return
        elif _holds_text(space, name):
            self._texts -= 1
        elif name == "tc":
            self._cells -= 1
            self._close(" ", "\t")
        elif name == "tr":
            self._close("\t", "\n")
        elif name == "tbl" and not self._cells:
            self._pieces.append("\n")
        elif name == "p":
            self._pieces.append(" " if self._cells else self._between)
        elif name == "cm":  # a comment on a slide, which has no paragraphs
            self._pieces.append(self._between)
        elif name in ("rt", "ruby"):
            self._end_reading(name)

    def _close(self, inner: str, outer: str) -> None:
        """Ends a cell or a row, whose last paragraph or cell has ended just before."""
        if self._pieces[-1:] == [inner]:
            self._pieces.pop()
        self._pieces.append(outer)

    def _end_reading(self, name: str) -> None:
        if self._reading is not None:
            self._readings.append("".join(self._reading))
            self._reading = None
        if name == "ruby" and (reading := "".join(self._readings)):
            self._pieces.append(f"({reading})")
            self._readings.clear()

    def data(self, text: str) -> None:
        if self._texts and not self._unsaid:
            (self._pieces if self._reading is None else self._reading).append(text)


def _holds_text(space: str, name: str) -> bool:
    return (name == "t" and not space.endswith(_DIAGRAM)) or name == "text"


def _number(given: dict[str, str]) -> int:
    """The value of an element that is a number and nothing else."""
    value = next((value for key, value in given.items() if local(key) == "val"), "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else 0


class _Series(Struct):
    """A row of a chart's numbers: by their places, what they are of and how much it is."""

    name: str = ""
    categories: dict[int, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)


class Chart:
    """A chart (DrawingML, 21.2): its titles, and its numbers as a table with a column for each series."""

    def __init__(self) -> None:
        self._within: list[str] = []
        self._titles: list[str] = []
        self._series: list[_Series] = []
        self._left = _POINTS
        self._place = 0
        self._text: list[str] = []

    def take(self) -> list[str]:
        """Nothing: the table is known at its end."""
        return []

    def start(self, element: str, given: dict[str, str]) -> None:
        name = local(element)
        self._within.append(name)
        if name == "ser":
            self._series.append(_Series())
        elif name == "pt":
            place = given.get("idx", "")
            self._place = int(place) if place.isascii() and place.isdecimal() and len(place) < 10 else 0
        elif name == "title":
            self._titles.append("")
        elif name in ("t", "v"):
            self._text = []

    def data(self, text: str) -> None:
        if self._within and self._within[-1] in ("t", "v"):
            self._text.append(text)

    def end(self, element: str) -> None:
        name = self._within.pop()
        if name in ("t", "v"):
            self._tell("".join(self._text))
        elif name == "p" and self._titles:
            self._titles[-1] += " "

    def _tell(self, text: str) -> None:
        """Keep a text where it belongs."""
        within = self._within
        if "title" in within:
            self._titles[-1] += text
        elif self._series and "ser" in within:
            series = self._series[-1]
            if "tx" in within and "dLbls" not in within:
                series.name += text
            elif self._left > 0 and ("cat" in within or "xVal" in within):
                self._left -= 1
                before = series.categories.get(self._place)
                series.categories[self._place] = text if before is None else f"{text} {before}"  # of several levels
            elif self._left > 0 and ("val" in within or "yVal" in within):
                self._left -= 1
                series.values[self._place] = _short(text)

    def rest(self) -> list[str]:
        """The titles, a line each, and the table."""
        lines = [title.strip() for title in self._titles if title.strip()]
        categories: dict[int, str] = {}
        for series in self._series:
            categories = series.categories | categories
        if any(series.name for series in self._series):
            lines.append("\t".join(["", *(series.name for series in self._series)]))
        places = sorted(categories.keys() | {place for series in self._series for place in series.values})
        for place in places:
            values = [series.values.get(place, "") for series in self._series]
            lines.append("\t".join([categories.get(place, ""), *values]).rstrip("\t"))
        return ["\n".join(lines)]


def _short(value: str) -> str:
    """A number as a reader would write it: caches hold seventeen digits of every fraction."""
    try:
        number = float(value)
    except ValueError:
        return value
    return f"{number:.12g}" if math.isfinite(number) else value


class Words:
    """A chart of the newer form (``cx``, [MS-ODRAWXML]): its texts and categories, a line each."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._holding = False

    def start(self, element: str, given: dict[str, str]) -> None:
        self._holding = local(element) in ("t", "v", "pt")

    def data(self, text: str) -> None:
        if self._holding:
            self._pieces.append(text)

    def end(self, element: str) -> None:
        if self._holding:
            self._pieces.append("\n")
        self._holding = False

    def take(self) -> list[str]:
        """The text since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def rest(self) -> list[str]:
        """What came since."""
        return self.take()
