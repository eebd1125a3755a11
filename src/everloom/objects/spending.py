"""Spend limits and spend alerts as they are shown and asked for. Amounts are US cents a calendar month, UTC's."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.objects.rules import NotificationChannel, SpendAlert
from everloom.objects.users import Email

MAX_AMOUNT = 1_000_000_000_000
"""Ten thousand million dollars."""

MAX_RECIPIENTS = 50

MAX_ALERTS = 100
"""Of one project, and of the organization."""

Enforcing = Literal["inactive", "enforcing"]


class SpendLimitEnforcement(Struct, kw_only=True):
    """``enforcing`` while this month's limit has been reached, and requests are refused for it."""

    status: Enforcing


class SpendLimit(Struct, kw_only=True):
    """ProjectSpendLimitResource, OrganizationSpendLimitResource."""

    object: Literal["project.spend_limit", "organization.spend_limit"]
    threshold_amount: int
    currency: Literal["USD"] = "USD"
    interval: Literal["month"] = "month"
    enforcement: SpendLimitEnforcement


class MonthlyBudget(Struct, frozen=True, kw_only=True):
    """What a project, or the organization, has spent since this month began, beside its limit if it has one. ``id`` and
    ``name`` are the project's, or the organization's.
    """

    object: Literal["organization.budget"] = "organization.budget"
    id: str
    name: str
    spent_amount: float
    threshold_amount: int | None
    currency: Literal["USD"] = "USD"
    interval: Literal["month"] = "month"
    interval_start: int
    enforcement: SpendLimitEnforcement


class MonthlyBudgetPage(Struct, frozen=True, kw_only=True):
    """Some of the projects' budgets."""

    object: Literal["list"] = "list"
    data: Sequence[MonthlyBudget]
    first_id: str | None
    last_id: str | None
    has_more: bool


class NewSpendLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """UpdateProjectSpendLimitBody, UpdateOrganizationSpendLimitBody."""

    threshold_amount: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
    currency: Literal["USD"]
    interval: Literal["month"]


class SpendLimitDeleted(Struct, kw_only=True):
    """ProjectSpendLimitDeletedResource, OrganizationSpendLimitDeletedResource: there is one, so it has no id."""

    object: Literal["project.spend_limit.deleted", "organization.spend_limit.deleted"]
    deleted: bool = True


class ShownSpendAlert(Struct, kw_only=True):
    """ProjectSpendAlert, OrganizationSpendAlert."""

    id: str
    object: Literal["project.spend_alert", "organization.spend_alert"]
    threshold_amount: int
    currency: Literal["USD"]
    interval: Literal["month"]
    notification_channel: NotificationChannel


class NewNotificationChannel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to hear. A ``subject_prefix`` is one line of a mail's head, and no way to more of them."""

    type: Literal["email"]
    recipients: Annotated[list[Email], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    subject_prefix: Annotated[str, Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")] | None = None


class NewSpendAlert(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CreateSpendAlertBody, for an alert that stands, too."""

    threshold_amount: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
    currency: Literal["USD"]
    interval: Literal["month"]
    notification_channel: NewNotificationChannel


def shown(alert: SpendAlert) -> ShownSpendAlert:
    """An alert as it is shown."""
    return ShownSpendAlert(
        id=alert.id,
        object="project.spend_alert" if alert.project_id else "organization.spend_alert",
        threshold_amount=alert.threshold_amount,
        currency=alert.currency,
        interval=alert.interval,
        notification_channel=alert.notification_channel,
    )
