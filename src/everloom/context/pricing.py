"""What each model costs here: by the operator's ``[[prices]]``, else by what genai-prices says of an upstream's model.

That package is data that comes with the install; nothing of it asks anybody. It is imported at the first look-up.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from everloom.objects.fine_tuning import PREFIX as TUNED
from everloom.objects.fine_tuning import tuned_part
from everloom.objects.ledger import UsageKind
from everloom.objects.model_names import fits, plain_name
from everloom.objects.prices import CODE_INTERPRETER, FILE_SEARCH, NOBODYS, LineItem, Price, bill, billed_name

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

_KEEP_SECONDS = 3600.0
"""How long a price is remembered: some change with the day, or the hour of it."""

_MOST_KNOWN = 10_000
"""Names that are remembered: an upstream may serve whatever name a caller makes up."""

_BY_NAME, _OPENAI = "litellm", "openai"
"""Providers of genai-prices to look a name up at, where the upstream's host is none that it knows: whoever the name (or
what stands before its slash) belongs to; and OpenAI, most of whose other names it tells apart by the provider alone.
"""


class PriceList:
    """The prices of a server.

    ``prices`` are the operator's: the first whose pattern fits counts. Where none fits, a model of this machine costs
    nothing, and any other what genai-prices says (``defaults``); a name that it does not know costs nothing. ``local``
    are the names that the models of this machine have in the ledger; ``upstreams`` are (pattern, base URL) pairs: where
    the other names are served, the first that fits.
    """

    def __init__(
        self,
        prices: Sequence[Price] = (),
        *,
        local: Collection[str] = (),
        upstreams: Sequence[tuple[str, str]] = (),
        defaults: bool = True,
    ) -> None:
        self._prices = prices
        self._local = frozenset((*local, FILE_SEARCH, CODE_INTERPRETER))
        self._upstreams = upstreams
        self._published = _PublishedPrices() if defaults else None
        self._known: dict[tuple[str, bool | None], Price] = {}
        self._until = 0.0

    def of(self, model: str, *, local: bool | None = None) -> Price:
        """The price of a model by its own name, as the ledger has it: a look into a dict when it was asked before.

        ``local`` says whether it runs on this machine; None: as this server's models are set up now, since a row of the
        ledger has a name alone. The first price that genai-prices is asked for takes 0.3 s (``learn`` spends them
        elsewhere).
        """
        if time.monotonic() > self._until:
            self._known.clear()
            self._until = time.monotonic() + _KEEP_SECONDS
        if (price := self._known.get((model, local))) is None:
            price = self._find(model, self._is_local(model) if local is None else local)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[model, local] = price
        return price

    async def learn(self, models: Iterable[str]) -> None:
        """Look up, beside the loop, what ``of`` does not know yet."""
        unknown = [model for model in models if (model, None) not in self._known]
        if unknown:
            await asyncio.to_thread(lambda: [self.of(model) for model in unknown])

    def bill(self, kind: UsageKind, model: str, batch: bool, sums: Mapping[str, int]) -> list[LineItem]:
        """What the sums of one kind and model cost, item by item; ``batch``: of lines of a batch."""
        name = billed_name(kind, model)
        return bill(self.of(name), kind, name, batch, sums)

    def dollars(self, kind: UsageKind, model: str, batch: bool, sums: Mapping[str, int]) -> float:
        """What they cost together, in US dollars. ``sums`` has every measure of the ledger (``MEASURES``)."""
        return sum(item.dollars for item in self.bill(kind, model, batch, sums))

    def _is_local(self, model: str) -> bool:
        """Whether a model runs on this machine; one that was tuned here does so where its base does."""
        if model.startswith(TUNED):
            model = model.split(":", 2)[1]
            return any(tuned_part(name) == model for name in self._local)
        return model in self._local

    def _find(self, model: str, local: bool) -> Price:
        for price in self._prices:
            if fits(model, price.model):
                return price
        if local or self._published is None:
            return NOBODYS
        url = next((url for pattern, url in self._upstreams if fnmatchcase(model, pattern)), None)
        return self._published.find(model, url) or self._published.find(plain_name(model), url) or NOBODYS


class _PublishedPrices:
    """What providers charge for their models today, as genai-prices has it."""

    def __init__(self) -> None:
        self._snapshot: DataSnapshot | None = None
        self._looks = 0

    def find(self, model: str, url: str | None) -> Price | None:
        """The price of a name: at the upstream's own provider, at the one whose name it is, or at OpenAI."""
        from genai_prices import Usage
        from genai_prices.data import providers
        from genai_prices.data_snapshot import DataSnapshot

        self._looks += 1
        if self._snapshot is None or self._looks > _MOST_KNOWN:  # It remembers names as well, and forgets none.
            self._snapshot, self._looks = DataSnapshot(providers=providers, from_auto_update=False), 0
        snapshot, today = self._snapshot, datetime.now(UTC)
        places = [(_BY_NAME, None), (_OPENAI, None)]
        for provider, place in places if url is None else [(None, url), *places]:
            try:
                found = snapshot.calc(Usage(), model, provider, place, today)
                batch = snapshot.calc(Usage(), model, provider, place, today, {"processing": "batch"})
            except LookupError:
                continue
            return _price(model, found.model_price, batch.model_price)
        return None


def _price(model: str, told: Any, batch: Any) -> Price:
    """A price of genai-prices as one of ours: that of short prompts, where long ones cost more."""

    def dollars(name: str, of: Any = told) -> float | None:
        found = getattr(of, name, None)
        found = getattr(found, "base", found)
        return None if found is None else float(found)

    hours = dollars("input_audio_hours") or dollars("audio_hours") or 0.0
    usual = dollars("output_mtok") or dollars("input_mtok") or 0.0
    in_batches = dollars("output_mtok", batch) or dollars("input_mtok", batch) or 0.0
    return Price(
        model=model,
        input=dollars("input_mtok") or 0.0,
        cached_input=dollars("cache_read_mtok"),
        output=dollars("output_mtok") or 0.0,
        audio_input=dollars("input_audio_mtok"),
        audio_output=dollars("output_audio_mtok"),
        image_output=dollars("output_image_mtok"),
        minute=hours / 60,
        characters=dollars("input_mchars") or 0.0,
        call=(dollars("requests_kcount") or 0.0) / 1000,
        batch=min(in_batches / usual, 1.0) if usual else 1.0,
    )
