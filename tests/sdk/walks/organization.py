"""The organization as who runs it sees it: people, projects, accounts and keys, by ``client.admin.organization``.

The admin key comes from OPENAI_ADMIN_KEY, as the SDK reads it.
"""

import urllib.request

import openai
from program import client, ok, raises

organization = client.admin.organization
projects = organization.projects

project = projects.create(name="A walk")
assert (project.object, project.name, project.status) == ("organization.project", "A walk", "active")
assert project.archived_at is None
assert projects.retrieve(project.id) == project
assert projects.update(project.id, name="The walk").name == "The walk"
assert project.id in [each.id for each in projects.list(limit=1)]
assert raises(openai.NotFoundError, projects.retrieve, "proj_nothing").status_code == 404
ok("projects")

invite = organization.invites.create(
    email=f"{project.id}@example.org", role="reader", projects=[{"id": project.id, "role": "member"}]
)
assert (invite.object, invite.role, invite.status) == ("organization.invite", "reader", "pending")
assert [(each.id, each.role) for each in invite.projects] == [(project.id, "member")]
assert organization.invites.retrieve(invite.id).accepted_at is None
assert invite.id in [each.id for each in organization.invites.list(limit=1)]
with urllib.request.urlopen(urllib.request.Request(invite.accept_url, method="POST")) as answer:
    assert answer.status == 200
assert organization.invites.retrieve(invite.id).status == "accepted"
raises(openai.BadRequestError, organization.invites.delete, invite.id)
other = organization.invites.create(email="never@example.org", role="owner")
assert organization.invites.delete(other.id).deleted is True
ok("invites")

(user,) = organization.users.list(emails=[invite.email])
assert (user.object, user.email, user.role) == ("organization.user", invite.email, "reader")
assert organization.users.retrieve(user.id) == user
assert organization.users.update(user.id, role="owner").role == "owner"
assert {user.id, "user-owner"} <= {each.id for each in organization.users.list(limit=1)}
ok("users")

(member,) = projects.users.list(project.id)
assert (member.id, member.role, member.email) == (user.id, "member", invite.email)
assert projects.users.update(user.id, project_id=project.id, role="owner").role == "owner"
assert projects.users.retrieve(user.id, project_id=project.id).role == "owner"
assert projects.users.delete(user.id, project_id=project.id).object == "organization.project.user.deleted"
assert projects.users.create(project.id, user_id=user.id, role="member").role == "member"
raises(openai.BadRequestError, projects.users.create, project.id, user_id="user-nobody", role="member")
ok("project users")

account = projects.service_accounts.create(project.id, name="robot")
assert account.api_key.value.startswith("sk-svcacct-")
assert projects.service_accounts.retrieve(account.id, project_id=project.id).name == "robot"
assert [each.id for each in projects.service_accounts.list(project.id)] == [account.id]
assert projects.service_accounts.update(account.id, project_id=project.id, name="droid").name == "droid"
key = projects.service_accounts.api_keys.create(account.id, project_id=project.id, scopes=["api.assistants.read"])
reader = client.with_options(api_key=key.value)
assert reader.beta.assistants.list().data == []
refusal = raises(openai.PermissionDeniedError, reader.beta.threads.create)
assert "Missing scopes: api.threads.write." in refusal.message
ok("service accounts")

keys = list(projects.api_keys.list(project.id, limit=1))
assert [each.id for each in keys] == [account.api_key.id, key.id]
assert keys[0].owner.service_account.id == account.id
assert keys[0].owner_project_access == "active"
assert projects.api_keys.retrieve(key.id, project_id=project.id).redacted_value.startswith("sk-svc...")
raises(openai.BadRequestError, projects.api_keys.delete, key.id, project_id=project.id)
deleted = projects.service_accounts.delete(account.id, project_id=project.id)
assert deleted.object == "organization.project.service_account.deleted"
raises(openai.AuthenticationError, reader.beta.assistants.list)
ok("project keys")

made = organization.admin_api_keys.create(name="another", expires_in_seconds=60)
assert made.expires_at == made.created_at + 60
shown = organization.admin_api_keys.retrieve(made.id)
assert (shown.name, shown.owner.type, shown.owner.role) == ("another", "user", "owner")
assert made.id in [each.id for each in organization.admin_api_keys.list(limit=1, order="desc")]
holder = client.with_options(admin_api_key=made.value)
assert holder.admin.organization.admin_api_keys.delete(made.id).deleted is True
raises(openai.AuthenticationError, holder.admin.organization.users.retrieve, user.id)
ok("admin keys")

logs = organization.audit_logs
told = [event.type for event in logs.list(project_ids=[project.id], limit=1)]
assert told[-1] == "project.created"
assert told[:3] == ["api_key.deleted", "api_key.deleted", "service_account.deleted"]
assert {"project.updated", "user.added", "user.updated", "user.deleted", "api_key.created"} <= set(told)
(sent, came) = list(logs.list(resource_ids=[invite.id], event_types=["invite.sent", "invite.accepted"]))[::-1]
assert (sent.invite_sent.data.email, sent.invite_sent.data.role) == (invite.email, "reader")
assert sent.actor.api_key.user.email == "owner@localhost"
assert (came.actor.type, came.actor.session.user.id, came.invite_accepted.id) == ("session", user.id, invite.id)
assert [event.id for event in logs.list(actor_emails=[invite.email])][-1] == came.id
times = {"gte": sent.effective_at, "lte": came.effective_at}
assert {sent.id, came.id} <= {event.id for event in logs.list(effective_at=times, actor_ids=[user.id, "user-owner"])}
page = logs.list(before=sent.id, limit=1)
assert (page.data[0].effective_at >= sent.effective_at, page.has_more) == (True, True)
raises(openai.BadRequestError, logs.list, after="proj_nothing")
ok("audit logs")

account = projects.service_accounts.create(project.id, name="last")
robot = client.with_options(api_key=account.api_key.value)
assert robot.models.list() is not None
assert projects.archive(project.id).status == "archived"
assert raises(openai.AuthenticationError, robot.models.list).code == "project_archived"
assert "is archived" in raises(openai.BadRequestError, projects.archive, project.id).message
assert organization.users.delete(user.id).object == "organization.user.deleted"
if [each.id for each in organization.users.list(limit=100) if each.role == "owner"] == ["user-owner"]:
    raises(openai.BadRequestError, organization.users.delete, "user-owner")
ok("ends")
