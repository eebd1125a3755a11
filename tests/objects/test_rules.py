"""What a project may ask of a model: what was set by hand, below what the operator has set for all."""

import pytest

from everloom.objects.model_names import fits, plain_name
from everloom.objects.rules import LIMITS, UNLIMITED, Ceiling, Limits, Rules, ceiling_of, limits_of, shared_limits

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


@pytest.mark.parametrize("name", ["GPT-4o", "gpt-4o:latest", " gpt-4o ", "Gpt-4O:LATEST"])
def test_spellings_of_a_name_are_limited_as_one(name: str) -> None:
    assert plain_name(name) == "gpt-4o"
    assert effective(name, max_requests_per_1_minute=7) == {"max_requests_per_1_minute": 7}
    upper = (Ceiling(model="GPT-4O:latest", max_requests_per_1_minute=9),)
    assert limits_of(upper, Rules(id="a", created_at=1), name).max_requests_per_1_minute == 9


def test_what_was_set_for_several_spellings_holds_for_all() -> None:
    one, other = Limits(max_requests_per_1_minute=5), Limits(max_requests_per_1_minute=3, max_requests_per_1_day=9)
    rules = Rules(id="a", created_at=1, rate_limits={"Org/Big": one, "org/big:latest": other})
    limits = limits_of((), rules, "org/big")
    assert (limits.max_requests_per_1_minute, limits.max_requests_per_1_day) == (3, 9)


def test_a_tag_is_none_where_there_is_another() -> None:
    assert fits("llama3", "*:latest")
    assert fits("host:80/llama3", "*:latest")
    assert not fits("llama3:8b", "*:latest")


def test_what_may_be_made_up_is_limited_as_its_pattern() -> None:
    ceilings = (Ceiling(model="gpt-?", max_requests_per_1_day=1), *CEILINGS)
    rules = Rules(id="proj_a", created_at=1, rate_limits={"gpt-own": Limits(max_requests_per_1_minute=1)})
    names = ("gpt-zzz", "GPT-4o", "gpt-own", "o1")
    assert [shared_limits(ceilings, rules, name) for name in names] == ["gpt-*", None, None, None]
    # Which is itself limited as it says, though another pattern would fit it as a name.
    assert ceiling_of(ceilings, "gpt-*") == CEILINGS[1]
