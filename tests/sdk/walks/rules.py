"""What holds for projects, as who runs the organization sets it: limits, permissions, budgets."""

import openai
from program import client, ok, raises

organization = client.admin.organization
projects = organization.projects

project = projects.create(name="Rules")
limits = projects.rate_limits
first = next(iter(limits.list_rate_limits(project.id, limit=1)))
assert (first.object, first.id, first.max_requests_per_1_minute) == (
    "project.rate_limit",
    f"rl-{first.model}",
    1_000_000_000,
)
changed = limits.update_rate_limit("rl-gpt-4o", project_id=project.id, max_requests_per_1_minute=500)
assert (changed.model, changed.max_requests_per_1_minute) == ("gpt-4o", 500)
assert changed in list(limits.list_rate_limits(project.id, limit=2))
raises(openai.NotFoundError, limits.update_rate_limit, "rl-none", project_id=project.id)
raises(openai.BadRequestError, limits.update_rate_limit, "rl-gpt-4o", project_id=project.id, max_requests_per_1_day=-1)
ok("rate limits")

account = projects.service_accounts.create(project.id, name="asker", expires_in_seconds=3600)
assert account.api_key.expires_at == account.api_key.created_at + 3600
asker = client.with_options(api_key=account.api_key.value)
permissions = projects.model_permissions
shown = permissions.retrieve(project.id)
assert (shown.object, shown.mode, shown.api_model_ids) == ("project.model_permissions", "deny_list", [])
assert permissions.update(project.id, mode="allow_list", model_ids=["gpt-4o"]).api_model_ids == ["gpt-4o"]
assert [model.id for model in asker.models.list()] == ["gpt-4o"]
assert raises(openai.NotFoundError, asker.models.retrieve, "gpt-4-turbo").code == "model_not_found"
assert permissions.delete(project.id).deleted is True
assert asker.models.retrieve("gpt-4-turbo").id == "gpt-4-turbo"
ok("model permissions")

for limit, place in ((organization.spend_limit, ()), (projects.spend_limit, (project.id,))):
    raises(openai.NotFoundError, limit.retrieve, *place)
    made = limit.update(*place, threshold_amount=100_000_000, currency="USD", interval="month")
    assert (made.threshold_amount, made.enforcement.status) == (100_000_000, "inactive")
    assert limit.retrieve(*place) == made
    assert limit.delete(*place).deleted is True
ok("spend limits")

channel = {"type": "email", "recipients": ["finance@example.com"], "subject_prefix": "Spend"}
body = {"threshold_amount": 100_000_000, "currency": "USD", "interval": "month", "notification_channel": channel}
for alerts, place, named in (
    (organization.spend_alerts, (), {}),
    (projects.spend_alerts, (project.id,), {"project_id": project.id}),
):
    alert = alerts.create(*place, **body)
    assert (alert.notification_channel.subject_prefix, alert.currency) == ("Spend", "USD")
    assert alerts.retrieve(alert.id, **named) == alert
    assert alert.id in [each.id for each in alerts.list(*place, limit=1, order="desc")]
    assert alerts.update(alert.id, **named, **{**body, "threshold_amount": 5}).threshold_amount == 5
    assert alerts.delete(alert.id, **named).deleted is True
ok("spend alerts")

raises(openai.BadRequestError, projects.create, name="Elsewhere", residency="EU_STORAGE_PROCESSING")
assert projects.create(name="Here", residency="GLOBAL", external_key_id=None).status == "active"
ok("newest fields")
