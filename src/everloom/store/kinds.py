"""A line per stored noun: its class, the prefix of its ids, its table and the columns it is found by.

A new line, or a new column in one, is a migration too: ``migrations/versions``. A test says when it is missing.
"""

from msgspec import Struct

from everloom.objects.assistants import Assistant
from everloom.objects.base import Object
from everloom.objects.files import AssistantFile, File, FileDeadline, FileDigest
from everloom.objects.images import GeneratedImage
from everloom.objects.invites import Invite
from everloom.objects.keys import Key
from everloom.objects.mail import Mail
from everloom.objects.messages import Message
from everloom.objects.organization import Organization
from everloom.objects.projects import Project
from everloom.objects.quotas import RateWindows, Reservation, ServerProcess, Spend
from everloom.objects.rules import Rules, SpendAlert
from everloom.objects.runs import CodeSession, Generation, Run, RunLease, ToolWork
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


class Kind(Struct, frozen=True, eq=False):
    """Equal to itself alone: kinds are keys of caches, and hashing every field would cost more than the cache saves.

    ``index`` names attributes (properties too) that become columns with an index each: see ``schema.py``.
    ``key`` names the one that the table, and every verb that takes an id, knows an object by, where that is not
    its ``id``; on the wire such an object shows its ``id`` all the same, which is what follows the key's last dot.
    ``clustered_by`` names the one of them that the table itself is ordered by: a page of rows that share it lies on
    a few pages of the file, wherever they were made in between others. For small objects; large ones gain nothing.

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


_ALL = (
    Kind(Assistant, "asst_", "assistants", "assistant"),
    Kind(AssistantFile, "asstfile_", "assistant_files", "assistant file", index=("assistant_id", "file_id")),
    Kind(Thread, "thread_", "threads", "thread"),
    Kind(Message, "msg_", "messages", "message", index=("thread_id", "run_id")),
    Kind(Run, "run_", "runs", "run", index=("thread_id", "active")),
    Kind(RunStep, "step_", "run_steps", "run step", index=("run_id",), clustered_by="run_id"),
    Kind(RunLease, "run_", "run_leases", "run lease", index=("holder",)),
    Kind(Generation, "gen_", "generations", "generation", index=("run_id",)),
    Kind(ToolWork, "work_", "tool_works", "tool call", index=("run_id",)),
    Kind(CodeSession, "thread_", "code_sessions", "code interpreter session"),
    Kind(File, "file-", "files", "file", index=("purpose",), missing="No such File object: {id}"),
    Kind(FileDigest, "file-", "file_digests", "file digest"),
    Kind(FileDeadline, "file-", "file_deadlines", "file", index=("pending",)),
    Kind(BlobDraft, "", "blob_drafts", "blob"),
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
        index=("vector_store_id", "file_id", "status"),
        key="key",
    ),
    Kind(FileBatch, "vsfb_", "file_batches", "file batch", index=("vector_store_id",)),
    Kind(FileBatchMember, "", "file_batch_members", "file", index=("batch_id", "file_id", "vector_store_id")),
    Kind(IndexTask, "task_", "index_tasks", "index task", index=("job", "vector_store_id", "file_id")),
    Kind(StoredCompletion, "chatcmpl-", "stored_completions", "chat completion", index=("model",)),
    Kind(StoredPrompt, "chatcmpl-", "stored_prompts", "chat completion"),
    Kind(Organization, "org-", "organizations", "organization"),
    Kind(User, "user-", "users", "user", index=("email", "role")),
    Kind(Invite, "invite-", "invites", "invite"),
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
)

KINDS: dict[type[Object], Kind] = {kind.cls: kind for kind in _ALL}
