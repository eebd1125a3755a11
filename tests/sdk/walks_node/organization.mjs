// The organization by `client.admin.organization`, section by section. The admin key comes from OPENAI_ADMIN_KEY.
//
// A section whose operation the server does not have is passed over, and its name printed: what was written before the
// operation was there. `test_node_walks.py` says which these are.
import assert from "node:assert/strict";
import { MODEL, client, ok, raises } from "./program.mjs";

const organization = client.admin.organization;
const { projects } = organization;
const suffix = Math.random().toString(36).slice(2);
const day = 86_400;

async function all(list) {
  const found = [];
  for await (const each of list) found.push(each);
  return found;
}

const ids = (list) => list.map((each) => each.id);
const project = await projects.create({ name: `Node ${suffix}` });
const inProject = { project_id: project.id };
const owner = (await all(organization.users.list())).find((user) => user.role === "owner");
let user, account;

const sections = {
  async projects() {
    assert.equal(project.object, "organization.project");
    assert.equal(project.status, "active");
    assert.deepEqual(await projects.retrieve(project.id), project);
    assert.equal((await projects.update(project.id, { name: `Node's ${suffix}` })).name, `Node's ${suffix}`);
    assert.ok(ids(await all(projects.list({ limit: 1 }))).includes(project.id));
    await raises(404, () => projects.retrieve("proj_nothing"));
  },

  async invites() {
    const { invites } = organization;
    const email = `${suffix}@example.org`;
    const invite = await invites.create({ email, role: "reader", projects: [{ id: project.id, role: "member" }] });
    assert.equal(invite.object, "organization.invite");
    assert.deepEqual(invite.projects, [{ id: project.id, role: "member" }]);
    assert.equal((await invites.retrieve(invite.id)).status, "pending");
    assert.ok(ids(await all(invites.list({ limit: 1 }))).includes(invite.id));
    const accepted = await fetch(invite.accept_url, { method: "POST" });
    assert.equal(accepted.status, 200);
    user = await accepted.json();
    assert.equal((await invites.retrieve(invite.id)).status, "accepted");
    await raises(400, () => invites.delete(invite.id));
    const other = await invites.create({ email: `never-${email}`, role: "owner", projects: [] });
    assert.deepEqual((await invites.delete(other.id)).deleted, true);
  },

  async users() {
    const { users } = organization;
    const [found] = await all(users.list({ emails: [user.email] }));
    assert.equal(found.object, "organization.user");
    assert.equal((await users.retrieve(user.id)).email, user.email);
    assert.equal((await users.update(user.id, { role: "owner" })).role, "owner");
    assert.ok(ids(await all(users.list({ limit: 1 }))).includes(owner.id));
  },

  async "project users"() {
    const { users } = projects;
    assert.deepEqual(ids(await all(users.list(project.id))), [user.id]);
    assert.equal((await users.update(user.id, { ...inProject, role: "owner" })).role, "owner");
    assert.equal((await users.retrieve(user.id, inProject)).email, user.email);
    assert.equal((await users.delete(user.id, inProject)).object, "organization.project.user.deleted");
    assert.equal((await users.create(project.id, { user_id: user.id, role: "member" })).role, "member");
    await raises(400, () => users.create(project.id, { user_id: "user-nobody", role: "member" }));
  },

  async "service accounts"() {
    const { serviceAccounts } = projects;
    account = await serviceAccounts.create(project.id, { name: "robot" });
    assert.match(account.api_key.value, /^sk-svcacct-/);
    assert.equal((await serviceAccounts.retrieve(account.id, inProject)).name, "robot");
    assert.deepEqual(ids(await all(serviceAccounts.list(project.id))), [account.id]);
    assert.equal((await serviceAccounts.update(account.id, { ...inProject, name: "droid" })).name, "droid");
    const scopes = ["api.assistants.read"];
    const key = await serviceAccounts.apiKeys.create(account.id, { ...inProject, scopes });
    const reader = client.withOptions({ apiKey: key.value });
    assert.deepEqual((await reader.beta.assistants.list()).data, []);
    await raises(403, () => reader.beta.threads.create());
  },

  async "project keys"() {
    const { apiKeys } = projects;
    const [first, second] = await all(apiKeys.list(project.id, { limit: 1 }));
    assert.equal(first.id, account.api_key.id);
    assert.equal(first.owner.service_account.id, account.id);
    assert.match((await apiKeys.retrieve(second.id, inProject)).redacted_value, /^sk-svc\.\.\./);
    await raises(400, () => apiKeys.delete(second.id, inProject));
  },

  async "admin keys"() {
    const { adminAPIKeys } = organization;
    const made = await adminAPIKeys.create({ name: "another", expires_in_seconds: 60 });
    assert.equal(made.expires_at, made.created_at + 60);
    assert.equal((await adminAPIKeys.retrieve(made.id)).owner.role, "owner");
    assert.ok(ids(await all(adminAPIKeys.list({ limit: 1, order: "desc" }))).includes(made.id));
    const holder = client.withOptions({ adminAPIKey: made.value }).admin.organization;
    assert.ok((await holder.adminAPIKeys.delete(made.id)).deleted);
    await raises(401, () => holder.users.retrieve(owner.id));
  },

  async usage() {
    const { usage } = organization;
    const robot = client.withOptions({ apiKey: account.api_key.value });
    await robot.chat.completions.create({ model: MODEL, messages: [{ role: "user", content: "Hello" }], max_tokens: 4 });
    await robot.embeddings.create({ model: "text-embedding-3-small", input: "Hello" });
    const start_time = Math.floor(Date.now() / 1000) - day;
    const asked = { start_time, project_ids: [project.id], bucket_width: "1h", limit: 48 };
    let results = [];
    for (const until = Date.now() + 10_000; !results.length && Date.now() < until; ) {
      const page = await usage.completions({ ...asked, group_by: ["project_id", "user_id", "api_key_id", "model", "batch"] });
      results = page.data.flatMap((bucket) => bucket.results);
    }
    const [told] = results;
    assert.equal(told.api_key_id, account.api_key.id);
    assert.equal(told.user_id, account.id);
    assert.deepEqual([told.num_model_requests, told.batch], [1, false]);
    for (const kind of ["embeddings", "moderations", "images", "audioSpeeches", "audioTranscriptions"]) {
      assert.equal((await usage[kind]({ ...asked, group_by: ["model"] })).object, "page");
    }
    for (const kind of ["vectorStores", "codeInterpreterSessions"]) {
      assert.equal((await usage[kind]({ ...asked, group_by: ["project_id"] })).object, "page");
    }
    const first = await usage.completions({ start_time: start_time - 9 * day, limit: 2 });
    const second = await usage.completions({ start_time: start_time - 9 * day, limit: 2, page: first.next_page });
    assert.equal(second.data[0].start_time, first.data.at(-1).end_time);
    await raises(400, () => usage.completions({ start_time, group_by: ["colour"] }));
  },

  async costs() {
    const start_time = Math.floor(Date.now() / 1000) - day;
    const group_by = ["project_id", "line_item", "api_key_id"];
    const page = await organization.usage.costs({ start_time, project_ids: [project.id], group_by, limit: 180 });
    const results = page.data.flatMap((bucket) => bucket.results);
    assert.ok(results.some((result) => result.line_item?.startsWith(`${MODEL}, `)));
    assert.ok(results.every((result) => result.amount.currency === "usd" && result.project_id === project.id));
  },

  async "file search calls"() {
    const start_time = Math.floor(Date.now() / 1000) - day;
    const group_by = ["project_id", "user_id", "api_key_id", "vector_store_id"];
    const page = await organization.usage.fileSearchCalls({ start_time, group_by, vector_store_ids: ["vs_nothing"] });
    assert.equal(page.object, "page");
  },

  async "web search calls"() {
    const start_time = Math.floor(Date.now() / 1000) - day;
    const group_by = ["project_id", "user_id", "api_key_id", "model", "context_level"];
    const page = await organization.usage.webSearchCalls({ start_time, group_by, context_levels: ["low"] });
    assert.equal(page.object, "page");
  },

  async "rate limits"() {
    const { rateLimits } = projects;
    const [limit] = await all(rateLimits.listRateLimits(project.id, { limit: 1 }));
    assert.equal(limit.object, "project.rate_limit");
    const lower = { ...inProject, max_requests_per_1_minute: 7 };
    assert.equal((await rateLimits.updateRateLimit(limit.id, lower)).max_requests_per_1_minute, 7);
  },

  async "audit logs"() {
    const { auditLogs } = organization;
    const asked = { event_types: ["project.created"], project_ids: [project.id], effective_at: { gte: project.created_at } };
    const [made] = await all(auditLogs.list({ ...asked, limit: 1 }));
    assert.equal(made.type, "project.created");
    assert.equal(made["project.created"].id, project.id);
  },

  async "spend limits"() {
    for (const [limits, id] of [[organization.spendLimit, []], [projects.spendLimit, [project.id]]]) {
      const asked = { threshold_amount: 100_000, currency: "USD", interval: "month" };
      assert.equal((await limits.update(...id, asked)).threshold_amount, 100_000);
      assert.equal((await limits.retrieve(...id)).currency, "USD");
      assert.ok((await limits.delete(...id)).deleted);
    }
  },

  async "spend alerts"() {
    const asked = { threshold_amount: 100_000, currency: "USD", interval: "month" };
    asked.notification_channel = { type: "email", recipients: ["somebody@example.org"], subject_prefix: "Node" };
    const whole = organization.spendAlerts;
    const alert = await whole.create(asked);
    assert.deepEqual((await whole.retrieve(alert.id)).notification_channel.recipients, ["somebody@example.org"]);
    assert.equal((await whole.update(alert.id, { ...asked, threshold_amount: 200_000 })).threshold_amount, 200_000);
    assert.ok(ids(await all(whole.list({ limit: 1 }))).includes(alert.id));
    assert.ok((await whole.delete(alert.id)).deleted);
    const some = projects.spendAlerts;
    const other = await some.create(project.id, asked);
    assert.equal((await some.retrieve(other.id, inProject)).object, "project.spend_alert");
    assert.equal((await some.update(other.id, { ...asked, ...inProject, threshold_amount: 5 })).threshold_amount, 5);
    assert.ok(ids(await all(some.list(project.id))).includes(other.id));
    assert.ok((await some.delete(other.id, inProject)).deleted);
  },

  async "model permissions"() {
    const { modelPermissions } = projects;
    const asked = { mode: "allow_list", model_ids: [MODEL] };
    assert.deepEqual((await modelPermissions.update(project.id, asked)).model_ids, [MODEL]);
    assert.equal((await modelPermissions.retrieve(project.id)).mode, "allow_list");
    assert.ok((await modelPermissions.delete(project.id)).deleted);
  },

  async ends() {
    const robot = client.withOptions({ apiKey: account.api_key.value });
    assert.ok(await robot.models.list());
    const gone = await projects.serviceAccounts.delete(account.id, inProject);
    assert.equal(gone.object, "organization.project.service_account.deleted");
    await raises(401, () => robot.models.list());
    assert.equal((await projects.archive(project.id)).status, "archived");
    await raises(400, () => projects.archive(project.id));
    assert.equal((await organization.users.delete(user.id)).object, "organization.user.deleted");
  },
};

for (const [name, section] of Object.entries(sections)) {
  await section();
  ok(name);
}
