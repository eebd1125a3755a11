"""What answers say of the rate limits that they have passed."""

from everloom.context.admission.clock import SteadyWallClock
from everloom.context.admission.rates import ModelRates
from everloom.context.admission.windows import Taken


def told(limits: dict[str, int], used: dict[str, int]) -> tuple[str, str, str]:
    """The limit, what remains of it and when all of it will, of requests."""
    clock = SteadyWallClock()
    rates = ModelRates("proj_a/m", limits, clock)
    for name, amount in used.items():
        at = clock.now()
        rates.rates[name].taken = Taken(amount, at, amount, ((at, amount),))
    headers = rates.headers()
    assert headers["x-ratelimit-limit-tokens"] == "1000000000"
    limit, remaining, reset = (headers[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset"))
    return limit, remaining, reset


def test_a_limit_a_day_alone_is_told() -> None:
    limit, remaining, reset = told({"requests_day": 200}, {"requests_day": 50})
    assert (limit, remaining) == ("200", "150")
    assert reset.startswith(("24h0m", "23h59m"))


def test_of_two_limits_the_nearer_one_is_told() -> None:
    both = {"requests": 10, "requests_day": 200}
    assert told(both, {"requests": 4, "requests_day": 50})[:2] == ("10", "6")
    assert told(both, {"requests": 4, "requests_day": 195})[:2] == ("200", "5")
    assert told(both, {"requests": 4, "requests_day": 194})[:2] == ("10", "6")  # The minute's, of equals.
    assert told(both, {"requests": 4, "requests_day": 200})[:2] == ("200", "0")


def test_what_is_not_limited_is_told_so() -> None:
    assert told({"images": 5}, {"images": 5})[:2] == ("1000000000", "999999999")
