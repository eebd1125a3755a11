"""A request that was admitted: what was reserved for it, until what it used stands in the ledger."""

import math
from collections.abc import Callable, Sequence

from msgspec.structs import asdict

from everloom.context.admission.budgets import Budget
from everloom.context.admission.needs import Need
from everloom.context.admission.rates import UNLIMITED_PAIRS as UNLIMITED
from everloom.context.admission.rates import ModelRates, Rate
from everloom.context.admission.reservations import ReservationLine
from everloom.objects.ledger import LedgerRow
from everloom.objects.prices import NOBODYS, Price, drawn
from everloom.objects.quotas import NANO
from everloom.objects.tools import EstimatedUsage

_MOST = 2**40
_LONGEST_ALLOWED = 2**20
"""Tokens that are reserved of one answer at the most, whatever its request allows: no model says more."""

_FIRST_ANSWER = 1024
"""Tokens that are reserved of an answer without a limit, before there was any."""

_NANO_A_TOKEN = NANO / 1_000_000
_OF_TOKENS = frozenset({"chat", "complete", "embed", "moderate"})
_FIRST_EXPECTED = 16
_FIRST_IMAGE = 6_240
"""Tokens that are reserved of a picture before there was any: what the dearest of the platform's take."""

_SOUND_TOKENS_A_SECOND = 20
_LONGEST_ANSWER = 131_072
_WORST_RATIO = 8.0
_WEIGHT = 0.2
"""Of the last answer in the average that is expected of the next."""


