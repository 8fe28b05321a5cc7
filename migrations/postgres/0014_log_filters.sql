-- Trees for what the log is filtered by. A page is the newest fifty of what somebody asks for, and whoever has a million
-- rows may have none of it, or a few a month: only a tree in the order of what is asked finds that without looking at all
-- of them. What they cost stands in docs/database.md.

create index request_logs_newest on public.request_logs (user_id, created_at);

-- By stage, model and status, in whatever company: the stages and models that a user's days went to stand in
-- `usage_splits`, so that each of them can be asked for with each status, and every one of these is one stretch of the
-- tree. The key is judged in it. Empty is what `usage_splits` says for null; `case`, because row security lets no rows be
-- found by an expression that it does not know to keep quiet, as `coalesce`.
create index request_logs_kind on public.request_logs (
    user_id, status, (case when stage is null then '' else stage end), (case when model is null then '' else model end),
    created_at, api_key_id);

create index request_logs_key on public.request_logs (user_id, api_key_id, created_at);
create index request_logs_session on public.request_logs (user_id, session_id, created_at)
    where session_id is not null;

-- What was judged in this one, and summed up in it, is in those above and in `usage_splits`. Last, because the log can be
-- read until then.
drop index public.request_logs_user;
