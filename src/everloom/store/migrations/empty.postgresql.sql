CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE assistants (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_assistants_rank ON assistants (project, rank, id);

CREATE TABLE assistant_files (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    assistant_id TEXT COLLATE "C",
    file_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_assistant_files_rank ON assistant_files (project, rank, id);

CREATE INDEX ix_assistant_files_assistant_id ON assistant_files (project, assistant_id, rank, id);

CREATE INDEX ix_assistant_files_file_id ON assistant_files (project, file_id, rank, id);

CREATE TABLE threads (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_threads_rank ON threads (project, rank, id);

CREATE TABLE messages (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    thread_id TEXT COLLATE "C",
    run_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_messages_rank ON messages (project, rank, id);

CREATE INDEX ix_messages_thread_id ON messages (project, thread_id, rank, id);

CREATE INDEX ix_messages_run_id ON messages (project, run_id, rank, id);

CREATE TABLE runs (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    thread_id TEXT COLLATE "C",
    active SMALLINT,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_runs_rank ON runs (project, rank, id);

CREATE INDEX ix_runs_thread_id ON runs (project, thread_id, rank, id);

CREATE INDEX ix_runs_active ON runs (rank, id) WHERE active = 1;

CREATE INDEX ix_runs_thread_id_active ON runs (project, thread_id, rank, id) WHERE active = 1;

CREATE TABLE run_steps (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (project, run_id, rank, id)
);

CREATE INDEX ix_run_steps_rank ON run_steps (project, rank, id);

CREATE UNIQUE INDEX ix_run_steps_id ON run_steps (project, id);

CREATE TABLE run_leases (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    holder TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_run_leases_rank ON run_leases (project, rank, id);

CREATE INDEX ix_run_leases_holder ON run_leases (project, holder, rank, id);

CREATE TABLE generations (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    run_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_generations_rank ON generations (project, rank, id);

CREATE INDEX ix_generations_run_id ON generations (project, run_id, rank, id);

CREATE TABLE tool_works (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    run_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_tool_works_rank ON tool_works (project, rank, id);

CREATE INDEX ix_tool_works_run_id ON tool_works (project, run_id, rank, id);

CREATE TABLE files (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    purpose TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_files_rank ON files (project, rank, id);

CREATE INDEX ix_files_purpose ON files (project, purpose, rank, id);

CREATE TABLE blob_drafts (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_blob_drafts_rank ON blob_drafts (project, rank, id);

CREATE TABLE uploads (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_uploads_rank ON uploads (project, rank, id);

CREATE TABLE upload_tallies (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    open SMALLINT,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_upload_tallies_rank ON upload_tallies (project, rank, id);

CREATE INDEX ix_upload_tallies_open ON upload_tallies (rank, id) WHERE open = 1;

CREATE TABLE upload_parts (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    upload_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_upload_parts_rank ON upload_parts (project, rank, id);

CREATE INDEX ix_upload_parts_upload_id ON upload_parts (project, upload_id, rank, id);

CREATE TABLE generated_images (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_generated_images_rank ON generated_images (project, rank, id);

CREATE TABLE vector_stores (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    mortal SMALLINT,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_vector_stores_rank ON vector_stores (project, rank, id);

CREATE INDEX ix_vector_stores_mortal ON vector_stores (rank, id) WHERE mortal = 1;

CREATE TABLE store_models (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_store_models_rank ON store_models (project, rank, id);

CREATE TABLE vector_store_files (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    vector_store_id TEXT COLLATE "C",
    file_id TEXT COLLATE "C",
    status TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_vector_store_files_rank ON vector_store_files (project, rank, id);

CREATE INDEX ix_vector_store_files_vector_store_id ON vector_store_files (project, vector_store_id, rank, id);

CREATE INDEX ix_vector_store_files_file_id ON vector_store_files (project, file_id, rank, id);

CREATE INDEX ix_vector_store_files_status ON vector_store_files (project, status, rank, id);

CREATE TABLE file_batches (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    vector_store_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_file_batches_rank ON file_batches (project, rank, id);

CREATE INDEX ix_file_batches_vector_store_id ON file_batches (project, vector_store_id, rank, id);

CREATE TABLE file_batch_members (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    batch_id TEXT COLLATE "C",
    file_id TEXT COLLATE "C",
    vector_store_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_file_batch_members_rank ON file_batch_members (project, rank, id);

CREATE INDEX ix_file_batch_members_batch_id ON file_batch_members (project, batch_id, rank, id);

CREATE INDEX ix_file_batch_members_file_id ON file_batch_members (project, file_id, rank, id);

CREATE INDEX ix_file_batch_members_vector_store_id ON file_batch_members (project, vector_store_id, rank, id);

CREATE TABLE index_tasks (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    job TEXT COLLATE "C",
    vector_store_id TEXT COLLATE "C",
    file_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_index_tasks_rank ON index_tasks (project, rank, id);

CREATE INDEX ix_index_tasks_job ON index_tasks (project, job, rank, id);

CREATE INDEX ix_index_tasks_vector_store_id ON index_tasks (project, vector_store_id, rank, id);

CREATE INDEX ix_index_tasks_file_id ON index_tasks (project, file_id, rank, id);

CREATE TABLE stored_completions (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    model TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_stored_completions_rank ON stored_completions (project, rank, id);

CREATE INDEX ix_stored_completions_model ON stored_completions (project, model, rank, id);

CREATE TABLE stored_prompts (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_stored_prompts_rank ON stored_prompts (project, rank, id);

CREATE TABLE projects (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    name TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_projects_rank ON projects (project, rank, id);

CREATE INDEX ix_projects_name ON projects (project, name, rank, id);

CREATE TABLE key_hashes (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    scope TEXT COLLATE "C",
    project_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_key_hashes_rank ON key_hashes (project, rank, id);

CREATE INDEX ix_key_hashes_scope ON key_hashes (project, scope, rank, id);

CREATE INDEX ix_key_hashes_project_id ON key_hashes (project, project_id, rank, id);

CREATE TABLE events (
    project TEXT COLLATE "C" NOT NULL,
    log TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    name TEXT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (project, log, seq)
);

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;

CREATE TABLE outbox (
    id TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX ix_outbox_lane ON outbox (lane, id);

INSERT INTO outbox (id, project, kind, key, lane) SELECT 'job_0' || project || id, project, 'run', id, 'live' FROM runs WHERE active = 1;

INSERT INTO outbox (id, project, kind, key, lane) SELECT 'job_0' || project || job, project, 'ingest', job, 'background' FROM index_tasks GROUP BY project, job;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

CREATE TABLE file_digests (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_file_digests_rank ON file_digests (project, rank, id);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

CREATE TABLE file_deadlines (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    pending SMALLINT,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_file_deadlines_rank ON file_deadlines (project, rank, id);

CREATE INDEX ix_file_deadlines_pending ON file_deadlines (rank, id) WHERE pending = 1;

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

ALTER TABLE outbox ADD COLUMN due BIGINT DEFAULT '0' NOT NULL;

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

CREATE TABLE organizations (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_organizations_rank ON organizations (project, rank, id);

CREATE TABLE users (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    email TEXT COLLATE "C",
    role TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_users_rank ON users (project, rank, id);

CREATE INDEX ix_users_email ON users (project, email, rank, id);

CREATE INDEX ix_users_role ON users (project, role, rank, id);

CREATE TABLE invites (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_invites_rank ON invites (project, rank, id);

CREATE TABLE organization_projects (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    name TEXT COLLATE "C",
    status TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_organization_projects_rank ON organization_projects (project, rank, id);

CREATE INDEX ix_organization_projects_name ON organization_projects (project, name, rank, id);

CREATE INDEX ix_organization_projects_status ON organization_projects (project, status, rank, id);

CREATE TABLE project_users (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    project_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_project_users_rank ON project_users (project, rank, id);

CREATE INDEX ix_project_users_project_id ON project_users (project, project_id, rank, id);

CREATE INDEX ix_project_users_user_id ON project_users (project, user_id, rank, id);

CREATE TABLE service_accounts (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    project_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_service_accounts_rank ON service_accounts (project, rank, id);

CREATE INDEX ix_service_accounts_project_id ON service_accounts (project, project_id, rank, id);

CREATE TABLE api_keys (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    secret_hash TEXT COLLATE "C",
    project_id TEXT COLLATE "C",
    owner_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_api_keys_rank ON api_keys (project, rank, id);

CREATE INDEX ix_api_keys_secret_hash ON api_keys (project, secret_hash, rank, id);

CREATE INDEX ix_api_keys_project_id ON api_keys (project, project_id, rank, id);

CREATE INDEX ix_api_keys_owner_id ON api_keys (project, owner_id, rank, id);

INSERT INTO organization_projects (project, id, rank, body, name, status) SELECT project, id, rank, body, name, 'active' FROM projects;

INSERT INTO api_keys (project, id, rank, body, secret_hash, project_id, owner_id) SELECT project, 'key_' || substr(md5(random()::text || clock_timestamp()::text || id), 1, 24), rank, body, id, COALESCE(project_id, ''), 'user-owner' FROM key_hashes;

UPDATE api_keys SET body = convert_to(((convert_from(body, 'UTF8')::jsonb - 'scope') || jsonb_build_object('id', id, 'secret_hash', secret_hash, 'project_id', project_id, 'owner_id', owner_id))::text, 'UTF8');

DROP TABLE projects;

DROP TABLE key_hashes;

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

CREATE TABLE ledger (
    at BIGINT NOT NULL,
    id BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    batch SMALLINT NOT NULL,
    estimated SMALLINT NOT NULL,
    size TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    input_audio_tokens BIGINT NOT NULL,
    output_audio_tokens BIGINT NOT NULL,
    images BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    milliseconds BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    rolled SMALLINT NOT NULL,
    PRIMARY KEY (at, id)
);

CREATE INDEX ix_ledger_fresh ON ledger (at) WHERE rolled = 0;

CREATE TABLE ledger_sums (
    width BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    batch SMALLINT NOT NULL,
    estimated SMALLINT NOT NULL,
    size TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    input_audio_tokens BIGINT NOT NULL,
    output_audio_tokens BIGINT NOT NULL,
    images BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    milliseconds BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (width, at, kind, model, project, key_id, user_id, batch, estimated, size, source)
);

CREATE TABLE code_sessions (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_code_sessions_rank ON code_sessions (project, rank, id);

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

CREATE TABLE audit_events (
    seq BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    effective_at BIGINT NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    actor_id TEXT COLLATE "C" NOT NULL,
    actor_email TEXT COLLATE "C" NOT NULL,
    resource_id TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (seq)
);

CREATE UNIQUE INDEX ix_audit_events_id ON audit_events (id);

CREATE INDEX ix_audit_events_type ON audit_events (type, seq);

CREATE INDEX ix_audit_events_effective_at ON audit_events (effective_at, seq);

CREATE INDEX ix_audit_events_project_id ON audit_events (project_id, seq);

CREATE INDEX ix_audit_events_key_id ON audit_events (key_id, seq);

CREATE INDEX ix_audit_events_actor_id ON audit_events (actor_id, seq);

CREATE INDEX ix_audit_events_actor_email ON audit_events (actor_email, seq);

CREATE INDEX ix_audit_events_resource_id ON audit_events (resource_id, seq);

CREATE TABLE audit_heads (
    id SMALLINT NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (id)
);

INSERT INTO audit_heads (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE audit_checkpoints (
    seq BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    signature TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (seq, key)
);

CREATE TABLE audit_sinks (
    name TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    holder TEXT COLLATE "C" NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (name)
);

UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';

CREATE TABLE rules (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_rules_rank ON rules (project, rank, id);

CREATE TABLE spend_alerts (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    project_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_spend_alerts_rank ON spend_alerts (project, rank, id);

CREATE INDEX ix_spend_alerts_project_id ON spend_alerts (project, project_id, rank, id);

UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';

CREATE TABLE mails (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_mails_rank ON mails (project, rank, id);

UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';

CREATE TABLE rate_windows (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_rate_windows_rank ON rate_windows (project, rank, id);

CREATE TABLE spends (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_spends_rank ON spends (project, rank, id);

CREATE TABLE server_processes (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_server_processes_rank ON server_processes (project, rank, id);

CREATE TABLE reservations (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    process_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_reservations_rank ON reservations (project, rank, id);

CREATE INDEX ix_reservations_process_id ON reservations (project, process_id, rank, id);

UPDATE alembic_version SET version_num='0011' WHERE alembic_version.version_num = '0010';

CREATE TABLE batches (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    open SMALLINT,
    input_file_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_batches_rank ON batches (project, rank, id);

CREATE INDEX ix_batches_input_file_id ON batches (project, input_file_id, rank, id);

CREATE INDEX ix_batches_open ON batches (rank, id) WHERE open = 1;

CREATE INDEX ix_batches_input_file_id_open ON batches (project, input_file_id, rank, id) WHERE open = 1;

CREATE TABLE batch_works (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_batch_works_rank ON batch_works (project, rank, id);

CREATE TABLE batch_segments (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    batch_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_batch_segments_rank ON batch_segments (project, rank, id);

CREATE INDEX ix_batch_segments_batch_id ON batch_segments (project, batch_id, rank, id);

CREATE TABLE batch_answers (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    part TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_batch_answers_rank ON batch_answers (project, rank, id);

CREATE INDEX ix_batch_answers_part ON batch_answers (project, part, rank, id);

CREATE TABLE enqueued_tokens (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_enqueued_tokens_rank ON enqueued_tokens (project, rank, id);

UPDATE alembic_version SET version_num='0012' WHERE alembic_version.version_num = '0011';

CREATE TABLE webhook_endpoints (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_webhook_endpoints_rank ON webhook_endpoints (project, rank, id);

CREATE TABLE webhook_states (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_webhook_states_rank ON webhook_states (project, rank, id);

CREATE TABLE webhook_deliveries (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    endpoint_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_webhook_deliveries_rank ON webhook_deliveries (project, rank, id);

CREATE INDEX ix_webhook_deliveries_endpoint_id ON webhook_deliveries (project, endpoint_id, rank, id);

UPDATE alembic_version SET version_num='0013' WHERE alembic_version.version_num = '0012';

CREATE TABLE fine_tuning_jobs (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    status TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_fine_tuning_jobs_rank ON fine_tuning_jobs (project, rank, id);

CREATE INDEX ix_fine_tuning_jobs_status ON fine_tuning_jobs (project, status, rank, id);

CREATE TABLE fine_tuning_works (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    open SMALLINT,
    training_file TEXT COLLATE "C",
    validation_file TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_fine_tuning_works_rank ON fine_tuning_works (project, rank, id);

CREATE INDEX ix_fine_tuning_works_training_file ON fine_tuning_works (project, training_file, rank, id);

CREATE INDEX ix_fine_tuning_works_validation_file ON fine_tuning_works (project, validation_file, rank, id);

CREATE INDEX ix_fine_tuning_works_open ON fine_tuning_works (rank, id) WHERE open = 1;

CREATE INDEX ix_fine_tuning_works_training_file_open ON fine_tuning_works (project, training_file, rank, id) WHERE open = 1;

CREATE INDEX ix_fine_tuning_works_validation_file_open ON fine_tuning_works (project, validation_file, rank, id) WHERE open = 1;

CREATE TABLE fine_tuning_events (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    fine_tuning_job_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_fine_tuning_events_rank ON fine_tuning_events (project, rank, id);

CREATE INDEX ix_fine_tuning_events_fine_tuning_job_id ON fine_tuning_events (project, fine_tuning_job_id, rank, id);

CREATE TABLE fine_tuning_checkpoints (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    fine_tuning_job_id TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_fine_tuning_checkpoints_rank ON fine_tuning_checkpoints (project, rank, id);

CREATE INDEX ix_fine_tuning_checkpoints_fine_tuning_job_id ON fine_tuning_checkpoints (project, fine_tuning_job_id, rank, id);

CREATE TABLE tuned_models (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    job_id TEXT COLLATE "C",
    upstream_model TEXT COLLATE "C",
    PRIMARY KEY (project, id)
);

CREATE INDEX ix_tuned_models_rank ON tuned_models (project, rank, id);

CREATE INDEX ix_tuned_models_job_id ON tuned_models (project, job_id, rank, id);

CREATE INDEX ix_tuned_models_upstream_model ON tuned_models (project, upstream_model, rank, id);

UPDATE alembic_version SET version_num='0014' WHERE alembic_version.version_num = '0013';

CREATE TABLE postings (
    term BYTEA NOT NULL,
    rank BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (term, rank, id)
);

CREATE INDEX ix_blob_drafts_all ON blob_drafts (rank, id);

CREATE INDEX ix_index_tasks_all ON index_tasks (rank, id);

DROP INDEX ix_vector_store_files_status;

CREATE INDEX ix_vector_store_files_vector_store_id_status ON vector_store_files (project, vector_store_id, status, rank, id);

ALTER TABLE vector_store_files ADD COLUMN open SMALLINT;

UPDATE vector_store_files SET open = 1 WHERE status = 'in_progress';

CREATE INDEX ix_vector_store_files_open ON vector_store_files (rank, id) WHERE open = 1;

CREATE INDEX ix_vector_store_files_vector_store_id_open ON vector_store_files (project, vector_store_id, rank, id) WHERE open = 1;

CREATE INDEX ix_vector_store_files_file_id_open ON vector_store_files (project, file_id, rank, id) WHERE open = 1;

ALTER TABLE fine_tuning_jobs ADD COLUMN running SMALLINT;

UPDATE fine_tuning_jobs SET running = 1 WHERE status = 'running';

CREATE INDEX ix_fine_tuning_jobs_running ON fine_tuning_jobs (rank, id) WHERE running = 1;

CREATE INDEX ix_fine_tuning_jobs_status_running ON fine_tuning_jobs (project, status, rank, id) WHERE running = 1;

UPDATE alembic_version SET version_num='0015' WHERE alembic_version.version_num = '0014';

CREATE TABLE ended_logs (
    project TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    body BYTEA NOT NULL,
    waiting SMALLINT,
    PRIMARY KEY (project, id)
);

INSERT INTO ended_logs (project, id, rank, body, waiting) SELECT project, id, rank, convert_to(jsonb_build_object('id', id, 'created_at', 0, 'waiting', true)::text, 'UTF8'), 1 FROM runs WHERE active = 0;

CREATE INDEX ix_ended_logs_rank ON ended_logs (project, rank, id);

CREATE INDEX ix_ended_logs_waiting ON ended_logs (rank, id) WHERE waiting = 1;

UPDATE alembic_version SET version_num='0016' WHERE alembic_version.version_num = '0015';
