"""What a caller is told whose request is not admitted (the platform's words, where they are known)."""

import math
import time

from everloom.context.admission.budgets import Budget
from everloom.context.admission.rates import ModelRates, Rate, duration
from everloom.kit.errors import ApiError, RateLimited
from everloom.objects.organization import ORGANIZATION
from everloom.objects.quotas import NANO


def over_rate(rates: ModelRates, rate: Rate, need: int) -> ApiError:
    """429 for what a rate limit has no room for now, or never has."""
    model = rates.id.partition("/")[2]
    words, limit = rate.metric.words, rate.limit
    if need > limit > 0:
        text = (
            f"Request too large for {model} in organization {ORGANIZATION} on {words}: Limit {limit}, "
            f"Requested {need}. The input or output must be reduced in order to run successfully."
        )
        error: ApiError = RateLimited(text, type=rate.metric.type)
        error.headers["x-should-retry"] = "false"
        error.headers |= rates.headers()
        return error
    seconds = rates.seconds_until(rate, need)
    used = limit - min(rate.remaining(time.monotonic()), limit)
    again = "" if math.isinf(seconds) else f" Please try again in {duration(seconds)}."
    text = (
        f"Rate limit reached for {model} in organization {ORGANIZATION} on {words}: Limit {limit}, Used {used}, "
        f"Requested {need}.{again} Who may change it sees it with 'everloom limits list'."
    )
    error = RateLimited(text, type=rate.metric.type)
    if not math.isinf(seconds):
        error.headers["retry-after"] = str(max(1, math.ceil(seconds)))
        error.headers["retry-after-ms"] = str(max(1, math.ceil(seconds * 1000)))
    error.headers |= rates.headers()
    return error


def over_budget(budget: Budget) -> ApiError:
    """429 for a project or an organization that has spent its month's budget."""
    whole = budget.id == ORGANIZATION
    whose, code = ("organization", "organization_spend_limit_exceeded") if whole else ("project", _PROJECT)
    limit = f"spend limit of ${(budget.limit or 0) / NANO:,.2f} for this month"
    headers = {"x-should-retry": "false"}
    if budget.limit is not None and budget.settled < budget.limit:
        text = f"What is left of the {whose}'s {limit} is reserved by requests that are under way."
        headers = {"x-should-retry": "true", "retry-after": "1"}  # They will cost less, most often.
    else:
        text = (
            f"The {whose} has reached its {limit}. Whoever administers it can raise the limit; otherwise requests are "
            "answered again from the first of the next month (UTC)."
        )
    return ApiError(429, text, type="insufficient_quota", code=code, headers=headers)


_PROJECT = "project_spend_limit_exceeded"
