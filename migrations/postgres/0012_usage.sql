-- What a user's day was spent on, by stage and model, and more of what became of its rows: kept, as the sums beside it,
-- in the transaction that writes the rows, so that thirty days are a few hundred rows to read, however many were logged.

alter table public.usage_counters
    -- Rows of `request_logs`, refusals among them; of these, those whose status is `error`, and those that an upstream was
    -- tried for. The last runs ahead of `request_count` while a lease is open.
    add column rows             bigint not null default 0,
    add column failed           bigint not null default 0,
    add column reached_upstream bigint not null default 0;

-- Changed only under the lock of the day's row in `usage_counters`, so that it needs no order of locks of its own. Empty
-- stage, empty model: refused before it was known. Small beside the log, and kept as the counters are.
create table cfx.usage_splits (
    user_id       uuid not null,
    day           date not null,
    stage         text not null,
    model         text not null,
    requests      bigint not null,
    answered      bigint not null,
    input_tokens  bigint not null,
    output_tokens bigint not null,
    cost_nano_usd bigint not null,
    primary key (user_id, day, stage, model)
) with (fillfactor = 50); -- every batch rewrites today's rows, none touches an index
select cfx.close_table('cfx.usage_splits');
grant select on cfx.usage_splits to cfx_dashboard;
create policy rows_of_the_session on cfx.usage_splits for select to cfx_dashboard
    using (user_id = (select cfx.session_user_id()));

-- What was written before. No batch is under way: each locks the table that was altered above.
with sums as (
    select user_id, (created_at at time zone 'UTC')::date as day, coalesce(stage, '') as stage,
           coalesce(model, '') as model, count(*) as requests, count(*) filter (where status = 'success') as answered,
           count(*) filter (where status = 'error') as failed, count(*) filter (where attempts > 0) as reached_upstream,
           coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
           coalesce(sum(cost_nano_usd), 0) as cost_nano_usd
    from public.request_logs
    group by 1, 2, 3, 4
), split as (
    insert into cfx.usage_splits (
        user_id, day, stage, model, requests, answered, input_tokens, output_tokens, cost_nano_usd)
    select user_id, day, stage, model, requests, answered, input_tokens, output_tokens, cost_nano_usd from sums
)
insert into public.usage_counters (user_id, day, rows, failed, reached_upstream)
select user_id, day, sum(requests), sum(failed), sum(reached_upstream) from sums group by 1, 2
on conflict (user_id, day) do update set
    rows = excluded.rows, failed = excluded.failed, reached_upstream = excluded.reached_upstream;

-- Part of an error's text is looked for among the rows that have one, and in the tree alone: whole rows are read of the
-- page that is shown. What is answered costs nothing here.
create index request_logs_errors on public.request_logs (user_id, created_at, request_id)
    include (error_message, stage, model, status) where error_message is not null;
