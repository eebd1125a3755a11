"""A line per stored noun: its class, the prefix of its ids, its table and the columns it is found by.

A new line, or a new column in one, is a migration too: ``migrations/versions``. A test says when it is missing.
"""

import time

from msgspec import Struct

from everloom.kit.ids import rank_at, rank_of
from everloom.objects.assistants import Assistant
from everloom.objects.base import Object
from everloom.objects.batches import Batch, BatchAnswer, BatchSegment, BatchWork, EnqueuedTokens
from everloom.objects.files import AssistantFile, File, FileDeadline, FileDigest
from everloom.objects.fine_tuning import (
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningJobEvent,
    FineTuningWork,
    TunedModel,
)
from everloom.objects.images import GeneratedImage
from everloom.objects.invites import Invite
from everloom.objects.keys import Key
from everloom.objects.mail import Mail
from everloom.objects.messages import Message
from everloom.objects.organization import Organization
from everloom.objects.projects import Project
from everloom.objects.quotas import RateWindows, Reservation, ServerProcess, Spend
from everloom.objects.rules import Rules, SpendAlert
from everloom.objects.runs import CodeSession, EndedLog, Generation, Run, RunLease, ToolWork
from everloom.objects.service_accounts import ServiceAccount
from everloom.objects.steps import RunStep
from everloom.objects.stored_completions import StoredCompletion, StoredPrompt
from everloom.objects.threads import Thread
from everloom.objects.uploads import BlobDraft, PartBlob, Upload, UploadTally
from everloom.objects.users import Membership, User
from everloom.objects.vector_stores import (
    FileBatch,
    FileBatchMember,
    IndexTask,
    StoreModel,
    VectorStore,
    VectorStoreFile,
)
from everloom.objects.webhooks import WebhookDelivery, WebhookEndpoint, WebhookState


class Kind(Struct, frozen=True, eq=False):
    """Equal to itself alone: kinds are keys of caches, and hashing every field would cost more than the cache saves.

    ``index`` names attributes (properties too) that become columns with an index each: see ``schema.py``.
    ``key`` names the one that the table, and every verb that takes an id, knows an object by, where that is not
    its ``id``; on the wire such an object shows its ``id`` all the same, which is what follows the key's last dot.
    ``clustered_by`` names the one of them that the table itself is ordered by: a page of rows that share it lies on
    a few pages of the file, wherever they were made in between others. For small objects; large ones gain nothing.
    ``within`` has pairs of columns: the first is asked for together with the second alone, and indexed behind it.
    ``everywhere``: they are looked for in all projects at once, oldest first, without further conditions.
    ``terms`` names attributes of several values, or that few lists ask for, whose values stand in ``postings``: pairs
    (a dict), texts, one text, or that it is true (see ``terms.py``). Only they cost a write more than its row.

    ``noun`` and ``missing`` are for messages; ``missing`` is what the platform says where an id leads nowhere.
    """

    cls: type[Object]
    prefix: str
    table: str
    noun: str
    index: tuple[str, ...] = ()
    missing: str = "No {noun} found with id '{id}'."
    key: str = "id"
    clustered_by: str = ""
    within: tuple[tuple[str, str], ...] = ()
    everywhere: bool = False
    terms: tuple[str, ...] = ()