class Experience:
    """What a model's answers to a project have used, so that the next can be reserved for: it is never told beforehand.

    What was exceptional is forgotten in some hundred requests, and nonsense of a server's is bounded.
    """

    def __init__(self) -> None:
        self.longest = 0
        self.largest = 0
        """Tokens of an answer, and of a picture, at the most."""
        self.expected = float(_FIRST_EXPECTED)
        self.ratio = 1.0
        """Of the prompts' real tokens to the estimated ones, at the worst."""

    def learn(self, need: Need, row: LedgerRow) -> None:
        """Hear what a request has used."""
        if need.answers:
            each = min(row.output_tokens / need.answers, _LONGEST_ANSWER)
            self.longest = max(self.longest - self.longest // 128, math.ceil(each))
            self.expected += (each - self.expected) * _WEIGHT
        if need.images:
            each = min(row.output_tokens / need.images, _LONGEST_ANSWER)
            self.largest = max(self.largest - self.largest // 128, math.ceil(each))
        if need.input_tokens:
            seen = min(row.input_tokens / need.input_tokens, _WORST_RATIO)
            self.ratio = max(1.0, seen, self.ratio - (self.ratio - 1) / 128)

    def amounts(self, need: Need) -> tuple[int, ...]:
        """What may be used at the most, as far as one can tell: of ``RESERVED``, in that order."""
        longest = max(1, need.answers) * _LONGEST_ALLOWED
        output = min(need.output_tokens, longest) or need.answers * max(_FIRST_ANSWER, self.longest)
        output += need.images * max(_FIRST_IMAGE, self.largest)
        read = math.ceil(need.input_tokens * self.ratio) + need.milliseconds * _SOUND_TOKENS_A_SECOND // 1000
        return (1, min(read, _MOST), min(output, _MOST), need.images, need.characters, need.milliseconds)

    def tokens(self, need: Need, limit: int) -> int:
        """What is likely to be used of tokens, as rate limits reserve them. What experience adds goes no further than
        the limit, so that it has nobody refused for good; and what nobody has said takes no more than a quarter of it,
        or nobody would ever learn that it is less.
        """
        read = max(need.input_tokens, min(math.ceil(need.input_tokens * self.ratio), limit - need.output_tokens))
        if need.output_tokens:
            return min(read + need.output_tokens, _MOST)
        return min(read + round(need.answers * self.expected), max(read, limit // 4))


def _dollars(price: Price) -> list[float]:
    """All that a price asks for something, but for the share of batches."""
    return [value for name, value in asdict(price).items() if isinstance(value, float) and name != "batch"]


class Account:
    """Who asks which model: the reservation, rates and budgets that its requests pass."""

    def __init__(
        self,
        line: ReservationLine,
        rates: ModelRates | None,
        budgets: Sequence[Budget],
        experience: Experience,
        price: Price,
        share: float,
        bill: Callable[[LedgerRow], int],
    ) -> None:
        """``share``: of the price, what is to be paid; ``bill``: what a row has cost, in billionths of a dollar."""
        self.line = line
        self.rates = rates
        self.limited: tuple[Rate, ...] = () if rates is None else tuple(rates.rates.values())
        self.budgets = budgets
        self.experience = experience
        self._model = line.model
        self._price = price
        self._share = share
        self._bill = bill
        self.is_free = not budgets or price == NOBODYS or not any(_dollars(price))
        """Whether there is nothing to be paid, whatever is used: then no budget is asked."""
        self.is_paid_by_minute = price.minute > 0
        """Then sound is not paid by the token as well."""
        token = NANO / 1_000_000 * share
        self._request = (price.session if line.kind == "session" else price.call) * NANO * share
        self._input = max(price.input, price.audio_input or 0.0) * token
        written = drawn(price) if line.kind == "draw" else max(price.output, price.audio_output or 0.0)
        self._output = written * token
        self._image = price.image * NANO * share
        self._character = price.characters * token
        self._millisecond = price.minute * NANO * share / 60_000

    def cost(self, amounts: Sequence[int]) -> int:
        """What a request costs at the most, in billionths of a dollar."""
        if not self.budgets:
            return 0
        requests, read, written, images, characters, milliseconds = amounts
        return math.ceil(
            requests * self._request
            + read * self._input
            + written * self._output
            + images * self._image
            + characters * self._character
            + milliseconds * self._millisecond
        )

    def wanted(self, need: Need) -> list[tuple[Rate, int]]:
        """What a request takes of each rate that it concerns."""
        wanted = []
        for rate in self.limited:
            match rate.metric.name:
                case "requests" | "requests_day":
                    amount = 1
                case "tokens":
                    amount = self.experience.tokens(need, rate.limit)
                case "images":
                    amount = need.images
                case _:
                    amount = need.audio_bytes
            if amount:
                wanted.append((rate, amount))
        return wanted

    def paid(self, row: LedgerRow) -> int:
        """What a row has cost, in billionths of a dollar. Most rows are of this model's tokens, and soon reckoned."""
        price = self._price
        if row.model != self._model or row.input_audio_tokens or row.output_audio_tokens or row.kind not in _OF_TOKENS:
            return self._bill(row)
        cached = min(row.cached_tokens, row.input_tokens)
        dearest = price.input if price.cached_input is None else price.cached_input
        dollars = (row.input_tokens - cached) * price.input + cached * dearest + row.output_tokens * price.output
        return round(dollars * self._share * _NANO_A_TOKEN + row.requests * self._request)


class Ticket:
    """One request. ``take`` it when everything ``fits``, ``settle`` it by what was used, ``release`` it when that is
    entered; each once, and a second time does nothing.
    """

    __slots__ = ("_on_settled", "_open", "_parts", "_reserved", "account", "amounts", "cost", "need", "wanted")

    def __init__(self, account: Account, need: Need, on_settled: Callable[[Account], None]) -> None:
        self.account = account
        self._on_settled = on_settled
        self.need = need
        self.amounts = account.experience.amounts(need)
        self.cost = account.cost(self.amounts)
        self.wanted = account.wanted(need) if account.limited else []
        self._parts: list[tuple[Rate, list[tuple[float, int]]]] = []
        self._open = False
        self._reserved = False

    def fits(self, now: float) -> bool:
        """Whether all that it needs is at hand."""
        for rate, amount in self.wanted:
            if rate.left(now) < amount:
                return False
        if not self.account.is_free:
            for budget in self.account.budgets:
                if not budget.fits(self.cost):
                    return False
        return self.account.line.fits(self.amounts)

    def take(self) -> None:
        """Reserve what it needs."""
        self._parts = [(rate, rate.spend(amount)) for rate, amount in self.wanted]
        for budget in self.account.budgets:
            budget.reserve(self.cost)
        self.account.line.reserve(self.amounts)
        self._open = self._reserved = True

    def settle(self, row: LedgerRow | None) -> None:
        """It has used what the row says, or nothing."""
        if not self._open:
            return
        self._open = False
        for rate, parts in self._parts:
            if rate.metric.name == "tokens":
                rate.settle(parts, 0 if row is None else row.input_tokens + row.output_tokens)
        if self.account.budgets:
            cost = 0 if row is None else self.account.paid(row)
            for budget in self.account.budgets:
                budget.settle(self.cost, cost)
        if row is not None and not row.estimated:
            self.account.experience.learn(self.need, row)
        self._on_settled(self.account)

    def release(self) -> None:
        """What it used stands in the ledger."""
        if self._reserved:
            self._reserved = False
            self.account.line.release(self.amounts)

    def reserved_usage(self) -> EstimatedUsage:
        """The tokens that it may have used at the most."""
        _, read, written, *_ = self.amounts
        if self.need.milliseconds and self.account.is_paid_by_minute:
            read = 0
        return EstimatedUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)

    def at_most(self, written: int, *, heard: bool) -> int:
        """The tokens of an answer that nobody has counted, of which so many seem to have been ``written``: no more than
        the request allows, nor, where not even a stream of it was ``heard``, than was reserved. Most of a whole answer
        may be no text.
        """
        return min(written, self.amounts[2]) if self.need.output_tokens or not heard else written

    def at_least(self, written: int) -> int:
        """The tokens of an answer that was left: what was seen of it, and no less than answers usually have, as far as
        it may have so many. A model may think for long before it says a word.
        """
        usual = round(self.need.answers * self.account.experience.expected)
        return max(written, min(usual, self.amounts[2]))

    def cancel(self) -> None:
        """Nobody was asked for it, or nothing came of it that costs anything."""
        self.settle(None)
        self.release()

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What its answer says of the limits that it passed."""
        return UNLIMITED if self.account.rates is None else self.account.rates.pairs()
