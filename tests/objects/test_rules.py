"""What a project may ask of a model: what was set by hand, below what the operator has set for all."""

from everloom.objects.rules import LIMITS, UNLIMITED, Ceiling, Limits, Rules, limits_of

CEILINGS = (
    Ceiling(model="gpt-4o", max_requests_per_1_minute=500),
    Ceiling(model="gpt-*", max_requests_per_1_minute=1000, max_images_per_1_minute=3),
)


def effective(model: str, **own: int) -> dict[str, int | None]:
    rules = Rules(id="proj_a", created_at=1, rate_limits={"gpt-4o": Limits(**own)} if own else {})
    limits = limits_of(CEILINGS, rules, model)
    return {name: number for name in LIMITS if (number := getattr(limits, name)) != UNLIMITED}


def test_every_limit_is_a_number() -> None:
    limits = limits_of((), Rules(id="proj_a", created_at=1), "anything")
    assert {getattr(limits, name) for name in LIMITS} == {UNLIMITED}


def test_the_first_ceiling_that_fits_is_the_default() -> None:
    assert effective("gpt-4o") == {"max_requests_per_1_minute": 500}
    assert effective("gpt-5") == {"max_requests_per_1_minute": 1000, "max_images_per_1_minute": 3}
    assert effective("o1") == {}


def test_what_was_set_by_hand_holds_below_the_ceiling() -> None:
    assert effective("gpt-4o", max_requests_per_1_minute=0) == {"max_requests_per_1_minute": 0}
    lowered = effective("gpt-4o", max_requests_per_1_minute=7, max_requests_per_1_day=9)
    assert lowered == {"max_requests_per_1_minute": 7, "max_requests_per_1_day": 9}
    # The operator has lowered the ceiling since.
    assert effective("gpt-4o", max_requests_per_1_minute=501) == {"max_requests_per_1_minute": 500}
    assert effective("gpt-5", max_requests_per_1_minute=7)["max_requests_per_1_minute"] == 1000
    assert effective("gpt-4o", batch_1_day_max_input_tokens=15 * UNLIMITED) == {
        "max_requests_per_1_minute": 500,
        "batch_1_day_max_input_tokens": 15 * UNLIMITED,
    }