_ALL = (
    Kind(Assistant, "asst_", "assistants", "assistant", terms=("code_file_ids",)),
    Kind(AssistantFile, "asstfile_", "assistant_files", "assistant file", index=("assistant_id", "file_id")),
    Kind(Thread, "thread_", "threads", "thread", terms=("metadata",)),
    Kind(Message, "msg_", "messages", "message", index=("thread_id", "run_id")),
    Kind(Run, "run_", "runs", "run", index=("thread_id", "active")),
    Kind(RunStep, "step_", "run_steps", "run step", index=("run_id",), clustered_by="run_id"),
    Kind(RunLease, "run_", "run_leases", "run lease", index=("holder",)),
    Kind(EndedLog, "run_", "ended_logs", "run", index=("waiting",)),
    Kind(Generation, "gen_", "generations", "model request", index=("run_id",)),
    Kind(ToolWork, "work_", "tool_works", "tool call", index=("run_id",)),
    Kind(CodeSession, "thread_", "code_sessions", "code interpreter session"),
    Kind(File, "file-", "files", "file", index=("purpose",), missing="No such File object: {id}"),
    Kind(FileDigest, "file-", "file_digests", "file digest"),
    Kind(FileDeadline, "file-", "file_deadlines", "file", index=("pending",)),
    Kind(BlobDraft, "", "blob_drafts", "blob", everywhere=True),
    Kind(Upload, "upload_", "uploads", "upload"),
    Kind(UploadTally, "upload_", "upload_tallies", "upload", index=("open",)),
    Kind(PartBlob, "part_", "upload_parts", "part", index=("upload_id",)),
    Kind(GeneratedImage, "img-", "generated_images", "image"),
    Kind(VectorStore, "vs_", "vector_stores", "vector store", index=("mortal",)),
    Kind(StoreModel, "vs_", "store_models", "vector store"),
    Kind(
        VectorStoreFile,
        "",
        "vector_store_files",
        "vector store file",
        index=("vector_store_id", "file_id", "status", "open"),
        within=(("status", "vector_store_id"),),
        key="key",
    ),
    Kind(FileBatch, "vsfb_", "file_batches", "file batch", index=("vector_store_id",)),
    Kind(FileBatchMember, "", "file_batch_members", "file", index=("batch_id", "file_id", "vector_store_id")),
    Kind(
        IndexTask,
        "task_",
        "index_tasks",
        "index task",
        index=("job", "vector_store_id", "file_id"),
        everywhere=True,
    ),
    Kind(
        StoredCompletion,
        "chatcmpl-",
        "stored_completions",
        "chat completion",
        index=("model",),
        terms=("metadata",),
    ),
    Kind(StoredPrompt, "chatcmpl-", "stored_prompts", "chat completion"),
    Kind(Organization, "org-", "organizations", "organization"),
    Kind(User, "user-", "users", "user", index=("email", "role")),
    Kind(Invite, "invite-", "invites", "invite", terms=("email",)),
    Kind(
        Project,
        "proj_",
        "organization_projects",
        "project",
        index=("name", "status"),
        missing="The project {id} was not found",
    ),
    Kind(Membership, "", "project_users", "user", index=("project_id", "user_id"), key="key"),
    Kind(ServiceAccount, "svc_acct_", "service_accounts", "service account", index=("project_id",)),
    Kind(Key, "key_", "api_keys", "API key", index=("secret_hash", "project_id", "owner_id")),
    Kind(Rules, "", "rules", "rules"),
    Kind(SpendAlert, "alert_", "spend_alerts", "spend alert", index=("project_id",)),
    Kind(RateWindows, "", "rate_windows", "rate limit"),
    Kind(Spend, "", "spends", "budget"),
    Kind(ServerProcess, "proc_", "server_processes", "server process"),
    Kind(Reservation, "rsv_", "reservations", "reservation", index=("process_id",)),
    Kind(Mail, "mail_", "mails", "mail"),
    Kind(Batch, "batch_", "batches", "batch", index=("open", "input_file_id")),
    Kind(BatchWork, "batch_", "batch_works", "batch"),
    Kind(BatchSegment, "batch_", "batch_segments", "batch segment", index=("batch_id",)),
    Kind(BatchAnswer, "batch_", "batch_answers", "batch answer", index=("part",)),
    Kind(EnqueuedTokens, "", "enqueued_tokens", "enqueued tokens"),
    Kind(
        FineTuningJob,
        "ftjob-",
        "fine_tuning_jobs",
        "fine-tuning job",
        index=("status", "running"),
        missing="Could not find fine tune: {id}",
        terms=("metadata", "untagged"),
    ),
    Kind(
        FineTuningWork,
        "ftjob-",
        "fine_tuning_works",
        "fine-tuning job",
        index=("open", "training_file", "validation_file"),
    ),
    Kind(FineTuningJobEvent, "ftevent-", "fine_tuning_events", "event", index=("fine_tuning_job_id",)),
    Kind(FineTuningJobCheckpoint, "ftckpt_", "fine_tuning_checkpoints", "checkpoint", index=("fine_tuning_job_id",)),
    Kind(
        TunedModel,
        "",
        "tuned_models",
        "model",
        index=("job_id", "upstream_model"),
        missing="The model `{id}` does not exist or you do not have access to it.",
    ),
    Kind(WebhookEndpoint, "whe_", "webhook_endpoints", "webhook endpoint"),
    Kind(WebhookState, "whe_", "webhook_states", "webhook endpoint"),
    Kind(WebhookDelivery, "wh_", "webhook_deliveries", "webhook delivery", index=("endpoint_id",)),
)

KINDS: dict[type[Object], Kind] = {kind.cls: kind for kind in _ALL}

_FIRST_RANK = rank_at(1_735_689_600)
"""2025-01-01: no id of our make is older."""

_ID_DIGITS = 24
_DAY = 86_400


def own_rank(kind: Kind, id: str) -> int | None:
    """The rank inside an id that a server of ours made, None for one that came from elsewhere."""
    if len(id) != len(kind.prefix) + _ID_DIGITS or not id.startswith(kind.prefix):
        return None
    rank = rank_of(id)
    if rank is None or not _FIRST_RANK <= rank <= rank_at(int(time.time()) + _DAY):
        return None
    return rank
