-- What a user's day was spent on, by stage and model, and more of what became of its rows: kept, as the sums beside it,
-- in the transaction that writes the rows, so that thirty days are a few hundred rows to read, however many were logged.

-- Rows of `request_logs`, refusals among them; of these, those whose status is `error`, and those that an upstream was
-- tried for. The last runs ahead of `request_count` while a lease is open.
alter table usage_counters add column rows             integer not null default 0;
alter table usage_counters add column failed           integer not null default 0;
alter table usage_counters add column reached_upstream integer not null default 0;

-- Empty stage, empty model: refused before it was known.
create table usage_splits (
    user_id       text not null,
    day           text not null,
    stage         text not null,
    model         text not null,
    requests      integer not null,
    answered      integer not null,
    input_tokens  integer not null,
    output_tokens integer not null,
    cost_nano_usd integer not null,
    primary key (user_id, day, stage, model)
) without rowid;

-- What was written before. A day's first ten characters are its date, in UTC.
insert into usage_splits
select user_id, substr(created_at, 1, 10), coalesce(stage, ''), coalesce(model, ''), count(*), sum(status = 'success'),
       sum(coalesce(input_tokens, 0)), sum(coalesce(output_tokens, 0)), sum(cost_nano_usd)
from request_logs group by 1, 2, 3, 4;

insert into usage_counters (user_id, day, rows, failed, reached_upstream, updated_at)
select user_id, substr(created_at, 1, 10), count(*), sum(status = 'error'), sum(attempts > 0),
       strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
from request_logs
where true -- without it the parser takes `on` for a join's
group by 1, 2
on conflict (user_id, day) do update set
    rows = excluded.rows, failed = excluded.failed, reached_upstream = excluded.reached_upstream;
