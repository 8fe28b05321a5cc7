-- Trees for what the log is filtered by. A page is the newest fifty of what somebody asks for, and whoever has a million
-- rows may have none of it, or a few a month: only a tree in the order of what is asked finds that without looking at all
-- of them. src/storage/sqlite/pages.rs says how; what they cost stands in docs/database.md.

-- Empty is what `usage_splits` says for null.
create index request_logs_kind on request_logs (
    user_id, status, coalesce(stage, ''), coalesce(model, ''), api_key_id, request_id);
create index request_logs_session on request_logs (
    user_id, session_id, status, coalesce(stage, ''), coalesce(model, ''), api_key_id, request_id)
    where session_id is not null;
-- Of rows with an error alone, whose texts are codes and short: what was answered costs nothing here. By the last columns
-- rows are judged without any whole one being read; SQLite does not know that `coalesce` has what it needs of two of them.
create index request_logs_error on request_logs (
    user_id, status, coalesce(stage, ''), coalesce(model, ''), error_message, request_id, api_key_id, session_id,
    created_at, stage, model)
    where error_message is not null;
